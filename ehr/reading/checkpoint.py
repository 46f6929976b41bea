"""What is done already: one line a patient, so that the same command goes on where it stopped.

The file lies beside the results, is its owner's alone, is never reached through a link, belongs to one process at a
time, and is removed when the run is complete. Its first line says which run it belongs to; a line that was cut by a
crash is ignored. A person who stands in several rows has them all in one line: all of them are done, or none. The
lines are in the order in which patients were done:

    {"run": {...}, "facts": {...}}
    [{"row": 1, "key": "…", "again": false, "result": {...}}]
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ehr.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
SYNC_EVERY = 25
"""Patients after which what is written is brought to the disk itself: a kill loses nobody, a power cut at most so
many, who are then asked again. It blocks for some milliseconds, which thousands of patients would feel."""
PUT_ASIDE = ".other-run"
"""Added to the name of a file that belongs to another run."""


@dataclass(frozen=True, slots=True, repr=False)
class Done(Generic[T]):
    """What came of one row.

    Args:
        row, key: which one.
        result: what was decided.
        again: True where the server failed; the next start asks anew.
    """

    row: int
    key: str
    result: T
    again: bool = False


def row_key(secret: bytes, identity: tuple[str | None, ...]) -> str:
    """A keyed fingerprint of who is meant by a row; 32 hex digits."""
    text = "\x1f".join("" if part is None else part for part in identity)
    return hmac.new(secret, b"row\x1f" + text.encode(), hashlib.sha256).hexdigest()[:32]


class Checkpoint(Generic[T]):
    """The finished patients of one run.

    Args:
        path: the file; made when the first patient is done.
        run: what must be equal for a stored run to be resumed (digests); anything else may be in ``facts``.
        kind: type of the results, for decoding.

    Attributes:
        facts: what was fixed when the run first started, such as the index date.
        done: row number to (key, result) of the patients that need not be asked again, as an earlier start left it.
        waiting: rows of this start that the next one must ask anew.
    """

    def __init__(self, path: Path, run: Mapping[str, str], kind: type[T]) -> None:
        self._path = path
        self._run = dict(run)
        self._decoder = msgspec.json.Decoder(kind)
        self._handle: int | None = None
        self._resumes = False
        self.facts: dict[str, str] = {}
        self.done: dict[int, tuple[str, T]] = {}
        self.waiting: set[int] = set()
        self._stored: set[int] = set()
        self._unsynced = 0

    def __repr__(self) -> str:
        return f"<Checkpoint {len(self.done)} done>"

    @property
    def resumes(self) -> bool:
        """Whether an earlier start left something."""
        return self._resumes

    def load(self, *, fresh: bool = False) -> None:
        """Read what an earlier start left; a file of another run is put aside, not mixed in.

        It is then kept under its name with `PUT_ASIDE`, in place of one put aside before.

        Args:
            fresh: put the file aside also where it belongs to this run.

        Raises:
            ConfigurationError: the file cannot be read, or not be put aside, or another process uses it now.
        """
        try:
            with os.fdopen(_opened(self._path, os.O_RDWR), "rb") as file:
                first = next(file, b"")
                if _was_cut(first):
                    self._path.unlink()  # its start failed, so it holds nobody and takes no other's place
                    return
                head = _json(first)
                if fresh or not _is_head(head, self._run):
                    self._path.replace(self._path.with_name(self._path.name + PUT_ASIDE))
                    return
                self._resumes = True
                self.facts = {str(key): str(value) for key, value in head["facts"].items()}
                for line in file:
                    self._take(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigurationError(_unwritable(error)) from None
        self._stored = set(self.done)

    def _take(self, line: bytes) -> None:
        entries = _json(line)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("row"), int):
                self._take_one(entry)

    def _take_one(self, entry: Mapping[str, Any]) -> None:
        if entry.get("again"):
            self.done.pop(entry["row"], None)
            return
        try:
            result = self._decoder.decode(msgspec.json.encode(entry["result"]))
        except (msgspec.MsgspecError, KeyError):
            return
        self.done[entry["row"]] = (str(entry.get("key")), result)

    def start(self, facts: Mapping[str, str]) -> None:
        """Open the file for adding; writes the head where there is none.

        Raises:
            ConfigurationError: the folder cannot be written, or another process began meanwhile.
        """
        if not self._resumes:
            self.facts = dict(facts)
        new = 0 if self._resumes else os.O_CREAT | os.O_EXCL
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(_unwritable(error)) from None
        try:
            self._handle = _opened(self._path, os.O_WRONLY | os.O_APPEND | new)
            if self._resumes:
                self._append(b"\n")  # ends a line that a crash may have cut
            else:
                self._append(_line({"run": self._run, "facts": self.facts}), sync=True)
        except (FileExistsError, FileNotFoundError):
            self.close(finished=False)
            raise ConfigurationError(_BUSY) from None
        except OSError as error:
            self.close(finished=False)
            raise ConfigurationError(_unwritable(error)) from None

    def add(self, patient: Sequence[Done[T]]) -> None:
        """Store one patient with all of their rows; once this returns, no end of the process undoes it.

        Nothing is kept of a row that is to be asked again: it is as if it had never been asked.

        Raises:
            ConfigurationError: the disk is full or the folder cannot be written; what is stored stays good.
        """
        lines = [
            {"row": one.row, "key": one.key, "again": one.again, "result": None if one.again else one.result}
            for one in patient
            if not one.again or one.row in self._stored
        ]
        try:
            if lines:
                self._unsynced = (self._unsynced + 1) % SYNC_EVERY
                self._append(_line(lines), sync=self._unsynced == 0)
        except OSError as error:
            raise ConfigurationError(_unwritable(error)) from None
        for one in patient:
            (self.waiting if one.again else self._stored).add(one.row)
            (self._stored if one.again else self.waiting).discard(one.row)

    def _append(self, line: bytes, *, sync: bool = False) -> None:
        if self._handle is None:
            raise ValueError("start() was not called")
        end = os.fstat(self._handle).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._handle, left) :]
            if sync:
                os.fsync(self._handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, end)  # half a line helps nobody
            raise

    def close(self, *, finished: bool) -> None:
        """Close the file; a finished run needs it no more."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if finished:
            self._path.unlink(missing_ok=True)


_BUSY = "another run writes into this folder. Wait until it has ended, or choose another with --out."


def _opened(path: Path, flags: int) -> int:
    """The file itself, for this process and its owner alone.

    Raises:
        ConfigurationError: another process has it.
        OSError: it cannot be opened, is a link or no plain file, or went away.
    """
    handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.ELOOP, "not a plain file")
        if sys.platform != "win32":
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(handle, 0o600)
            if not os.path.samestat(about, path.lstat()):
                raise FileNotFoundError  # who had the lock has finished and removed it
    except BlockingIOError:
        os.close(handle)
        raise ConfigurationError(_BUSY) from None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _line(content: Any) -> bytes:
    return msgspec.json.encode(content, enc_hook=_mapping) + b"\n"


def _mapping(value: Any) -> Any:
    """A read-only mapping as a plain one; nothing else is expected."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a result holds a {type(value).__name__}, which cannot be stored")


def _json(line: bytes) -> Any:
    """What a line holds; None where it was cut or makes no sense."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _was_cut(first: bytes) -> bool:
    """Whether a first line is the beginning of ours and no more."""
    return not first.endswith(b"\n") and b'{"run":'.startswith(first[:7])


def _is_head(head: Any, run: Mapping[str, str]) -> bool:
    return isinstance(head, dict) and head.get("run") == run and isinstance(head.get("facts"), dict)


def _unwritable(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. What was done is kept; free some space and start the same command again."
    if error.errno == errno.ELOOP:
        return "a link, or no plain file, lies where the run keeps its progress. Remove it, or choose another --out."
    return f"the output folder cannot be used ({type(error).__name__}). Choose another with --out."
