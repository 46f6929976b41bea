"""One TLS connection, and the one thread that reads and writes it.

An OpenSSL connection must not be read by one thread while another writes it, so neither is done: the socket does
not block, and the thread turns to whichever side can go on. What is to be sent lies in a queue; what came is given
to the `ConnectionOwner`. A program that computes for minutes in its event loop therefore still shows that it lives.

Reading and writing are generators that yield what they wait for: `READ`, `WRITE`, `IDLE` (something new in the
queue) or `GO_ON` (nothing: let the other side have its turn).
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from federated.errors import LinkLost, MessageRefused
from federated.links.frames import (
    BODY_LIMIT,
    HEAD_LIMIT,
    HEADER_SIZE,
    Frame,
    FrameHeader,
    FrameKind,
    Sizes,
    frame,
    read_header,
)
from federated.task.envelope import Envelope

GO_ON, READ, WRITE, IDLE = 0, selectors.EVENT_READ, selectors.EVENT_WRITE, 4
PIECE = 256 * 1024
"""Bytes that one call gives to TLS, and after how many the other side has its turn."""

T = TypeVar("T")
Steps = Generator[int, None, T]


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How patient a link is.

    Attributes:
        silence_s: a peer of which nothing was heard for so long is gone. Each side speaks three times as often,
            so both must have the same.
        greeting_s: how long TLS and the proof of both keys may take together.
        unproven: how many connections may be in their greeting at once; one more ends the oldest of them.
        body_limit: longest body that is taken, in bytes.
        clock: monotonic seconds.
    """

    silence_s: float = 15.0
    greeting_s: float = 10.0
    unproven: int = 32
    body_limit: int = BODY_LIMIT
    clock: Callable[[], float] = time.monotonic


class ConnectionOwner(Protocol):
    """Who has a connection. All are called in its thread."""

    def greet(self, wire: Wire) -> Steps[None]:
        """Prove who is there; raises if that fails."""
        ...

    def opened(self, wire: Wire) -> None:
        """The greeting has succeeded."""
        ...

    def admit(self, header: FrameHeader) -> bool:
        """Shall this message be kept? Called before memory is taken for it.

        Raises:
            MessageRefused: it must not have come; the connection ends.
        """
        ...

    def took(self, header: FrameHeader, envelope: Envelope) -> None:
        """A message is here."""
        ...

    def ended(self, wire: Wire, reason: Exception) -> None:
        """The connection is closed; called once, last."""
        ...


class _Stopped(Exception):
    """This side ends the connection."""


class Wire:
    """A connection in a thread of its own.

    Args:
        connection: connected, and this object's own from now on.
        wrap: makes TLS of it; no handshake yet.
        owner: see `ConnectionOwner`.
        settings: see `LinkSettings`.
    """

    def __init__(
        self,
        connection: socket.socket,
        wrap: Callable[[socket.socket], ssl.SSLSocket],
        owner: ConnectionOwner,
        settings: LinkSettings,
    ) -> None:
        self._raw, self._wrap, self._owner, self._settings = connection, wrap, owner, settings
        self._queue: deque[Frame] = deque()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._stopping = False
        self._heard = self._spoke = 0.0
        self._tls: ssl.SSLSocket
        self._thread = threading.Thread(target=self._run, name="trialveil-link", daemon=True)

    def start(self) -> None:
        """Begin the greeting."""
        try:
            self._thread.start()
        except RuntimeError:
            self._close()
            raise

    def send(self, message: Frame) -> None:
        """Queue a frame; from any thread. After the end it is forgotten."""
        with self._lock:
            self._queue.append(message)
        self._rouse()

    def unsend(self, request: int) -> bool:
        """Forget queued frames of this request that are not on their way yet; were there any?"""
        with self._lock:
            kept = [message for message in self._queue if message.request != request]
            found = len(kept) < len(self._queue)
            self._queue.clear()
            self._queue.extend(kept)
        return found

    def stop(self) -> None:
        """End the connection soon; from any thread, may be called again."""
        self._stopping = True
        self._rouse()

    def join(self) -> None:
        """Wait for the thread, a few milliseconds after `stop`."""
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def certificate(self) -> bytes:
        """What the other end has shown in the handshake, DER; for the pod's greeting."""
        return self._tls.getpeercert(binary_form=True) or b""

    def _rouse(self) -> None:
        with suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._wake.send(b"\0", getattr(socket, "MSG_DONTWAIT", 0))

    # What follows runs in the thread.

    def _run(self) -> None:
        reason: Exception = LinkLost("The connection was ended by this side.")
        try:
            prepare(self._raw, self._settings.silence_s)
            self._tls = self._wrap(self._raw)
            try:
                self._converse()
            finally:
                self._tls.close()
        except _Stopped:
            pass
        except ssl.SSLError:
            reason = MessageRefused("A connection did not speak TLS 1.3; it was closed.")
        except OSError:
            reason = LinkLost("The connection broke.")
        except (LinkLost, MessageRefused) as refused:
            reason = refused
        except Exception as fault:  # noqa: BLE001  # a fault of ours in one connection must not end the others
            reason = LinkLost(f"The connection was ended by a fault of this program: {type(fault).__name__}.")
        self._close()
        self._owner.ended(self, reason)

    def _close(self) -> None:
        for each in (self._raw, self._wake, self._woken):
            each.close()
        with self._lock:
            self._queue.clear()

    def _converse(self) -> None:
        self._woken.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._tls, selectors.EVENT_READ)
            self._heard = self._spoke = self._settings.clock()
            self._drive(selector, [self._begin()], self._heard + self._settings.greeting_s)
            self._owner.opened(self)
            self._drive(selector, [self._reading(), self._writing()], None)

    def _drive(
        self, selector: selectors.BaseSelector, works: list[Steps[None]], deadline: float | None
    ) -> None:
        """Let each go on until the first of them has ended."""
        mask = 0
        while True:
            wants = [next(work, None) for work in works]
            if None in wants:
                return
            if self._stopping:
                raise _Stopped
            timeout = self._remaining(deadline)
            if GO_ON in wants:
                continue
            wanted = 0
            for each in wants:
                wanted |= (each or 0) & (READ | WRITE)
            if wanted != mask:
                mask = wanted
                selector.modify(self._tls, mask or selectors.EVENT_READ)
            for key, _ in selector.select(timeout):
                if key.fileobj is self._woken:
                    self._woken.recv(4096)

    def _remaining(self, deadline: float | None) -> float:
        """Seconds until something must be done, however still it is."""
        now = self._settings.clock()
        if deadline is not None:
            if now >= deadline:
                raise MessageRefused("A connection did not prove in time who it is; it was closed.")
            return deadline - now
        silence = self._settings.silence_s
        if now - self._heard >= silence:
            raise LinkLost(f"Nothing was heard for {silence:g} s; the other side is taken to be gone.")
        if now - self._spoke >= silence / 3:
            self._spoke = now
            if not self._queue:
                self.send(frame(FrameKind.PING))
        return min(self._heard + silence, self._spoke + silence / 3) - now

    def _begin(self) -> Steps[None]:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield READ
            except ssl.SSLWantWriteError:
                yield WRITE
        yield from self._owner.greet(self)

    def _reading(self) -> Steps[None]:
        sizes = Sizes(HEAD_LIMIT, self._settings.body_limit)
        while True:
            header, head = yield from self._headed(sizes, self._admitted)
            if header.kind is FrameKind.PING:
                continue
            body = bytearray(header.body)
            yield from self._fill(memoryview(body))
            self._owner.took(header, Envelope(head, body))

    def _admitted(self, header: FrameHeader) -> bool:
        if header.kind is FrameKind.PING:
            if header.head or header.body:
                raise MessageRefused("A sign of life has a head or a body; expected none.")
            return True
        return self._owner.admit(header)

    def _writing(self) -> Steps[None]:
        while True:
            with self._lock:
                message = self._queue.popleft() if self._queue else None
            if message is None:
                yield IDLE
            else:
                yield from self.transmit(message)

    def transmit(self, message: Frame) -> Steps[None]:
        """Send a frame; a step of the thread."""
        for whole in message.pieces:
            done = 0
            while done < len(whole):
                try:
                    done += self._tls.send(whole[done : done + PIECE])
                except ssl.SSLWantWriteError:  # the same bytes are given again: OpenSSL asks for that
                    yield WRITE
                except ssl.SSLWantReadError:
                    yield READ
                else:
                    self._spoke = self._settings.clock()
                    yield GO_ON

    def receive(self, sizes: Sizes) -> Steps[tuple[FrameHeader, bytes]]:
        """The next frame of a greeting, which has no body; a step of the thread."""
        return (yield from self._headed(sizes, lambda _: True))

    def _headed(self, sizes: Sizes, admit: Callable[[FrameHeader], bool]) -> Steps[tuple[FrameHeader, bytes]]:
        """Header and head of the next frame that is to be kept; all others are read and forgotten."""
        while True:
            start = bytearray(HEADER_SIZE)
            yield from self._fill(memoryview(start))
            header = read_header(start, sizes)
            kept = admit(header)
            head = bytearray(header.head)
            yield from self._fill(memoryview(head))
            if kept:
                return header, bytes(head)
            yield from self._skip(header.body)

    def _skip(self, size: int) -> Steps[None]:
        scratch = memoryview(bytearray(min(size, PIECE)))
        while size:
            part = scratch[: min(size, PIECE)]
            yield from self._fill(part)
            size -= len(part)

    def _fill(self, view: memoryview) -> Steps[None]:
        """Read until ``view`` is full; a record of TLS, 16 kB, at a time."""
        done = turn = 0
        while done < len(view):
            try:
                count = self._tls.recv_into(view[done:])
            except ssl.SSLWantReadError:
                yield READ
                continue
            except ssl.SSLWantWriteError:
                yield WRITE
                continue
            if not count:
                raise LinkLost("The other side has closed the connection.")
            self._heard = self._settings.clock()
            done += count
            if done - turn >= PIECE:
                turn = done
                yield GO_ON


@contextmanager
def closed_on_failure(connection: socket.socket) -> Generator[None]:
    """Close a socket that nobody has taken over."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def prepare(connection: socket.socket, silence_s: float) -> None:
    """Make a connected socket that sends at once, never blocks, and is watched by the system too."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    third = max(1, round(silence_s / 3))
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), third)
