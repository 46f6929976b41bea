"""The security bar, S17 to S21 and S24: what comes back, and what is written, on real sockets and disks."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import resource
import stat
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ehr.errors import BodyTooLarge, ConfigurationError, EHRError
from ehr.reading.checkpoint import Checkpoint, row_key
from ehr.reading.query import pseudonym
from ehr.records.fetched import State
from ehr.records.patient import PatientRef
from ehr.site import ClockAndWire, open_site_async
from ehr.transport.client import Limits, Transport
from tests.contract.wire import condition, page, wired
from tests.ehr.site_folder import Folder
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import answer, misbehaving

ANA = PatientRef("ana")
SMALL = Limits(attempts=1, json_bytes=100_000, binary_bytes=100_000, entries=50, depth=40)
MEGABYTES = b'{"resourceType": "Bundle", "x": "' + b"0" * 30_000_000 + b'"}'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


@pytest.fixture
def around() -> ClockAndWire:
    return ClockAndWire(clock=FakeClock().clock)


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


BOMBS = {
    "gzip": (gzip.compress(MEGABYTES), "gzip"),
    "gzip, gzip": (gzip.compress(gzip.compress(MEGABYTES)), "gzip, gzip"),
    "gzip inside and said once": (gzip.compress(gzip.compress(MEGABYTES)), "gzip"),
    "deflate": (zlib.compress(MEGABYTES, 9), "deflate"),
    "raw deflate": (_raw_deflate(MEGABYTES), "deflate"),
    "br": (b"\x1b\xff\xff\x00", "br"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    "identity, gzip": (gzip.compress(MEGABYTES), "identity, gzip"),
    "plain": (MEGABYTES[:200_000], "identity"),
    "deep": (b"[" * 90_000 + b"]" * 9_000, "identity"),
    "deep and valid": (b"[" * 900 + b"]" * 900, "identity"),
    "many entries": (b'{"entry":[' + b",".join([b"{}"] * 51) + b"]}", "identity"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("status", ["200 OK", "500 Broken"])
async def test_s17_no_body_grows_past_its_limit(bomb: str, status: str) -> None:
    body, coding = BOMBS[bomb]
    raw = answer(body, status=status, headers=(("Content-Encoding", coding),))
    async with (
        wired(Patient=lambda _: raw) as ehr,
        Transport(ehr.base, allow_http_loopback=True, limits=SMALL) as client,
    ):
        tracemalloc.start()
        try:
            if status.startswith("5"):
                got = await client.request("GET", "Patient")
                assert (got.status, len(got.body) <= 256 * 1024) == (500, True)
            else:
                with pytest.raises(EHRError) as failed:
                    await client.request("GET", "Patient")
                assert type(failed.value).__name__ in ("BodyTooLarge", "BadBody")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8_000_000
        assert ehr.asked("Patient")[0].header("accept-encoding") == "gzip"


async def test_s17_a_site_has_the_limits_of_the_bar(folder: Folder, around: ClockAndWire) -> None:
    """20 MiB of JSON, 200 MiB of a binary; depth ends at the decoder's stack, entries at 10,000."""
    async with wired() as ehr, open_site_async(folder.write(ehr.base), around) as site:
        limits = site.adapter._parts.transport.limits  # type: ignore[attr-defined]  # of the generic adapter
        assert (limits.json_bytes, limits.binary_bytes) == (20 * 1024**2, 200 * 1024**2)
        assert limits.entries == 10_000
        many = b'{"resourceType":"Bundle","type":"searchset","entry":[' + b",".join([b"{}"] * 10_001) + b"]}"
        for bad, code in ((many, "body-too-large"), (b"[" * 100_000 + b"]" * 100_000, "body-")):
            ehr.answers["Condition"] = lambda _, bad=bad: answer(bad)  # type: ignore[misc]  # a default binds the value
            found = await site.conditions(ANA)
            assert not found.complete and found.items == ()
            assert any(issue.code.startswith(code) for issue in found.issues)


@pytest.mark.parametrize("length", ["9" * 30, "-1", "0x10", "1, 2", "+5", "1e9", ""])
async def test_s17_an_announced_length_that_is_none_never_reads_for_ever(length: str) -> None:
    raw = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{}}".encode()
    )
    limits = Limits(attempts=1, read_s=0.3, total_s=1)
    async with (
        wired(Patient=lambda _: raw) as ehr,
        Transport(ehr.base, allow_http_loopback=True, limits=limits) as client,
    ):
        with pytest.raises(EHRError):
            await client.request("GET", "Patient")


async def test_s17_an_endless_body_ends_at_the_limit(folder: Folder) -> None:
    async def endless(received: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            writer.write(b"1000\r\n" + b"0" * 4096 + b"\r\n")
            await writer.drain()

    async with (
        misbehaving(endless) as server,
        Transport(server.base, allow_http_loopback=True, limits=SMALL) as client,
    ):
        with pytest.raises(BodyTooLarge):
            await client.request("GET", "Patient")


S18 = {
    "HTML": (answer(b"<html>log in</html>", kind="text/html"), State.UNAVAILABLE),
    "HTML said to be FHIR": (answer(b"<!DOCTYPE html><html>"), State.UNAVAILABLE),
    "nothing": (answer(b""), State.UNAVAILABLE),
    "spaces": (answer(b"  \n "), State.UNAVAILABLE),
    "not JSON": (answer(b'{"resourceType": "Bundle", '), State.ERROR),
    "another type": (answer(b'{"resourceType": "Bundle"}', kind="application/pdf"), State.ERROR),
    "another document": (answer(b'{"resourceType": "Patient"}'), State.ERROR),
    "a list": (answer(b"[]"), State.ERROR),
    "a number": (answer(b"7"), State.ERROR),
    "null": (answer(b"null"), State.ERROR),
    "no content": (answer(b"", status="204 No Content"), State.ERROR),
}


@pytest.mark.parametrize("what", S18)
async def test_s18_what_is_no_answer_is_never_an_empty_one(
    folder: Folder, around: ClockAndWire, what: str
) -> None:
    raw, state = S18[what]
    async with wired(Condition=lambda _: raw) as ehr, open_site_async(folder.write(ehr.base), around) as site:
        found = await site.conditions(ANA)
        assert (found.state, found.items, found.complete) == (state, (), False)


async def test_s18_each_has_a_name_of_its_own(folder: Folder, around: ClockAndWire) -> None:
    names = {
        "HTML": "body-html",
        "nothing": "body-empty",
        "not JSON": "body-not-json",
        "another type": "body-wrong-type",
    }
    async with wired() as ehr, open_site_async(folder.write(ehr.base), around) as site:
        for what, name in names.items():
            ehr.answers["Condition"] = lambda _, raw=S18[what][0]: raw  # type: ignore[misc]  # a default binds the value
            found = await site.conditions(ANA)
            assert [issue.code for issue in found.issues] == [name]


async def test_s19_one_bad_entry_is_set_aside_and_the_others_kept(
    folder: Folder, around: ClockAndWire
) -> None:
    bad = condition("bad") | {"code": 7}
    mixed = page(*(condition(f"c{number}") for number in range(9)), bad)
    async with (
        wired(Condition=lambda _: mixed) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        found = await site.conditions(ANA)
    assert (found.state, len(found.items), found.quarantined) == (State.PARTIAL, 9, 1)
    reasons = [issue for issue in found.issues if issue.path]
    assert reasons and "7" not in str(found.issues).replace("count=", "")


ALIENS: list[dict[str, Any]] = [
    {"subject": {"reference": "Patient/eve"}},
    {"subject": {"reference": "Patient/ANA"}},
    {"subject": {"reference": "Patient/ana2"}},
    {"subject": {"reference": "Practitioner/ana"}},
    {"subject": {"reference": "http://evil.example/Patient/eve"}},
    {"subject": {}},
    {"subject": None},
    {},
]


@pytest.mark.parametrize("alien", ALIENS)
async def test_s20_another_patient_s_record_is_dropped_and_counted(
    folder: Folder, around: ClockAndWire, alien: dict[str, Any]
) -> None:
    stray = {"resourceType": "Condition", "id": "stray"} | alien
    both = page(condition(), stray)
    async with (
        wired(Condition=lambda _: both) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        found = await site.conditions(ANA)
    assert [one.id for one in found.items] == ["c1"]
    assert found.state is State.PARTIAL
    codes = {issue.code: issue.count for issue in found.issues}
    named = (alien.get("subject") or {}).get("reference", "")
    if named:
        assert codes == {"security:other-patient": 1}
    else:
        assert codes == {"no-patient-reference": 1}


async def test_s20_a_read_that_brings_another_record_is_an_error(
    folder: Folder, around: ClockAndWire
) -> None:
    other = json.dumps({"resourceType": "Patient", "id": "eve"}).encode()
    async with (
        wired(ana=lambda _: answer(other)) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        found = await site.read("patient", ANA)
    assert (found.state, found.items) == (State.ERROR, ())
    assert [issue.code for issue in found.issues] == ["security:other-id"]


# --- S21: files ------------------------------------------------------------------------------------------


@contextmanager
def lax_umask() -> Iterator[None]:
    old = os.umask(0)
    try:
        yield
    finally:
        os.umask(old)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond some bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def _download(target: Path, body: bytes = b"%PDF") -> None:
    async with (
        wired(b=lambda _: answer(body, kind="application/pdf")) as ehr,
        Transport(ehr.base, allow_http_loopback=True) as client,
        client.stream("GET", "Binary/b") as download,
    ):
        await download.write_to(target)


async def test_s21_a_download_is_private_whatever_the_umask_and_follows_no_link(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "file.pdf"
    outside.write_text("untouched")
    target.symlink_to(outside)
    with lax_umask():
        await _download(target)
    assert outside.read_text() == "untouched"
    assert not target.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


async def test_s21_s34_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.pdf").write_text("older")
    with full_disk(1000), pytest.raises(ConfigurationError, match="disk is full"):
        await _download(tmp_path / "file.pdf", b"x" * 50_000)
    assert [path.name for path in tmp_path.iterdir()] == ["file.pdf"]
    assert (tmp_path / "file.pdf").read_text() == "older"


def _kept(path: Path) -> Checkpoint[int]:
    made = Checkpoint(path, {"trial": "x"}, int)
    made.load()
    made.start({})
    return made


def test_s21_progress_is_private_whatever_the_umask_and_even_where_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "out" / ".screening.jsonl"
    with lax_umask():
        _kept(path).close(finished=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o666)
    _kept(path).close(finished=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("exists", [True, False])
def test_s21_a_link_planted_where_progress_is_kept_is_not_followed(tmp_path: Path, exists: bool) -> None:
    outside, path = tmp_path / "outside", tmp_path / ".screening.jsonl"
    if exists:
        outside.write_text("untouched")
    path.symlink_to(outside)
    with pytest.raises(ConfigurationError, match="link") as refused:
        _kept(path)
    assert str(tmp_path) not in str(refused.value)
    assert outside.exists() is exists
    assert not exists or outside.read_text() == "untouched"


def test_s21_something_else_where_progress_is_kept_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".screening.jsonl"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="plain file"):
        _kept(path)


def test_s24_a_pseudonym_needs_the_site_s_key_and_is_no_plain_hash() -> None:
    made = {pseudonym(key, "Patient/ana") for key in (b"a" * 32, b"b" * 32)}
    made |= {row_key(key, ("ana",)) for key in (b"a" * 32, b"b" * 32)}
    assert len(made) == 4
    plain = [
        hashlib.new(name, text).hexdigest()
        for name in ("md5", "sha1", "sha256", "sha512")
        for text in (b"ana", b"Patient/ana", b"row\x1fana")
    ]
    assert not [one for one in made if any(one in digest for digest in plain)]


@pytest.mark.parametrize("content", [b"", b"short", b" " * 64, b"x" * 31])
async def test_s24_a_weak_site_key_is_refused(folder: Folder, content: bytes) -> None:
    config = folder.write("http://127.0.0.1:1/r4")
    (folder.path / "site.key").write_bytes(content)
    with pytest.raises(ConfigurationError, match="at least 32"):
        async with open_site_async(config):
            pass


async def test_s24_a_site_key_that_others_can_read_is_refused(folder: Folder) -> None:
    config = folder.write("http://127.0.0.1:1/r4")
    (folder.path / "site.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        async with open_site_async(config):
            pass
