"""An HTTP server on raw sockets that does exactly what a script says, also what no server should do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    """A request as it lay on the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    number: int
    """Of all requests of this server, from 1."""

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[0] if values else None


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class MisbehavingServer:
    """What was received so far, and where the server listens."""

    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/r4"


@asynccontextmanager
async def misbehaving(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[MisbehavingServer]:
    """Serve on a free port of the loopback; every request runs the script with the raw writer."""
    state = MisbehavingServer(scheme="https" if tls else "http", host=host)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        state.open_connections += 1
        task = asyncio.current_task()
        assert task is not None
        state.tasks.add(task)
        try:
            with suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError
            ):
                while not writer.is_closing():
                    received = await _read(reader, len(state.requests) + 1)
                    state.requests.append(received)
                    await script(received, writer)
                    await writer.drain()
        except asyncio.CancelledError:
            pass
        finally:
            state.open_connections -= 1
            state.tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tuple(state.tasks):
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=1)
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader, number: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(method, target, headers, await reader.readexactly(length), number)


def answer(
    body: bytes = b"{}",
    *,
    status: str = "200 OK",
    headers: tuple[tuple[str, str], ...] = (),
    kind: str | None = "application/fhir+json",
    length: int | None = None,
) -> bytes:
    """The bytes of one answer; ``length`` overrides the true Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(*answers: bytes) -> Script:
    """A script that gives these answers, the last one again and again; an empty one closes the connection."""

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        raw = answers[min(received.number, len(answers)) - 1]
        if raw:
            writer.write(raw)
        else:
            writer.close()

    return script


async def silence(received: Received, writer: asyncio.StreamWriter) -> None:
    """Read the request and never answer."""
    await asyncio.Event().wait()
