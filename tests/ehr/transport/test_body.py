"""Bounded reading (S17, S18)."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import BadBody, BodyTooLarge, ProtocolViolation
from ehr.transport.body import check_json, json_depth, read

MIB = 1024 * 1024


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    at = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(MIB)
    return b"".join(packer.compress(zeros) for _ in range(size // MIB)) + packer.flush()


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2100), max_size=6), st.booleans())
async def test_any_body_comes_through_however_it_is_cut(data: bytes, cuts: list[int], packed: bool) -> None:
    wire = gzip.compress(data) if packed else data
    limit = max(len(data), len(wire))
    assert await read(chunked(*split(wire, cuts)), ["gzip"] if packed else [], None, limit) == data


@given(st.binary(max_size=500), st.binary(max_size=500))
async def test_gzip_members_after_each_other_are_one_body(one: bytes, two: bytes) -> None:
    wire = gzip.compress(one) + gzip.compress(two)
    assert await read(chunked(wire), ["gzip"], None, 5000) == one + two


@given(st.binary(min_size=1, max_size=300), st.integers(1, 30))
async def test_a_gzip_body_cut_anywhere_is_never_taken_for_whole(data: bytes, cut: int) -> None:
    """The right Content-Length with a stream that ended early is silent in ready decoders."""
    wire = gzip.compress(data)
    with pytest.raises(ProtocolViolation):
        await read(chunked(wire[: max(1, len(wire) - cut)]), ["gzip"], None, 5000)


async def test_a_wrong_checksum_is_an_encoding_failure() -> None:
    wire = bytearray(gzip.compress(b"hello"))
    wire[-6] ^= 1
    with pytest.raises(BadBody) as failed:
        await read(chunked(bytes(wire)), ["gzip"], None, 100)
    assert failed.value.reason == "bad-encoding"


async def test_bytes_after_the_last_gzip_member_are_an_encoding_failure() -> None:
    with pytest.raises(BadBody):
        await read(chunked(gzip.compress(b"x") + b"junk"), ["gzip"], None, 100)


@pytest.mark.parametrize(
    "codings", [["gzip, gzip"], ["gzip", "gzip"], ["br"], ["deflate"], ["gzip, identity"], ["zstd"]]
)
async def test_one_coding_only_and_only_gzip(codings: list[str]) -> None:
    """S17: ``gzip, gzip`` turns two kilobytes into a gigabyte in one piece."""
    wire = gzip.compress(bomb(8 * MIB))
    with pytest.raises(BadBody) as failed:
        await read(chunked(wire), codings, None, MIB)
    assert failed.value.reason == "bad-encoding"


async def test_a_gzip_bomb_stops_at_the_limit_and_stays_small_in_memory() -> None:
    """S17."""
    wire = bomb(256 * MIB)
    assert len(wire) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            await read(chunked(wire), ["gzip"], None, 4 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


async def test_a_bomb_of_empty_members_ends_at_the_limit_of_encoded_bytes() -> None:
    wire = gzip.compress(b"") * 5000
    with pytest.raises(BodyTooLarge):
        await read(chunked(*split(wire, range(0, len(wire), 1000))), ["gzip"], None, 50_000)


async def test_an_announced_size_over_the_limit_is_refused_before_reading() -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("was read")
        yield b""

    with pytest.raises(BodyTooLarge):
        await read(never(), [], "101", 100)


@given(st.integers(0, 40), st.integers(1, 40))
async def test_the_limit_is_exact_before_and_after_decoding(size: int, limit: int) -> None:
    plain = read(chunked(b"x" * size), [], None, limit)
    if size > limit:
        with pytest.raises(BodyTooLarge):
            await plain
    else:
        assert len(await plain) == size
    packed = read(chunked(gzip.compress(b"x" * size)), ["gzip"], None, limit + 1000)
    assert len(await packed) == size


FHIR = "application/fhir+json; charset=utf-8"


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"", FHIR, "empty"),
        (b" \r\n", FHIR, "empty"),
        (b"<!DOCTYPE html><html>", FHIR, "html"),
        (b"{}", "text/html", "html"),
        (b"\n <HTML>", None, "html"),
        (b"<Patient xmlns='http://hl7.org/fhir'/>", "application/fhir+xml", "wrong-type"),
        (b"{}", "text/plain", "wrong-type"),
        (b"{}", "application/octet-stream", "wrong-type"),
        (b'{"a":', FHIR, "not-json"),
        (b'{"a":1}}', FHIR, "not-json"),
        (b"{'a':1}", FHIR, "not-json"),
        (b"{}\x00", FHIR, "not-json"),
        (b'{"entry":[1,', FHIR, "not-json"),
        (b'{"entry":{},', FHIR, "not-json"),
        (b'[{"a":}]', FHIR, "not-json"),
        (b'"a', FHIR, "not-json"),
        ('{"a":1}'.encode("utf-16"), FHIR, "not-json"),
    ],
)
def test_what_is_not_json_is_told_apart(body: bytes, kind: str | None, reason: str) -> None:
    """S18."""
    with pytest.raises(BadBody) as failed:
        check_json(body, kind, depth=None, entries=10)
    assert failed.value.reason == reason


@pytest.mark.parametrize(
    "kind", [FHIR, "application/json", "application/json+fhir", "text/json", None, "application/jwk-set+json"]
)
def test_json_types_in_use_are_accepted(kind: str | None) -> None:
    assert check_json(b"\xef\xbb\xbf{}", kind, depth=None, entries=1) == b"{}"


@pytest.mark.parametrize(
    "body", [b"[1]", b'"text"', b"null", b'{"entry":{}}', b'{"entry":[1,null]}', b'{"entry":null}']
)
def test_json_of_another_shape_is_left_to_its_reader(body: bytes) -> None:
    assert check_json(body, FHIR, depth=None, entries=1) == body


def test_deep_json_is_stopped() -> None:
    """S17: one million levels neither crash nor pass."""
    with pytest.raises(BodyTooLarge):
        check_json(b"[" * 10**6 + b"]" * 10**6, FHIR, depth=None, entries=10)
    with pytest.raises(BodyTooLarge):
        check_json(
            b'{"entry":[' + b'{"a":' * 10**5 + b"1" + b"}" * 10**5 + b"]}", FHIR, depth=None, entries=10
        )
    check_json(b"[" * 20 + b"]" * 20, FHIR, depth=20, entries=10)
    with pytest.raises(BodyTooLarge):
        check_json(b"[" * 21 + b"]" * 21, FHIR, depth=20, entries=10)


def test_a_huge_entry_count_is_stopped() -> None:
    """S17."""
    page = json.dumps({"resourceType": "Bundle", "entry": [{"resource": {"a": 1, "b": 2}}] * 11}).encode()
    with pytest.raises(BodyTooLarge):
        check_json(page, FHIR, depth=None, entries=10)
    assert check_json(page, FHIR, depth=None, entries=11) == page


_JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\[]{}/,é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='x"\\{[', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def plain_depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((plain_depth(v) for v in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((plain_depth(v) for v in value), default=0)
    return 0


@given(_JSON, st.booleans())
def test_depth_is_that_of_the_parsed_value(value: object, ascii_only: bool) -> None:
    assert json_depth(json.dumps(value, ensure_ascii=ascii_only).encode()) == plain_depth(value)
