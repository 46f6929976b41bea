"""The picture of ``docs/scale.md``, made from what ``benchmarks/ehr.py --json`` printed.

``python -m benchmarks.ehr_reading.picture FIGURES.json docs/images/reading.svg``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ehr_reading.arms import LIMIT, OURS

WIDTH, ROW, LEFT, TOP = 740, 24, 170, 34
COLOURS = {OURS: "#1f5fa8", LIMIT: "#8a8a8a"}
OTHER = "#d4a373"


def drawn(rows: Sequence[Mapping[str, Any]]) -> str:
    """One bar a client and latency: seconds for the cohort, of the main rows that were measured."""
    patients = min(row["patients"] for row in rows)
    main = [row for row in rows if row["patients"] == patients and row["seconds"] is not None]
    latencies = sorted({row["latency_ms"] for row in main})
    parts: list[str] = []
    top = TOP
    for latency in latencies:
        group = sorted((row for row in main if row["latency_ms"] == latency), key=lambda row: row["seconds"])
        title = "answers at once" if latency == 0 else f"{latency} ms added to each answer"
        parts.append(f'<text x="8" y="{top}" font-weight="bold">{patients} patients, {title}</text>')
        for place, row in enumerate(group):
            parts.append(_bar(row, group[-1]["seconds"], top + 10 + place * ROW))
        top += 10 + len(group) * ROW + 34
    words = "Seconds to read a cohort, by client and by latency of the server; shorter is better"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - 14}" font-family="sans-serif" '
        f'font-size="13" role="img" aria-label="{words}">'
        f'<rect width="{WIDTH}" height="{top - 14}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _bar(row: Mapping[str, Any], longest: float, top: int) -> str:
    width = max(2.0, row["seconds"] / longest * (WIDTH - LEFT - 80))
    name = "limit" if row["client"] == LIMIT else row["client"]
    return (
        f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{name}</text>'
        f'<rect x="{LEFT}" y="{top + 3}" width="{width:.1f}" height="{ROW - 8}" '
        f'fill="{COLOURS.get(row["client"].split(",")[0], OTHER)}"/>'
        f'<text x="{LEFT + width + 6:.1f}" y="{top + 15}">{row["seconds"]:.1f} s</text>'
    )


if __name__ == "__main__":
    figures = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(drawn(figures["rows"]), encoding="utf-8")
