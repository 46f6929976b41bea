"""Pods in this process: a request is a call. The default, and what tests and notebooks use."""

from __future__ import annotations

from collections.abc import Mapping

from federated.errors import LinkLost
from federated.links.link import Handler
from federated.task.envelope import Envelope


class InProcess:
    """A link to handlers in this process; nothing is copied.

    Args:
        pods: name to handler.
    """

    def __init__(self, pods: Mapping[str, Handler]) -> None:
        self._pods = dict(pods)

    @property
    def connected(self) -> frozenset[str]:
        """All pods, until the link is closed."""
        return frozenset(self._pods)

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        """The pod's answer; see `Link.ask`."""
        if pod not in self._pods:
            raise LinkLost("A pod is asked that is not part of this link.")
        return await self._pods[pod](request)

    async def close(self) -> None:
        """Forget the pods."""
        self._pods.clear()
