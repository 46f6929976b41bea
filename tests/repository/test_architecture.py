"""The page about rooms and floors shows the tree as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.repository.fences import fences
from tests.repository.sources import ROOT

PAGE = ROOT / "docs" / "architecture.md"
NAMED = (PAGE, ROOT / "CONTRIBUTING.md")


def paths(page: Path) -> set[str]:
    """What stands in backticks and is a path from the root: it has a slash, or is our settings."""
    words = re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8"))
    return {word for word in words if "/" in word or word.endswith(".toml")}


def floors(package: str) -> list[set[str]]:
    """The rooms of a package by floor, top first, as import-linter has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == [package]
    ]
    return [set(re.findall(r"\w+", layer)) for layer in layers]


def drawn(column: int) -> list[set[str]]:
    """One column of the picture."""
    (picture,) = [fence.text for fence in fences(PAGE) if fence.language == "text"]
    edge = picture.splitlines()[0].index("ehr")
    parts = [(line[:edge], line[edge:])[column] for line in picture.splitlines()[1:]]
    return [set(re.findall(r"\w+", part)) for part in parts if part.strip()]


@pytest.mark.parametrize("page", NAMED, ids=lambda page: page.name)
def test_every_path_that_the_page_names_is_there(page: Path) -> None:
    named = paths(page)
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    assert len(named) >= 10


@pytest.mark.parametrize(("package", "column"), [("federated", 0), ("ehr", 1)])
def test_the_picture_is_the_contract(package: str, column: int) -> None:
    assert drawn(column) == floors(package)


@pytest.mark.parametrize("package", ["federated", "ehr"])
def test_every_room_has_a_line(package: str) -> None:
    rooms = {f"{package}/{file.parent.name}/" for file in (ROOT / package).glob("*/__init__.py")}
    rooms |= {
        f"federated/screening/{file.parent.name}/"
        for file in (ROOT / "federated/screening").glob("*/__init__.py")
    }
    assert rooms <= paths(PAGE)
