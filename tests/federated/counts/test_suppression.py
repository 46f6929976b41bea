"""Tests 63 and more: what several pods publish of their screenings gives no small count away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.counts.cells import CountCells, Profile, bits_of
from federated.counts.summed_counts import HELD, read_counts, released, totals, vector_names
from federated.counts.suppression import held_back, protected
from federated.errors import CheckFailed, InvalidArgument
from tests.federated.screening.counting import Published, Reader, Table, cells, random_table

K = 5
SECRETS = [bytes([number]) * 32 for number in range(16)]


def published(asked: CountCells, table: Table, smallest: int = K) -> Published:
    return Published(*held_back(asked, table, smallest, SECRETS[0]))


@pytest.mark.parametrize("criteria", [1, 2, 3])
@pytest.mark.parametrize("patients", [12, 25, 60])
def test_small_cells_cannot_be_computed_from_the_rest_of_a_pod(criteria: int, patients: int) -> None:
    """The strongest reader of a sum: the modeller together with all pods but one sees that one's vectors."""
    asked = cells(criteria)
    for seed in range(4):
        table = random_table(seed, criteria, patients)
        one = published(asked, table)
        assert not Reader(asked, [one]).determined(0, K, one.counts), table


def test_small_cells_cannot_be_computed_from_the_rest_sums_included() -> None:
    """Who sees the sums, and even knows which pods hold back what, computes no cell of a pod."""
    asked = cells(2)
    for seed in range(3):
        pods = [published(asked, random_table(10 * seed + pod, 2, 15 + 10 * pod)) for pod in range(3)]
        reader = Reader(asked, pods, sum_only=True)
        for pod, one in enumerate(pods):
            assert not reader.determined(pod, K, one.counts)


def tables(profiles: int, patients: int) -> Iterator[Table]:
    """Every table of one criterion."""

    def split(rest: int, parts: int) -> Iterator[tuple[int, ...]]:
        if parts == 1:
            yield (rest,)
            return
        for first in range(rest + 1):
            yield from ((first, *others) for others in split(rest - first, parts - 1))

    for counts in split(patients, profiles):
        yield {(verdict,): count for verdict, count in enumerate(counts) if count}


@pytest.mark.parametrize("patients", [10, pytest.param(13, marks=pytest.mark.proof)])
def test_a_reader_who_knows_the_rule_and_not_the_secret_computes_nothing(patients: int) -> None:
    """All tables and some secrets that give one answer, compared cell by cell."""
    asked, explained = cells(1), defaultdict(lambda: defaultdict(set))
    for table in tables(4, patients):
        for secret in SECRETS:
            counts, hidden = held_back(asked, table, K, secret)
            shown = tuple(None if hidden >> place & 1 else count for place, count in enumerate(counts))
            for place in bits_of(hidden):
                explained[shown][place].add(counts[place])
    for worlds in explained.values():
        for seen in worlds.values():
            assert len(seen) > 1 or not 0 < min(seen) < K


def only_the_small(asked: CountCells, table: Table) -> Published:
    """Known to be bad: hides the small cells and nothing else."""
    counts = asked.counts(table)
    return Published(counts, sum(1 << place for place, count in enumerate(counts) if 0 < count < K))


def only_the_sum(asked: CountCells, table: Table) -> Published:
    """Known to be bad: leaves the rule to whoever adds up."""
    return Published(asked.counts(table), 0)


def steps_that_lose_enough(evaluated: int, lost: list[int]) -> set[int]:
    pending, left, kept = 0, evaluated, set()
    for place, count in enumerate(lost):
        pending, left = pending + count, left - count
        if (pending == 0 or pending >= K) and (left == 0 or left >= K):
            kept.add(place)
            pending = 0
    return kept if evaluated >= K else set()


def each_group_alone(asked: CountCells, table: Table) -> Published:
    """Known to be bad: every group that adds up is safe, but they share patients."""
    counts, hidden = asked.counts(table), 0
    for partition in asked.partitions:
        places = list(bits_of(partition))
        shown = protected([counts[place] for place in places], K).cells
        hidden |= sum(1 << place for place, cell in zip(places, shown, strict=True) if cell is None)
    steps = range(len(asked.criteria))
    lost = [counts[next(bits_of(asked.lost(step)))] for step in steps]
    kept = steps_that_lose_enough(counts[0], lost)
    hidden |= sum(asked.entering(step) for step in steps if step and step - 1 not in kept)
    return Published(counts, hidden)


def differences_left_in(asked: CountCells, table: Table) -> Published:
    """Known to be bad: who enters each step is shown wherever there are enough of them."""
    counts, hidden = held_back(asked, table, K, SECRETS[0])
    steps = sum(map(asked.entering, range(len(asked.criteria))))
    return Published(
        counts, hidden & ~sum(1 << place for place in bits_of(steps & hidden) if counts[place] >= K)
    )


@pytest.mark.parametrize("bad", [only_the_small, only_the_sum, each_group_alone, differences_left_in])
def test_the_solver_finds_what_a_bad_rule_gives_away(bad: object) -> None:
    assert callable(bad)
    asked = cells(2)
    found = []
    for seed in range(12):
        one = bad(asked, random_table(seed, 2, 40))
        reader = Reader(asked, [one])
        found += reader.determined(0, K, one.counts)
        if found:
            return
    raise AssertionError("the bad rule was not caught")


@pytest.mark.parametrize(
    ("table", "secret"),
    [
        # A cell that would lose its only patient would be shown as empty: the reader knows that it has one.
        ({(1, 2): 7, (1, 0): 1, (1, 3): 6, (0, 2): 3, (2, 3): 1, (2, 2): 4, (3, 1): 7}, b"jjjj"),
        ({(0, 0): 2, (3, 3): 5, (1, 1): 1, (2, 2): 20, (1, 2): 5}, b"\xa2" * 4),
        ({(3, 3, 2): 6, (0, 2, 0): 5, (3, 0, 1): 1}, b"\x16" * 4),
        ({(2, 1): 6, (0, 0): 1, (3, 1): 1, (1, 2): 1, (2, 0): 7, (0, 3): 1}, b"\xa1" * 4),
        # A cell that is shown as empty gains nobody.
        ({(1, 3, 2): 20, (0, 1, 3): 6, (2, 3, 3): 9, (1, 1, 1): 1}, b"\xdc" * 4),
        ({(1, 1, 3): 1, (3, 1, 2): 9, (1, 2, 3): 2, (1, 2, 0): 20, (0, 1, 3): 1}, b"\x87" * 4),
        # No cell is small here, and a difference of two is.
        ({(2, 3): 9, (0, 1): 4, (0, 3): 7, (2, 1): 2}, b"\xfc" * 4),
        # What is held back of one group is small in all.
        ({(0, 2): 7, (3, 1): 1, (3, 0): 3}, b"\x87" * 4),
        ({(3, 1): 9, (2, 0): 2, (0, 2): 2, (0, 0): 20, (2, 3): 1}, b"\xe4" * 4),
    ],
)
def test_a_table_that_a_weaker_rule_gave_away_is_not_given_away(table: Table, secret: bytes) -> None:
    """Found by drawing thousands of tables for rules with one guard less; whole numbers are all the reader needs."""
    asked = cells(len(next(iter(table))))
    one = Published(*held_back(asked, table, K, secret))
    assert Reader(asked, [one]).given_away(0, K, one.counts) == []


def test_the_reader_sees_a_difference_that_is_given_away_though_no_cell_is_small() -> None:
    asked, table = cells(2), {(2, 3): 9, (0, 1): 4, (0, 3): 7, (2, 1): 2}
    reader = Reader(asked, [Published(asked.counts(table), 0)])
    assert reader.determined(0, K, asked.counts(table)) == []
    meets = ["criterion/c0/passed", "criterion/c0/not_applicable"]
    assert (meets, ["decision/eligible"]) in reader.given_away(0, K, asked.counts(table))


ENDS = {
    "decision/eligible",
    "decision/not_eligible",
    "funnel/c0/lost",
    "criterion/c0/passed",
    "criterion/c0/failed",
}


@pytest.mark.parametrize(
    ("table", "hidden"),
    [
        ({(0,): 5, (1,): 5}, set()),  # as many as may be seen are seen
        ({(0,): 4, (1,): 6}, ENDS),  # twice the smallest: what is empty is shown
        ({(0,): 1, (1,): 4, (2,): 5}, ENDS),  # the small ones stand in for each other
        ({(0,): 1, (1,): 2, (2,): 5, (3,): 2}, ENDS | {"criterion/c0/not_applicable"}),  # one of two may be elsewhere
        (
            {(0, 0): 5, (0, 1): 2, (1, 3): 5},  # somebody may not have been asked instead of failing
            {"decision/eligible", "decision/not_eligible", "funnel/c1/lost", "criterion/c1/failed",
             "criterion/c1/not_applicable"},
        ),
        (
            {(0, 0): 1, (1, 1): 12},  # somebody may have the verdicts of somebody else
            ENDS | {"criterion/c1/passed", "criterion/c1/failed", "funnel/c1/entering"},
        ),
        (
            {(0, 0): 2, (0, 1): 5, (1, 1): 4},  # or other verdicts than anybody
            ENDS | {"criterion/c1/passed", "criterion/c1/failed", "funnel/c1/entering"},
        ),
    ],
)  # fmt: skip
def test_no_more_is_held_back_than_a_what_if_needs(table: Table, hidden: set[str]) -> None:
    asked = cells(len(next(iter(table))))
    found = held_back(asked, table, K, SECRETS[0])[1]
    assert {asked.names[place] for place in bits_of(found)} == hidden


@pytest.mark.parametrize("patients", range(K, 2 * K))
def test_of_fewer_than_twice_the_smallest_only_their_number_is_shown(patients: int) -> None:
    """Not even which cells are empty, unless nothing is small."""
    asked = cells(1)
    for table in tables(3, patients):
        hidden = held_back(asked, table, K, SECRETS[0])[1]
        assert hidden == (asked.everything if len(table) > 1 else 0), table


profiles = st.integers(1, 5).flatmap(
    lambda criteria: st.dictionaries(
        st.tuples(*[st.integers(0, 3)] * criteria), st.integers(1, 40), min_size=1, max_size=12
    )
)


@settings(max_examples=60, deadline=None)
@given(profiles, st.integers(5, 11), st.binary(min_size=4, max_size=4))
def test_what_is_shown_is_true_and_no_difference_is_small(table: Table, smallest: int, secret: bytes) -> None:
    asked = cells(len(next(iter(table))))
    if sum(table.values()) < smallest:
        with pytest.raises(InvalidArgument, match="not counted"):
            held_back(asked, table, smallest, secret)
        return
    counts, hidden = held_back(asked, table, smallest, secret)
    assert not hidden & 1
    for place, count in enumerate(counts):
        assert hidden >> place & 1 or count == 0 or count >= smallest
    for partition in asked.partitions:
        rest = sum(counts[place] for place in bits_of(partition & hidden))
        assert rest == 0 or rest >= smallest
    for added, taken in asked.differences:
        if not (added | taken) & hidden:
            number = sum(counts[p] for p in bits_of(added)) - sum(counts[p] for p in bits_of(taken))
            assert number == 0 or number >= smallest
    assert (counts, hidden) == held_back(asked, dict(reversed(table.items())), smallest, secret)


@cache
def _pods() -> tuple[CountCells, list[dict[Profile, int]]]:
    return cells(3), [random_table(seed, 3, 40 + seed) for seed in range(4)]


def test_a_total_is_at_least_what_is_there_and_says_how_many_pods_held_back() -> None:
    asked, pods = _pods()
    vectors = [released(asked, table, 11, SECRETS[0]) for table in pods]
    found = totals(asked, sum(one.numbers for one in vectors), 4, 11)
    for place, name in enumerate(asked.names):
        true = sum(asked.counts(table)[place] for table in pods)
        total = found.totals[name]
        assert total.at_least is not None
        assert total.held_back == sum(one.hidden >> place & 1 for one in vectors)
        assert total.at_least == true if not total.held_back else total.at_least <= true
    assert found.total("evaluated").held_back == 0
    assert {str(total) for total in found.totals.values()} > {str(found.total("evaluated").at_least)}
    assert any(str(total).startswith("at least") for total in found.totals.values())


def test_names_and_order_follow_from_the_trial_alone() -> None:
    asked, pods = _pods()
    vectors = [released(asked, table, 11, secret) for table in pods for secret in SECRETS[:2]]
    assert {one.names for one in vectors} == {vector_names(asked)}
    assert all(len(one.numbers) == len(one.names) == 2 * (1 + 3 + 6 * 3) for one in vectors)
    named = vectors[0].named()
    assert read_counts(asked, named, 1, 11).pods == 1
    with pytest.raises(InvalidArgument, match="in order"):
        read_counts(asked, dict(reversed(named.items())), 1, 11)


def test_a_small_sum_hides_its_group_and_all_that_is_linked_to_it() -> None:
    """Pods with a lower limit than the task's leave small sums; they are not written down."""
    asked = cells(2)
    table = {(0, 0): 30, (1, 0): 7, (0, 1): 12}
    sums = released(asked, table, 5, SECRETS[0])
    assert sums.named()["criterion/c0/failed"] == 7
    found = totals(asked, sums.numbers, 1, 11)
    shown = {name for name, total in found.totals.items() if total.at_least is not None}
    assert shown == {
        "evaluated",
        *(f"criterion/c1/{v}" for v in ("passed", "failed", "unknown", "not_applicable")),
    }
    few = totals(asked, released(asked, {(0, 0): 7}, 5, SECRETS[0]).numbers, 1, 11)
    assert all(total.at_least is None for total in few.totals.values())
    assert str(few.total("evaluated")) == "not shown"


@pytest.mark.parametrize(
    "change", [("evaluated", -100), (HELD + "evaluated", 5), (HELD + "decision/eligible", -2)]
)
def test_a_sum_that_no_pods_can_have_is_refused(change: tuple[str, int]) -> None:
    asked, pods = _pods()
    named = released(asked, pods[0], 11, SECRETS[0]).named()
    with pytest.raises(CheckFailed):
        read_counts(asked, named | {change[0]: named[change[0]] + change[1]}, 1, 11)
    with pytest.raises(InvalidArgument):
        totals(asked, [0], 1, 11)
    with pytest.raises(InvalidArgument):
        totals(asked, list(named.values()), 1, 4)


def test_a_limit_below_the_lowest_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected 5 or more"):
        held_back(cells(1), {(0,): 30}, 4, b"")
