"""What a pod must remember over a crash: the tasks that it has accepted, and every masked round that it has entered.

One SQLite file in the pod's state folder, written through to the disk before anything that depends on it is sent. A
file that cannot be read stops the pod: one that began afresh could release a round twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from federated.errors import ConfigurationError
from federated.one_process import one_process
from secure_agg import PodJournal, SecureAggError, read_journal

FILE = "pod.db"
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
        ConfigurationError: it cannot be read, or another process of this pod is running.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._lock: sqlite3.Connection | None = None
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = one_process(folder / "pod.lock", "another process of this pod is running")
        self._db = sqlite3.connect(folder / FILE, isolation_level=None, timeout=10, check_same_thread=False)
        try:
            self._open(read_only)
            self._journal = self._read()
        except (sqlite3.DatabaseError, SecureAggError):
            self.close()
            raise ConfigurationError(
                f"{FILE} in the state folder cannot be read; the pod takes part in nothing. Bring back the file of a "
                "backup, or give the pod a new identity."
            ) from None

    def _open(self, read_only: bool) -> None:
        self._db.execute("pragma synchronous = full")
        known = self._db.execute("pragma user_version").fetchone()[0]
        if known == 0 and not read_only and not self._db.execute("select 1 from sqlite_master").fetchone():
            self._db.execute("begin immediate")
            for statement in _TABLES:
                self._db.execute(statement)
            self._db.execute(f"pragma user_version = {VERSION}")
            self._db.execute("commit")
        elif known != VERSION:
            raise sqlite3.DatabaseError

    def _read(self) -> PodJournal:
        row = self._db.execute("select journal from masked").fetchone()
        return PodJournal() if row is None else read_journal(row[0])

    @property
    def journal(self) -> PodJournal:
        """Every masked round that this pod has entered."""
        return self._journal

    def store(self, journal: PodJournal) -> None:
        """Keep a round's next journal on the disk. Rounds of other tasks that were entered meanwhile stay in it."""
        records = {record.spec_hash: record for record in self._journal.records}
        for record in journal.records:
            known = records.get(record.spec_hash)
            if known is None or not known.released:
                records[record.spec_hash] = record
        merged = PodJournal(records=tuple(records.values()))
        self._db.execute("insert or replace into masked values (1, ?)", (merged.to_bytes(),))
        self._journal = merged

    def accept(self, task: AcceptedTask) -> None:
        """Remember a task before the pod says that it takes part."""
        row = (task.hash, task.spec, task.signature, task.accepted, task.state, task.reason)
        self._db.execute("insert or ignore into tasks values (?, ?, ?, ?, ?, ?)", row)

    def ended(self, task: bytes, state: str, reason: str) -> None:
        """Remember that a task has ended."""
        self._db.execute("update tasks set state = ?, reason = ? where hash = ?", (state, reason, task))

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
