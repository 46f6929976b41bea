"""`trialveil list`: the names that a task may use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.task import registry
from federated.task.registry import RegisteredName

SCHEMA: Literal["trialveil/names/1"] = "trialveil/names/1"
TITLES = {"algorithm": "Algorithms", "protocol": "Protocols", "aggregator": "Aggregators"}


@dataclass(frozen=True, slots=True)
class ListedName:
    """One name, as ``trialveil list --json`` prints it."""

    name: str
    value: str
    kind: registry.Kind
    state: registry.State
    component: str
    variant: str | None
    alias_of: str | None
    extra: str | None
    waits_for: str | None


@dataclass(frozen=True, slots=True)
class NamesDocument:
    """What ``trialveil list --json`` prints."""

    schema: Literal["trialveil/names/1"]
    names: list[ListedName]


def names_document() -> NamesDocument:
    """Every name, with its state and what it needs."""
    return NamesDocument(SCHEMA, [_listed(entry) for entry in registry.entries()])


def _listed(entry: RegisteredName) -> ListedName:
    row = entry.row
    return ListedName(
        name=entry.name,
        value=entry.value,
        kind=entry.kind,
        state=entry.state,
        component=row.component,
        variant=row.variant,
        alias_of=entry.alias_of,
        extra=row.extra,
        waits_for=registry.waits_for(entry),
    )


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@terminal.command(app, ExitCode.DONE, ExitCode.USAGE, example="trialveil list --json", name="list")
def list_names(json: terminal.Json = False) -> None:
    """Show the names a task may use: available or waiting, and what each needs.

    An alias stands for another name. A name that waits is not part of this release; a task
    that uses it is refused with a sentence that says what it waits for.
    """
    document = names_document()
    if json:
        terminal.out_json(asdict(document))
        return
    for kind, title in TITLES.items():
        rows = [(name.name, name.state, _note(name)) for name in document.names if name.kind == kind]
        terminal.out_table(("Name", "State", "Notes"), rows, title=title)
    total = len(document.names)
    available = sum(name.state == "available" for name in document.names)
    terminal.say(f"{total} names: {available} available, {total - available} waiting.")


def _note(name: ListedName) -> str:
    notes = (("alias of", name.alias_of), ("waits for", name.waits_for), ("extra", name.extra))
    return "; ".join(f"{word} {text}" for word, text in notes if text)
