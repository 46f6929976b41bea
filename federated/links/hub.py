"""The modeller's side of a link over sockets: it listens, pods dial in, and it asks them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from federated.errors import LinkLost, MessageRefused
from federated.links.frames import AT_ONCE, Frame, FrameHeader, FrameKind, frame
from federated.links.handshake import greet_pod
from federated.links.pinned_tls import hub_context
from federated.links.wire import LinkSettings, Steps, Wire, closed_on_failure
from federated.task.envelope import Envelope
from secure_agg import Signer

logger = logging.getLogger(__name__)

_FULL_S = 0.1
"""How long no connection is taken after the system could not give one."""


@dataclass(eq=False)
class _Ask:
    pod: str
    message: Frame
    answer: asyncio.Future[Envelope]
    seat: _Seat | None = None  # over which it went out last


@dataclass(eq=False)
class _Seat:
    """One connection; the `Owner` of its wire. ``asked`` holds what went out and was not answered over it."""

    hub: Hub
    pod: str = ""
    asked: set[int] = field(default_factory=set)

    def greet(self, wire: Wire) -> Steps[None]:
        hub = self.hub
        self.pod = yield from greet_pod(wire, hub._signer, hub._pods, hub._certificate)

    def opened(self, wire: Wire) -> None:
        self.hub._later(self.hub._arrived, self, wire)

    def admit(self, header: FrameHeader) -> bool:
        if header.kind not in (FrameKind.ANSWER, FrameKind.FAULT) or header.request not in self.asked:
            raise MessageRefused("A pod sent an answer that it was not asked for, or a second one.")
        self.asked.discard(header.request)
        if header.request in self.hub._asks:
            return True
        self.hub._later(self.hub._send, self.pod)  # nobody waits any more: it is read and forgotten
        return False

    def took(self, header: FrameHeader, envelope: Envelope) -> None:
        self.hub._later(self.hub._answered, self.pod, header, envelope)

    def ended(self, wire: Wire, reason: Exception) -> None:
        self.hub._later(self.hub._left, self, wire, reason)


class Hub:
    """A `federated.links.link.Link` that pods dial in to; made by `listen`, in the event loop that it is used in.

    What is asked of a pod that is away goes out when it comes, and again after each new connection, until there is
    an answer. A new connection of a pod takes the place of the one before.

    Args:
        listener: a listening socket, this object's own from now on.
        signer: the modeller's key.
        pods: names to pinned Ed25519 public keys.
        settings: how patient it is.
    """

    def __init__(
        self, listener: socket.socket, signer: Signer, pods: Mapping[str, bytes], settings: LinkSettings
    ) -> None:
        self._listener, self._signer, self._pods, self._settings = listener, signer, dict(pods), settings
        self._loop = asyncio.get_running_loop()
        self._context, self._certificate = hub_context()
        self._numbers = itertools.count(1)
        self._asks: dict[int, _Ask] = {}
        self._seats: dict[str, tuple[_Seat, Wire]] = {}
        self._unproven: dict[Wire, None] = {}
        self._wires: set[Wire] = set()
        self._closed = False
        self.refusals: Counter[str] = Counter()
        """Why connections were ended by this side, in words, and how often."""
        host, port = listener.getsockname()[:2]
        self.address: tuple[str, int] = (str(host), int(port))
        """Where it listens: host and port."""
        listener.setblocking(False)
        self._accepting = self._loop.create_task(self._accept())

    @property
    def connected(self) -> frozenset[str]:
        """Pods that have proved their key and are there now."""
        return frozenset(self._seats)

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        """The pod's answer; see `Link.ask`.

        Raises:
            LinkLost: the hub is closed, or no key is pinned for this pod.
            MessageRefused: the pod's program failed at this request; its own log says why.
        """
        if self._closed or pod not in self._pods:
            raise LinkLost("A pod is asked over a link that is closed, or that has no key pinned for it.")
        number = next(self._numbers)
        message = frame(FrameKind.REQUEST, request, number)
        ask = self._asks[number] = _Ask(pod, message, self._loop.create_future())
        self._send(pod)
        try:
            return await ask.answer
        finally:
            del self._asks[number]
            if pod in self._seats:
                seat, wire = self._seats[pod]
                if wire.unsend(number):
                    seat.asked.discard(number)
                    self._send(pod)

    def _send(self, pod: str) -> None:
        """Send what this pod has not got over its present connection, as much as it takes at once."""
        if pod not in self._seats:
            return
        seat, wire = self._seats[pod]
        for number, ask in self._asks.items():
            if len(seat.asked) >= AT_ONCE:
                return
            if ask.pod == pod and ask.seat is not seat and not ask.answer.done():
                ask.seat = seat
                seat.asked.add(number)
                wire.send(ask.message)

    async def close(self) -> None:
        """End all connections and stop listening; may be called again. Who still waits gets `LinkLost`."""
        self._closed = True
        self._accepting.cancel()
        with suppress(asyncio.CancelledError):
            await self._accepting
        self._listener.close()
        wires = list(self._wires)
        for wire in wires:
            wire.stop()
        for wire in wires:
            wire.join()
        self._seats.clear()
        for ask in self._asks.values():
            if not ask.answer.done():
                ask.answer.set_exception(
                    LinkLost("The link was closed; nobody waits for the answer any more.")
                )

    async def __aenter__(self) -> Hub:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _accept(self) -> None:
        wrap = partial(self._context.wrap_socket, server_side=True, do_handshake_on_connect=False)
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._listener)
                if len(self._unproven) >= self._settings.unproven:
                    self._evict()
                with closed_on_failure(connection):
                    wire = Wire(connection, wrap, _Seat(self), self._settings)
                    wire.start()
            except (OSError, RuntimeError):  # no descriptor or no thread is left
                self._count(LinkLost("A connection could not be taken: this machine has no room for it."))
                await asyncio.sleep(_FULL_S)
                continue
            self._wires.add(wire)
            self._unproven[wire] = None

    def _evict(self) -> None:
        oldest = next(iter(self._unproven))
        del self._unproven[oldest]
        oldest.stop()
        self._count(LinkLost("Too many connections had not proved who they are; the oldest was closed."))

    def _later(self, call: Any, *arguments: Any) -> None:
        """Go on in the event loop; from a wire's thread. After the loop's end nobody is there to be told."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _arrived(self, seat: _Seat, wire: Wire) -> None:
        self._unproven.pop(wire, None)
        if self._closed or wire not in self._wires:
            return
        before = self._seats.get(seat.pod)
        self._seats[seat.pod] = (seat, wire)
        if before:
            before[1].stop()
            self._count(
                LinkLost(
                    "A pod connected again while it was connected; the newer connection is kept. If this goes on, "
                    "the pod runs twice under one key."
                )
            )
        logger.info("pod %s is connected", seat.pod)
        self._send(seat.pod)

    def _left(self, seat: _Seat, wire: Wire, reason: Exception) -> None:
        self._unproven.pop(wire, None)
        self._wires.discard(wire)
        if seat.pod in self._seats and self._seats[seat.pod][1] is wire:
            del self._seats[seat.pod]
            logger.info("pod %s is away: %s", seat.pod, reason)
        if isinstance(reason, MessageRefused) and not isinstance(reason, LinkLost):
            self._count(reason)

    def _count(self, reason: MessageRefused) -> None:
        """Note a refusal; a flood of them writes few lines."""
        self.refusals[str(reason)] += 1
        seen = self.refusals[str(reason)]
        if seen & (seen - 1) == 0:
            logger.warning("%s (%d so far)", reason, seen)

    def _answered(self, pod: str, header: FrameHeader, envelope: Envelope) -> None:
        self._send(pod)
        ask = self._asks.get(header.request)
        if ask is None or ask.answer.done():
            return
        if header.kind is FrameKind.FAULT:
            ask.answer.set_exception(
                MessageRefused("The pod's program failed at a request; its own log says why.")
            )
        else:
            ask.answer.set_result(envelope)


async def listen(
    signer: Signer,
    pods: Mapping[str, bytes],
    host: str = "127.0.0.1",
    port: int = 0,
    settings: LinkSettings | None = None,
) -> Hub:
    """Listen for pods.

    Args:
        signer: the modeller's key.
        pods: names to pinned Ed25519 public keys; nobody else is taken.
        host, port: where; port 0 takes a free one, see `Hub.address`.
        settings: how patient; None for the defaults.

    Raises:
        LinkLost: the address cannot be listened at.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError:
        raise LinkLost(
            "The address for pods cannot be listened at: it is in use, or not one of this machine."
        ) from None
    return Hub(listener, signer, pods, settings or LinkSettings())
