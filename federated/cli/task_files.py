"""``trialveil task new``, ``check`` and ``key``: make a task file, check it, and make the modeller's identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.identity_key import KeyOut, ShownKey, make_key, say_made
from federated.cli.mistakes import end_of_check, problems_in
from federated.cli.terminal import Json

if TYPE_CHECKING:
    from ehr.files.problems import Problem

DONE, USAGE, BAD_FILE = ExitCode.DONE, ExitCode.USAGE, ExitCode.BAD_FILE
_WORDS = {BAD_FILE: "the file is wrong; every mistake is listed"}


def register(app: typer.Typer) -> None:
    """Bring the commands into the group ``task``."""
    terminal.command(app, DONE, USAGE, example="trialveil task new task.yaml --kind training")(new)
    terminal.command(app, DONE, BAD_FILE, example="trialveil task check task.yaml", words=_WORDS)(check)
    terminal.command(app, DONE, USAGE, BAD_FILE, example="trialveil task key --out modeller.key")(key)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("task.yaml"),
    kind: Annotated[
        Literal["counting", "training"],
        typer.Option(help="counting: patients per criterion of a trial; training: a model on tables."),
    ] = "counting",
) -> None:
    """Write a commented task file to start from, and the modeller's identity beside it.

    Nothing is added up but under masks. The public key that is printed goes to the pods. A file that exists is never
    overwritten.
    """
    from federated.modeller.new import new_task

    made = new_task(file, kind)
    say_made(made)
    terminal.say(f'Next: put in the pods with their public keys, then "trialveil task check {file}".')


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The task file.")] = Path("task.yaml"),
    json: Json = False,
) -> None:
    """Check a task file and all that it names: components with their arguments, documents, key, numbers.

    Every mistake and warning is listed in one run as file:line:column: code message. Warnings alone are no failure.
    No pod is asked; whether a pod agrees is its owner's policy.
    """
    end_of_check([file.name], _problems(file), json=json)


def key(out: KeyOut = Path("modeller.key"), show: ShownKey = None, json: Json = False) -> None:
    """Make the modeller's Ed25519 identity, for its owner alone, and print the public key.

    "modeller.key" of the task file names it. The public key goes to the pods. A file that exists is never
    overwritten.
    """
    make_key(out, show, json=json)


def _problems(file: Path) -> tuple[Problem, ...]:
    from ehr.errors import ConfigurationError
    from federated.modeller.check import check_whole_task

    try:
        return check_whole_task(file)[1]
    except ConfigurationError as error:
        return problems_in(error, file, "TK101")
