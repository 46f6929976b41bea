"""Whose ``pod.db`` it is: another pod's file is refused, and that of an earlier release taken in, once and whole."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import federated.store
from federated.errors import ConfigurationError
from federated.owner.budgets import BudgetLedger
from federated.owner.state import PodState
from federated.pod.services import open_pod, pod_status
from federated.rounds.journal import Journal, open_existing
from tests.fakes.federation import make_federation
from tests.fakes.power_cut import unreliable_disk
from tests.federated.runtime.cast import identity
from tests.repository.sources import ROOT

STORED = ROOT / "fixtures" / "stored" / "task"
"""Written by the code of November 2026: five pods' files that say nothing of themselves, and a log."""
KENT, HULL = identity("kent").public, identity("hull").public
ROUNDS = [*((number, True) for number in range(1, 6)), (6, False)]


def remembered(state: PodState) -> list[tuple[int, bool]]:
    assert [one.state for one in state.tasks()] == ["open"]
    return [(one.round, one.released) for one in state.journal.records]


def opened_once(folder: Path, key: bytes | None = None) -> list[tuple[int, bool]]:
    """Open a pod's file as its program does, and close it."""
    state = PodState(folder, key)
    try:
        return remembered(state)
    finally:
        state.close()


def old(name: str, to: Path) -> Path:
    return Path(shutil.copytree(STORED / name, to))


def new(name: str, to: Path) -> Path:
    """The same, but taken in by this release."""
    assert opened_once(old(name, to), identity(name).public) == ROUNDS
    return to


def holds(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Everything that lies in a folder, and when it was written."""
    return {one.name: (one.read_bytes(), one.stat().st_mtime_ns) for one in folder.iterdir()}


def says(file: Path, statement: str) -> Any:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchone()[0]


def refused(folder: Path, how: str, key: bytes | None = None) -> None:
    """Refused twice, and left as it was."""
    before = {one: content for one, content in holds(folder).items() if one != "pod.lock"}
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=how) as caught:
            PodState(folder, key)
        assert "Bring back this pod's own pod.db with its pod.id" in str(caught.value)
    assert {one: content for one, content in holds(folder).items() if one != "pod.lock"} == before


def test_the_file_of_another_pod_is_refused_by_its_mark(tmp_path: Path) -> None:
    for name in ("kent", "hull"):
        new(name, tmp_path / name)
    shutil.copy(tmp_path / "hull" / "pod.db", tmp_path / "kent" / "pod.db")
    refused(tmp_path / "kent", r"does not belong to its mark \(pod.id\)")


def test_the_folder_of_another_pod_is_refused_by_its_key(tmp_path: Path) -> None:
    refused(new("hull", tmp_path / "hull"), "is another pod's", KENT)
    assert opened_once(tmp_path / "hull", HULL) == ROUNDS


def test_a_file_that_was_opened_without_a_key_is_bound_to_the_first_that_is_given(tmp_path: Path) -> None:
    PodState(tmp_path / "kent").close()
    PodState(tmp_path / "kent", KENT).close()
    refused(tmp_path / "kent", "is another pod's", HULL)
    PodState(tmp_path / "kent").close()


def test_an_old_file_does_not_stand_in_for_one_that_has_a_mark_of_its_own(tmp_path: Path) -> None:
    """Neither that of another pod, nor an old copy of the pod's own, which has forgotten rounds."""
    for name in ("hull", "kent"):
        shutil.copy(STORED / name / "pod.db", new("kent", tmp_path / name) / "pod.db")
        refused(tmp_path / name, "does not belong to its mark", KENT)


def test_a_file_with_a_mark_of_its_own_does_not_stand_in_for_an_old_one(tmp_path: Path) -> None:
    old("kent", tmp_path / "kent")
    shutil.copy(new("hull", tmp_path / "hull") / "pod.db", tmp_path / "kent" / "pod.db")
    refused(tmp_path / "kent", "does not belong to its mark")


@pytest.mark.parametrize("make", [old, new])
def test_a_file_in_use_whose_mark_is_missing_is_refused(tmp_path: Path, make: Any) -> None:
    make("kent", tmp_path / "kent")
    (tmp_path / "kent" / "pod.id").unlink()
    refused(tmp_path / "kent", r"has lost its mark \(pod.id\)")


@pytest.mark.parametrize("mark", [b"", b"There must be a task.db beside this file.\n", b"0" * 32])
def test_an_old_file_with_a_mark_that_no_release_wrote_is_refused(tmp_path: Path, mark: bytes) -> None:
    (old("kent", tmp_path / "kent") / "pod.id").write_bytes(mark)
    refused(tmp_path / "kent", "does not belong to its mark")


def test_an_old_file_that_was_never_used_may_lack_its_mark(tmp_path: Path) -> None:
    """A kill between the file and its mark left it so."""
    old("kent", tmp_path / "kent")
    (tmp_path / "kent" / "pod.id").unlink()
    with closing(sqlite3.connect(tmp_path / "kent" / "pod.db")) as db:
        for table in ("masked", "tasks"):
            db.execute(f"delete from {table}")
        db.commit()
    state = PodState(tmp_path / "kent", KENT)
    assert not state.journal.records
    state.close()
    assert says(tmp_path / "kent" / "pod.db", "select id from mark").encode() == (
        (tmp_path / "kent" / "pod.id").read_bytes().strip()
    )


def test_an_old_file_is_bound_from_its_first_opening_on(tmp_path: Path) -> None:
    new("kent", tmp_path / "kent")
    file, mark = tmp_path / "kent" / "pod.db", tmp_path / "kent" / "pod.id"
    assert says(file, "pragma application_id") == 0x7456_5001
    assert says(file, "select key from owner") == KENT
    kept = mark.read_bytes()
    assert len(kept) == 33 and says(file, "select id from mark").encode() + b"\n" == kept
    assert opened_once(tmp_path / "kent", KENT) == ROUNDS
    assert mark.read_bytes() == kept
    assert (new("hull", tmp_path / "hull") / "pod.id").read_bytes() != kept


class Watched(sqlite3.Connection):
    """Lets somebody look before every statement."""

    look: Any

    def execute(self, *given: Any) -> sqlite3.Cursor:
        self.look()
        return super().execute(*given)


def images(folder: Path, to: Path, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a kill, and what a power cut, would leave at each step of the first opening of an old file."""
    real, write, taken = sqlite3.connect, federated.store.write_owner_only, []
    with unreliable_disk(patch) as disk:
        with closing(real(folder / "pod.db")) as db:
            db.execute("select 1 from masked")  # now it lies on that disk
        disk.names[folder], disk.contents = {"pod.id": 0}, {0: (folder / "pod.id").read_bytes()}

        def look() -> None:
            number = len(taken)
            taken.append(Path(shutil.copytree(folder, to / f"{number}-killed")))
            taken.append(disk.after_power_cut(folder, to / f"{number}-cut"))

        def written(*given: Any) -> None:
            look()
            write(*given)
            look()

        with pytest.MonkeyPatch.context() as watching:
            watching.setattr(Watched, "look", staticmethod(look), raising=False)
            watching.setattr(sqlite3, "connect", lambda *p, **s: real(*p, **s, factory=Watched))
            watching.setattr(federated.store, "write_owner_only", written)
            state = PodState(folder, KENT)
        look()
        state.close()
    yield from taken


def test_wherever_a_kill_or_a_power_cut_comes_an_old_file_is_taken_in_and_keeps_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    found = list(images(old("kent", tmp_path / "kent"), tmp_path / "images", monkeypatch))
    assert len(found) > 40
    ids, steps = set(), set()
    for image in found:
        (image / "pod.lock").unlink(missing_ok=True)
        steps.add(
            (says(image / "pod.db", "pragma application_id"), len((image / "pod.id").read_bytes()))
            if not (image / "pod.db-journal").exists()
            else None
        )
        assert opened_once(image, KENT) == ROUNDS
        ids.add((image / "pod.id").read_bytes())
        refused(image, "is another pod's", HULL)
        assert says(image / "pod.db", "pragma application_id") == 0x7456_5001
    assert {(0, 41), (0, 33), (0x7456_5001, 33)} <= steps, "every step was stopped at"
    assert len(ids) > 1, "an id that was not kept is drawn anew"


@pytest.mark.parametrize("make", [old, new])
@pytest.mark.parametrize("running", [False, True])
def test_looking_at_a_pod_s_file_changes_nothing(tmp_path: Path, make: Any, running: bool) -> None:
    folder = make("kent", tmp_path / "kent")
    runs = PodState(folder, KENT) if running else None
    before = holds(folder)
    state = PodState(folder, read_only=True)
    assert remembered(state) == ROUNDS
    with pytest.raises(ConfigurationError, match="cannot be written"):
        state.ended(bytes(32), "done", "")
    state.close()
    assert holds(folder) == before
    if runs is not None:
        runs.close()


def test_a_write_that_was_cut_short_is_undone_also_for_who_only_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = old("kent", tmp_path / "kent")
    with unreliable_disk(monkeypatch) as disk:
        with closing(sqlite3.connect(folder / "pod.db", isolation_level=None)) as db:
            db.execute("pragma synchronous = full")  # the removal of the rollback journal is not on the disk
            db.execute("delete from masked")
        image = disk.after_power_cut(folder, tmp_path / "image")
    shutil.copy(folder / "pod.id", image)
    assert (image / "pod.db-journal").exists()
    state = PodState(image, read_only=True)
    assert remembered(state) == ROUNDS
    state.close()


@pytest.mark.parametrize("make", [old, new])
def test_no_file_is_made_where_one_is_gone(tmp_path: Path, make: Any) -> None:
    (make("kent", tmp_path / "kent") / "pod.db").unlink()
    refused(tmp_path / "kent", "is gone", KENT)


def test_an_old_file_of_another_kind_is_not_taken_in(tmp_path: Path) -> None:
    shutil.copy(STORED / "modeller" / "task.db", old("kent", tmp_path / "kent") / "pod.db")
    refused(tmp_path / "kent", "is of another kind or version")


def test_a_foreign_file_is_not_even_looked_at(tmp_path: Path) -> None:
    new("kent", tmp_path / "kent")
    shutil.copy(new("hull", tmp_path / "hull") / "pod.db", tmp_path / "kent" / "pod.db")
    with pytest.raises(ConfigurationError, match="does not belong to its mark"):
        PodState(tmp_path / "kent", read_only=True)
    (tmp_path / "kent" / "pod.db").unlink()
    with pytest.raises(ConfigurationError, match="is gone"):
        PodState(tmp_path / "kent", read_only=True)
    assert not (tmp_path / "kent" / "pod.db").exists()


@pytest.mark.parametrize("running", [False, True])
def test_the_status_of_a_pod_changes_nothing_on_the_disk(tmp_path: Path, running: bool) -> None:
    path = make_federation(tmp_path).pods["kent"]
    state, pod = path.parent / "state", open_pod(path)
    (state / "budgets.id").unlink()  # the next start writes it again, for nothing is spent
    if not running:
        pod.close()
    before = holds(state)
    for _ in range(2):
        assert pod_status(path)["tasks"] == []
    after = holds(state)
    for one in ("budgets.db-shm", "pod.lock"):  # who reads says so to others in memory that they share
        before.pop(one, None), after.pop(one, None)
    assert after == before
    pod.close()


def test_a_pod_is_opened_under_its_own_key(tmp_path: Path) -> None:
    pods = make_federation(tmp_path).pods
    open_pod(pods["kent"]).close()
    shutil.rmtree(pods["hull"].parent / "state", ignore_errors=True)
    shutil.copytree(pods["kent"].parent / "state", pods["hull"].parent / "state")
    with pytest.raises(ConfigurationError, match="is another pod's"):
        open_pod(pods["hull"])


def test_looking_at_a_log_changes_nothing_and_going_on_takes_it_in(tmp_path: Path) -> None:
    folder = old("modeller", tmp_path / "log")
    before = holds(folder)
    found = open_existing(folder)
    assert found is not None
    told = found.rounds()
    found.close()
    assert holds(folder) == before
    for _ in range(2):
        log = Journal(folder)
        assert log.rounds() == told
        log.close()
    before = holds(folder)
    found = open_existing(folder)
    assert found is not None and found.rounds() == told
    found.close()
    assert holds(folder) == before
    assert says(folder / "task.db", "pragma application_id") == 0x7456_5401


def test_looking_at_a_ledger_makes_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="every task is refused"):
        BudgetLedger(tmp_path / "state", read_only=True)
    assert not (tmp_path / "state").exists()
