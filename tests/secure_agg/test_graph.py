"""Graphs are what they are called, their order is nobody's choice, and their degree is certified twice."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import graph
from secure_agg.errors import BadMaskInput, CohortRefused, GraphNotCertified
from tests.secure_agg.vectors import seed

NAMES = [f"pod{i:03}" for i in range(300)]

# (corrupt, dropped) to pods to (degree, threshold): a table from another implementation. The degrees
# agree everywhere. Several thresholds can be right for one degree; it took the least that is private enough
# or one above, we take the largest that is alive enough, which is the more private of them: at most one more.
TABLE = {
    (0.05, 0.05): {200: (20, 11), 1000: (30, 17), 10_000: (34, 20)},
    (0.2, 0.1): {200: (46, 30), 1000: (66, 42), 10_000: (80, 50)},
    (0.33, 0.1): {200: (64, 46), 1000: (102, 72), 10_000: (122, 85)},
    (0.33, 0.3): {200: (114, 62), 1000: (246, 134), 10_000: (352, 190)},
}
ROWS = [(c, d, n, k, t) for (c, d), rows in TABLE.items() for n, (k, t) in rows.items()]


def exact_tail(population: int, marked: int, drawn: int, least: int) -> Fraction:
    """The same tail by counting with whole numbers."""
    hits = range(max(least, 0), drawn + 1)
    good = sum(math.comb(marked, h) * math.comb(population - marked, drawn - h) for h in hits)
    return Fraction(good, math.comb(population, drawn))


def log2(value: Fraction) -> float:
    """Of fractions too small for a float."""
    if value == 0:
        return -math.inf
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    return shift + math.log2(value / Fraction(2) ** shift)


@given(
    population=st.integers(1, 400),
    marked=st.integers(0, 400),
    drawn=st.integers(0, 60),
    least=st.integers(-1, 61),
)
def test_tails_agree_with_counting(population: int, marked: int, drawn: int, least: int) -> None:
    marked, drawn = min(marked, population), min(drawn, population)
    ours, exact = (
        graph.log2_tail(population, marked, drawn, least),
        exact_tail(population, marked, drawn, least),
    )
    assert ours == pytest.approx(log2(exact), abs=1e-6)


@pytest.mark.parametrize(("corrupt", "dropped", "pods", "degree", "threshold"), ROWS[:-1])
def test_the_table_of_degrees_comes_out(
    corrupt: float, dropped: float, pods: int, degree: int, threshold: int
) -> None:
    check_row(corrupt, dropped, pods, degree, threshold)


@pytest.mark.proof
def test_the_last_row_of_the_table_comes_out() -> None:
    check_row(0.33, 0.3, 10_000, 352, 190)


def check_row(corrupt: float, dropped: float, pods: int, degree: int, threshold: int) -> None:
    found = graph.certified(pods, corrupt, dropped)
    assert found.degree == degree
    assert threshold <= found.threshold <= threshold + 1
    theirs = graph.certificate(pods, corrupt, dropped, degree, threshold)
    assert theirs.privacy_bits >= 40
    assert theirs.liveness_bits >= 20


@pytest.mark.parametrize(("corrupt", "dropped", "pods", "degree", "threshold"), ROWS[:9])
def test_a_certificate_holds_by_counting_too(
    corrupt: float, dropped: float, pods: int, degree: int, threshold: int
) -> None:
    found = graph.certified(pods, corrupt, dropped)
    liars, lost = math.ceil(corrupt * pods), math.ceil(dropped * pods)
    opened = (pods - liars) * exact_tail(pods - 1, liars, found.degree, found.threshold)
    removed = liars + lost
    cut = math.comb(pods, 2) * Fraction(math.comb(removed, found.degree), math.comb(pods, found.degree))
    starved = pods * exact_tail(pods - 1, lost, found.degree, found.degree - found.threshold + 1)
    assert -log2(opened + cut) == pytest.approx(found.privacy_bits, abs=1e-4)
    assert found.privacy_bits >= 40
    assert -log2(starved) == pytest.approx(found.liveness_bits, abs=1e-4) if starved else True
    assert found.liveness_bits >= 20


def test_no_smaller_degree_would_do() -> None:
    found = graph.certified(1000, 0.05, 0.05)
    for threshold in range(1, found.degree - 1):
        smaller = graph.certificate(1000, 0.05, 0.05, found.degree - 2, threshold)
        # A threshold of at most half the degree is not offered: two halves could each open a secret.
        enough = smaller.privacy_bits >= 40 and smaller.liveness_bits >= 20
        assert not enough or threshold <= (found.degree - 2) // 2


@pytest.mark.parametrize(("pods", "corrupt", "dropped"), [(10, 0.5, 0.4), (50, 0.6, 0.5), (200, 0.5, 0.5)])
def test_what_cannot_be_certified_is_refused(pods: int, corrupt: float, dropped: float) -> None:
    with pytest.raises(GraphNotCertified, match="Use the complete graph"):
        graph.certified(pods, corrupt, dropped)


def test_small_cohorts_are_certified_where_nothing_is_left_to_chance() -> None:
    found = graph.certified(10, 0.3, 0.1)
    assert found.threshold > 3  # more than all liars together
    assert found.degree - found.threshold >= 1  # and every pod may lose one neighbour
    assert found.privacy_bits == found.liveness_bits == math.inf


@pytest.mark.parametrize(
    ("pods", "corrupt", "dropped"),
    [(2, 0, 0), (100, 1, 0), (100, 0, 1), (100, -0.1, 0), (100, math.nan, 0), (100, 0, math.nan)],
)
def test_impossible_fractions_are_refused(pods: int, corrupt: float, dropped: float) -> None:
    with pytest.raises(GraphNotCertified):
        graph.certified(pods, corrupt, dropped)


@pytest.mark.parametrize(("degree", "threshold"), [(2, 3), (100, 50), (4, 0)])
def test_impossible_degrees_have_no_certificate(degree: int, threshold: int) -> None:
    with pytest.raises(GraphNotCertified):
        graph.certificate(100, 0.1, 0.1, degree, threshold)


def test_a_bound_that_is_just_reached_is_enough() -> None:
    found = graph.certified(1000, 0.05, 0.05)
    same = graph.certified(
        1000, 0.05, 0.05, privacy_bits=found.privacy_bits, liveness_bits=found.liveness_bits
    )
    assert same == found


def test_more_than_half_of_the_neighbours_are_always_needed() -> None:
    for dropped in (0.05, 0.3, 0.4):
        found = graph.certified(300, 0.01, dropped, privacy_bits=5, liveness_bits=5)
        assert 2 * found.threshold > found.degree


def test_two_neighbours_are_the_least_and_a_ring() -> None:
    found = graph.harary(NAMES[:3], 2, seed(1))
    assert all(len(neighbours) == 2 for neighbours in found.values())


def test_two_neighbours_protect_against_nobody() -> None:
    assert graph.certificate(200, 0.05, 0.05, 2, 2).privacy_bits == 0


@given(pods=st.integers(3, 60), half=st.integers(1, 10), order=st.integers(0, 5))
def test_harary_graphs_are_regular_symmetric_and_without_loops(pods: int, half: int, order: int) -> None:
    if 2 * half >= pods:
        return
    found = graph.harary(NAMES[:pods], 2 * half, seed(order))
    assert set(found) == set(NAMES[:pods])
    for name, neighbours in found.items():
        assert len(neighbours) == 2 * half
        assert name not in neighbours
        assert all(name in found[other] for other in neighbours)


def connected(neighbours: dict[str, frozenset[str]], removed: set[str]) -> bool:
    left = set(neighbours) - removed
    reached, waiting = set(), [min(left)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += neighbours[name] - removed
    return reached == left


def test_fewer_removals_than_the_degree_never_cut_a_harary_graph() -> None:
    found = graph.harary(NAMES[:10], 4, seed(1))
    for count in range(4):
        assert all(connected(found, set(lost)) for lost in combinations(NAMES[:10], count))
    assert not all(connected(found, set(lost)) for lost in combinations(NAMES[:10], 4))


def test_the_order_depends_on_the_seed_alone() -> None:
    assert graph.shuffled(NAMES, seed(1)) == graph.shuffled(NAMES[::-1], seed(1))
    assert graph.shuffled(NAMES, seed(1)) != graph.shuffled(NAMES, seed(2))
    assert sorted(graph.shuffled(NAMES, seed(1))) == NAMES


def test_every_order_is_equally_likely() -> None:
    counts: dict[tuple[str, ...], int] = {}
    for number in range(6000):
        order = tuple(graph.shuffled("abc", seed(("order", number))))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 1000) < 200 for count in counts.values())  # nearly 7 standard deviations


def test_complete_graphs_leave_nobody_out() -> None:
    found = graph.complete("abcd")
    assert found["a"] == frozenset("bcd")
    assert all(len(neighbours) == 3 for neighbours in found.values())


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], ["a", "b", "a"]])
def test_cohorts_with_a_name_twice_or_one_alone_are_refused(names: list[str]) -> None:
    with pytest.raises(BadMaskInput):
        graph.complete(names)
    with pytest.raises(BadMaskInput):
        graph.harary(names, 2, seed(1))


@pytest.mark.parametrize("degree", [0, 1, 3, 10, 12, -2])
def test_a_degree_that_cannot_be_is_refused(degree: int) -> None:
    with pytest.raises(BadMaskInput, match="degree"):
        graph.harary(NAMES[:10], degree, seed(1))


NONCES = {name: seed(("nonce", name)) for name in "abc"}
COMMITMENTS = {name: graph.commitment(name, nonce) for name, nonce in NONCES.items()}


def test_graph_seed_not_server_controlled() -> None:
    joint = graph.joint_seed(COMMITMENTS, NONCES)
    assert joint == graph.joint_seed(dict(reversed(COMMITMENTS.items())), NONCES)
    for name in NONCES:
        other = {**NONCES, name: seed("another")}
        with pytest.raises(CohortRefused, match="not the one it committed to"):
            graph.joint_seed(COMMITMENTS, other)
        with pytest.raises(CohortRefused, match="2 nonces for 3 commitments"):
            graph.joint_seed(COMMITMENTS, {key: value for key, value in NONCES.items() if key != name})
        committed = {**COMMITMENTS, name: graph.commitment(name, seed("another"))}
        assert graph.joint_seed(committed, other) != joint


def test_a_commitment_is_bound_to_its_pod() -> None:
    swapped = {**COMMITMENTS, "a": COMMITMENTS["b"]}
    with pytest.raises(CohortRefused):
        graph.joint_seed(swapped, {**NONCES, "a": NONCES["b"]})
    with pytest.raises(CohortRefused):
        graph.joint_seed({}, {})
    with pytest.raises(BadMaskInput):
        graph.commitment("a", b"short")


# ---- edges ----


def test_three_pods_are_the_least_and_two_have_no_certificate() -> None:
    assert graph.certificate(3, 0, 0, 2, 2).liveness_bits == math.inf
    for pods in (0, 1, 2):
        with pytest.raises(GraphNotCertified, match="needs 3 pods or more"):
            graph.certificate(pods, 0, 0, 1, 1)


@pytest.mark.parametrize(("degree", "threshold", "held"), [(2, 1, True), (99, 99, True), (2, 0, False)])
def test_a_certificate_is_for_1_to_degree_shares_of_less_than_the_cohort(
    degree: int, threshold: int, held: bool
) -> None:
    if held:
        found = graph.certificate(100, 0.1, 0.1, degree, threshold)
        assert (found.degree, found.threshold) == (degree, threshold)
        return
    with pytest.raises(GraphNotCertified, match="expected 1 <= threshold <= degree < pods"):
        graph.certificate(100, 0.1, 0.1, degree, threshold)


@pytest.mark.parametrize(("corrupt", "dropped"), [(0.999, 0.0), (0.0, 0.999), (0.0, 0.0)])
def test_fractions_from_0_to_below_1_are_taken(corrupt: float, dropped: float) -> None:
    found = graph.certificate(100, corrupt, dropped, 10, 6)
    assert (found.privacy_bits == math.inf) is (corrupt == dropped == 0)


@pytest.mark.parametrize(
    ("pods", "corrupt", "dropped", "counts"),
    [
        (200, 0.05, 0.05, (10, 10)),
        (100, 0.07, 0.29, (7, 29)),
        (101, 0.05, 0.1, (6, 11)),
        (10, 0, 0.01, (0, 1)),
    ],
)
def test_fractions_are_rounded_against_us_and_whole_ones_are_not(
    pods: int, corrupt: float, dropped: float, counts: tuple[int, int]
) -> None:
    assert graph._counts(pods, corrupt, dropped) == counts


@pytest.mark.parametrize(
    ("pods", "liars", "lost", "degree", "threshold"),
    [
        (50, 5, 4, 8, 5),
        (50, 0, 20, 8, 5),
        (12, 3, 2, 4, 3),
        (12, 3, 9, 4, 3),
        (12, 3, 8, 2, 2),
        (9, 8, 0, 4, 3),
    ],
)
def test_both_bounds_are_those_of_whole_numbers(
    pods: int, liars: int, lost: int, degree: int, threshold: int
) -> None:
    removed = min(pods, liars + lost)
    opened = (pods - liars) * exact_tail(pods - 1, liars, degree, threshold)
    cut = math.comb(pods, 2) * Fraction(math.comb(removed, degree), math.comb(pods, degree))
    starved = pods * exact_tail(pods - 1, lost, degree, degree - threshold + 1)
    private = max(0.0, -log2(opened + cut))
    assert graph.privacy(pods, liars, lost, degree, threshold) == pytest.approx(private, abs=1e-6)
    assert graph.liveness(pods, lost, degree, threshold) == pytest.approx(max(0.0, -log2(starved)), abs=1e-6)


def test_the_bounds_that_are_asked_for_are_40_and_20_bits() -> None:
    found = graph.certified(300, 0.1, 0.1)
    assert found == graph.certified(300, 0.1, 0.1, privacy_bits=40, liveness_bits=20)
    assert found != graph.certified(300, 0.1, 0.1, privacy_bits=43, liveness_bits=20)
    assert found != graph.certified(300, 0.1, 0.1, privacy_bits=40, liveness_bits=21)
    with pytest.raises(
        GraphNotCertified, match="10 gives 40 bits of privacy and 20 of liveness with 5 corrupt and 4 lost"
    ):
        graph.certified(10, 0.5, 0.4)


def test_a_ring_is_a_mapping_of_every_pod_to_its_sorted_neighbours() -> None:
    ring = graph.Ring(NAMES[:9], 4, seed(3))
    order = graph.shuffled(NAMES[:9], seed(3))
    assert (len(ring), list(ring)) == (9, order)
    for at, name in enumerate(order):
        near = sorted(order[(at + step) % 9] for step in (-2, -1, 1, 2))
        assert ring[name] == tuple(near) == ring[name]
    with pytest.raises(KeyError):
        ring["nobody"]


def test_the_order_is_that_of_words_of_the_stream() -> None:
    from secure_agg.keystream import Cursor, stream_key

    words = Cursor(stream_key(seed(5), b"graph")).words(40, "<u8").tolist()
    ordered = [name for _, name in sorted(zip(words, NAMES[:40], strict=True))]
    assert graph.shuffled(NAMES[:40], seed(5)) == ordered


def test_commitments_and_the_joint_seed_are_these_hashes() -> None:
    import hashlib

    assert graph.commitment("a", NONCES["a"]) == hashlib.sha256(b"sa1/graph" + NONCES["a"] + b"a").digest()
    parts = (b"sa1/graph-seed", b"a\nb\nc", NONCES["a"] + NONCES["b"] + NONCES["c"])
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert graph.joint_seed(COMMITMENTS, NONCES) == hashlib.sha256(framed).digest()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_nonce_is_32_bytes(size: int) -> None:
    with pytest.raises(BadMaskInput, match="expected 32 bytes"):
        graph.commitment("a", bytes(size))
    with pytest.raises(CohortRefused, match="A nonce is not of 32 bytes"):
        graph.joint_seed(COMMITMENTS, {**NONCES, "a": bytes(size)})
    with pytest.raises(CohortRefused, match="A nonce is not of 32 bytes"):
        graph.joint_seed(COMMITMENTS, {name: bytes(size) for name in NONCES})


def test_what_the_cohort_or_the_degree_is_refused_for_is_said() -> None:
    with pytest.raises(BadMaskInput, match="3 names, 2 distinct"):
        graph.complete(["a", "b", "a"])
    assert graph.complete("ab") == {"a": frozenset("b"), "b": frozenset("a")}
    with pytest.raises(BadMaskInput, match="an even number from 2 to 9"):
        graph.harary(NAMES[:10], 10, seed(1))
    assert all(len(near) == 8 for near in graph.harary(NAMES[:10], 8, seed(1)).values())
    with pytest.raises(CohortRefused, match="nonce of pod 'b' is not the one"):
        graph.joint_seed(COMMITMENTS, {**NONCES, "b": seed("another")})


@pytest.mark.parametrize("fraction", [1.0, 1.5, -1e-9, math.nan])
def test_a_fraction_of_1_or_below_0_has_no_certificate(fraction: float) -> None:
    for corrupt, dropped in ((fraction, 0.0), (0.0, fraction)):
        with pytest.raises(GraphNotCertified, match="fractions of at least 0 and below 1"):
            graph.certificate(100, corrupt, dropped, 10, 6)
