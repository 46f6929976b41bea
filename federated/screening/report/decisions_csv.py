"""``decisions.csv`` and its renderings: RFC 4180, no cell that a spreadsheet runs.

Its columns stand in docs/run-a-pod.md, "What a run leaves".
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from federated.screening.decide.evidence import CriterionOutcome, Decision, Evidence, Verdict
from federated.screening.report.results import DecisionRow, Run, queue, rows

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LOOKUPS = 3
COLUMNS = (
    "patient_ref", "input_row", "eye", "visit_date", "decision", "queue", "first_failed", "failed", "unknown",
    "not_applicable", "near_miss", "lookup_1", "lookup_2", "lookup_3", "next_appointment",
)  # fmt: skip
LAST_COLUMNS = ("states", "index_date", "plan_digest")


@dataclass(frozen=True, slots=True, repr=False)
class Contact:
    """Who a row is, for the coordinator's separate file only; its ``repr`` is its class."""

    mrn: str = ""
    family: str = ""
    given: str = ""
    birth_date: str = ""
    phone: str = ""

    def __repr__(self) -> str:
        return "Contact()"


def cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: a leading ``'`` where one could start."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def columns(run: Run) -> tuple[str, ...]:
    """Names of the columns, in order."""
    return (*COLUMNS, *(f"c_{head.id}" for head in run.criteria), *LAST_COLUMNS)


def decisions(run: Run) -> Iterator[str]:
    """``decisions.csv``, line by line: one row per patient in input order, its eyes after it."""
    return _lines(columns(run), (_values(run, row) for row in rows(run)))


def _values(run: Run, row: DecisionRow) -> Iterator[object]:
    outcome, failed = row.outcome, row.ids(Verdict.FAIL)
    criteria = outcome.criteria if outcome else ()
    yield from (row.patient.ref, row.patient.input_row, row.eye, row.patient.visit_date)
    yield from (row.decision.value, queue(run, row), failed[0] if failed else "")
    yield ";".join(failed)
    yield ";".join(row.ids(Verdict.UNKNOWN))
    yield ";".join(row.ids(Verdict.NOT_APPLICABLE))
    yield ";".join(criterion.id for criterion in criteria if criterion.near_miss)
    lookups = [f"{item.do} {item.where} {item.reason}" for item in (outcome.lookups if outcome else ())]
    yield from [*lookups, *[""] * LOOKUPS][:LOOKUPS]
    yield row.patient.next_appointment
    verdicts = {criterion.id: criterion.verdict.value for criterion in criteria}
    yield from (verdicts.get(head.id, Verdict.NOT_EVALUATED.value) for head in run.criteria)
    yield ";".join(f"{kind}={state}" for kind, state in sorted(row.patient.fetched.items()))
    yield from (run.index_date, run.trial.plan_digest)


def _lines(header: Sequence[str], lines: Iterable[Iterable[object]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # excel dialect: comma, CRLF, quotes doubled, as in RFC 4180
    writer.writerow([cell(name) for name in header])
    for line in lines:
        writer.writerow([cell(value) for value in line])
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


PERSON = tuple(Contact.__dataclass_fields__)
CONTACT_COLUMNS = ("patient_ref", "input_row", "decision", "queue", *PERSON)


def contacts(run: Run, people: Mapping[int, Contact]) -> Iterator[str]:
    """``contacts.csv``, the one file with names: only for ``--with-identifiers``, only for the coordinator.

    Args:
        run: a finished run.
        people: input row to contact; rows without one are left out.
    """
    return _lines(CONTACT_COLUMNS, _contacts(run, people))


def _contacts(run: Run, people: Mapping[int, Contact]) -> Iterator[list[object]]:
    for patient in run.patients:
        who = people.get(patient.input_row)
        if who is not None:
            todo = queue(run, DecisionRow(patient, patient.outcome))
            yield [
                patient.ref,
                patient.input_row,
                patient.decision.value,
                todo,
                *(getattr(who, name) for name in PERSON),
            ]


REFERENCE_COLUMNS = (
    "patient_ref", "input_row", "eye", "Matches all criteria", "Reasons for exclusion", "Eligibility",
)  # fmt: skip
_ELIGIBILITY = {
    Decision.ELIGIBLE: "Eligible",
    Decision.NOT_ELIGIBLE: "Not eligible",
    Decision.UNDECIDED: "Undecided",
    Decision.NOT_EVALUATED: "Not evaluated",
}
_OPPOSITE = {"<=": ">", ">=": "<", "==": "!=", "!=": "==", "<": ">=", ">": "<=", "=": "!="}


def reference(run: Run) -> Iterator[str]:
    """The same decisions under the reference's column names; a rendering, never a second evaluation.

    ``Matches all criteria`` is True for the eligible only. What was not known is "… not found", and the
    undecided stay apart from the not eligible, which the reference does not do.
    """
    return _lines(REFERENCE_COLUMNS, (_reference(row) for row in rows(run)))


def _reference(row: DecisionRow) -> list[object]:
    known = [row.patient.ref, row.patient.input_row, row.eye]
    return [*known, row.decision is Decision.ELIGIBLE, _reasons(row), _ELIGIBILITY[row.decision]]


def _reasons(row: DecisionRow) -> str:
    criteria = row.outcome.criteria if row.outcome else ()
    return ", ".join(dict.fromkeys(reason for criterion in criteria for reason in _reason(criterion)))


def _reason(criterion: CriterionOutcome) -> Iterator[str]:
    if criterion.verdict is Verdict.UNKNOWN:
        yield f"{criterion.id} not found"
    elif criterion.verdict is Verdict.FAIL:
        leaves = [leaf for leaf in criterion.evidence if leaf.verdict is Verdict.FAIL]
        yield from (_failed(criterion, leaf) for leaf in leaves)
        if not leaves:
            yield criterion.id


def _failed(criterion: CriterionOutcome, leaf: Evidence) -> str:
    threshold = (leaf.threshold or "").strip()
    for sign, opposite in _OPPOSITE.items():
        if threshold.startswith(sign):
            asked = threshold[len(sign) :].strip()
            return f"{criterion.id} {sign if criterion.side == 'exclusion' else opposite} {asked}"
    return criterion.id
