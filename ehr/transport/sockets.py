"""The sockets of one engine, so that none stays open when the engine is closed.

A connection that ends early (time-out, cancellation) leaves its pool at once, but with TLS asyncio keeps
the socket until the peer answers the farewell, up to 30 seconds; one that ends in the handshake's first
moment it never closes by itself. An event loop that ends before leaves them to the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_RDWR, socket
from typing import Any
from weakref import WeakSet

SocketFactory = Callable[[Any], socket]
"""Makes the socket for an address as `socket.getaddrinfo` gives it."""

_CLOSED = -1
# Usually one or two turns of the loop are enough; 1 s in all.
_PAUSES_S = (0.0,) * 20 + (0.01,) * 100


def _plain(address: Any) -> socket:
    family, kind, protocol, *_ = address
    return socket(family, kind, protocol)


class Sockets:
    """Makes sockets and sees them closed.

    Args:
        make: None takes the system's.
    """

    def __init__(self, make: SocketFactory | None = None) -> None:
        self._make = make or _plain
        self._made: WeakSet[socket] = WeakSet()
        self._over = False

    def __call__(self, address: Any) -> socket:
        """A new socket; errors are those of ``make``, and there is none after `shut`."""
        if self._over:
            raise ConnectionAbortedError
        made = self._make(address)
        self._made.add(made)
        return made

    def shut(self) -> None:
        """End every connection. Its transport sees that, whatever it waits for, and closes the socket."""
        self._over = True
        for one in self._open():
            with suppress(OSError):
                one.shutdown(SHUT_RDWR)

    async def closed(self) -> None:
        """Return when the event loop has closed every socket; after a second in any case."""
        for pause in _PAUSES_S:
            if not self._open():
                return
            self.shut()
            await asyncio.sleep(pause)

    def _open(self) -> list[socket]:
        return [one for one in self._made if one.fileno() != _CLOSED]
