"""How the code has to look: short files, short functions, speaking names, nothing said twice."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.repository.sources import PACKAGES, committed_files, python_files, shown, tree

MODULE_LINES = 400
FUNCTION_LINES = 60
ASKED_PARAMETERS = 6
PARAMETERS = 12
WINDOW = 8
LOOKED_UP_BY_NAME = {"Parameters", "Settings"}
"""What every component of a task, and every module of models, calls its arguments: the registry asks for it."""
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc"}


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {shown(file): len(file.read_text(encoding="utf-8").splitlines()) for file in python_files()}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [shown(file) for file in python_files() if {file.stem, *file.parts} & BANNED_MODULES] == []


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions() -> Iterator[tuple[Path, Function]]:
    for file in python_files():
        for node in ast.walk(tree(file)):
            if isinstance(node, Function):
                yield file, node


def _body_lines(function: Function) -> int:
    """Lines from the first statement to the last, the docstring not counted."""
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(body) > 1:
        first = body[1]
    return (body[-1].end_lineno or 0) - first.lineno + 1


def test_no_class_name_stands_twice_in_a_package() -> None:
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in python_files():
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef) and node.name not in LOOKED_UP_BY_NAME:
                places[shown(file).partition("/")[0], node.name].append(f"{shown(file)}:{node.lineno}")
    twice = [
        f"{name} in {package}: {', '.join(found)}" for (package, name), found in places.items() if found[1:]
    ]
    assert not twice, "\n".join(["", *sorted(twice)])


def test_no_function_is_longer_than_60_lines() -> None:
    long = [f"{shown(file)}:{f.name}" for file, f in _functions() if _body_lines(f) > FUNCTION_LINES]
    assert not long, "\n".join(["", *long])


def _is_command(function: Function) -> bool:
    """A command of the command line: its parameters are the options that a user types."""
    text = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    return ".command(" in text or ".callback(" in text


def _parameters(function: Function) -> tuple[int, int]:
    """How many parameters a caller must give or count off, and how many there are in all; without self."""
    given = function.args
    ordered = [each for each in given.posonlyargs + given.args if each.arg not in {"self", "cls"}]
    named_and_required = sum(default is None for default in given.kw_defaults)
    return len(ordered) + named_and_required, len(ordered) + len(given.kwonlyargs)


def test_no_function_asks_for_more_than_6_parameters_but_commands() -> None:
    many = [
        f"{shown(file)}:{f.name}"
        for file, f in _functions()
        if (_parameters(f)[0] > ASKED_PARAMETERS or _parameters(f)[1] > PARAMETERS) and not _is_command(f)
    ]
    assert not many, "\n".join(["", *many])


def _code_lines(file: Path) -> list[tuple[int, str]]:
    """Lines that are code: no comments, docstrings, imports, nor lines of brackets or a bare decorator alone."""
    text = file.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(tree(file)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            skipped.add(token.start[0])
    lines = (
        (number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if number not in skipped
    )
    return [
        (number, line)
        for number, line in lines
        if re.search(r"\w", line) and not re.fullmatch(r"@[\w.]+", line)
    ]


def repeated(files: Iterable[Path]) -> list[str]:
    """Modules that share windows of code lines: how many, and where the first one begins."""
    places: dict[tuple[str, ...], dict[Path, int]] = defaultdict(dict)
    for file in files:
        lines = _code_lines(file)
        for start in range(len(lines) - WINDOW + 1):
            window = tuple(line for _, line in lines[start : start + WINDOW])
            places[window].setdefault(file, lines[start][0])
    together: dict[tuple[Path, ...], list[str]] = defaultdict(list)
    for found in places.values():
        if len(found) > 1:
            together[tuple(found)].append(" = ".join(f"{shown(file)}:{line}" for file, line in found.items()))
    return [f"{starts[0]} ({len(starts)} windows of {WINDOW} lines)" for starts in together.values()]


def test_no_eight_lines_of_code_stand_in_two_modules() -> None:
    # The three lazy `__init__` files have the same three lines of loading by design, fewer than a window.
    found = repeated(python_files())
    assert not found, "\n".join(["", *found])


def test_the_sameness_test_finds_a_copy_whatever_stands_between(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    lines = [f"name_{number} = {number}" for number in range(WINDOW)]
    first.write_text("\n".join(lines), encoding="utf-8")
    second.write_text("x = 1\n\n# why\n" + "\n\n  # because\n".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.repository.test_house_rules.shown", lambda file: file.name)
        assert repeated([first, second]) == ["first.py:1 = second.py:4 (1 windows of 8 lines)"]
        second.write_text("\n".join(lines[1:]), encoding="utf-8")
        assert repeated([first, second]) == []


# Written in parts, so that this file does not hold them.
FORBIDDEN = {
    "a machine's path": re.compile("/" + r"(?:work/(?:main|shared|\.library)|tmp/brief|home/\w+|root/)"),
    "a package index": re.compile(
        "https?://" + r"(?:[\w.-]*pypi[\w.-]*|[\w.-]*artifact[\w.-]*|files\.pythonhosted)"
    ),
    "an index option": re.compile("--" + r"(?:extra-)?index-url|--find-" + "links|trusted-" + "host"),
    "a to-do": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b(?![-_])"),
    "a private key": re.compile("-----BEGIN " + r"(?:RSA |EC |ENCRYPTED )?PRIVATE KEY-----\n"),
}
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".cfg", ".ini", ".sh", ".csv", ".html", ""}
# Third-party files that are kept as they were published, and formats that have a word of their own.
EXEMPT = ("fixtures/synthea/", "tests/browser/vendor/")


def _texts() -> Iterator[tuple[str, str]]:
    for file in committed_files():
        if file.suffix in TEXT and not shown(file).startswith(EXEMPT):
            yield shown(file), file.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds_what_must_not_be_committed(what: str) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        for name, text in _texts()
        if (match := FORBIDDEN[what].search(text))
    ]
    assert not found, "\n".join(["", *found])


def _exceptions(file: Path) -> Iterator[tuple[int, str, str]]:
    """Line, check and reason of each place where a check is switched off."""
    pattern = re.compile(
        r"#\s*(?P<check>type:\s*ignore(?:\[[^\]]*\])?|noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?)(?P<why>.*)"
    )
    for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
        match = pattern.search(token.string) if token.type == tokenize.COMMENT else None
        if match:
            yield token.start[0], match["check"], match["why"].strip(" #-:,")


def test_every_exception_to_a_check_gives_its_reason() -> None:
    # Tests are not type-checked by `make check`, so only exceptions to ruff count there.
    bare = [
        f"{shown(file)}:{line}"
        for file in python_files(*PACKAGES, "tests", "fixtures", "benchmarks", "examples")
        for line, check, why in _exceptions(file)
        if len(why) < 3 and (check.startswith("noqa") or not shown(file).startswith("tests/"))
    ]
    assert not bare, "\n".join(["", *bare])


def test_every_public_module_says_what_it_is_for() -> None:
    silent = [
        shown(file)
        for file in python_files()
        if file.read_text(encoding="utf-8").strip() and ast.get_docstring(tree(file)) is None
    ]
    assert not silent, "\n".join(["", *silent])


def test_every_tests_folder_is_a_package() -> None:
    folders = {file.parent for file in python_files("tests")}
    assert [shown(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
