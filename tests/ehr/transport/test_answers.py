"""What comes back from servers that misbehave (S17, S18)."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace

import pytest

from ehr.errors import (
    BadBody,
    BodyTooLarge,
    ProtocolViolation,
)
from ehr.transport.client import Transport
from tests.ehr.transport.conftest import ROOMY
from tests.ehr.transport.talking import failure, talking
from tests.fakes.misbehaving_server import (
    Received,
    answer,
    says,
)


@pytest.mark.parametrize(
    "raw",
    [
        answer(b'{"a":1}', length=99),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n5\r\n{\"a\":\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        answer(gzip.compress(b'{"a":1}')[:-4], headers=(("Content-Encoding", "gzip"),)),
        answer(status="000 Nothing"),
        answer(status="101 Switching", headers=(("Upgrade", "x"), ("Connection", "upgrade"))),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(200)) + b"Content-Length: 2\r\n\r\n{}",
    ],
    ids=["short", "short-chunks", "bad-chunk", "short-gzip", "000", "101", "ssh", "header", "two-lengths",
         "minus", "2000", "long-line", "200-headers"],
)  # fmt: skip
async def test_cut_and_invalid_answers_are_protocol_violations(raw: bytes) -> None:
    async def say(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    error, _ = await failure(say)
    assert type(error) is ProtocolViolation


async def test_a_body_without_length_that_ended_early_is_not_json() -> None:
    async def say(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"a":')
        await writer.drain()
        writer.close()

    error, _ = await failure(say)
    assert isinstance(error, BadBody) and error.reason == "not-json"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (answer(b""), "empty"),
        (answer(b"<html>login</html>", kind="text/html"), "html"),
        (answer(b"<html>login</html>"), "html"),
        (answer(b"{}", kind="text/plain"), "wrong-type"),
        (answer(b"{", kind="application/json"), "not-json"),
        (answer(b"{}", headers=(("Content-Encoding", "br"),)), "bad-encoding"),
        (answer(b"{}", headers=(("Content-Encoding", "gzip, gzip"),)), "bad-encoding"),
    ],
)
async def test_bodies_that_are_not_the_json_asked_for_are_told_apart(raw: bytes, reason: str) -> None:
    """S18; the caller turns ``empty`` into a quota where the vendor means one."""
    error, server = await failure(says(raw), replace(ROOMY, attempts=4))
    assert isinstance(error, BadBody) and error.reason == reason
    assert len(server.requests) == 1


@pytest.mark.parametrize("packed", [True, False])
async def test_an_oversize_body_stops_while_it_streams(packed: bool) -> None:
    """S17."""
    body = b"[" + b"0," * 400_000 + b"0]"
    wire = gzip.compress(body) if packed else body
    coding = (("Content-Encoding", "gzip"),) if packed else ()
    error, _ = await failure(says(answer(wire, headers=coding)), replace(ROOMY, json_bytes=100_000))
    assert type(error) is BodyTooLarge


async def test_a_non_ascii_reason_phrase_is_no_failure() -> None:
    async with talking(says(answer(status="200 Tr\xe8s bien"))) as (client, _):
        assert (await client.request("GET", "x")).status == 200


async def test_an_error_status_survives_a_broken_or_huge_body() -> None:
    raws = (
        answer(b"junk", status="404 Not Found", headers=(("Content-Encoding", "gzip"),)),
        answer(b"x" * 10**6, status="410 Gone"),
        answer(b"", status="403 Forbidden", kind=None),
    )
    async with talking(says(*raws)) as (client, _):
        assert [(await client.request("GET", "x")).status for _ in raws] == [404, 410, 403]


async def test_the_answer_to_head_has_no_body_to_wait_for() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/pdf\r\n\r\n"
    async with talking(says(raw)) as (client, server):
        response = await client.request("HEAD", "Binary/1")
        assert (response.body, response.headers["content-length"]) == (b"", "100")
        await client.request("HEAD", "Binary/1")
        assert server.connections == 1


async def test_a_413_during_an_upload_is_an_answer() -> None:
    async def too_large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(status="413 Too Large"))
        await writer.drain()
        while await reader.read(2**20):
            pass
        writer.close()

    server = await asyncio.start_server(too_large, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        Transport(f"http://127.0.0.1:{port}", limits=ROOMY, allow_http_loopback=True) as client,
    ):
        response = await client.request("POST", "x", json=b"[" + b"1," * 200_000 + b"1]")
        assert response.status == 413
