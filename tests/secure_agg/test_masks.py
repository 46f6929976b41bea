"""Masks cancel exactly, for every width, number of threads and order; and wrong input is refused."""

from __future__ import annotations

import ast
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secure_agg
from secure_agg.errors import BadMaskInput, MemoryRefused
from secure_agg.fixed_point import Extras, encode
from secure_agg.keystream import CHUNK_BYTES, LANE, SEGMENT_BYTES, Backend
from secure_agg.masks import LostPair, check_memory, mask, needed_bytes, pair_sign, remove, thread_count
from secure_agg.parameters import Encoding
from tests.secure_agg.vectors import frozen, seed

DTYPES = (np.uint16, np.uint32, np.uint64)


def pair_seed(a: str, b: str) -> bytes:
    return seed(("pair", *sorted([a, b])))


def masked(plain: np.ndarray, me: str, pods: list[str], **options: Any) -> np.ndarray:
    vector = plain.copy()
    mask(vector, me, seed(("own", me)), {p: pair_seed(me, p) for p in pods if p != me}, **options)
    return vector


def random_words(label: object, length: int, dtype: Any = np.uint32) -> np.ndarray:
    data = np.random.default_rng(list(seed(label))).integers(0, 2**63, length, np.uint64)
    return (data * np.uint64(2) + np.uint64(1)).astype(dtype)


def test_the_masked_vectors_are_those_of_the_slow_oracle() -> None:
    for known in frozen()["masks"]:
        total = np.zeros(9, f"<u{known['bits'] // 8}")
        for pod, part in known["pods"].items():
            vector = np.array(part["update"], total.dtype)
            pairs = {peer: bytes.fromhex(each) for peer, each in part["pair_seeds"].items()}
            mask(vector, pod, bytes.fromhex(part["own_seed"]), pairs)
            assert vector.tolist() == part["masked"]
            total += vector
        remove(total, [bytes.fromhex(part["own_seed"]) for part in known["pods"].values()])
        expected = sum(np.array(part["update"], total.dtype) for part in known["pods"].values())
        assert np.array_equal(total, expected)


@settings(max_examples=60)
@given(
    pods=st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=9, unique=True),
    data=st.data(),
    length=st.integers(0, 50),
    dtype=st.sampled_from(DTYPES),
    domain=st.sampled_from([b"vector", LANE]),
)
def test_masks_cancel_whoever_answers(
    pods: list[str], data: st.DataObject, length: int, dtype: Any, domain: bytes
) -> None:
    lost = data.draw(st.sets(st.sampled_from(pods), max_size=len(pods) - 1))
    alive = [pod for pod in pods if pod not in lost]
    plain = {pod: random_words(pod, length, dtype) for pod in alive}
    total = sum(masked(plain[pod], pod, pods, domain=domain) for pod in alive)
    pairs = [LostPair(a, b, pair_seed(a, b)) for a in alive for b in lost]
    remove(total, [seed(("own", pod)) for pod in alive], pairs, domain=domain)
    assert np.array_equal(total, sum(plain.values()))


@pytest.mark.parametrize("length", [1, 65_535, 65_536, 65_537, 131_073])
@pytest.mark.parametrize("dtype", DTYPES)
def test_chunk_edges_1_65535_65536_65537(length: int, dtype: Any) -> None:
    pods = ["a", "b", "c"]
    plain = {pod: random_words(pod, length, dtype) for pod in pods}
    total = sum(masked(plain[pod], pod, pods) for pod in pods)
    remove(total, [seed(("own", pod)) for pod in pods])
    assert np.array_equal(total, sum(plain.values()))


@pytest.mark.parametrize("length", [10, 262_145, 3_400_001])
def test_thread_count_invariant(length: int) -> None:
    plain = random_words("x", length)
    one = masked(plain, "b", ["a", "b", "c"], threads=1)
    assert all(np.array_equal(one, masked(plain, "b", ["a", "b", "c"], threads=n)) for n in (None, 2, 3, 7))


def test_ranges_cover_the_vector_once_and_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def add_range(part: np.ndarray, start: int, *_: object) -> None:
        seen.append((start, start + len(part)))

    monkeypatch.setattr("secure_agg.masks._add_range", add_range)
    step = CHUNK_BYTES // 4
    length = 80 * step + 5
    for threads in (1, 2, 4):
        seen.clear()
        masked(np.zeros(length, np.uint32), "b", ["a", "b"], threads=threads)
        edges = sorted(seen)
        assert len(edges) == threads
        assert [a for a, _ in edges] == [0, *(b for _, b in edges[:-1])]
        assert edges[-1][1] == length
        assert all(a % step == 0 for a, _ in edges)
        assert max(b - a for a, b in edges) - min(b - a for a, b in edges) <= 2 * step


@pytest.mark.parametrize("backend", Backend)
def test_both_backends_give_one_vector(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = random_words("x", 2_300_000)
    expected = masked(plain, "b", ["a", "b", "c"])
    monkeypatch.setattr("secure_agg.masks.fastest", lambda: backend)
    for threads in (1, 3):
        assert np.array_equal(masked(plain, "b", ["a", "b", "c"], threads=threads), expected)


@pytest.mark.proof
def test_threads_over_whole_segments_give_the_same_bytes() -> None:
    plain = np.zeros(2 * SEGMENT_BYTES // 4 + 77, np.uint32)
    one = masked(plain, "b", ["a", "b"], threads=1)
    assert np.array_equal(one, masked(plain, "b", ["a", "b"], threads=2))
    assert np.array_equal(one, masked(plain, "b", ["a", "b"], threads=5))


def test_order_of_neighbours_does_not_matter() -> None:
    plain = random_words("x", 100)
    assert np.array_equal(masked(plain, "c", list("abcde")), masked(plain, "c", list("edcba")))


def test_an_empty_vector_is_masked_to_an_empty_vector() -> None:
    assert masked(np.zeros(0, np.uint32), "a", ["a", "b"]).shape == (0,)


def test_one_end_adds_what_the_other_subtracts() -> None:
    for a, b in combinations(["Ä", "a", "b", "B", "pod-10", "pod-9"], 2):
        assert pair_sign(a, b) == -pair_sign(b, a)
    assert pair_sign("b", "a") == 1
    with pytest.raises(BadMaskInput):
        pair_sign("a", "a")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({}, "0 names"),
        ({"a": seed(1)}, "without this pod"),
        ({"b": seed(1), "c": seed(1)}, "two are equal"),
        ({"b": seed("own")}, "two are equal"),
        ({"b": b"short"}, "5 bytes"),
    ],
    ids=["none", "myself", "twice", "own", "short"],
)
def test_seeds_that_would_leave_a_pod_bare_are_refused(pairs: dict[str, bytes], message: str) -> None:
    vector = np.arange(5, dtype=np.uint32)
    with pytest.raises(BadMaskInput, match=message) as refused:
        mask(vector, "a", seed("own"), pairs)
    assert vector.tolist() == [0, 1, 2, 3, 4]
    assert "Nothing was sent" in str(refused.value)


def test_removing_without_any_own_seed_is_refused() -> None:
    with pytest.raises(BadMaskInput, match="own_seeds"):
        remove(np.zeros(3, np.uint32), [])


def test_less_than_one_thread_is_refused_and_short_vectors_take_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadMaskInput, match="threads"):
        thread_count(10, 0)
    assert thread_count(0) == thread_count(1000, 8) == 1
    assert thread_count(1 << 30, 8) == 8
    for cores, taken in ((None, 1), (1, 1), (3, 3), (4, 4), (64, 4)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert thread_count(1 << 30) == taken
    assert [thread_count(size << 20, 8) for size in (4, 8, 12)] == [1, 2, 3]


def test_memory_is_counted_before_it_is_taken() -> None:
    # Four groups of canaries; three buffers, since the zeros are shared; 200 open ciphers.
    needed = needed_bytes(1_000_000, 32, 4, masks=500)
    assert needed == 4_000_000 + 4 * (1_000_000 + 4 * 8) + 5 * 262_144 + 4 * 500 * 2048
    assert needed_bytes(1000, 32) == 4000 + 4 * 1008 + 32 * 32_768  # one thread, and rounding takes the most
    assert needed_bytes(1000, 32, masks=500) == 4000 + 4 * 1008 + 2 * 262_144 + 500 * 2048  # one thread
    assert needed_bytes(10, 64, 9, input_bytes=8) == 80 + 8 * 18 + 10 * 262_144 + 9 * 2048
    check_memory(needed, needed)
    with pytest.raises(MemoryRefused, match=f"needs {needed} bytes and {needed - 1} are allowed"):
        check_memory(needed, needed - 1)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("on_clip", ["error", "clip"])
def test_encoding_and_masking_stay_within_the_memory_that_was_counted(
    bits: Any, threads: int, on_clip: Any
) -> None:
    import tracemalloc

    length = 1_000_000
    how = Encoding(bits=bits, clip=1.0, scale=1.0, on_clip=on_clip)
    value = 2 if on_clip == "clip" else 1
    update = np.full(length, value, np.int32 if bits == 64 else np.float32)
    pairs = {f"p{i}": seed(i) for i in range(20)}

    def once() -> None:
        made = encode(update, 1.0, how, seed("r"), Extras(seed("rotation")))
        mask(made.vector, "a", seed("own"), pairs, threads=threads)

    if bits == 16:
        how = msgspec.structs.replace(how, on_clip="clip")
    once()
    tracemalloc.start()
    try:
        once()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= needed_bytes(length, bits, threads, masks=21) - update.nbytes


def test_a_seed_is_never_shown() -> None:
    assert "seed" not in repr(LostPair("a", "b", seed(1)))


RANDOM = {"random", "numpy.random", "secrets", "uuid"}


def test_no_numpy_or_random_generator_in_mask_path() -> None:
    folder = Path(secure_agg.__file__).parent
    found = []
    # The simulator is an edge: it alone asks the operating system for entropy where it is given none.
    for path in sorted(set(folder.glob("*.py")) - {folder / "simulation.py"}):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                imported = [f"{node.module}.{a.name}" for a in node.names] + [node.module or ""]
            wrong = [name for name in imported if name in RANDOM or name.split(".")[0] in RANDOM]
            named = isinstance(node, ast.Attribute) and (
                node.attr in {"random", "default_rng", "RandomState", "urandom", "getrandom"}
            )
            if wrong or named:
                found.append(f"{path.name}:{getattr(node, 'lineno', 0)}")
    assert found == []
