"""The commands ``pod key`` and ``task key``: one identity file, and its public half."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federated.cli import terminal

if TYPE_CHECKING:
    from federated.task.identity_file import Made

KeyOut = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Where the secret half goes; not yet there.")
]
ShownKey = Annotated[
    Path | None,
    typer.Option("--show", metavar="FILE", help="Print the public key of this identity; make nothing."),
]


def make_key(out: Path, shown: Path | None, *, json: bool) -> None:
    """Make an identity, or read one, and say its public key.

    Raises:
        UsageError: the file exists or cannot be written.
        ConfigurationError: the one to show cannot be read, others can read it, or it is no identity.
    """
    from ehr.files.settings import Secret
    from federated.cli.command_documents import KeyDocument
    from federated.task.identity_file import new_identity, read_identity

    if shown is not None:
        public = read_identity(Secret(file=shown.name), shown.parent, shown.name).public.hex()
        out = shown
    else:
        public = new_identity(out).hex()
    if json:
        terminal.out_json(KeyDocument.of(file=str(out), public=public))
        return
    if shown is None:
        terminal.out(f"wrote {out} (secret: stays here)")
    terminal.out(f"public key {public}")


def say_made(made: Made) -> None:
    """Say which files were written, and the public key."""
    terminal.out(f"wrote {made.file}")
    for key in made.keys:
        terminal.out(f"wrote {key} (secret: stays here)")
    terminal.out(f"public key {made.public}")
