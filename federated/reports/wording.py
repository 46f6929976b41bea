"""Words, marks and order for what the outputs show: data, in one place.

A mark is always shape, word and colour together, so no reader needs the colour.
"""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

from federated.reports.run import MatchState
from federated.screening.evidence import Decision, Verdict


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


class Reason(NamedTuple):
    """Why something is not known, and what it costs to find out (``trial-matching`` 3.3)."""

    text: str
    cost: int


REASONS = {
    "SOURCE_UNAVAILABLE": Reason("the EHR did not answer", 1),
    "SOURCE_PARTIAL": Reason("the record was read in part", 1),
    "SOURCE_FORBIDDEN": Reason("the EHR does not allow this kind to be read", 3),
    "SOURCE_UNSUPPORTED": Reason("the EHR does not offer this kind", 3),
    "PATIENT_NOT_FOUND": Reason("nobody in the EHR fits", 2),
    "PATIENT_AMBIGUOUS": Reason("more than one person fits", 2),
    "NOT_RECORDED": Reason("not recorded", 3),
    "VALUE_MISSING": Reason("a result without a value", 3),
    "NOT_NUMERIC": Reason("the value is not a number", 3),
    "UNIT_MISSING": Reason("the value has no unit", 3),
    "UNIT_NOT_CONVERTIBLE": Reason("the unit cannot be converted", 3),
    "CODE_NOT_MAPPED": Reason("an entry with text only may mean it", 3),
    "DATE_UNCERTAIN": Reason("the date is missing or incomplete", 3),
    "AGE_UNCERTAIN": Reason("the birth date is missing or incomplete", 3),
    "BEFORE_CARE": Reason("asked for a time before care began here", 3),
    "LATEST_AMBIGUOUS": Reason("two latest values disagree", 3),
    "NOT_CONFIRMED": Reason("the entry is not confirmed", 5),
    "EYE_UNKNOWN": Reason("the eye is not recorded", 3),
    "FELLOW_EYE_MISSING": Reason("the other eye was not scanned", 20),
    "STALE": Reason("the last value is too old", 10),
    "NOT_MEASURED": Reason("no measurement from an image", 20),
    "MODEL_CLASS_UNSUPPORTED": Reason("the model does not measure this", 20),
    "LOW_COVERAGE": Reason("the scan does not cover enough", 20),
    "FOVEA_NOT_FOUND": Reason("the fovea was not found on the scan", 20),
    "MISSING_COLUMN": Reason("the input table has no such column", 5),
    "NOT_CODED": Reason("the rule is not coded; a person decides", 5),
}
ACTIONS = {
    "run_again": "Run again",
    "ask_administrator": "Ask the EHR administrator",
    "resolve_identity": "Resolve the identity",
    "read_chart": "Read the chart",
    "read_report": "Read the original report",
    "repeat_test": "Repeat the test",
    "ask_clinician": "Ask the clinician",
    "scan": "Scan the eye",
    "ask_data_owner": "Ask the owner of the table",
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


def reason(code: str) -> str:
    """A reason code in words."""
    found = REASONS.get(code)
    return found.text if found else code.replace("_", " ").lower()


def cost(code: str) -> int:
    """What it costs to find out, in the units of the table; 5 for a code that is not in it."""
    found = REASONS.get(code)
    return found.cost if found else 5


def action(code: str) -> str:
    """What to do, in words."""
    return ACTIONS.get(code, code.replace("_", " ").capitalize())


def visible(text: str) -> str:
    """Text as a person may safely read it: control and direction characters become one blank."""
    return _INVISIBLE.sub(" ", text)
