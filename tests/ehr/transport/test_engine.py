"""The engine against real servers that misbehave: each row of the transport page's table."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ehr.errors import (
    BadBody,
    BodyTooLarge,
    ConfigurationError,
    ConnectionFailed,
    DestinationRefused,
    EHRError,
    ProtocolViolation,
    TimedOut,
)
from ehr.transport.client import Limits, Transport
from ehr.transport.engine import AiohttpTransport
from tests.ehr.transport.conftest import QUICK, ROOMY
from tests.fakes.misbehaving_server import (
    MisbehavingServer,
    Received,
    Script,
    answer,
    misbehaving,
    says,
    silence,
)


@asynccontextmanager
async def talking(
    script: Script, limits: Limits = ROOMY
) -> AsyncIterator[tuple[Transport, MisbehavingServer]]:
    async with (
        misbehaving(script) as server,
        Transport(server.base, limits=limits, allow_http_loopback=True) as client,
    ):
        yield client, server


async def failure(
    script: Script, limits: Limits = ROOMY, **how: object
) -> tuple[EHRError, MisbehavingServer]:
    """The error of one GET, checked for silence about where and what."""
    async with talking(script, limits) as (client, server):
        with pytest.raises(EHRError) as failed:
            await client.request("GET", "Patient?name=Canary", **how)  # type: ignore[arg-type] # passed on as given
    error = failed.value
    assert error.__cause__ is None and error.__suppress_context__
    for text in (str(error), repr(error)):
        assert "Canary" not in text and "127.0.0.1" not in text and str(server.port) not in text
    return error, server


# --- time ---------------------------------------------------------------------------------------


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
    await failure(trickle, replace(QUICK, connect_s=0.1, read_s=0.1, write_s=0.1, total_s=20))
    assert time.monotonic() - started < 5


async def test_a_deadline_of_the_caller_bounds_everything() -> None:
    """S25: the per-patient deadline."""
    error, _ = await failure(silence, replace(QUICK, read_s=30), deadline_s=0.1)
    assert type(error) is TimedOut and "deadline" in str(error)


# --- connections --------------------------------------------------------------------------------


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


# --- what comes back ----------------------------------------------------------------------------


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


# --- what goes out ------------------------------------------------------------------------------


async def test_redirects_are_not_followed_and_nothing_leaks() -> None:
    """S14."""
    async with misbehaving(says(answer())) as elsewhere:
        raw = answer(status="302 Found", headers=(("Location", elsewhere.base + "/Patient"),))
        async with talking(says(raw)) as (client, server):
            response = await client.request("GET", "Patient", headers={"Epic-Client-ID": "Canary"})
            assert response.status == 302 and len(server.requests) == 1
        assert not elsewhere.requests


async def test_no_cookie_is_kept() -> None:
    raw = answer(headers=(("Set-Cookie", "session=Canary; Path=/"),))
    # By name: a usual cookie jar keeps none for IP addresses.
    async with misbehaving(says(raw), host="localhost") as server:
        async with Transport(server.base, limits=ROOMY, allow_http_loopback=True) as client:
            await client.request("GET", "a")
            await client.request("GET", "b")
        assert len(server.requests) == 2
        assert all(received.header("cookie") is None for received in server.requests)


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``trust_env`` is off."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password Canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with talking(says(answer())) as (client, server):
        await client.request("GET", "x")
        assert server.requests[0].header("authorization") is None


@pytest.mark.parametrize(
    "target",
    [
        "Patient?code=a%7Cb%2Cc%3A%2F",
        "Patient?x=a|b,c:/$'()*",
        "Binary/a%2Fb",
        "Patient?_sort=-date&x=%e4",
        "x//y?z=%zz",
    ],
)
async def test_url_bytes_reach_the_wire_as_they_were_checked(target: str) -> None:
    async with talking(says(answer())) as (client, server):
        await client.request("GET", target)
        assert server.requests[0].target == "/r4/" + target


async def test_headers_on_the_wire_are_ours_and_no_more() -> None:
    async with talking(says(answer())) as (client, server):
        await client.request("GET", "x", headers={"Accept-Encoding": "br", "Prefer": "handling=strict"})
        names = {name.lower(): value for name, value in server.requests[0].headers}
    assert names.pop("host").startswith("127.0.0.1:")
    assert names == {
        "user-agent": "trialveil",
        "accept-encoding": "gzip",
        "accept": "application/fhir+json",
        "prefer": "handling=strict",
    }


async def test_a_caller_cannot_change_host_or_framing() -> None:
    wrong = {
        "Host": "evil.example",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Connection": "upgrade",
    }
    async with talking(says(answer())) as (client, server):
        await client.request("POST", "Patient/_search", form={"family": "abc"}, headers=wrong)
    received = server.requests[0]
    assert received.header("host") == f"127.0.0.1:{server.port}" and received.body == b"family=abc"
    assert received.header("content-length") == "10"
    assert received.header("transfer-encoding") is None and received.header("connection") is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET / HTTP/1.1\r\nX: y\r\n\r\nGET", {}),
        ("GET\n", {}),
        ("GET", {"x": "a\r\nInjected: 1"}),
        ("GET", {"x": "a\nb"}),
        ("GET", {"x\r\ny": "1"}),
        ("GET", {"x y": "1"}),
        ("GET", {"x": "\x00"}),
    ],
)
async def test_nothing_can_be_injected_through_method_or_headers(
    method: str, headers: dict[str, str]
) -> None:
    async with talking(says(answer())) as (client, server):
        with pytest.raises(ConfigurationError):
            await client.request(method, "x", headers=headers)
        assert not server.requests


@pytest.mark.parametrize("url", ["ftp://a.example/x", "https://a.example:443:1/x"])
async def test_a_url_that_cannot_be_sent_as_it_was_read_is_refused(url: str) -> None:
    engine = AiohttpTransport()
    with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
        await engine.handle_async_request(httpx.Request("GET", url))
    await engine.aclose()


async def test_a_request_outside_the_pin_is_never_sent() -> None:
    """S11."""
    async with talking(says(answer())) as (client, server):
        for url in (
            "http://127.0.0.1:1/r4/x",
            f"http://127.0.0.1:{server.port}/admin",
            "/admin",
            "//127.0.0.2/r4",
        ):
            with pytest.raises(DestinationRefused):
                await client.request("GET", url)
        assert server.connections == 0


# --- life ---------------------------------------------------------------------------------------


async def test_cancelling_closes_the_connection_and_leaves_the_pool_usable() -> None:
    """S34."""
    arrived = asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.target.endswith("slow"):
            arrived.set()
            await asyncio.Event().wait()
        writer.write(answer())

    async with talking(slow, replace(ROOMY, read_s=5, concurrency=1)) as (client, server):
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


async def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """S22, S23: canaries in URL, headers, bodies and answers; every logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "httpx", "httpcore", "ehr.transport"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    raws = (
        answer(b'{"family":"Canary"}'),
        answer(b"Canary", status="500 Canary", kind="text/plain"),
        answer(b"Canary", kind="text/html"),
        b"",
    )
    async with talking(says(*raws)) as (client, _):
        for _ in range(5):
            try:
                await client.request(
                    "POST",
                    "Patient/_search?x=Canary",
                    form={"family": "Canary"},
                    headers={"authorization": "Bearer Canary"},
                )
            except EHRError as error:
                assert "Canary" not in str(error) + repr(error)
    text = "\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    assert "http.answered status=200" in text and "http.failed type=BadBody" in text
    assert "Canary" not in text and "127.0.0.1" not in text
