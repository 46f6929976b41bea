"""What a plug-in may import: one page says it, the modules say the same, and the examples keep to it."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.repository.sources import PACKAGES, ROOT, python_files, shown, tree

PAGE = ROOT / "docs" / "write-a-plugin.md"
NEEDS = {"federated.models.torch_modules": "torch"}
"""Modules of an extra that may not be installed here."""


def declared(page: str) -> dict[str, set[str]]:
    """Module to names, as the table of the page has them."""
    _, _, section = page.partition("## What you may import")
    rows = re.findall(
        r"^\| `([\w.]+)` \| ((?:`\w+`(?:, )?)+) \|", section.partition("\n## ")[0], re.MULTILINE
    )
    return {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows}


def imports(file: Path) -> set[tuple[str, str]]:
    """Module and name of everything of ours that a file imports; the name is empty for a whole module."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
    return {(module, name) for module, name in found if module.partition(".")[0] in PACKAGES}


DECLARED = declared(PAGE.read_text(encoding="utf-8"))


def _stated(module: str) -> set[str]:
    """``__all__`` of a module, also of one whose packages are not installed."""
    if module in NEEDS and find_spec(NEEDS[module]) is None:
        found = tree(ROOT.joinpath(*module.split(".")).with_suffix(".py"))
        values = [node.value for node in found.body if isinstance(node, ast.Assign)]
        return set(ast.literal_eval(values[-1]))
    there = import_module(module)
    return {name for name in there.__all__ if hasattr(there, name)}


@pytest.mark.parametrize("module", sorted(DECLARED))
def test_what_the_page_lists_is_there_and_public(module: str) -> None:
    assert DECLARED[module] <= _stated(module)


def test_the_example_plug_ins_import_nothing_that_the_page_does_not_list() -> None:
    files = python_files("examples/plugins")
    used = {file: imports(file) for file in files}
    undeclared = [
        f"{shown(file)}: {module} {name}"
        for file, found in used.items()
        for module, name in sorted(found)
        if name not in DECLARED.get(module, set())
    ]
    assert not undeclared, "\n".join(["", *undeclared])
    assert len(set().union(*used.values())) >= 12


def test_an_import_that_is_not_listed_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "plugin.py"
    file.write_text("import numpy\nimport ehr.transport\nfrom federated.errors import TaskRefused, Secret\n")
    assert imports(file) == {
        ("ehr.transport", ""),
        ("federated.errors", "TaskRefused"),
        ("federated.errors", "Secret"),
    }
    rows = "| module | names | for |\n|---|---|---|\n| `federated.errors` | `TaskRefused`, `UsageError` | refusals |"
    page = f"| `x` | `y` | z |\n## What you may import\n{rows}\n## Next\n| `a` | `b` | c |"
    assert declared(page) == {"federated.errors": {"TaskRefused", "UsageError"}}
