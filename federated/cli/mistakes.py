"""The mistakes of a file that a user wrote, as the commands ``… check`` print them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from ehr.errors import ConfigurationError
    from ehr.files.problems import Problem


class Mistake(Protocol):
    """One mistake or warning at its place."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def code(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def message(self) -> str: ...


def check_document(mistakes: Iterable[Mistake]) -> dict[str, Any]:
    """What ``--json`` prints, `documents.CheckDocument`; ``ok`` where there is nothing worse than a warning."""
    from federated.cli.command_documents import CheckDocument, MistakeModel

    rows = [MistakeModel.of(mistake) for mistake in mistakes]
    ok = all(row["severity"] != "error" for row in rows)
    return CheckDocument.of(ok=ok, problems=rows)


def problems_in(error: ConfigurationError, file: Path, code: str) -> tuple[Problem, ...]:
    """The mistakes that an error lists; for a file that cannot be read one, under ``code``."""
    from ehr.files.problems import FileErrors, Problem

    return error.problems if isinstance(error, FileErrors) else (Problem(file.name, 1, 0, code, str(error)),)


def end_of_check(files: Iterable[str], mistakes: Sequence[Mistake], *, json: bool) -> None:
    """Print what a check of some files found, and end with status 5 where there is more than warnings."""
    document = check_document(mistakes)
    if json:
        terminal.out_json(document)
    else:
        for mistake in mistakes:
            terminal.out(str(mistake))
        if document["ok"]:
            terminal.out(
                f"{', '.join(files)}: no mistakes" + (f", {len(mistakes)} warnings" if mistakes else "")
            )
    if not document["ok"]:
        raise typer.Exit(ExitCode.BAD_FILE)
