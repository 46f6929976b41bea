"""A pod's side of a link over sockets: it dials out, stays connected, and answers what it is asked."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from federated.errors import LinkLost, MessageRefused
from federated.links.frames import AT_ONCE, FrameHeader, FrameKind, frame
from federated.links.handshake import greet_hub
from federated.links.link import Handler
from federated.links.pinned_tls import certificate_hash, pod_context
from federated.links.proxy import NoTunnel, open_tunnel
from federated.links.wire import LinkSettings, Steps, Wire, closed_on_failure
from federated.task.envelope import Envelope
from secure_agg import Signer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a pod waits before it dials again: doubling, never above a cap, spread by chance.

    Attributes:
        first_s, cap_s: the shortest and the longest wait.
        chance: uniform in 0 to 1; half of each wait hangs on it, so that many pods do not come all at once.
        sleep: waits.
    """

    first_s: float = 0.5
    cap_s: float = 60.0
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, 1 or more."""
        longest = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 32))
        return longest * (0.5 + 0.5 * self.chance())


@dataclass(frozen=True)
class Modeller:
    """Whom a pod dials.

    Attributes:
        host, port: where its hub listens.
        key: its pinned Ed25519 public key.
        proxy: host and port of an HTTP proxy that leads there; None dials directly.
    """

    host: str
    port: int
    key: bytes
    proxy: tuple[str, int] | None = None


Told = Callable[[str], None]
"""Hears in words when the connection stands, and why it does not."""


@dataclass(eq=False)
class _Job:
    """A request, who waits for its answer (under which number), and whether the handler has it."""

    request: Envelope
    waiting: list[tuple[Wire, int]]
    begun: bool = False


class _Service:
    """What a pod is working on; it outlives connections.

    A request that comes again while it is worked on is not begun again: its answer goes to all that asked for it.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._running: dict[asyncio.Task[None], _Job] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def begin(self, wire: Wire, number: int, request: Envelope) -> None:
        if sum(each is wire for job in self._running.values() for each, _ in job.waiting) >= AT_ONCE:
            wire.stop()  # no hub of ours sends so many
            return
        for job in self._running.values():
            if job.request.head == request.head and job.request.body == request.body:
                job.waiting.append((wire, number))
                return
        job = _Job(request, [(wire, number)])
        task = asyncio.get_running_loop().create_task(self._work(job))
        self._running[task] = job
        task.add_done_callback(self._running.pop)

    async def _work(self, job: _Job) -> None:
        async with self._room:
            job.begun = True
            try:
                answer = await self._handler(job.request)
                messages = [(wire, frame(FrameKind.ANSWER, answer, number)) for wire, number in job.waiting]
            except Exception as fault:  # noqa: BLE001  # whatever it is, the others' requests go on
                logger.error("a request could not be answered: %s", type(fault).__name__)
                messages = [(wire, frame(FrameKind.FAULT, request=number)) for wire, number in job.waiting]
        for wire, message in messages:
            wire.send(message)

    def forget(self, wire: Wire) -> None:
        """Nobody listens there any more: what was begun is finished, the rest is not begun."""
        for task, job in self._running.items():
            job.waiting = [(each, number) for each, number in job.waiting if each is not wire]
            if not (job.waiting or job.begun):
                task.cancel()

    async def stop(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class _Line:
    """One connection to the hub; the `Owner` of its wire."""

    signer: Signer
    modeller: Modeller
    name: str
    service: _Service
    loop: asyncio.AbstractEventLoop
    over: asyncio.Future[Exception]
    stood: asyncio.Event = field(default_factory=asyncio.Event)

    def greet(self, wire: Wire) -> Steps[None]:
        shown = certificate_hash(wire.certificate)
        yield from greet_hub(wire, self.signer, self.modeller.key, self.name, shown)

    def opened(self, wire: Wire) -> None:
        self.wire = wire
        self._later(self.stood.set)

    def admit(self, header: FrameHeader) -> bool:
        if header.kind is not FrameKind.REQUEST:
            raise MessageRefused("The modeller's program sent something that is no request.")
        return True

    def took(self, header: FrameHeader, envelope: Envelope) -> None:
        self._later(self.service.begin, self.wire, header.request, envelope)

    def ended(self, wire: Wire, reason: Exception) -> None:
        self._later(self._over, reason)

    def _over(self, reason: Exception) -> None:
        if not self.over.done():
            self.over.set_result(reason)

    def _later(self, call: Any, *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody is there to be told
            self.loop.call_soon_threadsafe(call, *arguments)


async def _connected(modeller: Modeller, timeout_s: float) -> socket.socket:
    """A connection that leads to the hub, directly or through a proxy's tunnel."""
    async with asyncio.timeout(timeout_s):
        if modeller.proxy is None:
            return await _tcp(modeller.host, modeller.port)
        try:
            connection = await _tcp(*modeller.proxy)
        except (OSError, UnicodeError, OverflowError):
            raise NoTunnel("the hospital's proxy does not answer") from None
        with closed_on_failure(connection):
            await open_tunnel(connection, modeller.host, modeller.port)
        return connection


async def _addresses(host: str, port: int) -> list[Any]:
    """Looked up in a thread that nobody waits for: a name server that is silent must not keep a pod from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def tell(answer: list[Any] | Exception) -> None:
        if found.done():
            return
        if isinstance(answer, Exception):
            found.set_exception(answer)
        else:
            found.set_result(answer)

    def look_up() -> None:
        try:
            answer: list[Any] | Exception = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 # it is raised where it is awaited
            answer = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, answer)

    threading.Thread(target=look_up, name="trialveil-name", daemon=True).start()
    return await found


async def _tcp(host: str, port: int) -> socket.socket:
    """A TCP connection, over the first of the host's addresses that answers."""
    loop = asyncio.get_running_loop()
    found = await _addresses(host, port)
    for last, (family, kind, protocol, _, address) in enumerate(found, 1 - len(found)):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError) or last == 0:
                raise
        else:
            return connection
    raise OSError


def _why(error: Exception) -> str:
    """What its owner can look into; no address."""
    if isinstance(error, NoTunnel):
        return f": {error}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return ": the name of its machine is not known"
    if isinstance(error, ConnectionRefusedError):
        return ": its machine answers, and nothing listens at its port"
    return ": its machine did not answer in time" if isinstance(error, TimeoutError) else ""


def _server_name(host: str) -> str | None:
    """What is sent in clear before TLS begins: the host's name, which firewalls may ask for; no address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


async def _one_connection(line: _Line, settings: LinkSettings, told: Told) -> Exception:
    """Connect once and serve until the connection ends; why it did."""
    try:
        connection = await _connected(line.modeller, settings.greeting_s)
    except (OSError, UnicodeError, OverflowError) as error:  # the last two: a host or port that cannot be
        return LinkLost(f"The modeller's program cannot be reached{_why(error)}.")
    name = _server_name(line.modeller.host)
    wrap = partial(pod_context().wrap_socket, do_handshake_on_connect=False, server_hostname=name)
    try:
        with closed_on_failure(connection):
            wire = Wire(connection, wrap, line, settings)
            wire.start()
    except (OSError, RuntimeError):  # no descriptor or no thread is left
        return LinkLost("This machine has no room for a connection to the modeller's program.")
    standing = asyncio.ensure_future(line.stood.wait())
    try:
        await asyncio.wait((standing, line.over), return_when=asyncio.FIRST_COMPLETED)
        if line.stood.is_set():
            told("Connected to the modeller's program.")
        return await line.over
    finally:
        standing.cancel()
        wire.stop()
        wire.join()
        line.service.forget(wire)


async def dial(
    modeller: Modeller,
    signer: Signer,
    name: str,
    handler: Handler,
    settings: LinkSettings | None = None,
    *,
    backoff: Backoff | None = None,
    told: Told = logger.info,
) -> None:
    """Serve a modeller until cancelled; a lost connection is made again, for ever.

    While there is no connection the handler goes on with what it does; the modeller asks again when the pod is
    back, and gets the answer then.

    Args:
        modeller: whom to dial, and which key must be there.
        signer: this pod's key.
        name: this pod's name at the modeller.
        handler: gives the answers; called in this event loop, several times at once.
        settings: how patient; None for the defaults.
        backoff: how long to wait before dialling again; None for the defaults.
        told: hears about the connection.
    """
    settings, backoff = settings or LinkSettings(), backoff or Backoff()
    loop, service, failures = asyncio.get_running_loop(), _Service(handler), 0
    try:
        while True:
            line = _Line(signer, modeller, name, service, loop, loop.create_future())
            reason = await _one_connection(line, settings, told)
            failures = 1 if line.stood.is_set() else failures + 1
            wait = backoff.wait_s(failures)
            told(f"{reason} Dialling again in {wait:.1f} s.")
            await backoff.sleep(wait)
    finally:
        await service.stop()
