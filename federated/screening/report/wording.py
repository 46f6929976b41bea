"""Words, marks and order for what the outputs show: data, in one place.

A mark is always shape, word and colour together, so no reader needs the colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from federated.screening.decide.evidence import Decision, Verdict
from federated.screening.report.results import MatchState


class Mark(NamedTuple):
    """``css`` is one letter: y met, n not met, u not known, x does not apply, b could not be evaluated."""

    css: str
    sign: str
    word: str


VERDICTS = {
    Verdict.PASS: Mark("y", "✓", "met"),
    Verdict.FAIL: Mark("n", "✗", "not met"),
    Verdict.UNKNOWN: Mark("u", "?", "not known"),
    Verdict.NOT_APPLICABLE: Mark("x", "–", "does not apply"),
    Verdict.NOT_EVALUATED: Mark("x", "–", "not evaluated"),
}
DECISIONS = {  # in the order of the worklist: those who need someone come first
    Decision.ELIGIBLE: Mark("y", "✓", "Eligible"),
    Decision.UNDECIDED: Mark("u", "?", "Undecided"),
    Decision.NOT_EVALUATED: Mark("b", "!", "Not evaluated"),
    Decision.NOT_ELIGIBLE: Mark("n", "✗", "Not eligible"),
}
MATCHES = {
    MatchState.MATCHED: "found in the EHR, and not evaluated",
    MatchState.AMBIGUOUS: "more than one person in the EHR fits: resolve the identity",
    MatchState.NOT_FOUND: "nobody in the EHR fits: check the name and the birth date",
    MatchState.UNDETERMINED: "the EHR could not be asked who this is: run again",
    MatchState.DUPLICATE: "the same person as an earlier row",
    MatchState.BAD_ROW: "the row of the input cannot be read",
}
# Answers about a person that no further asking changes: a human has to look.
IDENTITY = {
    "id-birth-date-conflict": "the id is that of somebody with another birth date: check both",
    "mrn-birth-date-conflict": "the record number is that of somebody with another birth date: check both",
    "merge-birth-date-conflict": "merged records have different birth dates: resolve the identity",
    "merge-unresolved": "the records of this person are merged into one another and cannot be told apart",
    "nothing-to-search-by": "a name with a birth date, a record number or an id is missing or cannot be read",
}


# Why something is not known (``trial-matching`` 3.3); what it costs to find out is in `screening.lookups`.
REASONS = {
    "SOURCE_UNAVAILABLE": "the EHR did not answer",
    "SOURCE_PARTIAL": "the record was read in part",
    "SOURCE_FORBIDDEN": "the EHR does not allow this kind to be read",
    "SOURCE_UNSUPPORTED": "the EHR does not offer this kind",
    "PATIENT_NOT_FOUND": "nobody in the EHR fits",
    "PATIENT_AMBIGUOUS": "more than one person fits",
    "NOT_RECORDED": "not recorded",
    "VALUE_MISSING": "a result without a value",
    "NOT_NUMERIC": "the value is not a number",
    "UNIT_MISSING": "the value has no unit",
    "UNIT_NOT_CONVERTIBLE": "the unit cannot be converted",
    "CODE_NOT_MAPPED": "an entry with text only may mean it",
    "DATE_UNCERTAIN": "the date is missing or incomplete",
    "AGE_UNCERTAIN": "the birth date is missing or incomplete",
    "BEFORE_CARE": "asked for a time before care began here",
    "LATEST_AMBIGUOUS": "two latest values disagree",
    "NOT_CONFIRMED": "the entry is not confirmed",
    "EYE_UNKNOWN": "the eye is not recorded",
    "FELLOW_EYE_MISSING": "the other eye was not scanned",
    "STALE": "the last value is too old",
    "NOT_MEASURED": "no measurement from an image",
    "MODEL_CLASS_UNSUPPORTED": "the model does not measure this",
    "LOW_COVERAGE": "the scan does not cover enough",
    "FOVEA_NOT_FOUND": "the fovea was not found on the scan",
    "MISSING_COLUMN": "the input table has no such column",
    "NOT_CODED": "the rule is not coded; a person decides",
}
NOTES = {
    "AS_OF_FETCH": "its status is that of the day it was read",
    "NO_RECENT_CONTACT": "no contact for two years",
    "NUMBER_NOT_CONFIRMED": "matched by name and birth date: this record has another number than the row",
    "ZONE_ASSUMED": "times without a zone are taken as local",
}
ACTIONS = {
    "run_again": "Run again",
    "ask_administrator": "Ask the EHR administrator",
    "resolve_identity": "Resolve the identity",
    "read_chart": "Read the chart",
    "read_report": "Read the original report",
    "read_entry": "Read the entry",
    "read_note": "Read the note",
    "find_date": "Find the exact date",
    "compare_results": "Compare both results",
    "order_test": "Order the test",
    "repeat_test": "Repeat the test",
    "ask_clinician": "Ask the clinician",
    "scan": "Scan the eye",
    "ask_data_owner": "Ask the owner of the table",
    "ask_person": "A person decides",
}
STATES = {
    "OK": "complete",
    "EMPTY": "complete, none",
    "PARTIAL": "in part",
    "UNSUPPORTED": "not offered",
    "FORBIDDEN": "not allowed",
    "RESTRICTED": "restricted",
    "QUOTA": "quota spent",
    "UNAVAILABLE": "no answer",
    "ERROR": "error",
}
COMPLETE = frozenset({"OK", "EMPTY"})
WORLDS = (
    ("closed", "Nothing recorded counts as “no” for"),
    ("recorded", "What is recorded is taken as all there is, and nothing recorded as “not known”, for"),
    ("open", "Nothing recorded counts as “not known” for"),
)
KINDS = {
    "allergy": "allergies",
    "column": "table columns",
    "birth_date": "birth date",
    "deceased": "deceased",
    "sex": "sex",
    "immunization": "immunizations",
    "patient": "demographics",
}
_UNITS = {
    "1": "",
    "a": "years",
    "mo": "months",
    "wk": "weeks",
    "d": "days",
    "mm2": "mm²",
    "um": "µm",
    "kg/m2": "kg/m²",
    "{letters}": "letters",
    "mL/min/{1.73_m2}": "mL/min/1.73 m²",
    "mm[Hg]": "mmHg",
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Control and direction characters can hide or reorder what a person reads.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")


def kind(name: str) -> str:
    """A kind of record, in the plural."""
    return KINDS.get(name, f"{name.replace('_', ' ')}s")


def unit(name: str | None) -> str:
    """A UCUM unit as people write it."""
    return _UNITS.get(name or "", name or "")


def sentence(text: str) -> str:
    """A sentence of evidence with its UCUM units as people write them."""
    for name, written in _UNITS.items():
        if any(bracket in name for bracket in "[{"):
            text = text.replace(name, written)
    return text


def number(value: float | str | None) -> str:
    """A value as short as it is exact enough: at most six significant digits."""
    return f"{value:.6g}" if isinstance(value, int | float) else str(value or "")


def day(iso: str | None) -> str:
    """``2026-11-09`` as ``9 Nov 2026``; anything but a day as it stands."""
    try:
        found = date.fromisoformat((iso or "")[:10])
    except ValueError:
        return iso or ""
    return f"{found.day} {_MONTHS[found.month - 1]} {found.year}"


def nobody(match: MatchState, issues: Iterable[str]) -> str:
    """Why nobody was decided about."""
    return next((IDENTITY[code] for code in issues if code in IDENTITY), MATCHES[match])


def reason(code: str) -> str:
    """The code of a reason or of a note in words."""
    return REASONS.get(code) or NOTES.get(code) or IDENTITY.get(code) or re.sub("[_-]", " ", code).lower()


def action(code: str) -> str:
    """What to do, in words."""
    return ACTIONS.get(code, code.replace("_", " ").capitalize())


def visible(text: str) -> str:
    """Text as a person may safely read it: control and direction characters become one blank."""
    return _INVISIBLE.sub(" ", text)
