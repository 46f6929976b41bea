"""Layers, and the three packages that load their names when they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.repository.sources import PACKAGES, ROOT, python_files, tree


def test_the_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not installed; it comes with the extra 'dev'")
    seen = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert seen.returncode == 0, seen.stdout[-3000:] + seen.stderr[-1000:]


def imports() -> dict[str, set[str]]:
    """For each module, the modules that it names in an import, wherever that stands."""
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in python_files()
    }
    named: dict[str, set[str]] = {}
    for module, file in files.items():
        found: set[str] = set()
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {path if path in files else str(node.module) for path in whole}
        named[module] = (found & files.keys()) - {module}
    return named


def test_no_modules_name_each_other_in_a_circle() -> None:
    """Imports inside functions and for type checkers count: whoever reads one module of a circle reads all of it."""
    circle: list[str] = []
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> Any:
    return import_module(request.param)


def test_every_public_name_resolves(package: Any) -> None:
    assert [name for name in package.__all__ if getattr(package, name, None) is None] == []


def test_public_names_are_sorted_and_all_have_a_module(package: Any) -> None:
    assert list(package.__all__) == sorted(package.__all__)
    listed = set(package._MODULES) | set(getattr(package, "_SUBMODULES", ()))
    assert listed == set(package.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error(package: Any) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018  # reading it is what is tested


def test_no_public_name_is_the_name_of_a_submodule(package: Any) -> None:
    folder = Path(package.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.name for path in folder.iterdir() if path.is_dir()
    }
    assert set(package._MODULES) & modules == set()


def test_type_checkers_see_the_same_names_as_the_table(package: Any) -> None:
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    seen: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for each in node.body:
                assert isinstance(each, ast.ImportFrom)
                seen |= {alias.name: str(each.module) for alias in each.names}
    for name in getattr(package, "_SUBMODULES", ()):
        assert seen.pop(name) == package.__name__
    assert seen == package._MODULES


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_loads_nothing_else(name: str) -> None:
    code = f"import sys, {name}; print(*(m for m in sys.modules if m.partition('.')[0] in {PACKAGES!r}))"
    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout.split() == [name]
