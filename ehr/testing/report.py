"""What a run of the contract came to: as one JSON document, and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ehr.testing.case import GROUPS, Case
from ehr.testing.harness import ProviderHarness
from ehr.testing.run import Result, set_aside
from ehr.testing.specimens.specimen import Specimen

SCHEMA = "trialveil/contract/1"
_ALSO = 12  # of further cases are shown by number
_OUTCOMES = ("passed", "failed", "not_applicable")


def document(results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """The report of some providers: name to results."""
    return {
        "schema": SCHEMA,
        "providers": {
            name: {"cases": [_entry(one) for one in found], "summary": summary(found)}
            for name, found in results.items()
        },
    }


def summary(results: Iterable[Result]) -> dict[str, int]:
    """How many passed, failed, and do not apply."""
    counts: Counter[str] = Counter(one.outcome for one in results)
    return {outcome: counts[outcome] for outcome in _OUTCOMES}


def _entry(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "number": case.number,
        "name": case.name,
        "level": case.level,
        "outcome": result.outcome,
        "reason": result.reason,
        "backends": list(result.backends),
    }


def merged(runs: Iterable[tuple[Case, str, str, str | None]]) -> tuple[Result, ...]:
    """One result a case out of one for each back-end; failures win.

    Args:
        runs: case, back-end, outcome and reason.
    """
    found: dict[str, Result] = {}
    for case, backend, outcome, reason in runs:
        before = found.get(case.name)
        ran = () if outcome == "not_applicable" else (backend,)
        backends: Any = (*(before.backends if before is not None else ()), *ran)
        if before is not None and before.outcome == "failed":
            found[case.name] = Result(case, "failed", before.reason, backends)
        elif outcome == "failed":
            found[case.name] = Result(case, "failed", f"on {backend}: {reason}", backends)
        else:
            found[case.name] = Result(case, outcome, reason, backends)  # type: ignore[arg-type]  # one of the three
    return tuple(sorted(found.values(), key=lambda one: one.case.number))


def as_promised(harness: ProviderHarness, cases: Iterable[Case]) -> tuple[Result, ...]:
    """What a run must come to: every case that applies by the profile has passed."""
    return tuple(set_aside(case, harness) or Result(case, "passed", None, case.backends) for case in cases)


def page(results: Mapping[str, Sequence[Result]], note: str) -> str:
    """The report as a page of Markdown; ``note`` says how it was made."""
    names = list(results)
    by_case = {one.case: one.case for found in results.values() for one in found}
    cases = sorted(by_case, key=lambda case: case.number)
    tables = {name: {one.case.number: one for one in results[name]} for name in names}
    head = (
        f"| | case | level | {' | '.join(names)} | what holds |",
        f"|---|---|---|{'---|' * len(names)}---|",
    )
    lines = ["# Contract report", "", note, "", _counts(results), ""]
    reasons: dict[str, int] = {}
    for group, title in GROUPS.items():
        rows = [case for case in cases if case.group == group]
        if not rows:
            continue
        lines += [f"## {group}. {title}", "", *head]
        lines += [_row(case, [tables[name].get(case.number) for name in names], reasons) for case in rows]
        lines.append("")
    lines += [f"[{number}] {reason}.  " for reason, number in reasons.items()]
    return "\n".join(lines).rstrip() + "\n"


def bad_adapters(specimens: Iterable[Specimen], cases: Iterable[Case]) -> str:
    """The known-bad adapters and what catches them, as a part of the page."""
    named = {case.number: case.name for case in cases}
    lines = ["## Known-bad adapters", "", "| what it does wrong | caught by | also by |", "|---|---|---|"]
    for one in specimens:
        also = ", ".join(map(str, one.also[:_ALSO])) + (
            f" and {len(one.also) - _ALSO} more" if one.also[_ALSO:] else ""
        )
        lines.append(f"| {one.name} | {one.caught_by} `{named[one.caught_by]}` | {also} |")
    return "\n".join(lines) + "\n"


def _counts(results: Mapping[str, Sequence[Result]]) -> str:
    parts = []
    for name, found in results.items():
        counts = summary(found)
        parts.append(
            f"`{name}`: {counts['passed']} passed, {counts['failed']} failed, "
            f"{counts['not_applicable']} not applicable."
        )
    return "  \n".join(parts)


def _row(case: Case, found: Sequence[Result | None], reasons: dict[str, int]) -> str:
    cells = []
    for one in found:
        if one is None:
            cells.append("–")
        elif one.outcome == "passed":
            cells.append("passed")
        else:
            word = "n/a" if one.outcome == "not_applicable" else "**failed**"
            mark = reasons.setdefault(one.reason or "", len(reasons) + 1)
            cells.append(f"{word} [{mark}]")
    return f"| {case.number} | `{case.name}` | {case.level} | {' | '.join(cells)} | {case.holds} |"
