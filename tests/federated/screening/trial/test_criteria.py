"""The values that criteria are made of."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.dates import Duration
from ehr.records.codes import Code
from federated.screening.trial.criteria import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Criterion,
    Deceased,
    Node,
    NotOf,
    Point,
    ValueSet,
    Window,
    children,
    leaves,
    walk,
)
from federated.screening.trial.value_types import At

DEAD = Deceased(value=True)
DM = Condition(codes=ValueSet("dm", frozenset({Code("icd10cm", "E11.9")})))


@given(st.integers(-3, 3), st.integers(-3, 3), st.booleans(), st.booleans())
def test_a_range_is_empty_if_no_number_fits(low: int, high: int, low_closed: bool, high_closed: bool) -> None:
    halves = [Decimal(n) / 2 for n in range(-8, 9)]
    fits = [
        x
        for x in halves
        if (x > low or (x == low and low_closed)) and (x < high or (x == high and high_closed))
    ]
    made = Comparison("between", Decimal(low), Decimal(high), low_closed, high_closed)
    assert made.empty == (not fits)


def test_a_comparison_without_one_bound_is_never_empty() -> None:
    assert not Comparison(">=", low=Decimal(5)).empty
    assert not Comparison("!=", Decimal(5), Decimal(5)).empty


def test_walking_visits_parents_before_children_in_file_order() -> None:
    tree: Node = AllOf(of=(AnyOf(of=(DM, NotOf(of=DEAD))), DEAD))
    assert [type(node).__name__ for node in walk(tree)] == [
        "AllOf",
        "AnyOf",
        "Condition",
        "NotOf",
        "Deceased",
        "Deceased",
    ]
    assert children(DEAD) == ()


def test_the_leaves_of_applies_if_come_first() -> None:
    criterion = Criterion(id="a", side="inclusion", text="t", source="s", where=NotOf(of=DM), applies_if=DEAD)
    assert list(leaves(criterion)) == [DEAD, DM]
    assert list(leaves(Criterion(id="a", side="inclusion", text="t", source="s", todo="x"))) == []


def test_where_a_node_stands_takes_no_part_in_comparing() -> None:
    assert Deceased(value=True, at=At("where", 3, 4)) == DEAD
    assert hash(Deceased(value=True, at=At("where", 3, 4))) == hash(DEAD)
    assert "at=" not in repr(DEAD)


def test_nodes_are_frozen_and_can_be_keys() -> None:
    with pytest.raises(AttributeError):
        DEAD.value = False  # type: ignore[misc]  # that it cannot be set is the point
    assert len({DM, Condition(codes=DM.codes)}) == 1


def test_windows_say_what_they_are() -> None:
    back = Window("within", Point("index", None, Duration(6, "mo"), -1), Point("index"))
    ahead = Window("next", Point("index"), Point("index", None, Duration(6, "mo")), "(]")
    assert (str(back), back.forward) == ("within 6 mo before the index date", False)
    assert (str(ahead), ahead.forward) == ("in the 6 mo after the index date", True)
    assert str(Window("range", None, None)) == "from the beginning to the index date"
