"""What a link does, however it is built: the modeller asks, a pod answers.

A pod never listens: over a network it dials out, and requests come to it over the connection that it has made.
A request may reach a pod twice (a connection broke, the modeller was started again); the pod then gives the same
answer again. Links carry parcels and look into none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from federated.task.envelope import Envelope

Handler = Callable[[Envelope], Awaitable[Envelope]]
"""A pod's side: takes a request, gives the answer. May be called again before it has answered."""


class Link(Protocol):
    """The modeller's side of a link to its pods."""

    @property
    def connected(self) -> frozenset[str]:
        """Pods that can be reached now."""
        ...

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        """Send a request and wait for its answer, also while the pod is away and until it has come back.

        It has no deadline of its own: cancel it. A cancelled request is forgotten, and an answer that comes later is
        dropped.

        Raises:
            LinkLost: the link was closed, or the pod can never be reached over it.
        """
        ...

    async def close(self) -> None:
        """End all connections; may be called again."""
        ...
