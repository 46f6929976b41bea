"""Test 62 and its neighbours: every view of the funnel comes from one table of masks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from federated.screening.decide.evidence import CriterionOutcome, Decision, Outcome, Verdict
from federated.screening.report import funnel as f

VERDICTS = (Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE)
IDS = ("age", "risk", "hba1c", "kidney")
people = st.lists(st.tuples(*(st.sampled_from(VERDICTS) for _ in IDS)), max_size=40)


def table(rows: list[tuple[Verdict, ...]]) -> dict[f.Masks, int]:
    def masks(row: tuple[Verdict, ...]) -> f.Masks:
        criteria = tuple(CriterionOutcome(name, "inclusion", v) for name, v in zip(IDS, row, strict=True))
        return Outcome(Decision.UNDECIDED, criteria).masks()

    return f.mask_table(masks(row) for row in rows)


def decision(row: tuple[Verdict, ...]) -> str:
    """The plain way: any fail, else any unknown."""
    if Verdict.FAIL in row:
        return "no"
    return "maybe" if Verdict.UNKNOWN in row else "yes"


@given(people)
def test_all_funnel_views_come_from_one_mask_table(rows: list[tuple[Verdict, ...]]) -> None:
    """Against a count of the people themselves."""
    found = f.funnel(IDS, table(rows))
    places = range(len(IDS))
    for number, step in enumerate(found.ordered):
        upto = [[row[place] for place in places[: number + 1]] for row in rows]
        assert step.possible == sum(Verdict.FAIL not in part for part in upto)
        assert step.sure == sum(not {Verdict.FAIL, Verdict.UNKNOWN} & set(part) for part in upto)
        assert step.lost == sum(part[-1] is Verdict.FAIL and Verdict.FAIL not in part[:-1] for part in upto)
        assert step.unsure == sum(
            part[-1] is Verdict.UNKNOWN and not {Verdict.FAIL, Verdict.UNKNOWN} & set(part[:-1])
            for part in upto
        )
    for place, row in enumerate(found.independent):
        without = [one[:place] + one[place + 1 :] for one in rows]
        before, after = [decision(one) for one in rows], [decision(one) for one in without]
        pairs = list(zip(before, after, strict=True))
        assert row.gained_eligible == pairs.count(("no", "yes"))
        assert row.gained_undecided == pairs.count(("no", "maybe"))
        assert row.unknown_alone == pairs.count(("maybe", "yes"))
        assert row.fails_alone == row.gained_eligible + row.gained_undecided
        counted = [sum(one[place] is verdict for one in rows) for verdict in VERDICTS]
        assert [row.passed, row.failed, row.unknown, row.not_applicable] == counted


@given(people)
def test_each_step_starts_where_the_last_one_ended(rows: list[tuple[Verdict, ...]]) -> None:
    found = f.funnel(IDS, table(rows))
    entering = len(rows)
    for step in found.ordered:
        assert step.entering == entering
        assert step.possible == step.entering - step.lost
        entering = step.possible
    assert found.ordered[-1].possible == found.decided.eligible + found.decided.undecided
    assert found.ordered[-1].sure == found.decided.eligible


@given(people, st.sets(st.sampled_from(range(len(IDS)))))
def test_what_if_is_the_table_of_a_trial_without_those_criteria(
    rows: list[tuple[Verdict, ...]], dropped: set[int]
) -> None:
    """The same people, asked less."""
    kept = [place for place in range(len(IDS)) if place not in dropped]
    expected = [decision(tuple(row[place] for place in kept)) for row in rows]
    found = f.decided(f.without(table(rows), dropped))
    assert found == f.Decided(expected.count("yes"), expected.count("maybe"), expected.count("no"))


@given(people, people)
def test_tables_of_two_sites_add_up_to_the_table_of_both(
    first: list[tuple[Verdict, ...]], second: list[tuple[Verdict, ...]]
) -> None:
    """Bytes too: the order of the table does not depend on who came first."""
    both = f.merged([table(first), table(second)])
    assert list(both.items()) == list(table(second + first).items())


def test_a_criterion_that_was_not_evaluated_has_no_step() -> None:
    found = f.funnel(IDS, {(0, 0, 0): 3}, skip=("risk",))
    assert [step.criterion for step in found.ordered] == ["age", "hba1c", "kidney"]
    assert [row.criterion for row in found.independent] == ["age", "hba1c", "kidney"]


def test_more_criteria_than_a_machine_word_has_bits() -> None:
    ids = [f"c{number}" for number in range(80)]
    found = f.funnel(ids, {(1 << 79, 1 << 70, 0): 2})
    assert found.ordered[79].lost == 2
    assert found.ordered[70].unsure == 2
    assert found.independent[79].gained_undecided == 2
