"""The fenced examples of a page in Markdown, and its links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repository.sources import ROOT

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?)\s*$", re.MULTILINE)
GENERATED = frozenset({"cli.md", "errors.md", "contract-report.md"})


@dataclass(frozen=True, slots=True)
class Fence:
    """One example.

    Args:
        language: first word of the fence.
        name: the rest: the file that it is, or what part of one.
        line: of its first line of text.
    """

    language: str
    name: str
    text: str
    line: int


def pages() -> tuple[Path, ...]:
    """The pages that people write: the read-me files and docs/, without what is made by a command."""
    docs = (file for file in (ROOT / "docs").glob("*.md") if file.name not in GENERATED)
    return (ROOT / "README.md", ROOT / "secure_agg" / "README.md", *sorted(docs))


def fences(page: Path) -> Iterator[Fence]:
    """The examples of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language, _, name = found["info"].strip().partition(" ")
        yield Fence(language, name.strip(), found["text"], text.count("\n", 0, found.start("text")) + 1)


def links(page: Path) -> Iterator[str]:
    """What a page links to, as written; examples are left out."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from (found["target"] for found in _LINK.finditer(text))


def headings(page: Path) -> set[str]:
    """The headings of a page, as written."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {found["text"] for found in _HEADING.finditer(text)}


def anchors(page: Path) -> set[str]:
    """The names by which headings of a page can be linked to."""
    return {
        re.sub(r"[^\w\- ]", "", text.lower().replace("`", "")).replace(" ", "-") for text in headings(page)
    }
