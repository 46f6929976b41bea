"""Bytes of the JSON files: keys sorted, UTF-8, no clock but in ``run.json``; equal runs give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from federated.reports import documents
from federated.reports.run import Run

LINES_ABOVE = 10_000
"""More patients than this are written one a line."""


def text(document: Mapping[str, Any]) -> str:
    """One document, indented, with a newline at its end.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decisions_name(run: Run) -> str:
    """``decisions.json``, or ``decisions.jsonl`` for more patients than `LINES_ABOVE`."""
    return "decisions.jsonl" if len(run.patients) > LINES_ABOVE else "decisions.json"


def decisions(run: Run) -> Iterable[str]:
    """The file in pieces, one patient a line in both forms: one document, or the head object and then patients.

    Only one patient is held as JSON at a time.
    """
    return _document(run) if len(run.patients) <= LINES_ABOVE else _lines(run)


def _document(run: Run) -> Iterator[str]:
    head = documents.head(run, "decisions")
    lead = "{"
    for key in sorted((*head, "patients")):
        yield f"{lead}{_compact(key)}:"
        if key == "patients":
            yield from _array(documents.patients(run))
        else:
            yield _compact(head[key])
        lead = ",\n"
    yield "}\n"


def _array(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    lead = "[\n"
    for item in items:
        yield lead + _compact(item)
        lead = ",\n"
    yield "[]" if lead == "[\n" else "\n]"


def _lines(run: Run) -> Iterator[str]:
    yield _compact(documents.head(run, "decisions")) + "\n"
    for patient in documents.patients(run):
        yield _compact(patient) + "\n"
