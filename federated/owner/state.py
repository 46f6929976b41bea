"""What a pod must remember over a crash: the tasks that it has accepted, and every masked round that it has entered.

One SQLite file in the pod's state folder, written through to the disk before anything that depends on it is sent. A
file that cannot be read, or that is gone although there was one (``pod.id`` says so), stops the pod: one that began
afresh could release a round twice.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehr.auth.keys import write_owner_only
from federated.errors import ConfigurationError
from federated.store import one_process, owner_only
from secure_agg import PodJournal, SecureAggError, read_journal

FILE, MARK = "pod.db", "pod.id"
VERSION = 1
_TABLES = (
    "create table masked (id integer primary key check (id = 1), journal blob not null) strict",
    "create table tasks (hash blob primary key, spec blob not null, signature blob not null, "
    "accepted text not null, state text not null, reason text not null) strict",
)


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """A task that this pod has accepted.

    Attributes:
        hash: of its canonical bytes.
        spec, signature: as the modeller sent them.
        accepted: when, ISO 8601.
        state: "open", "done" or "stopped".
        reason: why it ended; "" while it is open.
    """

    hash: bytes
    spec: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    accepted: str
    state: str = "open"
    reason: str = ""


class PodState:
    """The file of one pod; one process at a time writes it.

    Args:
        folder: the state folder; made if it is missing.
        read_only: only look, also while the pod runs.

    Raises:
        ConfigurationError: it cannot be read or is gone, or another process of this pod is running; every later write
            may raise it too, where the disk is full.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._lock: sqlite3.Connection | None = None
        self._storing = threading.Lock()
        if not read_only:
            self._lock = one_process(folder / "pod.lock", "another process of this pod is running")
        try:
            self._db, self._journal = _opened(folder, read_only=read_only)
        except (OSError, sqlite3.Error, SecureAggError):
            if self._lock is not None:
                self._lock.close()
            raise ConfigurationError(
                f"{FILE} in the state folder is gone or cannot be read; the pod takes part in nothing. Bring back "
                "the file of a backup, or give the pod a new identity and an empty state folder."
            ) from None

    @property
    def journal(self) -> PodJournal:
        """Every masked round that this pod has entered."""
        return self._journal

    def store(self, journal: PodJournal) -> None:
        """Keep a round's next journal on the disk. Rounds of other tasks that were entered meanwhile stay in it."""
        with self._storing:  # tasks store from threads of their own
            records = {record.spec_hash: record for record in self._journal.records}
            for record in journal.records:
                known = records.get(record.spec_hash)
                if known is None or not known.released:
                    records[record.spec_hash] = record
            merged = PodJournal(records=tuple(records.values()))
            self._write("insert or replace into masked values (1, ?)", (merged.to_bytes(),))
            self._journal = merged

    def accept(self, task: AcceptedTask) -> None:
        """Remember a task before the pod says that it takes part."""
        row = (task.hash, task.spec, task.signature, task.accepted, task.state, task.reason)
        self._write("insert or ignore into tasks values (?, ?, ?, ?, ?, ?)", row)

    def ended(self, task: bytes, state: str, reason: str) -> None:
        """Remember that a task has ended."""
        self._write("update tasks set state = ?, reason = ? where hash = ?", (state, reason, task))

    def _write(self, statement: str, row: tuple[Any, ...]) -> None:
        try:
            self._db.execute(statement, row)
        except sqlite3.Error:
            raise ConfigurationError(
                f"{FILE} in the pod's state folder cannot be written; nothing was sent."
            ) from None

    def task(self, task: bytes) -> AcceptedTask | None:
        """A task by its hash."""
        row = self._db.execute("select * from tasks where hash = ?", (task,)).fetchone()
        return None if row is None else AcceptedTask(*row)

    def tasks(self) -> Iterator[AcceptedTask]:
        """All tasks, oldest first."""
        for row in self._db.execute("select * from tasks order by accepted, hash").fetchall():
            yield AcceptedTask(*row)

    def close(self) -> None:
        """Let go of the file; may be called again."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()


def _opened(folder: Path, *, read_only: bool) -> tuple[sqlite3.Connection, PodJournal]:
    known = (folder / MARK).exists()
    if not read_only:
        owner_only(folder / FILE)
    db = sqlite3.connect(folder / FILE, isolation_level=None, timeout=10, check_same_thread=False)
    try:
        _prepare(db, may_begin=not (read_only or known))
        if not (read_only or known):
            write_owner_only(folder / MARK, f"There must be a {FILE} beside this file.\n".encode())
        row = db.execute("select journal from masked").fetchone()
        return db, PodJournal() if row is None else read_journal(row[0])
    except BaseException:
        db.close()
        raise


def _prepare(db: sqlite3.Connection, *, may_begin: bool) -> None:
    db.execute("pragma synchronous = full")
    version = db.execute("pragma user_version").fetchone()[0]
    if version == 0 and may_begin and not db.execute("select 1 from sqlite_master").fetchone():
        db.execute("begin immediate")
        for statement in _TABLES:
            db.execute(statement)
        db.execute(f"pragma user_version = {VERSION}")
        db.execute("commit")
    elif version != VERSION:
        raise sqlite3.DatabaseError
