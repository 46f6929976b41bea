"""Every call is bounded in time, whatever the server does (S25)."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace

import pytest

from ehr.errors import (
    TimedOut,
)
from ehr.transport.client import Transport
from tests.ehr.transport.conftest import QUICK
from tests.ehr.transport.talking import failure
from tests.fakes.misbehaving_server import (
    Received,
    answer,
    silence,
)


async def test_a_server_that_never_answers_is_a_read_timeout() -> None:
    """S25."""
    error, _ = await failure(silence, QUICK)
    assert type(error) is TimedOut


async def test_a_body_that_stops_is_a_read_timeout() -> None:
    """S25."""

    async def half(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"{", length=9))
        await asyncio.Event().wait()

    error, _ = await failure(half, QUICK)
    assert type(error) is TimedOut


async def test_a_connection_that_is_not_accepted_is_a_connect_timeout() -> None:
    """S25: the queue of a listener that never accepts is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with Transport(base, limits=QUICK, allow_http_loopback=True) as client:
            with pytest.raises(TimedOut):
                await client.request("GET", "x")


async def test_an_upload_that_is_not_read_ends_in_time() -> None:
    """S25: aiohttp has no write time-out of its own."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined] # there is no public way to stop reading
        await stop.wait()
        writer.transport.abort()

    stop = asyncio.Event()
    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Transport(f"http://127.0.0.1:{port}", limits=QUICK, allow_http_loopback=True) as client:
        with pytest.raises(TimedOut):
            await client.request("POST", "x", json=b"[" + b"1," * 16_000_000 + b"1]")
    stop.set()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("where", ["body", "head", "1xx"])
async def test_a_trickle_ends_at_the_total(where: str) -> None:
    """S25: each piece comes in time, the whole never."""

    async def trickle(received: Received, writer: asyncio.StreamWriter) -> None:
        if where == "body":
            writer.write(answer(b"", length=10**6))
        piece = {"body": b" ", "head": b"H", "1xx": b"HTTP/1.1 103 Early\r\n\r\n"}[where]
        if where == "head":
            writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    error, _ = await failure(trickle, replace(QUICK, total_s=0.2))
    assert type(error) is TimedOut


async def test_an_answers_head_has_a_bound_of_its_own() -> None:
    """S25: connecting, writing and one read, however the head trickles."""

    async def trickle(received: Received, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early\r\n\r\n")
            await asyncio.sleep(0.01)

    started = time.monotonic()
    await failure(trickle, replace(QUICK, connect_s=0.1, read_s=0.1, write_s=0.1, total_s=60))
    assert time.monotonic() - started < 30


async def test_a_deadline_of_the_caller_bounds_everything() -> None:
    """S25: the per-patient deadline."""
    error, _ = await failure(silence, replace(QUICK, read_s=30), deadline_s=0.1)
    assert type(error) is TimedOut and "deadline" in str(error)
