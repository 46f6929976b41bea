"""Drafts from ClinicalTrials.gov: what is structured is taken over, the rest is left to a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.screening.trial.criteria import AgeAt, Sex
from federated.screening.trial.from_registry import NotARegistryEntry, draft_from_registry
from tests.federated.screening.trial_texts import read

CRITERIA = """Inclusion Criteria:

* Age \\>= 50 years
* GA area: 2.5 to 17.5 mm2
  * not involving the fovea

Key Exclusion Criteria:

1. Any history of "wet" AMD
2. - none: of # these
"""


def study(**eligibility: Any) -> bytes:
    identification = {"nctId": "NCT01234567", "briefTitle": "A study: of eyes"}
    return json.dumps(
        {"protocolSection": {"identificationModule": identification, "eligibilityModule": eligibility}}
    ).encode()


def test_a_study_becomes_a_draft_that_loads() -> None:
    text = draft_from_registry(
        study(eligibilityCriteria=CRITERIA, sex="FEMALE", minimumAge="50 Years", maximumAge="90 Years")
    )
    checked = read(text)
    assert checked.problems == ()
    trial = checked.require()
    assert (trial.id, trial.nct, trial.status, trial.title) == (
        "nct01234567",
        ("NCT01234567",),
        "draft",
        "A study: of eyes",
    )
    low, high, sex, *lines = trial.inclusion
    assert isinstance(low.where, AgeAt)
    assert isinstance(high.where, AgeAt)
    assert (str(low.where.compare), str(high.where.compare)) == (">= 50", "<= 90")
    assert sex.where == Sex(values=("female",))
    assert [line.source for line in lines] == [
        "Age >= 50 years",
        "GA area: 2.5 to 17.5 mm2",
        "not involving the fovea",
    ]
    assert [line.source for line in trial.exclusion] == ['Any history of "wet" AMD', "- none: of # these"]
    assert all(line.todo and line.where is None for line in (*lines, *trial.exclusion))


@pytest.mark.parametrize(
    ("text", "unit", "asked"),
    [("6 Months", "mo", "<= 6"), ("2 Weeks", "d", "<= 20"), ("1 Year", "a", "<= 1"), ("9 Days", "d", "<= 9")],
)
def test_ages_are_in_completed_units(text: str, unit: str, asked: str) -> None:
    (criterion,) = read(draft_from_registry(study(maximumAge=text))).require().inclusion
    assert isinstance(criterion.where, AgeAt)
    assert (criterion.where.unit, str(criterion.where.compare)) == (unit, asked)


def test_an_age_in_hours_is_left_to_a_person() -> None:
    (criterion,) = read(draft_from_registry(study(maximumAge="12 Hours"))).require().inclusion
    assert criterion.todo
    assert criterion.where is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b"{" * 100_000, b'{"protocolSection": {"eligibilityModule": 1}}',
             b'{"eligibilityModule": {"sex": "ALL"}}', study(sex="ALL"), study(eligibilityCriteria=["x"])]
)  # fmt: skip
def test_what_is_no_study_is_refused(data: bytes) -> None:
    with pytest.raises(NotARegistryEntry):
        draft_from_registry(data)


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_any_free_text_gives_a_draft_without_mistakes(text: str) -> None:
    checked = read(draft_from_registry(study(eligibilityCriteria=text, minimumAge="18 Years")))
    assert checked.problems == ()
