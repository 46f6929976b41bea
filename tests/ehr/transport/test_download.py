"""Bodies to disk: whole or not there (S17, S21, S34)."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import stat
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ehr.errors import (
    BodyTooLarge,
    ConfigurationError,
    EHRError,
    HttpStatusError,
    ProtocolViolation,
    TimedOut,
)
from ehr.transport.client import Limits, Transport
from tests.ehr.transport.conftest import QUICK, ROOMY
from tests.ehr.transport.scripted import Login, client
from tests.ehr.transport.scripted import server as login_server
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import Received, Script, answer, misbehaving, says

DATA = bytes(range(256)) * 4000
SMALL = replace(ROOMY, binary_bytes=500_000)


async def fetch(script: Script, target: Path, limits: Limits = ROOMY, **how: object) -> Path:
    async with (
        misbehaving(script) as server,
        Transport(server.base, limits=limits, allow_http_loopback=True) as transport,
        transport.stream("GET", "Binary/1", **how) as download,  # type: ignore[arg-type] # passed on as given
    ):
        written = await download.write_to(target)
        assert (written.size, written.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    return target


@pytest.mark.parametrize("packed", [True, False])
async def test_a_download_is_whole_and_for_its_owner_only(target: Path, packed: bool) -> None:
    """S21."""
    wire = gzip.compress(DATA) if packed else DATA
    coding = (("Content-Encoding", "gzip"),) if packed else ()
    path = await fetch(says(answer(wire, kind="application/pdf", headers=coding)), target)
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("raw", "limits", "expected"),
    [
        (answer(DATA, length=len(DATA) + 1), ROOMY, ProtocolViolation),
        (answer(gzip.compress(DATA)[:-9], headers=(("Content-Encoding", "gzip"),)), ROOMY, ProtocolViolation),
        (answer(DATA), replace(ROOMY, binary_bytes=1000), BodyTooLarge),
        (answer(gzip.compress(DATA), headers=(("Content-Encoding", "gzip"),)), SMALL, BodyTooLarge),
        (answer(b"gone", status="404 Not Found"), ROOMY, HttpStatusError),
        (answer(b"", status="302 Found"), ROOMY, HttpStatusError),
    ],
    ids=["cut", "cut-gzip", "too-large", "bomb", "404", "302"],
)  # fmt: skip
async def test_a_failed_download_leaves_nothing(
    target: Path, raw: bytes, limits: Limits, expected: type[EHRError]
) -> None:
    async def say(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    with pytest.raises(expected):
        await fetch(say, target, limits)
    assert list(target.parent.iterdir()) == []


async def half(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(DATA[:1000], length=len(DATA)))
    await asyncio.Event().wait()


async def test_a_download_that_stalls_is_a_timeout_seen_inside_the_block(target: Path) -> None:
    """S25."""
    async with (
        misbehaving(half) as server,
        Transport(server.base, limits=QUICK, allow_http_loopback=True) as transport,
        transport.stream("GET", "x") as download,
    ):
        with pytest.raises(TimedOut):
            await download.write_to(target)
    assert list(target.parent.iterdir()) == []


async def test_a_deadline_ends_a_download(target: Path) -> None:
    """S25."""
    with pytest.raises(TimedOut):
        await fetch(half, target, ROOMY, deadline_s=0.1)
    assert list(target.parent.iterdir()) == []


async def test_a_cancelled_download_closes_its_connection_and_leaves_nothing(target: Path) -> None:
    """S34."""
    async with (
        misbehaving(half) as server,
        Transport(server.base, limits=ROOMY, allow_http_loopback=True) as transport,
    ):

        async def work() -> None:
            async with transport.stream("GET", "x") as download:
                await download.write_to(target)

        task = asyncio.create_task(work())
        while not list(target.parent.iterdir()):
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(target.parent.iterdir()) == []


async def test_a_folder_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as failed:
        await fetch(says(answer(DATA)), tmp_path / "missing" / "Canary")
    assert "Canary" not in str(failed.value)


async def test_opening_is_repeated_and_reading_is_not() -> None:
    """S26."""
    asked = 0

    async def answering(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(503 if asked < 3 else 200, content=b"data")

    clock = FakeClock()
    async with client(answering, clock).stream("GET", "x") as download:
        assert [piece async for piece in download.chunks()] == [b"data"]
    assert asked == 3 and clock.slept == [0.5, 1]
    assert repr(download) == "Download(200)"


async def test_a_download_goes_through_the_login_too() -> None:
    data, tokens, answering = login_server([401, 200])
    async with client(answering).stream("GET", "Binary/1", auth=Login()) as download:
        assert b"".join([piece async for piece in download.chunks()]) == b"{}"
    assert len(data.requests) == 2 and len(tokens.requests) == 2


async def test_a_download_left_half_read_does_not_disturb_the_next() -> None:
    async with (
        misbehaving(says(answer(DATA), answer(b"{}"))) as server,
        Transport(server.base, limits=ROOMY, allow_http_loopback=True) as transport,
    ):
        async with transport.stream("GET", "x") as download:
            async for _ in download.chunks():
                break
        assert (await transport.request("GET", "y")).json() == {}
