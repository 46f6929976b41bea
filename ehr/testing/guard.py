"""No connection leaves this machine while a case runs, and asyncio is silent about those that break.

It catches libraries that go round the mocks: a second HTTP client that is used where it is installed, say.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ehr.testing.expect import ContractBroken


def _leaves(address: Any) -> bool:
    if not isinstance(address, tuple):
        return False  # a Unix socket
    host = str(address[0])
    if host in {"localhost", ""}:
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


@contextmanager
def loopback_only() -> Iterator[None]:
    """Refuse every other connection inside the block."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: socket.socket, address: Any) -> Any:
            if _leaves(address):
                raise ContractBroken("a connection was opened that leaves this machine")
            return connect(self, address)

        return checked

    kept = socket.socket.connect, socket.socket.connect_ex
    socket.socket.connect = guarded(kept[0])  # type: ignore[method-assign]  # put back below
    socket.socket.connect_ex = guarded(kept[1])  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        socket.socket.connect, socket.socket.connect_ex = kept  # type: ignore[method-assign]  # as it was


@contextmanager
def quiet_asyncio() -> Iterator[None]:
    """Cases break connections on purpose; asyncio's warnings about it would fill a terminal."""
    logger = logging.getLogger("asyncio")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
