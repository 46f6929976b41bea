"""Every command with its help, as one page; ``python -m federated.cli.reference`` writes docs/cli.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from federated.cli.frame import HELP_OPTIONS, app

FILE = Path("docs") / "cli.md"
WIDTH = 100

HEAD = """# Commands

Made from the commands' own help by `python -m federated.cli.reference`; a test compares them.
"""


def commands() -> Iterator[tuple[str, str]]:
    """Every command and group: what is typed, and its help at a fixed width."""
    yield from _below(typer.main.get_command(app), "trialveil", None)


def _below(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        **{"help_option_names": HELP_OPTIONS, **command.context_settings},
    )
    yield context.command_path, command.get_help(context)
    if not hasattr(command, "commands"):
        return
    for inner_name in command.list_commands(context):
        inner = command.get_command(context, inner_name)
        if not inner.hidden:
            yield from _below(inner, inner_name, context)


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for path, help_text in commands():
        lines = "\n".join(line.rstrip() for line in help_text.splitlines())
        parts.append(f"## `{path}`\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
