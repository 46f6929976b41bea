"""The modeller's log and the pod's file: what a full disk, a lost file, another user or two threads do to them."""

from __future__ import annotations

import itertools
import os
import resource
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from federated.cli.frame import run as command
from federated.errors import ConfigurationError
from federated.links.in_process import InProcess
from federated.modeller import program as modeller
from federated.models.files import save
from federated.owner.state import FILE, AcceptedTask, PodState
from federated.protocols.sides import TaskOutcome
from federated.rounds.journal import Event, Journal, LoggedRound, open_existing
from federated.task.envelope import opened
from secure_agg import PodJournal
from secure_agg.journal import RoundRecord
from tests.federated.runtime.cast import Cast, make_task, with_stand_in

THREE = ("bath", "hull", "kent")


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: what a write to a full disk comes to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def record(task: int, number: int) -> RoundRecord:
    hashed = bytes([task]) * 16 + number.to_bytes(16, "big")
    return RoundRecord(bytes([task]) * 16, number, hashed, hashed, (), released=False, rho=0.0)


def test_rounds_that_two_tasks_enter_and_release_at_once_all_stay_in_the_pod_s_file(tmp_path: Path) -> None:
    state = PodState(tmp_path)

    def enter(task: int) -> None:
        for number in range(60):
            new = record(task, number)
            state.store(PodJournal(records=(*state.journal.records, new)))
            state.store(PodJournal(records=(msgspec.structs.replace(new, released=True),)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(enter, range(4)))
    state.close()
    again = PodState(tmp_path)
    assert sum(one.released for one in again.journal.records) == 4 * 60
    again.close()


@pytest.mark.parametrize("lost", ["gone", "emptied"])
def test_a_pod_whose_file_was_lost_does_not_begin_afresh(tmp_path: Path, lost: str) -> None:
    state = PodState(tmp_path)
    state.store(PodJournal(records=(record(1, 1),)))
    state.close()
    (tmp_path / FILE).unlink() if lost == "gone" else (tmp_path / FILE).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="gone or cannot be read"):
            PodState(tmp_path)


def test_a_pod_says_yes_to_nothing_that_it_cannot_remember(tmp_path: Path) -> None:
    state = PodState(tmp_path)
    task = AcceptedTask(bytes(32), bytes(60_000), bytes(64), "2026-06-01T12:00:00+00:00")
    with full_disk(30_000):
        with pytest.raises(ConfigurationError, match="cannot be written"):
            state.accept(task)
        with pytest.raises(ConfigurationError, match="cannot be written"):
            state.store(PodJournal(records=tuple(record(1, number) for number in range(1000))))
    assert not state.journal.records
    state.close()


@pytest.mark.parametrize("what", ["message", "file"])
def test_a_full_disk_ends_a_task_in_words_and_the_next_start_goes_on(tmp_path: Path, what: str) -> None:
    log = Journal(tmp_path)
    log.note(1, Event("message", "kent", 1.0, b"before"))
    with full_disk(40_000), pytest.raises(ConfigurationError, match="make room"):
        if what == "message":
            log.note(1, Event("message", "kent", 2.0, bytes(200_000)))
        else:
            log.store_blob("model-1.bin", bytes(200_000))
    log.close()
    log = Journal(tmp_path)
    assert [one.data for one in log.events(1)] == [b"before"]
    assert log.blob("model-1.bin") is None
    log.close()


@pytest.mark.parametrize("kind", [Journal, PodState])
def test_a_folder_that_cannot_be_made_is_said_to_be_so(tmp_path: Path, kind: type) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigurationError, match="cannot be made or written"):
        kind(tmp_path / "file")


def test_what_a_task_keeps_is_for_its_owner_alone(tmp_path: Path) -> None:
    log = Journal(tmp_path / "task")
    log.tell("results", b"{}")
    log.store_blob("model-1.bin", bytes(8))
    save(tmp_path / "task" / "model-last.safetensors", {"first": np.zeros(2)})
    rights = {one.name: stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "task").iterdir()}
    log.close()
    assert {"task.db", "task.db-wal", "model-1.bin", "model-last.safetensors"} <= set(rights)
    assert set(rights.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "task").stat().st_mode) == 0o700


def test_a_log_that_a_kill_left_before_its_first_entry_is_no_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "task.db").write_bytes(b"")
    assert open_existing(tmp_path) is None
    assert command(["task", "status", str(tmp_path)]) == 5
    Journal(tmp_path).close()
    assert open_existing(tmp_path) is None
    assert command(["task", "status", str(tmp_path)]) == 5
    assert capsys.readouterr().err.count("holds no task") == 2


@pytest.mark.parametrize("damage", ["gone", "changed"])
async def test_a_model_that_is_no_longer_what_was_stored_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    with_stand_in(monkeypatch)
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", str(tmp_path / "out"))
    cast, spec = Cast(tmp_path, THREE), make_task(THREE)

    def dies(outcome: TaskOutcome) -> None:
        raise KeyboardInterrupt

    log = Journal(tmp_path / "task")
    with pytest.raises(KeyboardInterrupt):
        await modeller.run(cast.coordinator(spec, journal=log), cast.signature(spec), dies)
    file = tmp_path / "task" / "model-3.bin"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.unlink() if damage == "gone" else file.write_bytes(data)
    with pytest.raises(ConfigurationError, match="model of round 3"):
        await modeller.run(cast.coordinator(spec, journal=log), cast.signature(spec))
    log.close()
    cast.close()


@pytest.mark.parametrize(("away_s", "waits_s"), [(0, 5), (10, 25), (3600, 65), (-3600, 65), (None, 65)])
async def test_a_modeller_waits_for_its_pods_by_how_long_it_was_away(
    tmp_path: Path, away_s: float | None, waits_s: int
) -> None:
    """Pods double their waits: one that lost this program has dialled again by then, or was away before."""
    Journal(tmp_path / "task").close()
    assert open_existing(tmp_path / "task") is None  # who only looks leaves the time of the last entry alone
    if away_s is not None:
        then = time.time() - away_s
        os.utime(tmp_path / "task" / "task.db", (then, then))
    log = Journal(None if away_s is None else tmp_path / "task")
    cast, seconds = Cast(tmp_path), itertools.count()
    desk = replace(cast.coordinator(make_task(THREE), InProcess({}), log), clock=lambda: float(next(seconds)))
    await desk.come_back(THREE)
    log.close()
    assert waits_s <= next(seconds) <= waits_s + 3


def test_looking_at_a_log_leaves_it_as_it_is(tmp_path: Path) -> None:
    log = Journal(tmp_path)
    log.tell("spec", b"")
    log.close()
    os.utime(tmp_path / "task.db", (1e9, 1e9))
    found = open_existing(tmp_path)
    assert found is not None
    found.close()
    assert (tmp_path / "task.db").stat().st_mtime == 1e9
    log = Journal(tmp_path)
    assert log.quiet_s > 1e8
    log.close()


async def test_a_task_that_could_not_be_remembered_or_logged_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the owner's log nor in the pod's file may it be missing, however often it is offered."""
    cast, spec = Cast(tmp_path), make_task()
    with_stand_in(monkeypatch)
    pod = cast.start("kent")
    owner = cast.owners["kent"]
    desk = cast.coordinator(spec)
    offer = desk.request("kent", 1, "offer", {"signature": cast.signature(spec)}, spec.to_bytes())

    def fails(*_: Any) -> None:
        raise ConfigurationError("The disk is full.")

    for part, name in ((owner, "note"), (pod.state, "accept")):
        with monkeypatch.context() as patch:
            patch.setattr(part, name, fails)
            answers = [opened(await pod.handle(offer), spec.pinned) for _ in range(2)]
        assert [one.header.kind for one in answers] == ["refused"] * 2
        assert not pod._workers
        assert not list(pod.state.tasks())
    assert opened(await pod.handle(offer), spec.pinned).header.kind == "accepted"
    cast.close()


def test_rounds_are_told_from_memory_as_they_lie_on_the_disk(tmp_path: Path) -> None:
    """Each round asks for all of them: a thousand must not be read and decoded again for every one."""
    log = Journal(tmp_path)
    assert log.rounds() == []
    for seq in (1, 2):
        log.begin(LoggedRound(seq, "update", seq, 0.5, {"cohort": THREE, "model": b"1"}))
        log.end(seq, "done" if seq == 1 else "failed", {"survivors": THREE, "released": False})
    log.begin(LoggedRound(3, "update", 3, 1.5, {}))
    told = log.rounds()
    log.close()
    again = Journal(tmp_path)
    assert again.rounds() == told
    again.close()
