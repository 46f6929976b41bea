"""The command line: one command, `trialveil`, whose groups are loaded when they are used."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    from federated.cli.frame import run

    sys.exit(run(sys.argv[1:]))
