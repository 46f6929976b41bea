"""The files that must never be lost, one SQLite file each, and a lock on a folder.

A pod's budgets and rounds, a modeller's log of a task: a `StoreKind` says what each holds and how it is kept, and one
opener takes the same care of all. A file that is damaged, foreign, of another version, or gone although there was one
is refused: one that began afresh would give every budget and every round out a second time. A copy that was put back
from a backup cannot be told from the right one; nothing but the owner's care helps there. The lock ends with the
process that holds it, on every system.

Beside a marked file lies ``<name>.id`` with the id that stands in the file: it says that there must be one, and
which. Some files of November 2026 say nothing of themselves, and their marks are one sentence for all. Whoever opens
such a file first takes it in: the id and the owner's key go into the file, then the id into the mark, and last the
application id into the file, which from then on has no mark but its own. A kill may come between any two.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ehr.auth.keys import write_owner_only
from federated.errors import ConfigurationError

WAIT_S = 30.0
"""How long one process waits for another one's transaction, each of which takes milliseconds."""
LOST = "is gone or cannot be read"
_SENTENCE = "There must be a {} beside this file."
_OURS = frozenset({"mark", "owner"})
"""Tables of the opener's own, beside those of the kind."""


@dataclass(frozen=True, slots=True)
class StoreKind:
    """What files of a kind hold and say of themselves, and how they are kept.

    Attributes:
        application, version: what a file must say of itself.
        tables: statements that make its tables, in a file that is new.
        unusable: the sentence where a file is refused; ``{how}`` stands for what is wrong with it.
        unwritable: the sentence where a write fails, of which nothing is kept.
        alone: the beginning of the sentence where another process has the file; "" where several may share it.
        durable: whether what was written is on the disk when the call returns. Otherwise a power cut may lose the
            last writes; a kill never does.
        marked: whether a mark lies beside it. Without one, a file that is gone is begun afresh.
        adopts: whether files of November 2026, with these tables, say nothing of themselves.
        journal_mode: of SQLite. "wal" lets others read meanwhile, and keeps the last writes in a second file;
            "delete" keeps all in one, which is whole wherever it is copied to.
    """

    application: int
    version: int
    tables: Sequence[str]
    unusable: str
    unwritable: str
    alone: str = ""
    durable: bool = True
    marked: bool = True
    adopts: bool = False
    journal_mode: Literal["wal", "delete"] = "wal"


class Store:
    """One open file; for several threads.

    Args:
        path: it; its folder is made if it is missing. None keeps everything in memory.
        kind: see `StoreKind`.
        key: public key of whose file it is, where the caller knows it. A file is bound to the first one.
        read_only: only look, also while another process writes. Nothing on the disk is changed, except that a write
            which a kill left unfinished is undone.

    Raises:
        ConfigurationError: it is refused, see above; or another process has it.
    """

    def __init__(
        self, path: Path | None, kind: StoreKind, *, key: bytes | None = None, read_only: bool = False
    ) -> None:
        self._path, self._kind, self._read_only = path, kind, read_only
        self._mark = path.with_suffix(".id") if path is not None and kind.marked else None
        self._turn = threading.Lock()
        with ExitStack() as opening:
            try:
                if path is not None and kind.alone and not read_only:
                    opening.enter_context(closing(one_process(path.with_suffix(".lock"), kind.alone)))
                self._db = opening.enter_context(closing(self._connected()))
                self._settle(key)
            except (OSError, sqlite3.Error) as error:
                raise self._failed(error, self._kind.unusable.format(how=LOST)) from None
            self._open = opening.pop_all()

    def unusable(self, how: str) -> ConfigurationError:
        """The error where the file is refused."""
        return ConfigurationError(self._kind.unusable.format(how=how))

    def _failed(self, error: Exception, sentence: str) -> ConfigurationError:
        """A lock that another process held too long is no damage: a backup would forget what was spent since."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or self._path is None:
            return ConfigurationError(sentence)
        return ConfigurationError(
            f"{self._path.name} is held by another process, for longer than {WAIT_S:g} s; nothing was changed. Wait "
            "until that has ended, or stop it."
        )

    def _connected(self) -> sqlite3.Connection:
        place = "file::memory:"
        if self._path is not None and self._read_only:
            place = _to_look_at(self._path, self._kind)
        elif self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._mark_says() is not None and not self._path.exists():
                raise self.unusable(LOST)
            owner_only(self._path)
            self._path.chmod(0o600)
            place = self._path.absolute().as_uri()
        return sqlite3.connect(place, isolation_level=None, timeout=WAIT_S, check_same_thread=False, uri=True)

    def _settle(self, key: bytes | None) -> None:
        # With "delete" a commit ends when the rollback journal is removed. After FULL a power cut may bring that
        # back, and undo what was promised; EXTRA syncs the folder, too. With "wal" both are the same.
        # sqlite.org/pragma.html#pragma_synchronous, read 2026-11.
        self._db.execute(f"pragma synchronous = {'extra' if self._kind.durable else 'normal'}")
        with self._whole() as db:  # a file that is refused stays as it was
            if not (self._read_only or _tables(db)) and self._mark_says() is None:
                self._make(db)
            old = self._check_kind(db)
            self._check_key(db, key)
            known = self._check_mark(db, old=old)
        if self._read_only:
            return
        if self._mark is not None and self._mark_says() != known:
            write_owner_only(self._mark, known + b"\n")
        if old:
            self._db.execute(f"pragma application_id = {self._kind.application}")
        self._db.execute(f"pragma journal_mode = {self._kind.journal_mode}")

    def _make(self, db: sqlite3.Connection) -> None:
        for statement in self._kind.tables:
            db.execute(statement)
        db.execute(f"pragma application_id = {self._kind.application}")
        db.execute(f"pragma user_version = {self._kind.version}")

    def _check_kind(self, db: sqlite3.Connection) -> bool:
        """Whether it is a file of November 2026 that is still to be taken in."""
        tables = _tables(db)
        if not tables:
            raise self.unusable(LOST)
        application, version = (
            db.execute(f"pragma {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        expected = {statement.split()[2] for statement in self._kind.tables}
        old = self._kind.adopts and application == 0 and tables - _OURS == expected
        if version != self._kind.version or not (old or application == self._kind.application):
            raise self.unusable("is of another kind or version")
        if db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
            raise self.unusable("is damaged")
        return old

    def _check_key(self, db: sqlite3.Connection, key: bytes | None) -> None:
        known = db.execute("select key from owner").fetchone() if "owner" in _tables(db) else None
        if known is not None and key not in (None, known[0]):
            raise self.unusable("is another pod's (it is bound to another public key)")
        if known is None and key is not None and not self._read_only:
            db.execute("create table owner (key blob not null) strict")
            db.execute("insert into owner values (?)", (key,))

    def _check_mark(self, db: sqlite3.Connection, *, old: bool) -> bytes:
        """The id that the mark must hold; a file without one gets it."""
        if self._mark is None:
            return b""
        row = db.execute("select id from mark").fetchone() if "mark" in _tables(db) else None
        known = None if row is None else str(row[0]).encode()
        says = self._mark_says()
        if says is None and _in_use(db):  # a kill between a new file and its mark leaves one that is not
            raise self.unusable(f"has lost its mark ({self._mark.name})")
        sentence = _SENTENCE.format(self._mark.with_suffix(".db").name).encode()
        if says not in (None, known) and not (old and says == sentence):
            raise self.unusable(f"does not belong to its mark ({self._mark.name})")
        if known is None:
            known = secrets.token_hex(16).encode()
            if not self._read_only:
                db.execute("create table mark (id text not null) strict")
                db.execute("insert into mark values (?)", (known.decode(),))
        return known

    def _mark_says(self) -> bytes | None:
        return self._mark.read_bytes().strip() if self._mark is not None and self._mark.exists() else None

    @contextmanager
    def _whole(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            self._db.execute("begin immediate")  # of who only looks SQLite makes a read
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.rollback()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write as if nobody else were there; kept whole, or not at all when the block raises.

        Raises:
            ConfigurationError: the file cannot be read or written; nothing was kept.
        """
        try:
            with self._whole() as db:
                yield db
        except sqlite3.Error as error:
            raise self._failed(error, self._kind.unwritable) from None

    def write(self, statement: str, *values: Any) -> None:
        """One statement that is a transaction by itself.

        Raises:
            ConfigurationError: the file cannot be written; nothing was kept.
        """
        try:
            with self._turn:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failed(error, self._kind.unwritable) from None

    def rows(self, statement: str, *values: Any) -> list[Any]:
        """What a statement finds.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        try:
            with self._turn:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error, self._kind.unusable.format(how=LOST)) from None

    def close(self) -> None:
        """Let go of the file and the lock; may be called again."""
        with self._turn:
            self._open.close()


def _to_look_at(path: Path, kind: StoreKind) -> str:
    """The address under which SQLite reads a file and changes nothing.

    In WAL mode it makes two others, also for who only reads. Where they are missing nobody has the file open, and it
    can be read as if it lay on a disc that cannot change. A write that a kill left unfinished must be undone first.
    """
    mode = "ro"
    if path.with_name(f"{path.name}-journal").exists():
        mode = "rw"
    elif kind.journal_mode == "wal" and not path.with_name(f"{path.name}-wal").exists():
        mode = "ro&immutable=1"
    return f"{path.absolute().as_uri()}?mode={mode}"


def is_begun(path: Path, kind: StoreKind) -> bool:
    """Whether a file has any table; a kill may have come before the first. What cannot be read is taken for begun."""
    place = _to_look_at(path, kind)
    with suppress(sqlite3.Error), closing(sqlite3.connect(place, timeout=WAIT_S, uri=True)) as db:
        return bool(_tables(db))
    return True


def _tables(db: sqlite3.Connection) -> frozenset[str]:
    rows = db.execute("select name from sqlite_master where type = 'table'")
    return frozenset(name for (name,) in rows if not name.startswith("sqlite_"))


def _in_use(db: sqlite3.Connection) -> bool:
    """Whether anything was ever written."""
    return any(
        db.execute(f'select 1 from "{name}" limit 1').fetchone()  # noqa: S608 - names of our own tables
        for name in _tables(db) - _OURS
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
    # One that is there is not even opened: on POSIX, closing it would end this process's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _not_lockable(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{file.name} cannot be locked, for its folder cannot be made or written; nothing was run. Give another "
        "folder, or the right to write in it."
    )
