"""The keystream is AES-256-CTR as written down, from any word on, with either backend."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import keystream
from secure_agg.errors import BadMaskInput
from secure_agg.keystream import (
    CHUNK_BYTES,
    SEGMENT_BYTES,
    Backend,
    Cursor,
    KeystreamFault,
    add_keystream,
    fastest,
    self_test,
    stream_key,
)
from tests.oracles import masking as oracle
from tests.secure_agg.vectors import frozen, seed, standards

KEY = bytes(range(32))


def read(key: bytes, start: int, length: int, backend: Backend = Backend.CTR) -> bytes:
    buffer = bytearray(length)
    Cursor(key, start, backend).read_into(memoryview(buffer))
    return bytes(buffer)


def test_kat_aes256_ctr_sp800_38a() -> None:
    known = {
        name: bytes.fromhex(text) for name, text in standards()["aes256_ctr"].items() if name != "origin"
    }
    made = Cipher(AES(known["key"]), CTR(known["counter"])).encryptor().update(known["plaintext"])
    assert made == known["ciphertext"]
    counter, blocks = int.from_bytes(known["counter"], "big"), b""
    for number in range(4):
        blocks += oracle.aes256(known["key"], (counter + number).to_bytes(16, "big"))
    assert bytes(a ^ b for a, b in zip(blocks, known["plaintext"], strict=True)) == known["ciphertext"]


def test_kat_hkdf_rfc5869() -> None:
    for known in standards()["hkdf_sha256"]:
        secret, salt, info, expected = (bytes.fromhex(known[name]) for name in ("ikm", "salt", "info", "okm"))
        made = HKDF(SHA256(), length=len(expected), salt=salt or None, info=info).derive(secret)
        assert made == expected == oracle.hkdf_sha256(secret, salt, info, len(expected))


def test_kat_aead_rfc8439_or_gcm() -> None:
    known = {
        name: bytes.fromhex(text) for name, text in standards()["aes256_gcm"].items() if name != "origin"
    }
    sealing = Cipher(AES(known["key"]), GCM(known["nonce"])).encryptor()
    assert sealing.update(known["plaintext"]) + sealing.finalize() == known["ciphertext"]
    assert sealing.tag == known["tag"]


def test_keystream_matches_gcm_test_case_14() -> None:
    known = standards()["aes256_gcm"]
    assert read(bytes.fromhex(known["key"]), 0, 16).hex() == known["ciphertext"]


@pytest.mark.parametrize("backend", Backend)
def test_kat_prg_stream_frozen_vectors(backend: Backend) -> None:
    known = standards()["keystream"]
    made = read(bytes.fromhex(known["key"]), 0, 1 << 20, backend)
    assert made[:32].hex() == known["first_32_bytes"]
    assert hashlib.sha256(made).hexdigest() == known["sha256_of_first_mib"]
    assert np.frombuffer(made, "<u4")[:4].tolist() == known["first_words"]


def test_the_stream_of_a_seed_is_that_of_the_slow_oracle() -> None:
    for known in frozen()["keystream"]:
        key = stream_key(bytes.fromhex(known["seed"]), known["domain"].encode())
        assert read(key, known["start_byte"], 56).hex() == known["bytes"]


def test_the_frozen_vectors_come_out_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy
    import sys

    from tests.secure_agg.vectors import FOLDER

    monkeypatch.setattr(sys, "argv", ["make_secure_agg.py", "--out", str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(FOLDER / "make_secure_agg.py"), run_name="__main__")
    assert (tmp_path / "secure_agg.json").read_bytes() == (FOLDER / "secure_agg.json").read_bytes()


@pytest.mark.parametrize(
    "start", [0, 1, SEGMENT_BYTES, SEGMENT_BYTES - 3 * CHUNK_BYTES - 16, 3 * SEGMENT_BYTES - 2]
)
def test_prg_gcm_fast_path_equals_ctr(start: int) -> None:
    length = 4 * CHUNK_BYTES + 6
    assert read(KEY, start, length, Backend.GCM) == read(KEY, start, length, Backend.CTR)


@given(
    edge=st.sampled_from([16, CHUNK_BYTES, SEGMENT_BYTES, 5 * SEGMENT_BYTES]),
    before=st.integers(0, 40),
    length=st.integers(0, 200),
    backend=st.sampled_from(Backend),
)
def test_prg_seek_equals_sequential_across_segments(
    edge: int, before: int, length: int, backend: Backend
) -> None:
    start = max(0, edge - before)
    assert read(KEY, start, length, backend) == oracle_bytes(start, length)


def oracle_bytes(start: int, length: int) -> bytes:
    """By the library's own counter, one block at a time: independent of how we seek."""
    found = b""
    for number in range(start // 16, (start + length + 15) // 16):
        segment, inside = divmod(number * 16, SEGMENT_BYTES)
        block = segment.to_bytes(12, "big") + (2 + inside // 16).to_bytes(4, "big")
        found += Cipher(AES(KEY), CTR(block)).encryptor().update(bytes(16))
    return found[start % 16 :][:length]


@given(cuts=st.lists(st.integers(0, 3000), max_size=8), dtype=st.sampled_from(["<u2", "<u4", "<u8"]))
def test_a_stream_read_in_pieces_is_the_stream(cuts: list[int], dtype: str) -> None:
    cursor = Cursor(KEY)
    pieces = [cursor.words(cut, dtype).tobytes() for cut in cuts]
    assert b"".join(pieces) == read(KEY, 0, sum(map(len, pieces)))


@pytest.mark.proof
def test_a_whole_segment_and_its_edge_are_equal_for_both_backends() -> None:
    length = SEGMENT_BYTES + CHUNK_BYTES + 10
    made = read(KEY, 0, length, Backend.GCM)
    assert made == read(KEY, 0, length, Backend.CTR)
    assert made[SEGMENT_BYTES - 8 :] == read(KEY, SEGMENT_BYTES - 8, CHUNK_BYTES + 18)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("start", [0, 7, 70_000])
def test_added_and_subtracted_keystream_leaves_nothing(dtype: Any, start: int) -> None:
    before = np.arange(70_001).astype(dtype)
    part = before.copy()
    add_keystream(part, seed(1), 1, start)
    expected = np.frombuffer(read(stream_key(seed(1)), start * part.itemsize, part.nbytes), part.dtype)
    assert np.array_equal(part, before + expected)
    add_keystream(part, seed(1), -1, start)
    assert np.array_equal(part, before)


def test_domains_and_seeds_have_streams_of_their_own() -> None:
    keys = [stream_key(seed(i), domain) for i in range(3) for domain in (b"vector", b"lane", b"rounding")]
    assert len({read(key, 0, 32) for key in keys}) == len(keys)


@pytest.mark.parametrize("length", [0, 4, 31, 33, 64])
def test_a_short_or_long_seed_is_refused(length: int) -> None:
    with pytest.raises(BadMaskInput, match="expected 32 bytes"):
        add_keystream(np.zeros(4, np.uint32), bytes(length), 1, 0)


@pytest.mark.parametrize(
    "part",
    [
        np.zeros(4, np.int32),
        np.zeros(4, np.uint8),
        np.zeros(4, ">u4"),
        np.zeros((2, 2), np.uint32),
        np.zeros(8, np.uint32)[::2],
        np.zeros(4),
        np.frombuffer(bytes(16), np.uint32),
    ],
    ids=["signed", "bytes", "big-endian", "square", "strided", "floats", "read-only"],
)
def test_what_is_no_vector_of_words_is_refused(part: np.ndarray) -> None:
    with pytest.raises(BadMaskInput, match="uint16, uint32 or uint64"):
        add_keystream(part, seed(1), 1, 0)


@pytest.mark.parametrize(("sign", "start"), [(0, 0), (2, 0), (1, -1)])
def test_a_wrong_sign_or_place_is_refused(sign: Any, start: int) -> None:
    with pytest.raises(BadMaskInput, match="sign or start"):
        add_keystream(np.zeros(4, np.uint32), seed(1), sign, start)


def clock_that_favours(galois: float, slow_once: float = 0.0) -> Any:
    """Every measurement of counter mode takes 1 second, every one of GCM so many; time never goes back.

    The second measurement of GCM can take longer, as on a machine that was busy for a moment.
    """
    durations = chain([1.0, galois, 1.0, galois + slow_once], cycle([1.0, galois]))
    now, starts = 1000.0, True

    def clock() -> float:
        nonlocal now, starts
        now += 50.0 if starts else next(durations)
        starts = not starts
        return now

    return clock


def test_the_self_test_takes_the_faster_backend_and_only_if_it_is_faster() -> None:
    assert self_test(clock_that_favours(0.5)) is Backend.GCM
    assert self_test(clock_that_favours(1.0)) is Backend.CTR
    assert self_test(clock_that_favours(2.0)) is Backend.CTR


def test_one_busy_moment_does_not_decide() -> None:
    assert self_test(clock_that_favours(0.5, slow_once=10.0)) is Backend.GCM


def test_a_machine_with_another_aes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystream, "_TEST_KEY", bytes(32))
    with pytest.raises(KeystreamFault, match="Nothing was masked"):
        self_test()


def test_a_gcm_with_other_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystream, "GCM", lambda nonce: CTR(nonce + bytes(4)))
    assert self_test(clock_that_favours(0.1)) is Backend.CTR


def test_a_gcm_that_cannot_begin_in_the_middle_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystream, "nonce_for", lambda key, first: first)
    assert self_test(clock_that_favours(0.1)) is Backend.CTR


def test_a_gcm_that_is_refused_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(nonce: bytes) -> None:
        raise ValueError("not in this mode")

    monkeypatch.setattr(keystream, "GCM", refused)
    assert self_test() is Backend.CTR


def test_a_cursor_shows_nothing() -> None:
    assert repr(Cursor(KEY)) == "Cursor()"


def test_the_two_ways_have_the_names_that_a_benchmark_reports() -> None:
    assert [each.value for each in Backend] == ["aes-256-ctr", "aes-256-gcm"]


def test_the_faster_backend_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for chosen in Backend:
        answers = iter([chosen])
        monkeypatch.setattr(keystream, "self_test", lambda answers=answers: next(answers))
        fastest.cache_clear()
        assert [fastest(), fastest()] == [chosen, chosen]
    fastest.cache_clear()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_a_long_vector_gets_its_keystream_in_pieces_that_stay_small(dtype: Any) -> None:
    part = np.zeros(8 * CHUNK_BYTES // np.dtype(dtype).itemsize, dtype)
    add_keystream(part, seed(1), 1, 0)
    tracemalloc.start()
    add_keystream(part, seed(1), -1, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not part.any()
    assert peak < 2.5 * CHUNK_BYTES  # a piece, and the one before it
