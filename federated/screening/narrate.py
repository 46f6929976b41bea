"""What a leaf found, as evidence: the numbers, the records, the window, and one sentence.

Nothing is looked up again here: everything comes from the finding that decided. Same records, plan and key give
the same bytes (``trial-matching`` 3.8).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from ehr.dates import day_of
from ehr.elements import When
from ehr.fetched import Kind
from federated.screening import texts
from federated.screening.cases import Case
from federated.screening.evidence import Considered, Evidence, Fact, RecordUsed, Verdict
from federated.screening.grades import CodeOf, Grade, laterality
from federated.screening.leaves_found import Found
from federated.screening.logic import NO, UNKNOWN, YES
from federated.screening.moments import RAW
from federated.screening.plan import Plan
from federated.screening.plan_nodes import (
    BEGINNING,
    END,
    Age,
    Count,
    Each,
    Every,
    Field,
    Latest,
    PlanLeaf,
    Select,
    Unread,
)

SHOWN = 5
FACT: Mapping[int, Fact] = MappingProxyType({NO: Fact.NO, UNKNOWN: Fact.UNKNOWN, YES: Fact.YES})
PRECISION: Mapping[int, str] = MappingProxyType({4: "year", 7: "month", 10: "day"})
CODE = re.compile(r"[a-z-]{1,32}\Z")
RESULTS = frozenset({"Latest", "Each", "Extreme", "Mean"})

Narrator = Callable[[Found, Verdict, Case], Evidence]


def narrator(leaf: PlanLeaf, criterion: str, plan: Plan, code_of: CodeOf) -> Narrator:
    """How one leaf's findings are told; what does not depend on the patient is computed here."""
    select: Select | None = getattr(leaf, "select", None)
    threshold = asked_text(leaf)
    window = None if select is None else window_days(select)
    unit = unit_of(leaf)
    label = label_of(leaf)
    asked = threshold or ""
    if not (isinstance(leaf, Field) and leaf.asked is None):  # whose texts are repeated as they are
        asked = texts.asked(asked)

    def tell(found: Found, verdict: Verdict, case: Case) -> Evidence:
        records = _records(found.used, select, plan.key, code_of)
        low, high = (found.low, found.high) if found.judged is None else (found.judged.low, found.judged.high)
        exact = low is not None and low == high
        judged = found.judged
        text = found.shown if judged is None else judged.shown
        source = Kind.PATIENT if select is None else select.kind
        shows_source = not isinstance(leaf, Unread) and not (isinstance(leaf, Field) and leaf.of == "column")
        return Evidence(
            criterion=criterion,
            path=leaf.path,
            outcome=FACT[found.truth],
            verdict=verdict,
            reason=found.reason,
            text=_sentence(leaf, found, (label, asked), window, records, plan),
            value=low if exact else text,
            value_low=None if exact else low,
            value_high=None if exact else high,
            unit=unit,
            original_value=None if judged is None else judged.original,
            original_unit=None if judged is None else judged.unit,
            threshold=threshold,
            margin=found.margin,
            window=window,
            records=records,
            considered=_considered(found),
            world=_world(leaf),
            source_state=case.state(source).name if shows_source else None,
            notes=_notes(select, case, plan),
        )

    return tell


def label_of(leaf: PlanLeaf) -> str:
    """What a leaf is about, for people."""
    if isinstance(leaf, Unread):
        return leaf.label
    if isinstance(leaf, Age):
        return "age"
    if isinstance(leaf, Field):
        return leaf.name if leaf.of == "column" else leaf.of
    codes = leaf.select.codes
    return leaf.select.kind.value if codes is None else codes.label


def asked_text(leaf: PlanLeaf) -> str | None:
    """What is asked, for people; None where presence is."""
    if isinstance(leaf, Age | Field):
        return leaf.text
    if isinstance(leaf, Count):
        return f"{leaf.op} {leaf.n}"
    if isinstance(leaf, Every):
        return f">= {leaf.times} in each of {len(leaf.spans)} periods"
    asked = getattr(leaf, "asked", None)
    return None if asked is None else str(asked.text)


def unit_of(leaf: PlanLeaf) -> str | None:
    """Unit of the evidence's numbers."""
    if isinstance(leaf, Age):
        return leaf.unit
    asked = getattr(leaf, "asked", None)
    return None if asked is None else asked.unit


def window_days(select: Select) -> tuple[str, str] | None:
    """First and last day of the window; empty text for an open end, or one that is counted from birth."""
    span = select.span
    if not span.asked:
        return None
    first = "" if span.lo == BEGINNING or span.lo_birth else day_of(span.lo).isoformat()
    last = "" if span.hi == END or span.hi_birth else day_of(span.hi).isoformat()
    return first, last


def _world(leaf: PlanLeaf) -> str | None:
    if isinstance(leaf, Unread):
        return None
    if isinstance(leaf, Age):
        return "open"
    return leaf.world if isinstance(leaf, Field) else leaf.select.world


def _considered(found: Found) -> Considered:
    gathered = found.gathered
    if gathered is None:
        return Considered()
    definite = gathered.definite
    return Considered(
        gathered.candidates,
        definite,
        len(gathered.kept) - definite,
        MappingProxyType(dict(sorted(gathered.dropped.items()))),
    )


def _notes(select: Select | None, case: Case, plan: Plan) -> tuple[str, ...]:
    """``AS_OF_FETCH`` where a clinical status was read after the index date."""
    if select is None or not any(rule.of == "clinical" and rule.yes is not None for rule in select.statuses):
        return ()
    fetched = case.record.kinds.get(select.kind)
    if fetched is None or fetched.fetched_at is None:
        return ()
    return ("AS_OF_FETCH",) if fetched.fetched_at.astimezone(plan.zone).date() > plan.index_date else ()


def _records(used: list[Grade], select: Select | None, key: bytes, code_of: CodeOf) -> tuple[RecordUsed, ...]:
    if select is None or not used:
        return ()
    made = [_record(grade, select, key, code_of) for grade in used]
    return tuple(sorted(made, key=_order)[:SHOWN])


def _order(record: RecordUsed) -> tuple[Any, ...]:
    """Definite first, newest first (undated last), then kind and reference."""
    newest_first = (*(-ord(letter) for letter in record.date or ""), 1)
    return (record.match != "definite", newest_first, record.kind, record.ref)


def _record(grade: Grade, select: Select, key: bytes, code_of: CodeOf) -> RecordUsed:
    record, code = grade.entry.record, grade.entry.code
    when: When | None = RAW[select.times[0].of](record)
    at = None if when is None else when.at or when.start or when.end
    at = None if grade.time is None else at
    status = record.clinical if hasattr(record, "clinical") else record.status
    return RecordUsed(
        kind=select.kind.value,
        resource=record.type_name,
        ref=hmac.new(key, record.reference.encode(), sha256).hexdigest()[:16],
        system=None if code is None else code.system,
        code=None if code is None else code.code,
        display=None if grade.entry.coding is None else grade.entry.coding.display,
        date=at,
        precision=None if at is None else PRECISION.get(len(at), "second"),
        status=status if status is not None and CODE.match(status) else None,
        eye=None if select.eye is None else laterality(grade.entry, code_of),
        match="definite" if grade.sure == YES else "possible",
    )


def _sentence(
    leaf: PlanLeaf,
    found: Found,
    words: tuple[str, str],
    window: tuple[str, str] | None,
    records: tuple[RecordUsed, ...],
    plan: Plan,
) -> str:
    group, key = _template(leaf, found)
    first, last = window or ("", "")
    date = next((record.date[:10] for record in records if record.date), "")
    spoken = texts.templates()["words"]
    return texts.sentence(
        group,
        key,
        label=words[0],
        asked=words[1],
        value=_value(found, leaf),
        n=0 if found.gathered is None else len(found.gathered.kept),
        since=texts.since(first, last, plan.index_date.isoformat()),
        on=spoken["on"].format(date=date) if date else "",
        word=spoken["yes"] if found.truth == YES else spoken["no"],
        which={"min": "lowest", "max": "highest"}.get(getattr(leaf, "which", ""), ""),
    )


def _template(leaf: PlanLeaf, found: Found) -> tuple[str, str]:
    name = type(leaf).__name__
    if found.truth == UNKNOWN:
        missing_test = found.reason == "NOT_RECORDED" and name in RESULTS
        return "unknown", "NO_TEST" if missing_test else found.reason
    if found.reason in ("CODE_ABSENT", "DATE_OUTSIDE"):
        return "absent", found.reason
    if isinstance(leaf, Field):
        return "found", leaf.of
    if isinstance(leaf, Latest) and leaf.earliest:
        return "found", "Earliest"
    return "found", "All" if isinstance(leaf, Each) and leaf.all else name


def _value(found: Found, leaf: PlanLeaf) -> str:
    judged = found.judged
    if judged is None:
        return found.shown or texts.stretch(found.low, found.high)
    number = texts.stretch(judged.low, judged.high)
    unit = unit_of(leaf)
    if number:
        return f"{number} {unit}" if unit not in (None, "1") else number
    return judged.shown or ""
