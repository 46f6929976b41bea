"""Parsers under fire: whatever comes, it is a message or a typed error, and large things are not read at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg import messages, uploads
from secure_agg.errors import MalformedMessage, ProtocolError, SpecRefused
from secure_agg.journal import read_journal
from secure_agg.messages import ADVERT, BODIES, FRAME, KINDS, MASKED, ROSTER, SURVIVORS, Envelope, Survivors
from secure_agg.specification import read_spec
from secure_agg.uploads import HEADER_SIZE, Seen, decode_upload, encode_upload, upload_header
from tests.secure_agg.table import Table, sha


@pytest.fixture(scope="module")
def transcript() -> dict[bytes, bytes]:
    """One message of each kind from an honest round."""
    table = Table()
    table.run(lost={"york": messages.FORWARD})
    return {data[4:5]: data for _, data in table.transcript}


def parsers() -> dict[bytes, Callable[[bytes], Any]]:
    found: dict[bytes, Callable[[bytes], Any]] = {
        kind: lambda data, kind=kind: messages.decode(data, kind, KINDS[kind].message, 5)  # type: ignore[misc]  # a default
        for kind in KINDS
    }
    return found | {MASKED: lambda data: decode_upload(data, 15, 32)}


def test_every_kind_is_in_a_round(transcript: dict[bytes, bytes]) -> None:
    assert set(transcript) == {*KINDS, MASKED}
    for kind, data in transcript.items():
        parsers()[kind](data)
        assert messages.kind_of(data) == kind


def refuses_or_reads(parse: Callable[[bytes], Any], data: bytes) -> None:
    try:
        parse(data)
    except ProtocolError as refused:
        assert refused.__cause__ is None
        assert len(str(refused)) < 300


@pytest.mark.parametrize("kind", sorted([*KINDS, MASKED]))
def test_malformed_and_oversized_wire_never_crashes(transcript: dict[bytes, bytes], kind: bytes) -> None:
    """Cut, grown, with bytes changed, doubled and swapped; a fixed seed, some hundred of each kind."""
    honest, parse, draw = transcript[kind], parsers()[kind], random.Random(kind)
    for size in {*range(12), *(draw.randrange(len(honest)) for _ in range(40))}:
        with pytest.raises(ProtocolError):
            parse(honest[:size])
    for _ in range(300):
        data = bytearray(honest)
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        at = draw.randrange(len(data))
        refuses_or_reads(parse, bytes(data))
        refuses_or_reads(parse, bytes(data[:at] + data[at:] + data[at : at + 7]))
        refuses_or_reads(parse, bytes(data[:at] + data[at + 3 :]))
    with pytest.raises(MalformedMessage):
        parse(honest + b"\0")
    with pytest.raises(MalformedMessage):
        parse(honest + bytes(1 << 20))


@settings(max_examples=150)
@given(st.sampled_from(sorted([*KINDS, MASKED])), st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(kind: bytes, data: bytes) -> None:
    refuses_or_reads(parsers()[kind], FRAME + kind + data)
    refuses_or_reads(parsers()[kind], data)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=70)
    | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(_VALUES)
def test_any_value_in_any_place_is_refused_or_read(value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    for kind, message in BODIES.items():
        refuses_or_reads(
            lambda raw, kind=kind, message=message: messages.decode_body(kind, raw, message), data
        )  # type: ignore[misc]  # defaults
    for kind in KINDS:
        refuses_or_reads(parsers()[kind], FRAME + kind + data)
    refuses_or_reads(read_spec, data)
    refuses_or_reads(read_journal, data)


def test_deep_nesting_is_refused() -> None:
    for kind in KINDS:
        with pytest.raises(MalformedMessage):
            parsers()[kind](FRAME + kind + b"\x91" * 400)
    with pytest.raises(SpecRefused):
        read_spec(b"\x91" * 100_000)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_size_is_limited_before_anything_is_read(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the decoder was reached")

    monkeypatch.setattr("secure_agg.messages.msgspec.msgpack.decode", never)
    limit = KINDS[kind].fixed + 5 * KINDS[kind].per_pod
    with pytest.raises(MalformedMessage, match=f"above its limit of {limit} bytes"):
        messages.decode(FRAME + kind + bytes(limit), kind, KINDS[kind].message, 5)


@pytest.mark.parametrize("pods", [3, 60, 128])
def test_limits_leave_room_for_the_longest_names(pods: int) -> None:
    names = tuple(f"{number:064}" for number in range(pods))
    envelope = Envelope(names[0], bytes(400), bytes(64))
    full = {
        SURVIVORS: Survivors(bytes(32), bytes(32), names),
        messages.PROOFS: messages.Proofs(bytes(32), bytes(32), tuple((n, bytes(64)) for n in names)),
        messages.FORWARD: messages.Forward(
            bytes(32), bytes(32), names, tuple((n, bytes(144)) for n in names)
        ),
        ROSTER: messages.Roster(bytes(32), (messages.encode(ADVERT, envelope),) * pods),
    }
    for kind, message in full.items():
        assert messages.decode(messages.encode(kind, message), kind, type(message), pods) == message
    bodies = {
        messages.SHARES: messages.Shares(
            names[0], bytes(32), bytes(32), tuple((n, bytes(144)) for n in names)
        ),
        messages.REVEAL: messages.Reveal(
            names[0], bytes(32), bytes(32), tuple((n, bytes(64)) for n in names), ()
        ),
        messages.CONFIRM: Survivors(bytes(32), bytes(32), names),
    }
    for kind, body in bodies.items():
        frame = messages.encode(kind, Envelope(names[0], messages.encode_body(body), bytes(64)))
        messages.decode(frame, kind, Envelope, pods)


def test_a_further_field_is_refused(transcript: dict[bytes, bytes]) -> None:
    for kind in KINDS:
        fields = msgspec.msgpack.decode(transcript[kind][5:])
        with pytest.raises(MalformedMessage):
            parsers()[kind](FRAME + kind + msgspec.msgpack.encode([*fields, 1]))


def test_another_version_is_refused(transcript: dict[bytes, bytes]) -> None:
    for kind, data in transcript.items():
        with pytest.raises(MalformedMessage):
            parsers()[kind](data[:3] + b"\x02" + data[4:])


def test_a_second_spelling_of_a_message_is_refused(transcript: dict[bytes, bytes]) -> None:
    """The same array with a longer length code means the same to MessagePack, and nothing to us."""
    data = transcript[ROSTER]
    assert data[5] == 0x92
    with pytest.raises(MalformedMessage, match="canonical"):
        messages.decode(data[:5] + b"\xdc\x00\x02" + data[6:], ROSTER, messages.Roster, 5)


def test_a_name_is_lower_case_letters_digits_and_signs() -> None:
    for name in ("Bath", "b th", "", "x" * 65, "bath\n", "-bath", "../bath", "b\u00e4th"):
        with pytest.raises(MalformedMessage):
            parsers()[SURVIVORS](messages.encode(SURVIVORS, Survivors(bytes(32), bytes(32), (name,))))


@pytest.mark.parametrize("dtype", ["<u2", "<u4", "<u8"])
def test_an_upload_comes_back_without_a_copy(dtype: str) -> None:
    words = np.arange(50, dtype=dtype)
    lane = np.arange(4, dtype="<u8")
    header = upload_header(Seen(sha("a"), sha("b"), sha("c")), "bath", lane, words)
    data = encode_upload(header, bytes(64), words)
    found = decode_upload(data, 50, words.dtype.itemsize * 8)  # type: ignore[arg-type]  # 16, 32 or 64
    assert len(data) == HEADER_SIZE + words.nbytes == uploads.upload_size(50, words.dtype.itemsize * 8)
    assert np.array_equal(found.words, words)
    assert np.array_equal(found.lane, lane)
    assert not found.words.flags.owndata
    assert (found.sender, found.signed) == ("bath", header)


def test_an_upload_says_its_length_and_name_in_one_way_only() -> None:
    words, lane = np.arange(5, dtype="<u4"), np.zeros(4, "<u8")
    header = upload_header(Seen(sha("a"), sha("b"), sha("c")), "bath", lane, words)
    good = encode_upload(header, bytes(64), words)
    assert header[110] == 4
    for at, value in ((5, 64), (6, 6), (110, 0), (110, 65), (110, 3), (111, 0xFF), (170, 1)):
        bad = bytearray(good)
        bad[at] = value
        with pytest.raises(MalformedMessage):
            decode_upload(bytes(bad), 5, 32)
    with pytest.raises(MalformedMessage, match="expected"):
        decode_upload(good, 6, 32)


def test_signed_bytes_of_two_kinds_differ() -> None:
    assert len({messages.signed_bytes(kind, b"body") for kind in (*KINDS, MASKED)}) == 10


# ---- limits, from both sides ----

LIMITS = {
    messages.INVITATION: ("invitation", 2048, 160),
    ADVERT: ("advert", 768, 0),
    ROSTER: ("roster", 256, 784),
    messages.SHARES: ("shares", 512, 600),
    messages.FORWARD: ("forward", 256, 680),
    SURVIVORS: ("survivors", 256, 80),
    messages.CONFIRM: ("confirm", 512, 80),
    messages.PROOFS: ("proofs", 256, 160),
    messages.REVEAL: ("reveal", 512, 680),
}
"""Name, and bytes: so many, and so many more for each pod of the cohort."""


@pytest.mark.parametrize("kind", sorted(LIMITS))
@pytest.mark.parametrize("pods", [3, 10, 10_000])
def test_a_message_of_just_its_limit_is_read_and_of_one_byte_more_is_not(kind: bytes, pods: int) -> None:
    name, fixed, per_pod = LIMITS[kind]
    limit = fixed + per_pod * pods
    longest = (FRAME + kind).ljust(limit, b"\xc0")
    with pytest.raises(
        MalformedMessage, match=rf"^A {name} \({limit - 5} bytes\) has unknown, missing or wrong"
    ):
        messages.decode(longest, kind, KINDS[kind].message, pods)
    with pytest.raises(
        MalformedMessage, match=rf"^A {name} of {limit + 1} bytes is above its limit of {limit} "
    ):
        messages.decode(longest + b"\xc0", kind, KINDS[kind].message, pods)


def test_a_message_of_another_kind_is_refused_by_name(transcript: dict[bytes, bytes]) -> None:
    for kind, (name, _, _) in LIMITS.items():
        for other in set(LIMITS) - {kind}:
            with pytest.raises(MalformedMessage, match=f"another kind came where a {name} was expected"):
                messages.decode(FRAME + other + b"\x90", kind, KINDS[kind].message, 5)


def test_a_type_that_does_not_belong_to_a_kind_is_a_mistake_of_the_caller() -> None:
    for kind in KINDS:
        with pytest.raises(TypeError, match="does not belong to the kind"):
            messages.decode(FRAME + kind, kind, messages.Advert, 5)
    for kind in BODIES:
        with pytest.raises(TypeError, match="does not belong to the kind"):
            messages.decode_body(kind, b"", messages.Roster)
    for kind, sparse in (
        (ROSTER, messages.SparseRoster),
        (messages.FORWARD, messages.SparseForward),
        (SURVIVORS, messages.SparseSurvivors),
    ):
        with pytest.raises(MalformedMessage):
            messages.decode(FRAME + kind + b"\x90", kind, sparse, 5)


def test_a_frame_is_four_bytes_and_a_kind() -> None:
    assert FRAME == b"SA1\x01"
    for kind in (*KINDS, MASKED):
        assert messages.kind_of(FRAME + kind) == messages.kind_of(memoryview(FRAME + kind + b"x")) == kind
    for short in (b"", b"SA1\x01", b"SA1"):
        with pytest.raises(
            MalformedMessage, match=f"A message of {len(short)} bytes is not of this protocol"
        ):
            messages.kind_of(short)
    for kind in (b"\x0a", b"\xff"):
        with pytest.raises(MalformedMessage, match="unknown kind"):
            messages.kind_of(FRAME + kind)


def read_body(kind: bytes, message: msgspec.Struct) -> None:
    assert messages.decode_body(kind, messages.encode_body(message), type(message)) == message


def not_read(kind: bytes, message: msgspec.Struct) -> None:
    with pytest.raises(MalformedMessage, match=f"^A {KINDS[kind].name} .* wrong fields"):
        messages.decode_body(kind, messages.encode_body(message), type(message))


ADVERTISED = messages.Advert("bath", bytes(32), bytes(32), bytes(32), bytes(32), b"")


@pytest.mark.parametrize("field", ["spec_hash", "mask_key", "channel_key", "own_mask_commitment"])
def test_hashes_and_keys_are_of_32_bytes(field: str) -> None:
    read_body(ADVERT, ADVERTISED)
    for size in (0, 31, 33):
        not_read(ADVERT, msgspec.structs.replace(ADVERTISED, **{field: bytes(size)}))


def test_a_nonce_has_64_bytes_at_most_and_a_name_1_to_64() -> None:
    read_body(ADVERT, msgspec.structs.replace(ADVERTISED, graph_nonce=bytes(64), sender="a" * 64))
    read_body(ADVERT, msgspec.structs.replace(ADVERTISED, sender="9"))
    for wrong in ({"graph_nonce": bytes(65)}, {"sender": "a" * 65}, {"sender": ""}, {"sender": "_"}):
        not_read(ADVERT, msgspec.structs.replace(ADVERTISED, **wrong))


def test_what_is_sealed_has_17_to_512_bytes_and_a_share_4_to_256() -> None:
    for size, fits in ((16, False), (17, True), (512, True), (513, False)):
        body = messages.Shares("bath", bytes(32), bytes(32), (("hull", bytes(size)),))
        (read_body if fits else not_read)(messages.SHARES, body)
    for size, fits in ((3, False), (4, True), (256, True), (257, False)):
        owned = (("hull", bytes(size)),)
        for own, keys in ((owned, ()), ((), owned)):
            body = messages.Reveal("bath", bytes(32), bytes(32), own, keys)
            (read_body if fits else not_read)(messages.REVEAL, body)


@pytest.mark.parametrize("size", [63, 65])
def test_a_signature_has_64_bytes(size: int) -> None:
    for kind in (ADVERT, messages.SHARES, messages.CONFIRM, messages.REVEAL):
        for signature, fits in ((bytes(64), True), (bytes(size), False)):
            data = messages.encode(kind, Envelope("bath", b"x", signature))
            if fits:
                messages.decode(data, kind, Envelope, 5)
                continue
            with pytest.raises(MalformedMessage):
                messages.decode(data, kind, Envelope, 5)


def test_what_is_signed_and_hashed_is_these_bytes() -> None:
    import hashlib

    assert messages.signed_bytes(ADVERT, b"body") == b"sa1/sign/\x01body"
    names = ("bath", "hull")
    packed = b"\x92\xa4bath\xa4hull"
    assert messages.names_hash(sha("s"), names) == hashlib.sha256(b"sa1/names" + sha("s") + packed).digest()
    framed = b"\0\0\0\x02" + b"\0\0\0\x03abc" + b"\0\0\0\x01d"
    expected = hashlib.sha256(b"sa1/roster" + sha("s") + framed).digest()
    assert messages.roster_hash(sha("s"), (b"abc", b"d")) == expected
    roster = messages.SparseRoster(sha("s"), b"\xf0", b"nonces", b"digests", ())
    whole = b"sa1/sparse-roster" + sha("s") + b"\0\0\0\x01\xf0noncesdigests"
    assert messages.sparse_roster_hash(sha("s"), roster) == hashlib.sha256(whole).digest()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17])
def test_packed_names_are_a_bit_each_and_nothing_more(count: int) -> None:
    names = [f"pod-{number}" for number in range(count)]
    size = (count + 7) // 8
    for chosen in ([], names, names[:1], names[-1:], names[::2]):
        bits = sum(1 << (8 * size - 1 - at) for at, name in enumerate(names) if name in chosen)
        packed = messages.pack_names(names, chosen)
        assert packed == bits.to_bytes(size, "big")
        assert messages.unpack_names(packed, names, "pods") == tuple(chosen)
    said = r"The list of pods has \d bytes; expected a bit for each pod"
    for wrong in (bytes(size - 1), bytes(size + 1)):
        with pytest.raises(MalformedMessage, match=said):
            messages.unpack_names(wrong, names, "pods")
    if count % 8:
        for at in range(count, 8 * size):
            wrong = (1 << (8 * size - 1 - at)).to_bytes(size, "big")
            with pytest.raises(MalformedMessage, match=said):
                messages.unpack_names(wrong, names, "pods")
