"""The classes of failures: stable, documented, and all there are."""

from __future__ import annotations

import re

import pytest

from ehr.errors import AuthError, EHRError
from ehr.fhir.outcome import error_word
from ehr.records.failures import CLASSES, classes_of
from ehr.records.fetched import Issue, Severity, State
from tests.repository.sources import ROOT, python_files

_SEVERE = re.compile(r'\bIssue\(\s*f?"([^"{]+)[^)]*Severity\.(?:ERROR|SECURITY)|\b_error\(f?"([^"{]+)')
BASES = {"EHRError", "TransportError", "AuthError"}
RAISED_ELSEWHERE = {
    "ConfigurationError",
    "HttpStatusError",
    "Unavailable",
    "NotMatched",
    "DestinationRefused",
}


def known(name: str) -> bool:
    """Whether a class is documented; a prefix stands for all that it begins."""
    plain = {re.sub("<.*", "", one) for one in CLASSES}
    return name in CLASSES or any(name == one or (one[-1] in "-:" and name.startswith(one)) for one in plain)


def test_every_severe_issue_of_the_code_is_a_class() -> None:
    found = {
        match[1] or match[2]
        for file in python_files("ehr")
        if not {"sandbox", "testing"} & set(file.parts)
        for match in _SEVERE.finditer(file.read_text(encoding="utf-8"))
    }
    assert len(found) > 15
    names = {
        one if one.startswith(("security:", "paging:", "outcome:")) else one.partition(":")[0]
        for one in found
    }
    assert {one for one in names if not known(one)} - {"body-"} == set()


def _errors() -> list[type[EHRError]]:
    found, left = [], [EHRError]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return [kind for kind in found if kind.__module__ == "ehr.errors"]


def test_every_error_that_a_patient_can_meet_has_a_class() -> None:
    words = {
        error_word(kind.__new__(kind))
        for kind in _errors()
        if kind.__name__ not in BASES | RAISED_ELSEWHERE | {"BadBody"}
    }
    assert "timed-out" in words
    assert words <= set(CLASSES)
    for reason in ("empty", "html", "not-json", "wrong-type", "bad-encoding"):
        assert f"body-{reason}" in CLASSES
    assert issubclass(AuthError, EHRError)


@pytest.mark.parametrize("state", [state for state in State if not state.complete])
def test_an_answer_without_a_severe_issue_counts_by_its_state(state: State) -> None:
    (name,) = classes_of(state, (Issue("unsupported:Condition", Severity.INFORMATION), Issue("bad-date")))
    assert name == state.name.lower()
    assert name in CLASSES


def test_each_class_counts_once_for_an_answer_and_types_are_not_part_of_it() -> None:
    issues = (
        Issue("scope-missing:Condition", Severity.ERROR),
        Issue("scope-missing:Procedure", Severity.ERROR),
        Issue("security:other-patient", Severity.SECURITY, 7),
        Issue("internal:KeyError", Severity.ERROR),
        Issue("repair:empty", Severity.WARNING),
    )
    assert classes_of(State.ERROR, issues) == ("scope-missing", "security:other-patient", "internal")


def test_the_page_lists_the_classes_as_they_are() -> None:
    page = (ROOT / "docs" / "run-a-pod.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(
            r"^\| `([^`]+)` \| (.+) \|$", page.partition("## What failed")[2].partition("\n## ")[0], re.M
        )
    )
    assert rows == dict(CLASSES)
