"""The page about vectors names every file of vectors, its maker, and what is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.repository.sources import ROOT

FOLDER = ROOT / "fixtures" / "vectors"
PAGE = (ROOT / "docs" / "vectors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_the_page_names_every_file(file: Path) -> None:
    assert file.is_dir() or file.name in PAGE, f"{file.name} is not explained"


@pytest.mark.parametrize("file", ["secure_agg.json", "standards.json"])
def test_the_page_explains_every_entry(file: str) -> None:
    entries = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    assert [name for name in entries if name != "origin" and f"`{name}`" not in PAGE] == []


def test_every_entry_of_the_standards_names_its_document() -> None:
    for name, found in json.loads((FOLDER / "standards.json").read_text(encoding="utf-8")).items():
        for each in found if isinstance(found, list) else [found]:
            assert each["origin"], name


def test_the_page_counts_the_messages_of_the_round() -> None:
    frozen = json.loads((FOLDER / "sa1_transcript.json").read_text(encoding="utf-8"))
    assert f"`messages`, all {len(frozen['messages'])}, byte by byte" in PAGE
