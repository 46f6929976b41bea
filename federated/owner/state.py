"""What a pod must remember over a crash: the tasks that it has accepted, and every masked round that it has entered.

One SQLite file in the pod's state folder, written through to the disk before anything that depends on it is sent. A
file that cannot be read, that is gone although there was one (``pod.id`` says so), or that is another pod's stops the
pod: with it a round could be released twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from federated.store import Store, StoreKind
from secure_agg import PodJournal, SecureAggError, read_journal

FILE = "pod.db"
_KIND = StoreKind(
    application=0x7456_5001,
    version=1,
    tables=(
        "create table masked (id integer primary key check (id = 1), journal blob not null) strict",
        "create table tasks (hash blob primary key, spec blob not null, signature blob not null, "
        "accepted text not null, state text not null, reason text not null) strict",
    ),
    unusable=f"{FILE} in the state folder {{how}}; the pod takes part in nothing. Bring back this pod's own {FILE} "
    "with its pod.id from a backup, or give the pod a new identity and an empty state folder.",
    unwritable=f"{FILE} in the pod's state folder cannot be written; nothing was sent.",
    alone="another process of this pod is running",
    adopts=True,
    journal_mode="delete",  # whoever copies the file after a kill has every round that was promised
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
        key: the pod's public key, where the caller knows it; the file is bound to it.
        read_only: only look, also while the pod runs.

    Raises:
        ConfigurationError: it cannot be read, is gone or another pod's, or another process of this pod is running;
            every later call may raise it too, where the disk is full or fails.
    """

    def __init__(self, folder: Path, key: bytes | None = None, *, read_only: bool = False) -> None:
        self._storing = threading.Lock()
        self._store = Store(folder / FILE, _KIND, key=key, read_only=read_only)
        try:
            rows = self._store.rows("select journal from masked")
            self._journal = read_journal(rows[0][0]) if rows else PodJournal()
        except SecureAggError:
            self._store.close()
            raise self._store.unusable("is damaged") from None

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
            self._store.write("insert or replace into masked values (1, ?)", merged.to_bytes())
            self._journal = merged

    def accept(self, task: AcceptedTask) -> None:
        """Remember a task before the pod says that it takes part."""
        row = (task.hash, task.spec, task.signature, task.accepted, task.state, task.reason)
        self._store.write("insert or ignore into tasks values (?, ?, ?, ?, ?, ?)", *row)

    def ended(self, task: bytes, state: str, reason: str) -> None:
        """Remember that a task has ended."""
        self._store.write("update tasks set state = ?, reason = ? where hash = ?", state, reason, task)

    def task(self, task: bytes) -> AcceptedTask | None:
        """A task by its hash."""
        rows = self._store.rows("select * from tasks where hash = ?", task)
        return AcceptedTask(*rows[0]) if rows else None

    def tasks(self) -> Iterator[AcceptedTask]:
        """All tasks, oldest first."""
        for row in self._store.rows("select * from tasks order by accepted, hash"):
            yield AcceptedTask(*row)

    def close(self) -> None:
        """Let go of the file; may be called again."""
        self._store.close()
