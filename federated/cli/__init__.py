"""The command line: one command, `trialveil`, whose groups are loaded when they are used."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    from federated.cli.frame import run

    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller closed it: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # it stays open to the end
    sys.exit(_flushed(run(sys.argv[1:])))


def _flushed(status: int) -> int:
    """The status, or another where the results do not reach stdout: Python itself would only say so at its end."""
    from federated.cli.exit_codes import ExitCode

    try:
        sys.stdout.flush()
    except OSError as error:
        gone = isinstance(error, BrokenPipeError)
        if not gone:
            sys.stderr.write(f"trialveil: stdout does not take the result: {error.strerror}.\n")
        status = status or (ExitCode.STOPPED if gone else ExitCode.FAULT)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
