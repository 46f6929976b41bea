"""What came back, and whether it is all there is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import Unavailable
from ehr.records.fetched import Fetched, Issue, Kind, Severity, State, complete, joined, nothing, worst

THEN = datetime(2026, 1, 2, tzinfo=UTC)
BAD = [state for state in State if state not in (State.OK, State.EMPTY)]


def test_only_ok_and_empty_say_that_nothing_is_missing() -> None:
    assert [state for state in State if state.complete] == [State.OK, State.EMPTY]


def test_a_collection_has_no_truth_value_length_or_iteration() -> None:
    """mean_outage_never_satisfies_exclusion"""
    for fetched in (complete(["a"]), complete([]), nothing(State.UNAVAILABLE)):
        with pytest.raises(TypeError):
            bool(fetched)
        with pytest.raises(TypeError):
            len(fetched)
        with pytest.raises(TypeError):
            iter(fetched)


def test_only_a_complete_collection_can_be_required() -> None:
    assert complete(["a"]).require() == ("a",)
    assert complete([]).require() == ()
    for state in BAD:
        for fetched in (nothing(state), Fetched(("a",), state)):
            assert not fetched.complete
            with pytest.raises(Unavailable) as caught:
                fetched.require()
            assert caught.value.state == state.name


def test_state_and_items_agree() -> None:
    with pytest.raises(ValueError, match="OK"):
        Fetched((), State.OK)
    with pytest.raises(ValueError, match="EMPTY"):
        Fetched(("a",), State.EMPTY)
    for state in (State.OK, State.EMPTY):
        with pytest.raises(ValueError, match="complete"):
            nothing(state)


def test_its_text_forms_hold_counts_only() -> None:
    fetched = complete(["canary"])
    assert repr(fetched) == "Fetched(state=OK, 1 items, 0 pages)"
    assert "canary" not in fetched._repr_html_()


def test_complete_counts_what_it_got() -> None:
    fetched = complete(["a", "b"], THEN)
    assert (fetched.state, fetched.received, fetched.fetched_at) == (State.OK, 2, THEN)


def test_issues_are_added() -> None:
    first, second = Issue("a"), Issue("b", Severity.ERROR)
    assert complete(["x"]).with_issues([first]).with_issues([second]).issues == (first, second)


def test_the_worst_state_wins() -> None:
    order = [State.EMPTY, State.OK, State.PARTIAL, State.UNSUPPORTED, State.RESTRICTED, State.FORBIDDEN]
    order += [State.QUOTA, State.UNAVAILABLE, State.ERROR]
    for index, state in enumerate(order):
        assert worst(order[: index + 1]) is state
        assert worst(reversed(order[: index + 1])) is state
    assert worst([]) is State.EMPTY


def test_parts_are_joined_with_their_counts() -> None:
    one = Fetched(("a",), State.OK, (Issue("x"),), THEN, pages=1, expected=1, received=2, repeats=1)
    two = Fetched(("b",), State.OK, (Issue("y"),), None, pages=2, expected=4, received=3, quarantined=1)
    whole = joined([one, two])
    assert whole == Fetched(
        ("a", "b"),
        State.OK,
        (Issue("x"), Issue("y")),
        THEN,
        3,
        expected=5,
        received=5,
        repeats=1,
        quarantined=1,
    )
    assert joined([one, complete(["c"])]).expected is None


def test_a_failed_part_makes_the_whole_partial_or_failed() -> None:
    for state in BAD:
        assert joined([complete(["a"]), nothing(state)]).state is State.PARTIAL
        assert joined([complete([]), nothing(state)]).state is state
    assert joined([]).state is State.EMPTY
    assert joined([complete([]), complete([])]).state is State.EMPTY
    assert joined([complete([]), complete(["a"])]).state is State.OK


@given(st.lists(st.sampled_from(State), max_size=5))
def test_a_whole_is_complete_only_if_every_part_is(states: list[State]) -> None:
    parts = [complete(["x"] if s is State.OK else []) if s.complete else nothing(s) for s in states]
    assert joined(parts).complete is all(s.complete for s in states)


@pytest.mark.parametrize(
    ("text", "kind"),
    [(kind.value, kind) for kind in Kind]
    + [(f"{kind.value}s", kind) for kind in Kind]
    + [("Allergies", Kind.ALLERGY), ("imaging", Kind.IMAGE), (" CONDITIONS ", Kind.CONDITION)],
)
def test_kinds_are_known_by_singular_and_plural(text: str, kind: Kind) -> None:
    assert Kind.parse(text) is kind


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="condition, procedure"):
        Kind.parse("genome")
