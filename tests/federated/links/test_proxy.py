"""A pod behind an HTTP proxy: a real one on loopback, which opens a tunnel or does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from federated.links.sockets import Modeller
from federated.owner.federation_section import ModellerSection
from federated.task.envelope import Envelope
from tests.federated.links.cast import MODELLER, dialled, hub_at, until

OPEN = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 gate\r\nX-Cache: none\r\n\r\n"


@dataclass
class Proxy:
    """What it was asked, and all that went through it towards the modeller."""

    port: int = 0
    asked: list[bytes] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: bytearray) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            seen += data
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def proxy_at(answer: bytes = OPEN, to: int | None = None) -> AsyncIterator[Proxy]:
    """A proxy that gives one answer to everybody, and then joins both ends."""
    found = Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            found.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if to is not None:
                back, out = await asyncio.open_connection("127.0.0.1", to)
                await asyncio.gather(_copy(reader, out, found.passed), _copy(back, writer, bytearray()))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


async def test_a_pod_takes_part_through_a_proxy() -> None:
    """The proxy looks the name up, and sees TLS only."""
    async with hub_at() as hub, proxy_at(to=hub.address[1]) as proxy:
        there = Modeller("tasks.invalid", 7443, MODELLER.public, ("127.0.0.1", proxy.port))
        async with dialled(None, modeller=there) as said:
            answer = await hub.ask("leeds", Envelope(b"a question that is pinned", b"b" * 100_000))
    assert bytes(answer.body) == b"b" * 100_000
    assert proxy.asked[0] == b"CONNECT tasks.invalid:7443 HTTP/1.1\r\nHost: tasks.invalid:7443\r\n\r\n"
    assert said[0] == "Connected to the modeller's program."
    assert b"a question" not in proxy.passed and b"leeds" not in proxy.passed


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "the proxy wants a login, which is not supported",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n<p>secret page</p>",
            "the proxy does not allow this host and port",
        ),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "the proxy cannot reach it"),
        (b"HTTP/1.1 418\r\n\r\n", "the proxy answers with HTTP 418"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "what answers is no HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000, "what answers is no HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\n", "the proxy has closed the connection"),
        (b"", "the proxy has closed the connection"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_said_in_words_of_ours(answer: bytes, why: str) -> None:
    async with proxy_at(answer) as proxy:
        there = Modeller("tasks.invalid", 7443, MODELLER.public, ("127.0.0.1", proxy.port))
        async with dialled(None, modeller=there) as said:
            await until(lambda: len(said) > 1)
    assert said[0].startswith(f"The modeller's program cannot be reached: {why}. Dialling again")


async def test_a_proxy_that_is_not_there_is_said() -> None:
    async with proxy_at() as proxy:
        port = proxy.port
    there = Modeller("tasks.invalid", 7443, MODELLER.public, ("127.0.0.1", port))
    async with dialled(None, modeller=there) as said:
        await until(lambda: bool(said))
    assert "the hospital's proxy does not answer" in said[0]


async def test_a_proxy_that_looks_inside_is_refused() -> None:
    """One that answers TLS itself has no signature of the modeller over its certificate."""
    async with hub_at() as real, hub_at() as other, proxy_at(to=other.address[1]) as proxy:
        assert real.address != other.address
        there = Modeller("tasks.invalid", 7443, b"k" * 32, ("127.0.0.1", proxy.port))
        async with dialled(None, modeller=there) as said:
            await until(lambda: bool(said))
    assert not any(one.startswith("Connected") for one in said)


async def test_an_address_of_version_6_stands_in_brackets() -> None:
    async with proxy_at(b"") as proxy:
        there = Modeller("2001:db8::7", 7443, MODELLER.public, ("127.0.0.1", proxy.port))
        async with dialled(None, modeller=there) as said:
            await until(lambda: bool(said))
    assert proxy.asked[0].startswith(b"CONNECT [2001:db8::7]:7443 HTTP/1.1\r\n")


def test_a_proxy_needs_somewhere_to_lead_to() -> None:
    given = {"name": "office", "key": "a" * 64, "proxy": "gate.example:3128"}
    with pytest.raises(ValueError, match="missing"):
        ModellerSection(**given)
    found = ModellerSection(**given, address="[2001:db8::7]:7443")
    assert found.proxy_host_and_port == ("gate.example", 3128)
    assert found.host_and_port == ("2001:db8::7", 7443)
