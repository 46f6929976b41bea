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


def _line(document: Mapping[str, Any]) -> str:
    dumped = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return dumped + "\n"


def decisions_name(run: Run) -> str:
    """``decisions.json``, or ``decisions.jsonl`` for more patients than `LINES_ABOVE`."""
    return "decisions.jsonl" if len(run.patients) > LINES_ABOVE else "decisions.json"


def decisions(run: Run) -> Iterable[str]:
    """The file in pieces: one document; or the head object and then one patient a line."""
    if len(run.patients) <= LINES_ABOVE:
        return [text(documents.decisions(run))]
    return _lines(run)


def _lines(run: Run) -> Iterator[str]:
    yield _line(documents.head(run, "decisions"))
    for patient in documents.patients(run):
        yield _line(patient)
