"""The commands ``pod key`` and ``task key``: one identity file, and its public half."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federated.cli import terminal

KeyOut = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Where the secret half goes; not yet there.")
]


def make_key(out: Path, *, json: bool) -> None:
    """Make an identity and say its public key.

    Raises:
        UsageError: the file exists or cannot be written.
    """
    from federated.identity_file import new_identity

    public = new_identity(out).hex()
    if json:
        terminal.out_json({"schema": "trialveil/key/1", "file": str(out), "public": public})
        return
    terminal.out(f"wrote {out} (secret: stays here)")
    terminal.out(f"public key {public}")
