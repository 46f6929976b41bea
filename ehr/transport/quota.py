"""A site's daily budget of requests: counted by calendar day, kept on disk, and never exceeded (S31).

What is counted is written before the request is sent, so that neither a crash nor a second process forgets it. The
file has one line for each EHR: a digest of its base, the day, the count; each line is written over in place.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from ehr.errors import CountNotKept, QuotaSpent

if sys.platform != "win32":
    import fcntl

FILE = ".requests"
"""In the folder where a run keeps its progress."""
_LINE = 16 + 1 + 10 + 1 + 10 + 1


@dataclass(slots=True, repr=False)
class DailyQuota:
    """What may still be asked today.

    Args:
        today: the calendar day at the site.
        limit: requests a day; None leaves it to the server to say that enough is enough.
        ehr: the EHR's base address; told apart by its digest only.
        folder: where the count is kept; None keeps it in memory.
        empty_body: an empty body with status 200 means that the server's own quota is used up.
    """

    today: Callable[[], date]
    limit: int | None = None
    ehr: str = ""
    folder: Path | None = None
    empty_body: bool = False
    _count: int = 0
    _day: date | None = None
    _refused_on: date | None = None
    _handle: int | None = None

    def take(self, *, start: bool = False) -> None:
        """Count one request that is about to be sent.

        Args:
            start: it belongs to the start of a run (discovery, metadata): counted, never refused, so that a run
                on a day without budget still ends in order, with QUOTA for each patient.

        Raises:
            QuotaSpent: nothing is left for today; nothing must be sent.
            CountNotKept: the count cannot be read or written.
        """
        day = self.today()
        if self._refused_on is not None and _is_or_follows(self._refused_on, day) and not start:
            raise _spent("The EHR says that its quota for today is used up.")
        if self.limit is None:
            return
        with self._book(day):
            if self._count >= self.limit and not start:
                raise _spent(f"The site's budget of {self.limit} requests for today is spent.")
            self._count += 1

    def refused(self) -> QuotaSpent:
        """The server says that nothing more is to be had today; no further request is sent until tomorrow."""
        self._refused_on = self.today()
        return _spent("The EHR says that its quota for today is used up.")

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @contextmanager
    def _book(self, day: date) -> Iterator[None]:
        """The count of a day, read before and written after; nobody else has the file meanwhile."""
        if self.folder is None:
            kept = self._day is not None and _is_or_follows(self._day, day)
            self._count, self._day = (self._count, self._day) if kept else (0, day)
            yield
            return
        try:
            with self._locked(self.folder) as handle:
                place, self._count, day = self._read(handle, day)
                before = self._count
                yield
                if self._count != before:
                    line = f"{_digest(self.ehr)} {day.isoformat()} {self._count:010d}\n"
                    os.pwrite(handle, line.encode("ascii"), place)
                    os.fsync(handle)
        except OSError as error:
            raise CountNotKept(
                f"the day's count of requests cannot be kept ({type(error).__name__}). Nothing was sent; "
                "see to the output folder and its disk."
            ) from None

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[int]:
        if self._handle is None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._handle = os.open(folder / FILE, flags, 0o600)
        if sys.platform != "win32":
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            yield self._handle
        finally:
            if sys.platform != "win32":
                fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _read(self, handle: int, day: date) -> tuple[int, int, date]:
        """Where this EHR's line is, or goes, the count, and the day that it is for."""
        text = os.pread(handle, os.fstat(handle).st_size, 0).decode("ascii", "replace")
        for place in range(0, len(text) - _LINE + 1, _LINE):
            digest, _, rest = text[place : place + _LINE].partition(" ")
            if digest == _digest(self.ehr):
                then, _, count = rest.strip().partition(" ")
                written = _day(then)
                if written is not None and count.isdecimal() and _is_or_follows(written, day):
                    return place, int(count), written
                return place, 0, day
        return len(text) - len(text) % _LINE, 0, day


def _is_or_follows(written: date, day: date) -> bool:
    """Whether what was written for a day counts on this one: also where the clock was put back over midnight.

    A day further ahead was written by a clock that was wrong, and must not use up the days until then.
    """
    return written in (day, day + timedelta(days=1))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _spent(why: str) -> QuotaSpent:
    return QuotaSpent(f"{why} Nothing was sent; go on tomorrow with the same command.")
