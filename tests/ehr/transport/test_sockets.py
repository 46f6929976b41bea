"""When an engine is closed no socket of its own is open, however its connections ended (S34)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from ehr.transport.engine import AiohttpTransport, EngineSettings
from ehr.transport.tls import tls_context
from tests.ehr.transport.conftest import ROOMY
from tests.fakes.misbehaving_server import answer, misbehaving, silence
from tests.fakes.throwaway_ca import ThrowawayCA

LARGE = 8_000_000


@dataclass
class Opened:
    """Makes every socket and keeps it, so that a leak is seen here and nowhere else."""

    sockets: list[socket.socket] = field(default_factory=list)

    def __call__(self, address: Any) -> socket.socket:
        self.sockets.append(socket.socket(*address[:3]))
        return self.sockets[-1]

    def still_open(self) -> int:
        return sum(one.fileno() != -1 for one in self.sockets)


@dataclass(frozen=True)
class Contexts:
    """Of both sides; without TLS None."""

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None


@pytest.fixture(scope="module")
def secure(authority: ThrowawayCA) -> Contexts:
    return Contexts(authority.server(), tls_context(authority.ca_file))


@contextmanager
def stubborn(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A peer that talks with its only client, and then neither reads, writes nor closes."""
    over = threading.Event()

    def serve() -> None:
        taken, _ = listener.accept()
        with taken, suppress(OSError):
            talk(taken)
            over.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


async def left_open(
    contexts: Contexts, place: str, body: bytes, until: Callable[[], Awaitable[object]], *, waiting: bool
) -> int:
    """Ask, leave off in the middle, close; ``waiting`` leaves the request to the closing."""
    opened = Opened()
    engine = AiohttpTransport(EngineSettings(limits=ROOMY, tls=contexts.client, socket_factory=opened))
    task = asyncio.create_task(_asked(engine, f"http{'s' if contexts.client else ''}://{place}/x", body))
    await until()
    if not waiting:
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(10):
        await engine.aclose()
    left = opened.still_open()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return max(left, opened.still_open())


async def _asked(engine: AiohttpTransport, url: str, body: bytes) -> None:
    answered = await engine.handle_async_request(httpx.Request("POST", url, content=body))
    try:
        # The head is there, and nobody takes the body.
        await asyncio.Event().wait()
    finally:
        await answered.aclose()


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("point", ["accepted", "agreed", "asked", "half sent", "half answered"])
@pytest.mark.parametrize("tls", [False, True])
async def test_s34_a_peer_that_hears_no_farewell_keeps_no_socket_open(
    secure: Contexts, tls: bool, point: str, waiting: bool
) -> None:
    contexts = secure if tls else Contexts()
    reached = threading.Event()

    def talk(taken: socket.socket) -> None:
        if point == "accepted":
            reached.set()
            return
        if contexts.server is not None:
            taken = contexts.server.wrap_socket(taken, server_side=True)
            kept.append(taken)
        if point in {"asked", "half answered"}:
            taken.recv(65536)
        reached.set()
        if point == "half answered":
            taken.sendall(answer(b" " * LARGE))

    async def until() -> None:
        await asyncio.to_thread(reached.wait, 10)
        await asyncio.sleep(0.03)  # what is under way fills the buffers

    kept: list[socket.socket] = []
    body = b" " * LARGE if point == "half sent" else b""
    with stubborn(talk) as place:
        assert await left_open(contexts, place, body, until, waiting=waiting) == 0
    for one in kept:
        one.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_s34_a_request_left_at_any_turn_of_the_loop_leaves_no_socket(
    secure: Contexts, tls: bool
) -> None:
    contexts = secure if tls else Contexts()
    async with misbehaving(silence, tls=contexts.server) as server:
        for turns in range(40):

            async def until(turns: int = turns) -> None:
                for _ in range(turns):
                    await asyncio.sleep(0)

            left = await left_open(contexts, f"127.0.0.1:{server.port}", b"", until, waiting=turns % 2 == 1)
            assert left == 0, f"after {turns} turns"
        assert len(server.requests) > 5
