"""Every error class and exit status, as one page; ``python -m federated.cli.error_page`` writes docs/errors.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from pkgutil import walk_packages

from ehr.errors import EHRError
from federated.cli.exit_codes import MEANINGS, exit_code_for
from federated.errors import FederatedError

FILE = Path("docs") / "errors.md"
PACKAGES = ("ehr", "federated")
ROOTS: tuple[type[Exception], ...] = (EHRError, FederatedError)
_LEFT_OUT = ("ehr.sandbox", "ehr.testing", "federated.models.torch_modules")
"""Servers to test against, and what needs an extra that the others do not; it has no errors of its own."""

HEAD = """# What does this error mean?

Made from the classes by `python -m federated.cli.error_page`; a test compares them.

A message names the field, the shape of what came, what was expected and what to do. It never holds anything of a \
patient, an address, a secret or a sentence of a server, so it may be sent to others. What you typed into a pod, \
trial or task file yourself (a key, a name, a code, a number) may be repeated. \
`trialveil -v …` shows where an error arose.

A mistake in a pod, trial or task file or a step document is shown as `file:line:column: code message`. Codes `PV…` \
tell of the form of [pod files](run-a-pod.md) and [task files](write-a-task.md), `TK…` of what a task asks for, \
`TV…` of [trial files](write-a-trial.md#mistakes), `SV…` of [step documents](write-a-protocol.md#mistakes). Of a \
patients file the numbers of the rows are shown, from 1 and without the header, the first ten of them, and one kind \
of mistake at a time.

## Exit statuses

| status | means |
|---|---|
"""


def classes() -> Iterator[tuple[type[Exception], int]]:
    """Every error class with its depth in the tree, each root with what lies below it; none under two roots."""
    for package in PACKAGES:
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            # A program would start on import.
            if not module.name.startswith(_LEFT_OUT) and not module.name.endswith("__main__"):
                import_module(module.name)
    for number, root in enumerate(ROOTS):
        yield from _below(root, 0, {kind for other in ROOTS[number + 1 :] for kind in _all_below(other)})


def _all_below(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(_all_below(kind) for kind in root.__subclasses__()))


def _below(
    kind: type[Exception], depth: int, seen: set[type[Exception]]
) -> Iterator[tuple[type[Exception], int]]:
    if kind in seen or not kind.__module__.startswith(PACKAGES) or kind.__module__.startswith(_LEFT_OUT):
        return
    seen.add(kind)
    yield kind, depth
    for inner in sorted(kind.__subclasses__(), key=lambda found: found.__name__):
        yield from _below(inner, depth + 1, seen)


def _status(kind: type[Exception]) -> int:
    """What a command ends with; some errors decide by their HTTP status, shown here for a server's fault."""
    error = kind.__new__(kind)
    vars(error)["status"] = 500
    return int(exit_code_for(error))


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD + "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())]
    for kind, depth in classes():
        if depth == 0:
            parts.append(
                f"\n## {kind.__name__}\n\nThe root of the errors of `{kind.__module__.partition('.')[0]}`. "
                "Indented classes are special cases of the one above.\n\n"
                "| class | means | `ValueError` too | exit status |\n|---|---|---|---|\n"
            )
            continue
        words = " ".join((getdoc(kind) or "").split("\n\n")[0].split())
        name = "&nbsp;&nbsp;&nbsp;" * (depth - 1) + f"`{kind.__name__}`"
        also = "yes" if issubclass(kind, ValueError) else ""
        parts.append(f"| {name} | {words} | {also} | {_status(kind)} |\n")
    parts.append(
        "\n`HttpStatusError` ends with 4 where the status is 401. What is none of these and reaches the command line "
        "is a fault of ours: 1.\n"
    )
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
