"""What the pages of ``docs/proof`` have in common: when, on what kind of machine, with which versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "proof"


def machine() -> str:
    """The machine in general words: no host, no path."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} logical cores (shared), "
        f"{memory:.0f} GiB of memory, Python {platform.python_version()}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write(name: str, title: str, paragraphs: Sequence[str], folder: Path = FOLDER) -> Path:
    """Write a page; its first lines say when and on what it was seen."""
    folder.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    seen = f"Seen on {day}, trialveil {version('trialveil')}; {machine()}. Made by `make proof`."
    path = folder / f"{name}.md"
    path.write_text("\n\n".join([f"# {title}", seen, *paragraphs]) + "\n", encoding="utf-8")
    return path
