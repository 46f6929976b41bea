"""``report.html``: one file, no request, complete without script."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from federated.screening.decide.evidence import Decision
from federated.screening.report import json_documents, patient_list, wording
from federated.screening.report.funnel import Funnel, IndependentLoss
from federated.screening.report.results import CriterionHead, PatientResult, Run, units
from federated.screening.report.wording import Mark

ONE_PAGE = 2000
"""More patients than this are split into pages of `PER_PAGE`."""
PER_PAGE = 1000
LOOKUPS_SHOWN = 8
CODES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the numbers at the top."""

    mark: Mark
    count: int
    of: int
    note: str


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One row of the table of criteria."""

    head: CriterionHead
    name: str
    codes: str
    counts: IndependentLoss | None
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """One fact to look up, over all undecided patients."""

    action: str
    about: str
    reason: str
    patients: int
    alone: int


@cache
def environment() -> Environment:
    """Templates with escaping on, and with what could hide or reorder text taken out."""
    made = Environment(
        loader=PackageLoader("federated.screening.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: wording.visible(value) if type(value) is str else value,
    )
    made.filters |= {"day": wording.day, "kind": wording.kind, "unit": wording.unit, "thousands": thousands}
    return made


def thousands(value: int) -> str:
    """``12 345``, with a narrow blank that does not break."""
    return f"{value:,}".replace(",", "\u202f")


@cache
def asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    return Markup((files("federated.screening.report") / "templates" / name).read_text("utf-8"))  # noqa: S704 - our own file


def content_policy(script: str) -> str:
    """The page may run this script (none if it is empty), use its own styles, and reach nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'" if script else "script-src 'none'"
    rules = ("default-src 'none'", "style-src 'unsafe-inline'", allowed)
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def report(run: Run) -> dict[str, Iterable[str]]:
    """The pages of a run: file name to its text in pieces; ``report.html`` is the last."""
    patients = patient_list.ordered(run)
    if len(patients) <= ONE_PAGE:
        return {"report.html": _first(run, patients, ())}
    slices = [patients[start : start + PER_PAGE] for start in range(0, len(patients), PER_PAGE)]
    names = [f"report-{number:03}.html" for number in range(1, len(slices) + 1)]
    pages: dict[str, Iterable[str]] = {
        name: _page(run, part, number, names)
        for number, (name, part) in enumerate(zip(names, slices, strict=True), start=1)
    }
    return pages | {"report.html": _first(run, [], list(zip(names, slices, strict=True)))}


def _first(
    run: Run, patients: Sequence[PatientResult], pages: Sequence[tuple[str, Sequence[PatientResult]]]
) -> Iterator[str]:
    views = json_documents.funnel_of(run)
    yield from _stream(
        "report.html.j2",
        run=run,
        tiles=_tiles(run),
        touched=_touched(run),
        views=views,
        names={head.id: patient_list.named(head) for head in run.criteria},
        criteria=_criteria(run, views),
        missing=_missing(run),
        newest=_newest(run),
        absence_policy=_absence_policy(run),
        kinds=_kinds(run),
        text_only={wording.kind(kind): count for kind, count in run.work.text_only.items()},
        pages=[_contents(name, part) for name, part in pages],
        groups=patient_list.groups(run, patients),
        data=_data(run),
    )


def _page(run: Run, patients: Sequence[PatientResult], number: int, names: Sequence[str]) -> Iterator[str]:
    yield from _stream(
        "page.html.j2",
        run=run,
        names={head.id: patient_list.named(head) for head in run.criteria},
        groups=patient_list.groups(run, patients),
        number=number,
        files=names,
        data=_data(run, masks=False),
    )


def _stream(template: str, **values: Any) -> Iterator[str]:
    script = asset("report.js")
    common = {"style": asset("report.css"), "script": script, "policy": content_policy(script)}
    stream = environment().get_template(template).stream(**values, **common)
    stream.enable_buffering(512)
    return iter(stream)


def _tiles(run: Run) -> list[Tile]:
    found = json_documents.counts(run)
    notes = {
        Decision.ELIGIBLE: "by the coded criteria",
        Decision.UNDECIDED: "a fact is missing",
        Decision.NOT_EVALUATED: "identity or row unclear",
        Decision.NOT_ELIGIBLE: "a criterion is not met",
    }
    return [
        Tile(mark, found[decision.value], found["input"], notes[decision])
        for decision, mark in wording.DECISIONS.items()
    ]


def _touched(run: Run) -> list[tuple[str, str, int]]:
    """Kind, state and number of patients, for everything that was not read completely."""
    return [
        (wording.kind(kind), wording.STATES.get(state, state), count)
        for kind, states in json_documents.completeness(run).items()
        for state, count in states.items()
        if state not in wording.COMPLETE
    ]


def _criteria(run: Run, views: Funnel) -> list[CriterionRow]:
    rows = {row.criterion: row for row in views.independent}
    reasons = json_documents.unknown_reasons(run)
    found = []
    for head in run.criteria:
        most = min(
            reasons.get(head.id, Counter()).items(), key=lambda item: (-item[1], item[0]), default=("", 0)
        )
        reason = wording.reason(most[0]) if most[1] else ""
        found.append(
            CriterionRow(head, patient_list.named(head), _codes(head.codes), rows.get(head.id), reason)
        )
    return found


def _codes(codes: Sequence[str]) -> str:
    """``icd10cm E11*, I10; loinc 4548-4``: each system once, the first dozen codes."""
    systems: dict[str, list[str]] = {}
    for code in codes[:CODES_SHOWN]:
        system, _, pattern = code.partition(" ")
        systems.setdefault(system, []).append(pattern)
    text = "; ".join(f"{system} {', '.join(patterns)}" for system, patterns in systems.items())
    return f"{text} and {len(codes) - CODES_SHOWN} more" if len(codes) > CODES_SHOWN else text


def _missing(run: Run) -> list[Missing]:
    """The facts that bear on most undecided patients; *alone* where the patient has no other unknown."""
    heads = {head.id: head for head in run.criteria}
    touched: Counter[tuple[str, str, str]] = Counter()
    alone: Counter[tuple[str, str, str]] = Counter()
    for patient in run.patients:
        if patient.outcome is None or patient.decision is not Decision.UNDECIDED:
            continue
        keys = {_key(heads, item.do, item.criteria, item.reason) for item in patient.outcome.lookups}
        touched.update(keys)
        if len(patient.outcome.lookups) == 1:
            alone.update(keys)
    best = sorted(touched, key=lambda key: (-alone[key], -touched[key], key))[:LOOKUPS_SHOWN]
    return [Missing(*key, patients=touched[key], alone=alone[key]) for key in best]


def _key(
    heads: dict[str, CriterionHead], do: str, criteria: Sequence[str], reason: str
) -> tuple[str, str, str]:
    about = ", ".join(patient_list.named(heads[name]) for name in criteria if name in heads)
    return wording.action(do), about, wording.reason(reason)


def _newest(run: Run) -> str:
    """Day of the newest record that a decision rests on: how fresh the data is, without a clock."""
    dates = (
        record.date[:10]
        for outcome in units(run)
        for criterion in outcome.criteria
        for leaf in criterion.evidence
        for record in leaf.records
        if record.date and len(record.date) >= len("2026-01-01") and record.date[:10] <= run.index_date
    )
    return max(dates, default="")


def _absence_policy(run: Run) -> list[tuple[str, str]]:
    found = []
    for world, sentence in wording.WORLDS:
        kinds = [wording.kind(kind) for kind, asked in sorted(run.site.world.items()) if asked == world]
        if kinds:
            found.append((sentence, ", ".join(kinds)))
    return found


def _kinds(run: Run) -> list[tuple[str, list[int]]]:
    """Kind; complete, in part, not allowed or not offered, failed, set aside."""
    found = []
    for kind, states in json_documents.completeness(run).items():
        complete = sum(states.get(state, 0) for state in wording.COMPLETE)
        refused = sum(states.get(state, 0) for state in ("FORBIDDEN", "RESTRICTED", "UNSUPPORTED"))
        failed = sum(states.get(state, 0) for state in ("UNAVAILABLE", "ERROR", "QUOTA"))
        aside = run.work.set_aside.get(kind, 0)
        found.append((wording.kind(kind), [complete, states.get("PARTIAL", 0), refused, failed, aside]))
    return found


def _contents(name: str, part: Sequence[PatientResult]) -> tuple[str, str]:
    found = Counter(patient.decision for patient in part)
    some = [(found[decision], mark.word.lower()) for decision, mark in wording.DECISIONS.items()]
    return name, ", ".join(f"{count} {word}" for count, word in some if count)


def _data(run: Run, masks: bool = True) -> dict[str, Any]:
    """What the script needs: ids of the criteria, and the masks as lists of positions."""
    data: dict[str, Any] = {"ids": [head.id for head in run.criteria], "index": run.index_date}
    if masks:
        table = json_documents.tables(run).items()
        data["masks"] = [
            [_positions(failed), _positions(unknown), count] for (failed, unknown, _), count in table
        ]
    return data


def _positions(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
