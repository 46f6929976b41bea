"""The files that must survive: what a power cut leaves of them, how they are written, and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from federated.errors import ConfigurationError
from federated.owner.budgets import BudgetLedger
from federated.owner.state import AcceptedTask, PodState
from federated.rounds.journal import Journal
from federated.store import one_process
from secure_agg import PodJournal
from secure_agg.journal import RoundRecord
from tests.fakes.power_cut import unreliable_disk

OPENERS: dict[str, Callable[[Path], Any]] = {
    "budgets.db": BudgetLedger,
    "pod.db": PodState,
    "task.db": Journal,
}
WRITES: dict[str, Callable[[Any], object]] = {
    "budgets.db": lambda budgets: budgets.reserve("oct", 1),
    "pod.db": lambda state: state.accept(task(1)),
    "task.db": lambda log: log.tell("fact", 1),
}
LOCK = """
import sys
from pathlib import Path
from federated.store import one_process

one_process(Path(sys.argv[1]), "another one runs")
"""
FULL, EXTRA, NORMAL = 2, 3, 1


def task(number: int) -> AcceptedTask:
    return AcceptedTask(bytes([number]) * 32, b"spec", b"signature", "2026-06-01T12:00:00+00:00")


def entered(number: int) -> RoundRecord:
    hashed = number.to_bytes(32, "big")
    return RoundRecord(bytes(16), number, hashed, hashed, (), released=True, rho=0.0)


def test_what_was_granted_is_spent_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unreliable_disk(monkeypatch) as disk:
        budgets = BudgetLedger(tmp_path / "pod", {"oct": 9})
        for used in range(1, 4):
            budgets.reserve("oct", 1)
            found = BudgetLedger(disk.after_power_cut(tmp_path / "pod", tmp_path / f"{used}"))
            assert found.used("oct") == used
            found.close()
        budgets.close()


def test_what_a_pod_was_to_remember_is_there_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unreliable_disk(monkeypatch) as disk:
        state = PodState(tmp_path / "pod")
        for number in range(1, 4):
            state.accept(task(number))
            state.store(PodJournal(records=(*state.journal.records, entered(number))))
            found = PodState(disk.after_power_cut(tmp_path / "pod", tmp_path / f"{number}"))
            assert len(list(found.tasks())) == number
            assert [one.round for one in found.journal.records if one.released] == [*range(1, number + 1)]
            found.close()
            state.ended(bytes([number]) * 32, "done", "")
            found = PodState(disk.after_power_cut(tmp_path / "pod", tmp_path / f"{number}-ended"))
            assert [one.state for one in found.tasks()] == ["done"] * number
            found.close()
        state.close()


def test_a_power_cut_takes_no_file_of_a_task_and_only_the_last_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is there never names a file that is not."""
    with unreliable_disk(monkeypatch) as disk:
        log = Journal(tmp_path / "task")
        log.store_blob("model-0.bin", b"first")
        for number in range(1, 121):
            log.store_blob("model-1.bin", bytes([number]), b"of ", b"many parts")
            log.tell(f"fact {number}", bytes(40_000))
        found = Journal(disk.after_power_cut(tmp_path / "task", tmp_path / "cut"))
        assert (found.blob("model-0.bin"), found.blob("model-1.bin")) == (b"first", b"\x78of many parts")
        kept = [number for number in range(1, 121) if found.told(f"fact {number}") is not None]
        assert 50 < len(kept) < 120, "SQLite syncs its log from time to time, and not for each entry"
        assert kept == [*range(1, len(kept) + 1)]
        found.close()
        log.close()


class Recorded(sqlite3.Connection):
    """Notes under which settings every transaction is committed."""

    commits: list[tuple[str, int, str]]

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        file = Path(super().execute("pragma database_list").fetchone()[2]).name
        commits = statement == "commit" or (statement.startswith("insert") and not self.in_transaction)
        if commits and file in OPENERS:
            synchronous, journal = (
                super(Recorded, self).execute(f"pragma {name}").fetchone()[0]
                for name in ("synchronous", "journal_mode")
            )
            self.commits.append((file, synchronous, journal))
        return super().execute(statement, *values)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("budgets.db", ({FULL, EXTRA}, "wal")),
        ("pod.db", ({EXTRA}, "delete")),  # FULL does not sync the folder from which the journal is removed
        ("task.db", ({NORMAL}, "wal")),
    ],
)
def test_every_write_is_committed_as_carefully_as_was_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[set[int], str]
) -> None:
    real, commits = sqlite3.connect, []

    def connect(*place: Any, **settings: Any) -> sqlite3.Connection:
        return real(*place, **settings, factory=Recorded)

    monkeypatch.setattr(Recorded, "commits", commits, raising=False)
    monkeypatch.setattr(sqlite3, "connect", connect)
    for _ in range(2):
        opened = OPENERS[name](tmp_path)
        del commits[:]
        WRITES[name](opened)
        opened.close()
        assert [(file, journal) for file, _, journal in commits] == [(name, expected[1])]
        assert {synchronous for _, synchronous, _ in commits} <= expected[0]


@pytest.mark.parametrize("name", OPENERS)
@pytest.mark.parametrize("other", OPENERS)
def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path, name: str, other: str) -> None:
    opened = OPENERS[other](tmp_path / "other")
    WRITES[other](opened)
    opened.close()
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(tmp_path / "other" / other, folder / name)
    mark = (tmp_path / "other" / other).with_suffix(".id")
    if mark.exists():
        shutil.copy(mark, (folder / name).with_suffix(".id"))
    before = (folder / name).read_bytes()
    if name == other:
        OPENERS[name](folder).close()
        return
    with pytest.raises(ConfigurationError, match="is of another kind or version"):
        OPENERS[name](folder)
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("name", OPENERS)
@pytest.mark.parametrize("pragma", ["application_id", "user_version"])
def test_a_file_that_says_something_else_of_itself_is_refused(tmp_path: Path, name: str, pragma: str) -> None:
    OPENERS[name](tmp_path).close()
    db = sqlite3.connect(tmp_path / name)
    db.execute(f"pragma {pragma} = 77")
    db.commit()
    db.close()
    with pytest.raises(ConfigurationError, match="is of another kind or version"):
        OPENERS[name](tmp_path)


def test_a_ledger_always_said_what_it_is(tmp_path: Path) -> None:
    """Files of earlier releases that do not are taken in; there was never such a ledger."""
    BudgetLedger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "budgets.db", isolation_level=None)) as db:
        db.execute("drop table opened")  # as in the first ones
        db.execute("pragma application_id = 0")
    with pytest.raises(ConfigurationError, match="is of another kind or version"):
        BudgetLedger(tmp_path)


@pytest.mark.parametrize("name", OPENERS)
def test_a_file_that_came_back_from_a_backup_is_its_owner_s_alone_again(tmp_path: Path, name: str) -> None:
    OPENERS[name](tmp_path).close()
    (tmp_path / name).chmod(0o644)
    OPENERS[name](tmp_path).close()
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", OPENERS)
def test_a_damaged_page_is_noticed_when_the_file_is_opened(tmp_path: Path, name: str) -> None:
    OPENERS[name](tmp_path).close()
    db = sqlite3.connect(tmp_path / name)
    (size,), (page,) = (
        db.execute(text).fetchone()
        for text in ("pragma page_size", "select max(rootpage) from sqlite_master where type = 'table'")
    )
    db.close()
    data = bytearray((tmp_path / name).read_bytes())
    data[(page - 1) * size + 1 : (page - 1) * size + 8] = (
        b"\x00\x00\x00\x07\xff\xff\xff"  # cells that are not there
    )
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigurationError, match="is damaged"):
        OPENERS[name](tmp_path)


@pytest.mark.parametrize("name", OPENERS)
def test_a_file_that_somebody_else_holds_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Who reads "bring it back from a backup" then would forget what was spent."""
    monkeypatch.setattr("federated.store.WAIT_S", 0)
    made = OPENERS[name](tmp_path)
    with closing(sqlite3.connect(tmp_path / name, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(ConfigurationError, match="held by another process") as seen:
            WRITES[name](made)
        assert "backup" not in str(seen.value)
        made.close()
        with pytest.raises(ConfigurationError, match="held by another process"):
            OPENERS[name](tmp_path)


def test_a_second_try_in_one_process_does_not_let_others_in(tmp_path: Path) -> None:
    """On POSIX whoever closes a file ends the locks that its process has on it."""
    held = one_process(tmp_path / "pod.lock", "another one runs")
    with pytest.raises(ConfigurationError, match="another one runs"):
        one_process(tmp_path / "pod.lock", "another one runs")
    told = subprocess.run(
        [sys.executable, "-c", LOCK, str(tmp_path / "pod.lock")], capture_output=True, text=True, check=False
    )
    assert "ConfigurationError: another one runs" in told.stderr
    held.close()
