"""Connections: failing, kept, unclean, cancelled, closed (S26, S29, S34)."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from dataclasses import replace

import pytest

from ehr.errors import (
    ConfigurationError,
    ConnectionFailed,
)
from ehr.transport.client import Transport
from tests.ehr.transport.conftest import ROOMY
from tests.ehr.transport.talking import talking
from tests.fakes.misbehaving_server import (
    Received,
    answer,
    misbehaving,
    says,
)


async def test_a_refused_connection_is_a_failed_connection_and_not_a_timeout() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Transport(f"http://127.0.0.1:{port}", limits=ROOMY, allow_http_loopback=True) as client:
        with pytest.raises(ConnectionFailed):
            await client.request("GET", "x")


async def test_a_name_that_does_not_resolve_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with Transport("https://nowhere.invalid", limits=ROOMY) as client:
        with pytest.raises(ConnectionFailed):
            await client.request("GET", "x")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_connection_closed_before_the_answer_is_one_request_on_the_wire(
    method: str, reset: bool
) -> None:
    """S26: aiohttp would send these again by itself."""

    async def hang_up(received: Received, writer: asyncio.StreamWriter) -> None:
        if reset:
            writer.transport.abort()
        else:
            writer.close()

    async with talking(hang_up) as (client, server):
        with pytest.raises(ConnectionFailed):
            await client.request(method, "x")
    assert len(server.requests) == 1


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_sent_on_twice() -> None:
    async def once(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.number == 1:
            writer.write(answer())
        else:
            writer.close()

    async with talking(once) as (client, server):
        await client.request("GET", "x")
        with pytest.raises(ConnectionFailed):
            await client.request("PUT", "x", expect="any")
    assert len(server.requests) == 2


@pytest.mark.parametrize("glued", [True, False])
async def test_an_answer_nobody_asked_for_never_reaches_the_next_request(glued: bool) -> None:
    """The wrong patient: plain httpx delivers the glued one, the ready adapter the later one."""
    later = asyncio.Event()

    async def two(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.target.endswith("first"):
            writer.write(answer(b'{"id":"first"}') + (answer(b'{"id":"wrong"}') if glued else b""))
            if not glued:
                await writer.drain()
                await later.wait()
                writer.write(answer(b'{"id":"wrong"}'))
        else:
            writer.write(answer(b'{"id":"second"}'))

    async with talking(two) as (client, server):
        assert (await client.request("GET", "first")).json() == {"id": "first"}
        later.set()
        # The unasked bytes have to arrive before the next request begins.
        await asyncio.sleep(0.05)
        assert (await client.request("GET", "second")).json() == {"id": "second"}
        assert server.connections == 2


async def test_a_clean_connection_is_used_again() -> None:
    async with talking(says(answer())) as (client, server):
        for _ in range(5):
            await client.request("GET", "x")
        assert server.connections == 1 and len(server.requests) == 5


async def test_connections_to_one_host_stay_within_the_limit() -> None:
    """S29."""
    running = most = 0

    async def count(received: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        writer.write(answer())

    async with talking(count, replace(ROOMY, concurrency=3)) as (client, server):
        await asyncio.gather(*(client.request("GET", "x") for _ in range(30)))
        assert most == 3 and server.connections <= 3


async def test_cancelling_closes_the_connection_and_leaves_the_pool_usable() -> None:
    """S34."""
    arrived = asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.target.endswith("slow"):
            arrived.set()
            await asyncio.Event().wait()
        writer.write(answer())

    async with talking(slow, replace(ROOMY, concurrency=1)) as (client, server):
        for _ in range(5):
            arrived.clear()
            task = asyncio.create_task(client.request("GET", "slow"))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await client.request("GET", "quick")).status == 200
        assert len(server.requests) == 6


async def test_a_storm_of_cancellations_does_not_use_up_the_pool() -> None:
    """S34: plain httpx's pool stays poisoned."""
    async with talking(says(answer(b"{}" + b" " * 50_000)), replace(ROOMY, concurrency=4)) as (client, _):
        for round_ in range(10):
            tasks = [asyncio.create_task(client.request("GET", "x")) for _ in range(12)]
            for _ in range(round_ * 2):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        answers = await asyncio.gather(*(client.request("GET", "x") for _ in range(20)))
        assert all(one.status == 200 for one in answers)


async def test_a_transport_belongs_to_one_event_loop() -> None:
    async with talking(says(answer())) as (client, server):
        await client.request("GET", "x")
        seen: list[BaseException] = []

        def elsewhere() -> None:
            try:
                asyncio.run(client.request("GET", "x"))
            except BaseException as error:
                seen.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.005)
        assert [type(error) for error in seen] == [ConfigurationError]
        assert len(server.requests) == 1


async def test_a_closed_transport_says_so() -> None:
    async with talking(says(answer())) as (client, server):
        await client.aclose()
        await client.aclose()
        with pytest.raises(ConfigurationError):
            await client.request("GET", "x")
        assert not server.requests


async def test_a_transport_that_is_not_closed_warns() -> None:
    async with misbehaving(says(answer())) as server:
        client = Transport(server.base, limits=ROOMY, allow_http_loopback=True)
        await client.request("GET", "x")
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
            kinds = {one.category for one in caught}
            caught.clear()  # each warning keeps its session alive
            gc.collect()
        loop.set_exception_handler(None)
        assert kinds == {ResourceWarning}
