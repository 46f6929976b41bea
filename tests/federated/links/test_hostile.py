"""Strangers and misbehaving pods at the hub's door: each is refused, and the others go on."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from federated.links.frames import FrameKind
from federated.links.pinned_tls import pod_context
from federated.links.sockets import Hub
from federated.task.envelope import Envelope
from tests.federated.links.cast import YORK, dialled, hub_at, until
from tests.federated.links.raw import RawPod

Address = tuple[str, int]


@asynccontextmanager
async def busy_hub(**settings: float) -> AsyncIterator[Hub]:
    """A hub with an honest pod, which must still answer in the end."""
    async with hub_at(**settings) as hub, dialled(hub, name="york", key=YORK):
        await hub.ask("york", Envelope(b"before"))
        yield hub
        assert (await hub.ask("york", Envelope(b"after"))).head == b"after"


def _plain(address: Address, data: bytes) -> bytes:
    """Send bytes without TLS; what came back until the end."""
    with socket.create_connection(address, 5) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        seen = b""
        with suppress(ConnectionError):
            while part := connection.recv(4096):
                seen += part
        return seen


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", b"\xff" * 5000, b"TVLK" + bytes(60)]
)
async def test_what_is_no_tls_is_refused(data: bytes) -> None:
    async with busy_hub() as hub:
        seen = await asyncio.to_thread(_plain, hub.address, data)
        assert b"HTTP" not in seen
        await until(lambda: hub.refusals["A connection did not speak TLS 1.3; it was closed."] == 1)


async def test_tls_1_2_is_refused() -> None:
    def attempt(address: Address) -> None:
        context = pod_context()
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(address, 5) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)

    async with busy_hub() as hub:
        await asyncio.to_thread(attempt, hub.address)
        await until(lambda: hub.refusals["A connection did not speak TLS 1.3; it was closed."] == 1)


def _header(kind: int = 1, head: int = 32, body: int = 0, magic: bytes = b"TVLK", version: int = 1) -> bytes:
    return struct.pack(">4sBBHQIQ", magic, version, kind, 0, 0, head, body)


STRANGERS: dict[str, bytes] = {
    "another protocol": os.urandom(28),
    "another version": _header(version=2),
    "no such kind": _header(kind=77),
    "a head of 4 GB": _header(head=2**32 - 1),
    "a body of 16 EB": _header(body=2**64 - 1),
    "a body of one byte": _header(body=1),
    "a request first": _header(kind=7),
    "a short nonce": _header(head=8) + bytes(8),
    "the proof first": _header(kind=3),
}


@pytest.mark.parametrize("what", STRANGERS)
async def test_nothing_but_a_greeting_is_taken_from_a_stranger(what: str) -> None:
    def attempt(address: Address) -> bool:
        with RawPod(address) as pod:
            pod.tls.sendall(STRANGERS[what].ljust(60, b"\0"))
            return pod.is_closed()

    async with busy_hub() as hub:
        assert await asyncio.to_thread(attempt, hub.address)
        await until(lambda: sum(hub.refusals.values()) == 1)


async def test_a_proof_of_an_earlier_greeting_proves_nothing() -> None:
    def attempt(address: Address) -> FrameKind:
        nonce = os.urandom(32)  # whoever repeats a proof repeats its nonce too; the hub's own must be fresh
        with RawPod(address) as first:
            proof = first.proof(nonce=nonce)
            first.send(FrameKind.PROOF, proof)
            assert first.receive()[0].kind is FrameKind.WELCOME
        with RawPod(address) as second:
            second.bound(nonce)
            second.send(FrameKind.PROOF, proof)
            return second.receive()[0].kind

    async with busy_hub() as hub:
        assert await asyncio.to_thread(attempt, hub.address) is FrameKind.REFUSED


async def test_a_proof_taken_from_another_hub_of_the_same_modeller_proves_nothing() -> None:
    def attempt(there: Address, here: Address) -> FrameKind:
        with RawPod(there) as one, RawPod(here) as other:
            other.bound()
            other.send(FrameKind.PROOF, one.proof())
            return other.receive()[0].kind

    async with hub_at() as another, busy_hub() as hub:
        assert await asyncio.to_thread(attempt, another.address, hub.address) is FrameKind.REFUSED


async def test_a_relay_that_ends_tls_itself_is_found_out_by_the_pod() -> None:
    """The relay shows its own certificate, and passes every byte of the greeting on."""
    async with busy_hub() as hub, hub_at() as relay:
        real = relay._certificate
        relay._certificate = hub._certificate  # signs what the hub would sign, over a connection of its own
        async with dialled(relay) as said:
            await until(lambda: bool(said))
            assert "has not proved the key" in said[0]
            assert relay.connected == frozenset()
        relay._certificate = real
        async with dialled(relay):
            await until(lambda: relay.connected == {"leeds"})


async def _rogue(hub: Hub, act: Callable[[RawPod], None]) -> bool:
    """A pod that greets well and then acts; whether the hub closed its connection."""

    def attempt() -> bool:
        with RawPod(hub.address) as pod:
            assert pod.prove() is FrameKind.WELCOME
            act(pod)
            return pod.is_closed()

    return await asyncio.to_thread(attempt)


ROGUES: dict[str, Callable[[RawPod], None]] = {
    "an answer to nothing": lambda pod: pod.send(FrameKind.ANSWER, b"h", request=99),
    "an answer to another pod's request": lambda pod: pod.send(FrameKind.ANSWER, b"h", request=1),
    "a request": lambda pod: pod.send(FrameKind.REQUEST, b"h", request=1),
    "a greeting again": lambda pod: pod.send(FrameKind.HELLO, bytes(32)),
    "a sign of life with a body": lambda pod: pod.tls.sendall(_header(kind=6, head=0, body=1) + b"1"),
    "a body that was not asked for": lambda pod: pod.tls.sendall(_header(kind=8, head=0, body=2**29)),
}


@pytest.mark.parametrize("what", ROGUES)
async def test_a_pod_that_sends_what_it_was_not_asked_for_is_disconnected(what: str) -> None:
    async with busy_hub() as hub:
        assert await _rogue(hub, ROGUES[what])
        await until(lambda: sum(hub.refusals.values()) == 1)


async def test_a_pod_that_answers_twice_is_disconnected_and_its_first_answer_kept() -> None:
    def twice(pod: RawPod) -> None:
        header, _, _ = pod.receive()
        for text in (b"first", b"second"):
            pod.send(FrameKind.ANSWER, text, request=header.request)

    async with busy_hub() as hub:
        asked = asyncio.create_task(hub.ask("leeds", Envelope(b"1")))
        assert await _rogue(hub, twice)
        assert (await asked).head == b"first"


async def test_an_answer_longer_than_the_limit_is_refused_before_it_is_read() -> None:
    def long(pod: RawPod) -> None:
        header, _, _ = pod.receive()
        pod.tls.sendall(struct.pack(">4sBBHQIQ", b"TVLK", 1, 8, 0, header.request, 0, 1001))

    async with busy_hub(body_limit=1000) as hub:
        asked = asyncio.create_task(hub.ask("leeds", Envelope(b"1")))
        assert await _rogue(hub, long)
        await until(lambda: any("than 65536 and 1000 bytes" in text for text in hub.refusals))
        asked.cancel()


async def test_w14_a_path_in_a_message_stays_text(tmp_path) -> None:
    file = tmp_path / "a-file"
    file.write_bytes(b"stays")
    async with busy_hub() as hub, dialled(hub):
        path = os.fsencode(file)
        answer = await hub.ask("leeds", Envelope(path, path))
        assert (answer.head, bytes(answer.body)) == (path, path)
    assert file.read_bytes() == b"stays"


async def test_whoever_proves_nothing_is_closed_in_time() -> None:
    def slow(address: Address) -> bool:
        with RawPod(address) as pod:
            pod.tls.sendall(_header()[:5])
            return pod.is_closed()

    async with busy_hub(greeting_s=0.5) as hub:
        assert await asyncio.to_thread(slow, hub.address)
        assert await asyncio.to_thread(_plain, hub.address, b"\x16") is not None
        await until(lambda: hub.refusals["A connection did not prove in time who it is; it was closed."] == 2)


async def test_a_crowd_of_strangers_does_not_keep_a_pod_out() -> None:
    async with busy_hub(unproven=3) as hub:
        crowd = [socket.create_connection(hub.address, 5) for _ in range(12)]
        try:
            async with dialled(hub):
                assert (await hub.ask("leeds", Envelope(b"1"))).head == b"1"
            assert len(hub._unproven) <= 3
        finally:
            for each in crowd:
                each.close()


async def test_refusals_are_logged_without_what_was_sent(caplog) -> None:
    def attempt(address: Address) -> bool:
        with RawPod(address) as pod:
            pod.tls.sendall(b"planted-text".ljust(60, b"!"))
            return pod.is_closed()

    async with busy_hub() as hub:
        for _ in range(5):
            assert await asyncio.to_thread(attempt, hub.address)
        await until(lambda: sum(hub.refusals.values()) == 5)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "planted" not in caplog.text
    assert [line[-10:] for line in lines] == ["(1 so far)", "(2 so far)", "(4 so far)"]
