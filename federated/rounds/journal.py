"""The modeller's durable log of one task: what was decided, and every message that a round is made of.

An entry is written before anything that follows from it is sent. A modeller that was killed starts again from here:
it replays the messages of the round that was open, comes to the same state, and asks only for what is missing. SQLite
keeps entries over a killed process; against a power cut it may lose the last ones, which costs time and never
safety, because the pods keep journals of their own that reach the disk before they release anything. An entry that
is there never names a file that is not.

Large things (the model, a masked sum) lie in files beside the database.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from federated.errors import ConfigurationError
from federated.store import Store, StoreKind, is_begun

DATABASE = "task.db"

Buffer = bytes | bytearray | memoryview
EventKind = Literal["message", "lost", "late", "sum"]
RoundState = Literal["open", "done", "failed"]

_UNWRITABLE = (
    "the log of the task cannot be written: its disk is full, or its folder is gone or read-only. What was "
    "done before is kept; make room, and the same command goes on."
)
_KIND = StoreKind(
    application=0x7456_5401,
    version=1,
    tables=(
        "create table about (name text primary key, value blob not null) strict",
        "create table pods (name text primary key, code text not null, sentence text not null) strict",
        "create table rounds (seq integer primary key, purpose text not null, number integer not null, "
        "started real not null, plan blob not null, state text not null, outcome blob not null) strict",
        "create table events (id integer primary key autoincrement, seq integer not null, kind text not null, "
        "pod text not null, at real not null, data blob not null) strict",
    ),
    unusable="the log in the task's folder {how}; nothing was run. Keep it, and give another folder.",
    unwritable=_UNWRITABLE,
    alone="another process works on this task",
    durable=False,  # a message that a power cut took is asked for again; see above
    marked=False,  # a folder that was emptied is a new task's; what lies there says itself whose task it is
    adopts=True,
)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a round.

    Attributes:
        kind: "message" (a pod's, verified), "lost" (a pod that will not answer), "late" (a deadline has passed),
            "sum" (all uploads are added up; the sum lies in a file).
        pod: which; "" for none.
        at: seconds of the round's clock.
        data: the message.
    """

    kind: EventKind
    pod: str
    at: float
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class LoggedRound:
    """One exchange that adds up something, as it was begun and as it ended.

    Attributes:
        seq: place among all of the task, from 1.
        purpose: "weights", "update" or "counts".
        number: of the training round that it belongs to, from 1; 0 for none.
        started: seconds of the modeller's clock.
        plan: everything that it was begun with.
        state: "open", "done" or "failed".
        outcome: survivors, metrics and report where it is done, the reason where it failed.
    """

    seq: int
    purpose: str
    number: int
    started: float
    plan: Mapping[str, Any] = field(repr=False)
    state: RoundState = "open"
    outcome: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """The log of one task.

    Args:
        folder: where it lies; made if it is missing. None keeps everything in memory, for a task whose modeller
            need not survive.
        read_only: only look, also while another process works on the task.

    Attributes:
        quiet_s: seconds from the last entry to this start; infinite where that cannot be known.

    Raises:
        ConfigurationError: what lies there is no such log, another process works on it, or the folder cannot be
            written; every later write may raise it too, where the disk is full.
    """

    def __init__(self, folder: Path | None = None, *, read_only: bool = False) -> None:
        self.folder = folder
        self.quiet_s = math.inf if folder is None else _quiet_s(folder)
        self._blobs: dict[str, Buffer] = {}
        self._known: dict[int, LoggedRound] | None = None
        place = None if folder is None else folder / DATABASE
        self._store = Store(place, _KIND, read_only=read_only)

    @property
    def durable(self) -> bool:
        """Whether it outlives this process."""
        return self.folder is not None

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()

    def tell(self, name: str, value: Any) -> None:
        """Store a fact of the task."""
        self._store.write("insert or replace into about values (?, ?)", name, msgspec.msgpack.encode(value))

    def told(self, name: str, default: Any = None) -> Any:
        """A fact that was stored."""
        rows = self._store.rows("select value from about where name = ?", name)
        return msgspec.msgpack.decode(rows[0][0]) if rows else default

    def answer(self, pod: str, code: str, sentence: str) -> None:
        """Store what a pod said to the task."""
        self._store.write("insert or replace into pods values (?, ?, ?)", pod, code, sentence)

    def answers(self) -> dict[str, tuple[str, str]]:
        """Pod to code and sentence, for those that have answered."""
        return {
            name: (code, text) for name, code, text in self._store.rows("select * from pods order by name")
        }

    def begin(self, this: LoggedRound) -> None:
        """Store a round before anybody is asked."""
        plan = msgspec.msgpack.encode(dict(this.plan))
        row = (this.seq, this.purpose, this.number, this.started, plan)
        self._store.write("insert into rounds values (?, ?, ?, ?, ?, 'open', x'')", *row)
        if self._known is not None:
            self._known[this.seq] = replace(this, plan=msgspec.msgpack.decode(plan))

    def end(self, seq: int, state: RoundState, outcome: Mapping[str, Any]) -> None:
        """Store how a round ended, and forget its messages."""
        packed = msgspec.msgpack.encode(dict(outcome))
        with self._store.transaction() as db:
            db.execute("update rounds set state = ?, outcome = ? where seq = ?", (state, packed, seq))
            db.execute("delete from events where seq = ?", (seq,))
        if self._known is not None and seq in self._known:
            came_to = msgspec.msgpack.decode(packed)
            self._known[seq] = replace(self._known[seq], state=state, outcome=came_to)
        self.drop_blob(f"round-{seq}.sum")

    def rounds(self) -> list[LoggedRound]:
        """All rounds, in order; read once, for nobody else writes them."""
        if self._known is None:
            self._known = {one.seq: one for one in self._read_rounds()}
        return list(self._known.values())

    def _read_rounds(self) -> list[LoggedRound]:
        rows = self._store.rows(
            "select seq, purpose, number, started, plan, state, outcome from rounds order by seq"
        )
        return [
            LoggedRound(
                seq,
                purpose,
                number,
                started,
                msgspec.msgpack.decode(plan),
                state,
                msgspec.msgpack.decode(outcome) if outcome else {},
            )
            for seq, purpose, number, started, plan, state, outcome in rows
        ]

    def note(self, seq: int, event: Event) -> None:
        """Store what happened in a round, before anything follows from it."""
        row = (seq, event.kind, event.pod, event.at, event.data)
        self._store.write("insert into events (seq, kind, pod, at, data) values (?, ?, ?, ?, ?)", *row)

    def events(self, seq: int) -> list[Event]:
        """What happened in a round, in order."""
        rows = self._store.rows("select kind, pod, at, data from events where seq = ? order by id", seq)
        return [Event(*row) for row in rows]

    def store_blob(self, name: str, *parts: Buffer) -> None:
        """Store something large under a name, all of it or nothing; it is on the disk when this returns."""
        if self.folder is None:
            self._blobs[name] = b"".join(parts) if len(parts) > 1 else parts[0]
            return
        waiting = self.folder / f".{name}.part"
        with _writing(), open(waiting, "wb", opener=_owners) as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            waiting.replace(self.folder / name)
            _sync(self.folder)

    def blob(self, name: str) -> Buffer | None:
        """What was stored under a name."""
        if self.folder is None:
            return self._blobs.get(name)
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def drop_blob(self, name: str) -> None:
        """Forget what was stored under a name."""
        if self.folder is None:
            self._blobs.pop(name, None)
            return
        with _writing():
            (self.folder / name).unlink(missing_ok=True)


def _quiet_s(folder: Path) -> float:
    """Infinite for a log that is not there, and where the clock was set back."""
    files = [file.stat() for file in (folder / DATABASE, folder / f"{DATABASE}-wal") if file.exists()]
    # An empty one was made by somebody who only looked.
    passed = time.time() - max((found.st_mtime for found in files if found.st_size), default=-math.inf)
    return passed if passed >= 0 else math.inf


def _owners(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    """A new name in a folder is on the disk only when the folder is; Windows keeps names by itself."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise ConfigurationError(_UNWRITABLE) from None


def open_existing(folder: Path) -> Journal | None:
    """The log of a folder to look at, if a task was begun there."""
    if not (folder / DATABASE).exists() or not is_begun(folder / DATABASE, _KIND):
        return None
    journal = Journal(folder, read_only=True)
    if journal.told("spec") is not None:
        return journal
    journal.close()
    return None
