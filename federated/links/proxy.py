"""Through a hospital's HTTP proxy: a tunnel that is asked for with CONNECT (RFC 9110, 9.3.6).

The proxy sees the modeller's host and port, and then only TLS: what is pinned is checked inside the tunnel.
"""

from __future__ import annotations

import asyncio
import re
import socket

MOST = 8192
"""Bytes of an answer's head; more is no answer of a proxy."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_WORDS = {
    403: "the proxy does not allow this host and port",
    407: "the proxy wants a login, which is not supported",
    502: "the proxy cannot reach it",
    503: "the proxy cannot reach it",
    504: "the proxy cannot reach it in time",
}


class NoTunnel(OSError):
    """The proxy has not opened a tunnel; the text says why, in words of ours."""


async def open_tunnel(connection: socket.socket, host: str, port: int) -> None:
    """Ask for a tunnel over a connection to a proxy; afterwards it leads to the host.

    Args:
        connection: to the proxy, not blocking; nothing was sent yet.
        host, port: where to. A name is looked up by the proxy.

    Raises:
        NoTunnel: the proxy refuses, closes, or answers with something else.
        OSError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await loop.sock_sendall(
        connection, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii")
    )
    head = bytearray()
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        # One byte at a time: what follows the head belongs to TLS.
        byte = await loop.sock_recv(connection, 1)
        if not byte:
            raise NoTunnel("the proxy has closed the connection")
        head += byte
        if len(head) > MOST:
            raise NoTunnel("what answers is no HTTP proxy")
    status = _STATUS.match(head)
    if status is None:
        raise NoTunnel("what answers is no HTTP proxy")
    code = int(status[1])
    if not 200 <= code < 300:
        raise NoTunnel(_WORDS.get(code, f"the proxy answers with HTTP {code}"))
