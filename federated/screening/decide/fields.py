"""Leaves over single facts: age, sex, death, a column of the input table; and what nothing here can read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from ehr.dates import DAY_S, Duration, Interval, birthday, day_of
from ehr.records.elements import Quantity
from ehr.records.fetched import Kind
from ehr.records.people import Patient
from federated.screening.decide.case import Case
from federated.screening.decide.certainty import SOURCE
from federated.screening.decide.finding import Found, Run
from federated.screening.decide.quantities import CodeOf, judge
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.decide.times import inside
from federated.screening.plan.nodes import Age, Field, Unread

NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{1,30})?\Z")
SEXES = frozenset({"female", "male", "other", "unknown"})
EMPTY = frozenset(
    {"unknown", "unk", "not known", "na", "n/a", "nan", "null", "none", "missing", "?", "-", "."}
)
"""What people write into a cell of which they do not know the content."""


def unread(leaf: Unread) -> Run:
    """Always unknown."""
    return lambda case: Found(UNKNOWN, leaf.reason)


def absent_patient(case: Case) -> Found:
    """Unknown, because there is no demographic record."""
    fetched = case.record.kinds.get(Kind.PATIENT)
    if fetched is None or fetched.state.complete:
        return Found(UNKNOWN, "SOURCE_UNAVAILABLE" if fetched is None else "PATIENT_NOT_FOUND")
    return Found(UNKNOWN, SOURCE[fetched.state])


def of_patient(read: Callable[[Patient, Case], Found]) -> Run:
    """A leaf over the demographic record."""

    def run(case: Case) -> Found:
        patient = case.record.patient
        return absent_patient(case) if patient is None else read(patient, case)

    return run


def age(leaf: Age) -> Run:
    """Whether the birth date lies in the window of birth."""

    def read(patient: Patient, case: Case) -> Found:
        born = case.clock.born
        if born is None:
            return Found(UNKNOWN, "AGE_UNCERTAIN" if patient.birth_date else "NOT_RECORDED")
        truth = inside(born, leaf.born)
        if leaf.negated:
            truth = YES - truth
        if born.lo >= leaf.at + DAY_S:
            truth = UNKNOWN  # nobody is younger than new-born: the date is wrong, or meant for another person
        low, high = completed(born, leaf)
        reason = "AGE_UNCERTAIN" if truth == UNKNOWN else "IN_RANGE"
        margin = None
        if truth == NO and not leaf.negated:
            reason = "BELOW_MIN" if leaf.low is not None and high < leaf.low else "ABOVE_MAX"
        elif truth == NO:
            reason = "NOT_EQUAL"
        if low == high:
            margin = _distance(low, leaf)
        return Found(truth, reason, low=low, high=high, margin=margin)

    return of_patient(read)


def completed(born: Interval, leaf: Age) -> tuple[int, int]:
    """Smallest and largest completed age at the day of the leaf."""
    at = day_of(leaf.at)
    return _units(day_of(born.hi), at, leaf), _units(day_of(born.lo), at, leaf)


def _units(born: date, at: date, leaf: Age) -> int:
    if born > at:
        return -1
    guess = {
        "a": at.year - born.year,
        "mo": (at.year - born.year) * 12 + at.month - born.month,
        "d": (at - born).days,
    }
    count = guess[leaf.unit]
    return count if birthday(born, Duration(count, leaf.unit)) <= at else count - 1


def _distance(years: int, leaf: Age) -> float:
    ends = [years - leaf.low] if leaf.low is not None else []
    ends += [leaf.high - years] if leaf.high is not None else []
    return float(min(ends)) if ends else 0.0


def field(leaf: Field, code_of: CodeOf) -> Run:
    """Sex, death or a column."""
    if leaf.of == "sex":
        return of_patient(lambda patient, case: _sex(patient, leaf))
    if leaf.of == "deceased":
        return of_patient(lambda patient, case: _deceased(patient, case, leaf))
    return lambda case: _column(case, leaf, code_of)


def _sex(patient: Patient, leaf: Field) -> Found:
    which: Any = leaf.name
    recorded = patient.sex(which)
    shown = recorded if recorded in SEXES else None
    if recorded in leaf.values:
        return Found(YES, "CODE_PRESENT", shown=shown)
    if recorded not in SEXES or recorded == "unknown":  # a word that is none of FHIR's may mean any of them
        silent = recorded is None and leaf.world == "closed"
        return Found(NO if silent else UNKNOWN, "NOT_EQUAL" if silent else "NOT_RECORDED", shown=shown)
    return Found(NO, "NOT_EQUAL", shown=shown)


def _deceased(patient: Patient, case: Case, leaf: Field) -> Found:
    """Whether the patient had died by the index date; a missing statement is alive in a closed world."""
    dead, reason = NO, ""
    if patient.deceased_date_time is not None:
        died = case.clock.interval(patient.deceased_date_time)
        dead = YES
        if died is not None and died.hi > leaf.index_end:
            dead, reason = (NO, "") if died.lo > leaf.index_end else (UNKNOWN, "DATE_UNCERTAIN")
    elif patient.deceased_boolean is not None:
        dead = YES if patient.deceased_boolean else NO
    elif leaf.world != "closed":
        dead, reason = UNKNOWN, "NOT_RECORDED"
    truth = dead if "true" in leaf.values else YES - dead
    words = {NO: "alive", YES: "deceased", UNKNOWN: None}
    return Found(truth, reason or ("CODE_PRESENT" if truth == YES else "NOT_EQUAL"), shown=words[dead])


def _text_cell(cell: str, leaf: Field) -> Found:
    """Texts are compared exactly; one that differs in case alone is no answer, and no *no* either."""
    if cell in leaf.values:
        return Found(YES, "CODE_PRESENT", shown=cell)
    # A cell that was not asked for may be anything, so it is not repeated.
    if cell.casefold() in EMPTY:
        return Found(UNKNOWN, "MISSING_COLUMN")
    if cell.casefold() in {text.casefold() for text in leaf.values}:
        return Found(UNKNOWN, "CODE_NOT_MAPPED")
    return Found(NO, "NOT_EQUAL")


def _column(case: Case, leaf: Field, code_of: CodeOf) -> Found:
    cell = case.record.columns.get(leaf.name, "").strip()
    if not cell:
        closed = leaf.world == "closed" and leaf.name in case.record.columns
        return Found(NO, "NOT_EQUAL") if closed else Found(UNKNOWN, "MISSING_COLUMN")
    if leaf.asked is None:
        return _text_cell(cell, leaf)
    if NUMBER.match(cell) is None:
        return Found(UNKNOWN, "NOT_NUMERIC")
    judged = judge(Quantity(value=Decimal(cell), unit=leaf.asked.unit), leaf.asked, code_of)
    reason = judged.reason or (
        "IN_RANGE" if judged.truth == YES else "ABOVE_MAX" if judged.side > 0 else "BELOW_MIN"
    )
    return Found(judged.truth, reason, judged=judged)
