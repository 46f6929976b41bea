"""One SQLite file that must never be lost, opened with care and written through to the disk, and a lock on a folder.

A file that is damaged, foreign, of another version, or gone although there was one is refused, and with it every
task: one that began afresh would give every budget out a second time. A copy that was put back from a backup cannot
be told from the right one; nothing but the owner's care helps there. The lock ends with the process that holds it,
on every system.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ehr.auth.keys import write_owner_only
from federated.errors import ConfigurationError

WAIT_S = 30.0
"""How long one process waits for another one's transaction, each of which takes milliseconds."""


class Ledger:
    """The file.

    Args:
        path: it; beside it lies ``<name>.id``, which says that there must be one.
        tables: statements that make its tables, in a file that is new.
        application, version: what the file must say of itself.

    Raises:
        ConfigurationError: see above.
    """

    def __init__(self, path: Path, tables: Sequence[str], application: int, version: int) -> None:
        self._path, self._mark = path, path.with_suffix(".id")
        self._expected = (application, version)
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._mark.exists() and not path.exists():
                raise _unusable(path, "is gone")
            self._db = sqlite3.connect(path, isolation_level=None, timeout=WAIT_S, check_same_thread=False)
        except (OSError, sqlite3.Error):
            raise _unusable(path, "cannot be opened") from None
        try:
            self._prepare(tables)
        except (OSError, sqlite3.Error):
            self._db.close()
            raise _unusable(path, "cannot be read") from None
        except ConfigurationError:
            self._db.close()
            raise

    def __repr__(self) -> str:
        return f"<Ledger {self._path.name}>"

    def _prepare(self, tables: Sequence[str]) -> None:
        self._path.chmod(0o600)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        with self.transaction() as db:
            if not self._mark.exists() and not db.execute("select 1 from sqlite_master").fetchone():
                self._make(db, tables)
        found = tuple(
            self._db.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if found != self._expected:
            raise _unusable(self._path, "is of another kind or version")
        if self._db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
            raise _unusable(self._path, "is damaged")
        self._check_mark()

    def _make(self, db: sqlite3.Connection, tables: Sequence[str]) -> None:
        for statement in ("create table mark (id text not null) strict", *tables):
            db.execute(statement)
        db.execute("insert into mark values (?)", (secrets.token_hex(16),))
        db.execute(f"pragma application_id = {self._expected[0]}")
        db.execute(f"pragma user_version = {self._expected[1]}")

    def _check_mark(self) -> None:
        with self.transaction() as db:  # no other process can begin to use the file meanwhile
            known = str(db.execute("select id from mark").fetchone()[0]).encode()
            if not self._mark.exists():
                if self._in_use():
                    raise _unusable(self._path, f"has lost its mark ({self._mark.name})")
                write_owner_only(self._mark, known + b"\n")
            if self._mark.read_bytes().strip() != known:
                raise _unusable(self._path, f"does not belong to its mark ({self._mark.name})")

    def _in_use(self) -> bool:
        """Whether anything was ever written; a kill between the file and its mark leaves an empty one."""
        names = [row[0] for row in self._db.execute("select name from sqlite_master where type = 'table'")]
        return any(
            self._db.execute(f'select 1 from "{name}" limit 1').fetchone()  # noqa: S608 - names of our own tables
            for name in names
            if name != "mark" and not name.startswith("sqlite_")
        )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write as if nobody else were there; kept whole, or not at all when the block raises.

        Raises:
            ConfigurationError: the file cannot be read or written; nothing was kept.
        """
        with self._lock:
            try:
                self._db.execute("begin immediate")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("rollback")
                    raise
                self._db.execute("commit")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    self._db.rollback()
                raise _unusable(self._path, "cannot be written") from None

    def close(self) -> None:
        """Let go of the file; may be called again."""
        with self._lock:
            self._db.close()


def _unusable(path: Path, how: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name} in the pod's state folder {how}; every task is refused. Bring it back from a backup together "
        "with the files beside it; what was spent since the backup is then forgotten."
    )


def one_process(file: Path, otherwise: str) -> sqlite3.Connection:
    """Hold the lock until the connection is closed, or the process ends in whatever way.

    Args:
        file: the lock; made if it is missing, and left behind.
        otherwise: the beginning of the sentence where somebody else holds it.

    Raises:
        ConfigurationError: another process, or another place in this one, holds it; or the folder cannot be made or
            written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner_only(file)
        lock = sqlite3.connect(file, isolation_level=None, timeout=0, check_same_thread=False)
    except (OSError, sqlite3.Error):
        raise _not_lockable(file) from None
    try:
        lock.execute("begin exclusive")
    except sqlite3.DatabaseError as error:
        lock.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise ConfigurationError(f"{otherwise}; wait until it has ended, or stop it.") from None
        raise _not_lockable(file) from None
    return lock


def owner_only(file: Path) -> None:
    """Make a file that is not there yet, empty, for its owner alone; SQLite gives its companions the same rights."""
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _not_lockable(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{file.name} cannot be locked, for its folder cannot be made or written; nothing was run. Give another "
        "folder, or the right to write in it."
    )
