"""What a leaf found, as evidence: the numbers, the records, the window, and one sentence from ``texts.toml``.

Nothing is looked up again here: everything comes from the finding that decided. Same records, plan and key give
the same bytes.
"""

from __future__ import annotations

import hmac
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from ehr.dates import day_of
from ehr.records.elements import RecordedTime
from ehr.records.fetched import Kind
from federated.screening.decide.case import Case
from federated.screening.decide.certainty import Grade
from federated.screening.decide.evidence import Considered, Evidence, Fact, RecordUsed, Verdict
from federated.screening.decide.finding import Found
from federated.screening.decide.quantities import CodeOf
from federated.screening.decide.record_checks import laterality
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.decide.times import recorded_time
from federated.screening.plan import nodes
from federated.screening.plan.trial_plan import Plan

SHOWN = 5
FACT: Mapping[int, Fact] = MappingProxyType({NO: Fact.NO, UNKNOWN: Fact.UNKNOWN, YES: Fact.YES})
PRECISION: Mapping[int, str] = MappingProxyType({4: "year", 7: "month", 10: "day"})
CODE = re.compile(r"[a-z-]{1,32}\Z")
RESULTS = frozenset({"Latest", "Each", "Extreme", "Mean"})

EvidenceMaker = Callable[[Found, Verdict, Case], Evidence]


def evidence_maker(leaf: nodes.PlanLeaf, criterion: str, plan: Plan, code_of: CodeOf) -> EvidenceMaker:
    """What makes the evidence of one leaf's findings; what does not depend on the patient is computed here."""
    select: nodes.Select | None = getattr(leaf, "select", None)
    threshold = asked_text(leaf)
    window = None if select is None else window_days(select)
    unit = unit_of(leaf)
    label = label_of(leaf)
    bound = threshold or ""
    if not (isinstance(leaf, nodes.Field) and leaf.asked is None):  # whose texts are repeated as they are
        bound = asked(bound)

    def evidence(found: Found, verdict: Verdict, case: Case) -> Evidence:
        records = _records(found.used, select, plan.key, code_of)
        low, high = (found.low, found.high) if found.judged is None else (found.judged.low, found.judged.high)
        exact = low is not None and low == high
        judged = found.judged
        text = found.shown if judged is None else judged.shown
        source = Kind.PATIENT if select is None else select.kind
        shows_source = not isinstance(leaf, nodes.Unread) and not (
            isinstance(leaf, nodes.Field) and leaf.of == "column"
        )
        return Evidence(
            criterion=criterion,
            path=leaf.path,
            outcome=FACT[found.truth],
            verdict=verdict,
            reason=found.reason,
            text=_sentence(leaf, found, (label, bound), window, records, plan),
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

    return evidence


def label_of(leaf: nodes.PlanLeaf) -> str:
    """What a leaf is about, for people."""
    if isinstance(leaf, nodes.Unread):
        return leaf.label
    if isinstance(leaf, nodes.Age):
        return "age"
    if isinstance(leaf, nodes.Field):
        return leaf.name if leaf.of == "column" else leaf.of
    codes = leaf.select.codes
    return leaf.select.kind.value if codes is None else codes.label


def asked_text(leaf: nodes.PlanLeaf) -> str | None:
    """What is asked, for people; None where presence is."""
    if isinstance(leaf, nodes.Age | nodes.Field):
        return leaf.text
    if isinstance(leaf, nodes.Count):
        return f"{leaf.op} {leaf.n}"
    if isinstance(leaf, nodes.Every):
        return f">= {leaf.times} in each of {len(leaf.spans)} periods"
    asked = getattr(leaf, "asked", None)
    return None if asked is None else str(asked.text)


def unit_of(leaf: nodes.PlanLeaf) -> str | None:
    """Unit of the evidence's numbers."""
    if isinstance(leaf, nodes.Age):
        return leaf.unit
    asked = getattr(leaf, "asked", None)
    return None if asked is None else asked.unit


def window_days(select: nodes.Select) -> tuple[str, str] | None:
    """First and last day of the window; empty text for an open end, or one that is counted from birth."""
    span = select.span
    if not span.asked:
        return None
    first = "" if span.lo == nodes.BEGINNING or span.lo_birth else day_of(span.lo).isoformat()
    last = "" if span.hi == nodes.END or span.hi_birth else day_of(span.hi).isoformat()
    return first, last


def _world(leaf: nodes.PlanLeaf) -> str | None:
    if isinstance(leaf, nodes.Unread):
        return None
    if isinstance(leaf, nodes.Age):
        return "open"
    return leaf.world if isinstance(leaf, nodes.Field) else leaf.select.world


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


def _notes(select: nodes.Select | None, case: Case, plan: Plan) -> tuple[str, ...]:
    """``AS_OF_FETCH`` where a clinical status was read after the index date."""
    if select is None or not any(rule.of == "clinical" and rule.yes is not None for rule in select.statuses):
        return ()
    fetched = case.record.kinds.get(select.kind)
    if fetched is None or fetched.fetched_at is None:
        return ()
    return ("AS_OF_FETCH",) if fetched.fetched_at.astimezone(plan.zone).date() > plan.index_date else ()


def _records(
    used: list[Grade], select: nodes.Select | None, key: bytes, code_of: CodeOf
) -> tuple[RecordUsed, ...]:
    if select is None or not used:
        return ()
    made = [_record(grade, select, key, code_of) for grade in used]
    return tuple(sorted(made, key=_order)[:SHOWN])


def _order(record: RecordUsed) -> tuple[Any, ...]:
    """Definite first, newest first (undated last), then kind and reference."""
    newest_first = (*(-ord(letter) for letter in record.date or ""), 1)
    return (record.match != "definite", newest_first, record.kind, record.ref)


def _record(grade: Grade, select: nodes.Select, key: bytes, code_of: CodeOf) -> RecordUsed:
    record, code = grade.entry.record, grade.entry.code
    when: RecordedTime | None = recorded_time(select.times[0].of, record)
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
    leaf: nodes.PlanLeaf,
    found: Found,
    words: tuple[str, str],
    window: tuple[str, str] | None,
    records: tuple[RecordUsed, ...],
    plan: Plan,
) -> str:
    group, key = _template(leaf, found)
    first, last = window or ("", "")
    date = next((record.date[:10] for record in records if record.date), "")
    spoken = templates()["words"]
    return sentence(
        group,
        key,
        label=words[0],
        asked=words[1],
        value=_value(found, leaf),
        n=0 if found.gathered is None else len(found.gathered.kept),
        since=since(first, last, plan.index_date.isoformat()),
        on=spoken["on"].format(date=date) if date else "",
        word=spoken["yes"] if found.truth == YES else spoken["no"],
        which={"min": "lowest", "max": "highest"}.get(getattr(leaf, "which", ""), ""),
    )


def _template(leaf: nodes.PlanLeaf, found: Found) -> tuple[str, str]:
    name = type(leaf).__name__
    if found.truth == UNKNOWN:
        missing_test = found.reason == "NOT_RECORDED" and name in RESULTS
        return "unknown", "NO_TEST" if missing_test else found.reason
    if found.reason in ("CODE_ABSENT", "DATE_OUTSIDE"):
        return "absent", found.reason
    if isinstance(leaf, nodes.Field):
        return "found", leaf.of
    if isinstance(leaf, nodes.Latest) and leaf.earliest:
        return "found", "Earliest"
    return "found", "All" if isinstance(leaf, nodes.Each) and leaf.all else name


def _value(found: Found, leaf: nodes.PlanLeaf) -> str:
    judged = found.judged
    if judged is None:
        return found.shown or stretch(found.low, found.high)
    number = stretch(judged.low, judged.high)
    unit = unit_of(leaf)
    if number:
        return f"{number} {unit}" if unit not in (None, "1") else number
    return judged.shown or ""


Templates = Mapping[str, Mapping[str, str]]


@cache
def templates() -> Templates:
    """The packaged templates; read once."""
    found: dict[str, Any] = tomllib.loads(files(__package__).joinpath("texts.toml").read_text("utf-8"))
    return found


def number(value: float) -> str:
    """A number without a needless ``.0``, with at most nine digits after the point."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.9f}".rstrip("0")


def stretch(low: float | None, high: float | None) -> str:
    """A number, or the stretch it lies in; empty where there is none."""
    words = templates()["words"]
    if low is None and high is None:
        return ""
    if low is None or high is None:
        if high is None:
            return words["above"].format(low=number(low or 0.0))
        return words["below"].format(high=number(high))
    if low == high:
        return number(low)
    return words["from_to"].format(low=number(low), high=number(high))


def since(first: str, last: str, index: str) -> str:
    """The window in words; empty where none was asked."""
    words = templates()["words"]
    if first and (not last or last == index):
        return words["since"].format(first=first)
    if first:
        return words["between"].format(first=first, last=last)
    return words["until"].format(last=last) if last else ""


_COMPARED = re.compile(r"(<=|>=|!=|<|>|=|is|in) (.+?)( in each of \d+ periods)?")


def asked(threshold: str) -> str:
    """What is asked in words, such as ``5.7 % or more`` for ``>= 5.7 %``; a range stays as it is."""
    found = _COMPARED.fullmatch(threshold)
    if found is None:
        return threshold
    return templates()["asked"][found[1]].format(bound=found[2]) + (found[3] or "")


def sentence(group: str, key: str, **parts: object) -> str:
    """One sentence, with its first letter large and no doubled spaces.

    Raises:
        KeyError: there is no such template, which is a mistake of ours.
    """
    text = " ".join(templates()[group][key].format(**parts).split())
    text = text.replace(" ;", ";").replace(" :", ":").replace(" ,", ",").replace(" .", ".")
    return text[:1].upper() + text[1:]
