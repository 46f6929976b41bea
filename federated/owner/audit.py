"""The owner's log of what ran for whom: lines that are only ever added, each chained to the one before.

    log = Audit(folder)                                     reads and checks everything that is there
    log.note(now, task, modeller, event, code, left)        on the disk before it returns
    read_audit(folder) -> Log                               checks and gives all entries, changing nothing

``audit.jsonl`` has one JSON object a line, with the SHA-256 of the entry before. ``audit.head`` says how many entries
there are and the hash of the last, so that a log that was cut short is noticed. A line that a kill left unfinished is
kept and named by the next entry. Whoever may write in the folder can write all of it anew: only a hash that was noted
elsewhere ("trialveil pod audit --contains HASH") shows that.

An entry holds hashes, names of modellers, words of ours and counts; never values, patients or keys.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from ehr.auth.keys import write_owner_only
from federated.errors import CheckFailed, ConfigurationError, InvalidArgument
from federated.task.spec import POD_NAME, moment

if sys.platform != "win32":
    import fcntl

FILE, HEAD = "audit.jsonl", "audit.head"
FIRST = "0" * 64
TORN = "torn line"
UNKNOWN_TIME = "1970-01-01T00:00:00+00:00"
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_ .-]{0,63}")
_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


class AuditLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line.

    Attributes:
        number: from 1.
        previous: SHA-256 of the entry before as it stands in the file, hexadecimal; zeros for the first.
        time: UTC, ISO 8601 to the second.
        task: hash of the task, hexadecimal; "" where there is none.
        modeller: name of who asked; "" where it is not known.
        event: what happened, such as "accepted", "refused", "masked update".
        code: the pod's answer, see `federated.names`; "" where none was given.
        reason: the rules that refused it, for the owner.
        left: how much left the pod, in numbers.
        torn: of the unfinished line before this one: its SHA-256; "" where there is none.
    """

    number: int
    previous: str
    time: str
    task: str = ""
    modeller: str = ""
    event: str
    code: str = ""
    reason: tuple[str, ...] = ()
    left: dict[str, int] = {}
    torn: str = ""

    def line(self) -> bytes:
        """As it stands in the file, without the line's end."""
        return msgspec.json.encode(self, order="deterministic")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the log must hold at least.

    Attributes:
        entries: how many.
        hash: SHA-256 of the last, hexadecimal.
    """

    entries: int
    hash: str


@dataclass(frozen=True, slots=True)
class Log:
    """A log that was checked.

    Attributes:
        entries: oldest first.
        hashes: of each entry, hexadecimal, in the same order.
        torn: an unfinished last line; empty where there is none.
    """

    entries: tuple[AuditLine, ...]
    hashes: tuple[str, ...] = field(repr=False)
    torn: bytes = field(default=b"", repr=False)

    @property
    def head(self) -> Head:
        """The count and the hash that an owner notes elsewhere."""
        return Head(len(self.entries), self.hashes[-1] if self.hashes else FIRST)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What is noted.

    Attributes:
        event, code, reason, left: see `AuditLine`.
        task: the hash, 32 bytes; empty where there is none.
        modeller: name; "" where it is not known.
    """

    event: str
    task: bytes = b""
    modeller: str = ""
    code: str = ""
    reason: tuple[str, ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _WORD.fullmatch(self.event) or not all(_WORD.fullmatch(name) for name in self.left):
            raise InvalidArgument("event and the names under left are words of at most 64 characters")
        if self.modeller and not POD_NAME.fullmatch(self.modeller):
            raise InvalidArgument("modeller is no name in a task")
        if not all(type(count) is int for count in self.left.values()):
            raise InvalidArgument("left holds something that is no whole number; only counts are logged")


class Audit:
    """The log of one pod; for several threads and processes.

    Args:
        folder: the pod's state folder; made if it is missing.

    Raises:
        CheckFailed: the log was changed or cut. The pod must not go on as if nothing had happened.
        ConfigurationError: it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        with _unwritable():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(folder / FILE, _OPEN, 0o600)
        try:
            with self._alone():
                log = _checked(folder)
                self._head, self._end = log.head, os.fstat(self._file).st_size
                if log.torn:
                    self._mend(log)
                elif log.head != _read_head(folder):
                    self._keep_head(log.head)
        except BaseException:
            os.close(self._file)
            raise

    def __repr__(self) -> str:
        return f"<Audit {self._head.entries} entries>"

    @property
    def head(self) -> Head:
        """The count and the hash of the last entry that this program knows of."""
        return self._head

    def note(self, now: datetime, event: AuditEvent) -> str:
        """Add an entry; it is on the disk when this returns.

        Returns:
            Its hash, hexadecimal.

        Raises:
            CheckFailed: the file was changed by somebody else.
            ConfigurationError: it cannot be written.
        """
        with self._alone():
            self._catch_up()
            return self._add(self._entry(moment(now), event))

    def _entry(self, time: str, event: AuditEvent, torn: str = "") -> AuditLine:
        return AuditLine(
            number=self._head.entries + 1,
            previous=self._head.hash,
            time=time,
            task=event.task.hex(),
            modeller=event.modeller,
            event=event.event,
            code=event.code,
            reason=event.reason,
            left=dict(event.left),
            torn=torn,
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process adds meanwhile."""
        with self._lock, _unwritable():
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if sys.platform != "win32":
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Read what another process has added, or left unfinished, since the last look."""
        if os.fstat(self._file).st_size == self._end and _read_head(self._folder) == self._head:
            return
        log = _checked(self._folder)
        known = self._head.entries
        if known and (len(log.hashes) < known or log.hashes[known - 1] != self._head.hash):
            raise _broken("does not hold what this program wrote")
        self._head, self._end = log.head, os.fstat(self._file).st_size
        if log.torn:
            self._mend(log)

    def _mend(self, log: Log) -> None:
        """End an unfinished line; what it held was never confirmed to anybody, so the next entry names it as torn."""
        if _read(log.torn, self._head.entries + 1, self._head.hash) is not None:  # only its end was missing
            self._write(b"\n")
            self._keep_head(Head(self._head.entries + 1, _hash(log.torn)))
            return
        time = log.entries[-1].time if log.entries else UNKNOWN_TIME
        self._add(self._entry(time, AuditEvent(TORN), _hash(log.torn)), before=b"\n")

    def _add(self, entry: AuditLine, before: bytes = b"") -> str:
        line = entry.line()
        self._write(before + line + b"\n")
        self._keep_head(Head(entry.number, _hash(line)))
        return self._head.hash

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)

    def _keep_head(self, head: Head) -> None:
        write_owner_only(self._folder / HEAD, msgspec.json.encode(head, order="deterministic") + b"\n")
        self._head, self._end = head, os.fstat(self._file).st_size

    def close(self) -> None:
        """Let go of the file; may be called again."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1


def read_audit(folder: Path) -> Log:
    """All entries, checked; changes nothing, and may be called while the pod runs.

    Raises:
        CheckFailed: the log was changed or cut.
        ConfigurationError: there is none, or it cannot be read.
    """
    with _unwritable():
        if not (folder / FILE).exists() and not (folder / HEAD).exists():
            raise ConfigurationError("There is no audit log in the state folder; no pod has run here yet.")
        if not (folder / FILE).exists():
            return _checked(folder)
        with (folder / FILE).open("rb") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_SH)  # nobody is in the middle of an entry
            return _checked(folder)


def _checked(folder: Path) -> Log:
    head = _read_head(folder)
    file = folder / FILE
    log = _chained(file.read_bytes() if file.exists() else b"")
    found = len(log.entries)
    # A kill between an entry and its head leaves one more than the head says.
    if not head.entries <= found <= head.entries + 1:
        raise _broken(f"holds together for {found} entries where {head.entries} were written")
    if head.entries and log.hashes[head.entries - 1] != head.hash:
        raise _broken(f"has another entry {head.entries} than was written")
    return log


def _chained(data: bytes) -> Log:
    """Entries as far as the chain holds; what follows the last one is torn."""
    entries: list[AuditLine] = []
    hashes: list[str] = []
    start = end = 0  # of what is not yet part of the chain
    while (stop := data.find(b"\n", end)) >= 0:
        line, torn = data[end:stop], data[start : max(start, end - 1)]
        entry = _read(line, len(entries) + 1, hashes[-1] if hashes else FIRST)
        end = stop + 1
        if entry is not None and entry.torn == (_hash(torn) if torn else ""):
            entries.append(entry)
            hashes.append(_hash(line))
            start = end
    return Log(tuple(entries), tuple(hashes), data[start:])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(line: bytes, number: int, previous: str) -> AuditLine | None:
    """The entry that must stand here; None where it is another one or none."""
    try:
        entry = msgspec.json.decode(line, type=AuditLine)
    except (msgspec.MsgspecError, ValueError):
        return None
    holds = entry.number == number and entry.previous == previous and entry.line() == line
    return entry if holds else None


def _read_head(folder: Path) -> Head:
    file = folder / HEAD
    if not file.exists():
        return Head(0, FIRST)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Head)
    except (msgspec.MsgspecError, ValueError):
        raise _broken("has a head that cannot be read") from None


def _broken(how: str) -> CheckFailed:
    return CheckFailed(
        f"The pod's audit log ({FILE}) {how}. Somebody has changed it, or a disk has failed; keep both files as they "
        "are, and bring back a backup only after you have looked into it."
    )


@contextmanager
def _unwritable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{FILE} in the state folder cannot be read or written ({type(error).__name__}); nothing was done."
        ) from None
