"""``trialveil pod audit``: what ran in this pod for whom, and whether the log still is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.terminal import POD, Config, Json
from federated.screening.report.document_models import Closed

if TYPE_CHECKING:
    from federated.owner.audit import AuditLine, Log

SHOWN = 12
"""Digits of a task's hash in the table."""


class AuditEntry(Closed):
    """One entry; see `federated.owner.audit.AuditLine`. ``hash`` is its own."""

    number: int
    hash: str
    previous: str
    time: str
    task: str
    modeller: str
    event: str
    code: str
    reason: tuple[str, ...]
    left: dict[str, int]
    torn: str


class AuditDocument(Closed):
    """What ``trialveil pod audit --json`` prints; it holds no patient data.

    ``entries`` is empty with ``--verify``; ``count`` and ``head`` are always those of the whole log.
    """

    schema_: Annotated[Literal["trialveil/audit/1"], Field(alias="schema")]
    count: int
    head: str
    unfinished_line: bool
    entries: tuple[AuditEntry, ...]


def register(app: typer.Typer) -> None:
    """Add the command to the group ``pod``."""
    terminal.command(
        app,
        ExitCode.DONE,
        ExitCode.FAULT,
        ExitCode.USAGE,
        ExitCode.BAD_FILE,
        example="trialveil pod audit --config pod.yaml --verify",
        words={ExitCode.FAULT: "the log was changed or cut, or does not contain the hash"},
    )(audit)


def audit(
    config: Config = POD,
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The state folder. Default: the one in the pod file.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the log and show its last hash only.")
    ] = False,
    contains: Annotated[
        str | None, typer.Option(metavar="HASH", help="Check that the entry with this hash is in the log.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what ran in this pod for whom; the log is checked first, always.

    Each entry holds the hash of the one before. Note the last hash somewhere else from time to time: with --contains
    it shows later that nothing up to there was written anew. Changes nothing, and may be used while the pod runs.
    """
    from federated.errors import CheckFailed
    from federated.owner.audit import read_audit

    log = read_audit(_folder(config) if state is None else state)
    if contains is not None and contains.lower() not in log.hashes:
        raise CheckFailed(
            "The log holds together, but does not contain the entry with this hash: it was written anew, "
            "or the hash is of another pod's log."
        )
    if json:
        terminal.out_json(_document(log, with_entries=not verify))
        return
    if not verify and log.entries:
        terminal.out_table(
            ("time", "event", "code", "modeller", "task", "left"), [_row(entry) for entry in log.entries]
        )
    last = f", last hash {log.head.hash}" if log.entries else ""
    terminal.out(f"{len(log.entries)} entries hold together{last}")
    if log.torn:
        terminal.say("The last line is unfinished: a pod was killed, and names it when it starts again.")


def _folder(config: Path) -> Path:
    from ehr.files.pod_file import checked, read_bytes
    from federated.errors import UsageError
    from federated.owner.config import PodFile

    pod = checked(read_bytes(config, "pod file"), config.name, PodFile)
    if pod.federation is None:
        raise UsageError(f'{config.name} has no "federation", so no state folder; name one with --state')
    return config.parent / pod.federation.state


def _row(entry: AuditLine) -> tuple[str, ...]:
    left = ", ".join(f"{name} {count}" for name, count in sorted(entry.left.items()))
    code = " ".join((entry.code, *(f"({rule})" for rule in entry.reason)))
    return entry.time, entry.event, code, entry.modeller, entry.task[:SHOWN], left


def _document(log: Log, *, with_entries: bool) -> dict[str, object]:
    pairs = zip(log.entries, log.hashes, strict=True) if with_entries else ()
    return AuditDocument.of(
        count=len(log.entries),
        head=log.head.hash,
        unfinished_line=bool(log.torn),
        entries=[AuditEntry.of(entry, hash=own) for entry, own in pairs],
    )
