"""The checkpoint: what is done is kept, whatever happens, and never mixed with another run."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ehr.errors import ConfigurationError
from ehr.reading import checkpoint
from ehr.reading.checkpoint import PUT_ASIDE, SYNC_EVERY, Checkpoint, Done, row_key

RUN = {"trial": "d1", "patients": "d2"}


def opened(path: Path, run: dict[str, str] | None = None, **facts: str) -> Checkpoint[dict[str, int]]:
    made = Checkpoint(path, run or RUN, dict[str, int])
    made.load()
    made.start(facts or {"index_date": "2026-06-01"})
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / ".screening.jsonl"


def fill(path: Path, count: int = 3) -> None:
    first = opened(path)
    for row in range(1, count + 1):
        first.add([Done(row, f"k{row}", {"n": row})])
    first.close(finished=False)


def test_a_stopped_run_goes_on_where_it_stopped(path: Path) -> None:
    fill(path)
    second = opened(path, index_date="2027-01-01")
    assert second.resumes
    assert second.done == {row: (f"k{row}", {"n": row}) for row in (1, 2, 3)}
    assert second.facts == {"index_date": "2026-06-01"}  # what was fixed at the first start stays
    second.close(finished=False)


def test_a_first_run_has_nothing_to_go_on_with(path: Path) -> None:
    first = opened(path)
    assert not first.resumes
    assert first.done == {}
    first.close(finished=False)


def test_a_run_without_facts_goes_on_too(path: Path) -> None:
    made = Checkpoint(path, RUN, int)
    made.start({})
    made.add([Done(1, "k", 7)])
    made.close(finished=False)
    for _ in range(2):
        again = Checkpoint(path, RUN, int)
        again.load()
        again.start({})
        again.close(finished=False)
        assert again.resumes
        assert again.done == {1: ("k", 7)}
    assert path.read_bytes().count(b'"run"') == 1


def test_a_finished_run_leaves_no_file(path: Path) -> None:
    first = opened(path)
    first.add([Done(1, "k", {})])
    first.close(finished=True)
    assert list(path.parent.iterdir()) == []
    first.close(finished=True)


@pytest.mark.parametrize("lost", range(2, 40, 3))
def test_a_line_that_was_cut_is_asked_again_and_harms_no_other(path: Path, lost: int) -> None:
    fill(path)
    path.write_bytes(path.read_bytes()[:-lost])
    second = opened(path)
    assert set(second.done) == {1, 2}
    second.add([Done(3, "k3", {"n": 3})])
    second.close(finished=False)
    assert set(opened_only(path).done) == {1, 2, 3}


def opened_only(path: Path) -> Checkpoint[dict[str, int]]:
    made = Checkpoint(path, RUN, dict[str, int])
    made.load()
    return made


def test_a_patient_whose_server_failed_is_asked_again(path: Path) -> None:
    first = opened(path)
    first.add([Done(1, "k1", {"n": 1}, True)])
    first.add([Done(2, "k2", {"n": 2})])
    first.add([Done(2, "k2", {"n": 2}, True)])
    first.add([Done(3, "k3", {"n": 3}, True)])
    first.add([Done(3, "k3", {"n": 4})])
    first.close(finished=False)
    assert opened_only(path).done == {3: ("k3", {"n": 4})}
    assert b'"n":1' not in path.read_bytes()  # nothing is kept of what counts for nothing


def test_a_stored_row_whose_server_fails_at_the_next_start_is_asked_once_more(path: Path) -> None:
    """Its old result must not come back; and that it waits is written down once."""
    fill(path)
    second = opened(path)
    second.add([Done(2, "other", {"n": 9}, again=True)])
    size = path.stat().st_size
    second.add([Done(2, "other", {"n": 9}, again=True)])
    assert path.stat().st_size == size
    assert b'"n":9' not in path.read_bytes()
    second.close(finished=False)
    assert set(opened_only(path).done) == {1, 3}


def test_all_rows_of_one_person_are_stored_or_none(path: Path) -> None:
    first = opened(path)
    first.add([Done(1, "k1", {"n": 1}), Done(900, "k900", {"n": 9})])
    first.close(finished=False)
    whole = path.read_bytes()
    assert set(opened_only(path).done) == {1, 900}
    for cut in range(len(whole) - whole.index(b"\n") - 3):
        path.write_bytes(whole[: len(whole) - 2 - cut])
        assert opened_only(path).done == {}


def test_who_is_to_be_asked_again_waits_and_takes_no_room(path: Path) -> None:
    first = opened(path)
    before = path.read_bytes()
    first.add([Done(7, "k7", {"n": 7}, again=True)])
    assert path.read_bytes() == before
    assert first.waiting == {7}
    first.add([Done(7, "k7", {"n": 8})])
    assert first.waiting == set()
    first.close(finished=False)
    assert opened_only(path).done == {7: ("k7", {"n": 8})}


def test_a_fresh_run_puts_its_own_earlier_file_aside(path: Path) -> None:
    fill(path)
    made = Checkpoint(path, RUN, dict[str, int])
    made.load(fresh=True)
    assert not made.resumes
    assert made.done == {}
    made.start({})
    made.close(finished=False)
    assert path.with_name(path.name + PUT_ASIDE).read_bytes().count(b"row") == 3


@pytest.mark.parametrize(
    "head",
    [
        b'{"run": {"trial": "other", "patients": "d2"}, "facts": {}}\n',
        b'{"run": {"trial": "d1"}, "facts": {}}\n',
        b'{"run": {"trial": "d1", "patients": "d2"}, "facts": 7}\n',
        b'{"run": {"trial": "d1", "patients": "d2"}}\n',
        b'{"run": {"tri',
        b"",
        b"[]\n",
        b"\xff\n",
    ],
)
def test_a_file_of_another_run_is_put_aside_and_not_mixed_in(path: Path, head: bytes) -> None:
    path.parent.mkdir()
    other = head + b'[{"row": 1, "key": "k", "again": false, "result": {"n": 9}}]\n'
    path.write_bytes(other)
    mine = opened(path)
    assert not mine.resumes
    assert mine.done == {}
    mine.add([Done(2, "k2", {"n": 2})])
    mine.close(finished=False)
    assert path.with_name(path.name + PUT_ASIDE).read_bytes() == other
    assert set(opened_only(path).done) == {2}


def test_what_is_no_progress_is_put_aside_even_without_an_end_of_line(path: Path) -> None:
    """Only the cut beginning of a head is thrown away; anything else may be somebody's."""
    path.parent.mkdir()
    for others in (b"my notes", b'{"run"; my notes'):
        path.write_bytes(others)
        assert not opened_only(path).resumes
        assert path.with_name(path.name + PUT_ASIDE).read_bytes() == others
    for cut in (b"", b'{"ru', b'{"run": {"tri'):
        path.write_bytes(cut)
        assert not opened_only(path).resumes
        assert not path.exists()
    assert path.with_name(path.name + PUT_ASIDE).read_bytes() == b'{"run"; my notes'


@pytest.mark.parametrize(
    "line",
    [
        b'[{"row": "1", "key": "k", "again": false, "result": {}}]',
        b'[{"row": 9, "key": "k", "again": false}]',
        b'[{"row": 9, "key": "k", "again": false, "result": {"n": "text"}}]',
        b'[{"row": 9, "key": "k", "again": false, "result": null}]',
        b'{"row": 9, "key": "k", "again": false, "result": {}}',
        b"[7]",
        b"[" * 100_000,
        b"\x00\x00",
    ],
)
def test_a_line_that_makes_no_sense_is_left_out(path: Path, line: bytes) -> None:
    fill(path)
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert set(opened_only(path).done) == {1, 2, 3}


def test_the_file_is_its_owner_s_alone(path: Path) -> None:
    fill(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    opened_only(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("written", [0, 5])
def test_a_full_disk_is_told_and_what_is_stored_stays_good(
    path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(path)
    made.add([Done(1, "k1", {"n": 1})])
    before = path.read_bytes()
    real = os.write
    room = [written]

    def full(handle: int, data: Any) -> int:
        left = room.pop() if room else 0
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, bytes(data)[:left])

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "write", full)
        with pytest.raises(ConfigurationError, match=r"disk is full\. What was done is kept"):
            made.add([Done(2, "k2", {"n": 2})])
    assert path.read_bytes() == before
    made.add([Done(3, "k3", {"n": 3})])  # somebody made room
    made.close(finished=False)
    assert set(opened_only(path).done) == {1, 3}


def test_what_is_written_is_brought_to_the_disk_now_and_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each patient: it blocks. Whoever is written survives a kill in any case."""
    synced: list[int] = []
    monkeypatch.setattr(checkpoint.os, "fsync", synced.append)
    made = opened(path)
    assert len(synced) == 1  # the head, with what is fixed
    for row in range(1, 2 * SYNC_EVERY + 1):
        made.add([Done(row, f"k{row}", {"n": row})])
        assert len(path.read_bytes().splitlines()) == row + 1
    assert len(synced) == 3


def test_two_runs_never_write_into_one_file(path: Path) -> None:
    """Whether the other one has the file now, or began and stopped since this one looked."""
    late = opened_only(path)
    running = opened(path)
    running.add([Done(1, "k1", {"n": 1})])
    with pytest.raises(ConfigurationError, match="another run"):
        opened_only(path)
    with pytest.raises(ConfigurationError, match="another run"):
        late.start({})
    running.close(finished=False)
    stored = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another run"):
        late.start({})
    assert path.read_bytes() == stored
    resuming = opened_only(path)
    path.unlink()
    with pytest.raises(ConfigurationError, match="another run"):
        resuming.start({})


@pytest.mark.parametrize("new", [None, b""])
def test_a_file_that_goes_away_before_it_is_locked_is_not_gone_on_with(
    path: Path, new: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had the lock has finished: its patients are in its results, and their file is gone."""
    fill(path)
    real = checkpoint.fcntl.flock

    def finished(handle: int, how: int) -> None:
        path.unlink()
        if new is not None:
            path.write_bytes(new)
        real(handle, how)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.fcntl, "flock", finished)
        late = opened_only(path)
    assert (late.resumes, late.done) == (False, {})


@pytest.mark.timeout(20)
def test_no_link_and_no_pipe_is_read_as_progress(path: Path, tmp_path: Path) -> None:
    fill(path)
    stored = path.rename(tmp_path / "elsewhere")
    path.symlink_to(stored)
    with pytest.raises(ConfigurationError, match="a link, or no plain file"):
        opened_only(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="a link, or no plain file"):
        opened_only(path)


def test_a_full_disk_at_the_start_leaves_nothing_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(ConfigurationError, match="disk is full"):
        opened(path)


def test_a_start_that_failed_takes_no_place_of_a_run_put_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = opened(path)
    earlier.add([Done(1, "k", {"n": 1})])
    earlier.close(finished=False)
    kept = path.read_bytes()

    def another() -> None:
        run: Checkpoint[dict[str, int]] = Checkpoint(path, {"trial": "another"}, dict[str, int])
        run.load()
        run.start({})
        run.close(finished=False)

    def full(handle: int, line: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as disk:
        disk.setattr(checkpoint.os, "write", full)
        with pytest.raises(ConfigurationError, match="disk is full"):
            another()
    another()
    path.write_bytes(path.read_bytes()[:20])  # a power cut
    another()
    assert path.with_name(path.name + PUT_ASIDE).read_bytes() == kept


def test_a_folder_that_cannot_be_written_is_told_without_its_name(tmp_path: Path) -> None:
    blocked = tmp_path / "secret-name"
    blocked.write_text("a file")
    with pytest.raises(ConfigurationError, match="--out") as refused:
        opened(blocked / "x.jsonl")
    assert "secret-name" not in str(refused.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="IsADirectoryError"):
        opened(tmp_path / "folder")


def test_adding_before_the_start_is_a_fault() -> None:
    with pytest.raises(ValueError, match="start"):
        Checkpoint(Path("never"), RUN, int).add([Done(1, "k", 1)])


def test_row_keys_cannot_be_made_without_the_secret_and_tell_rows_apart() -> None:
    key = row_key(b"s" * 32, ("Shaw", "Amy", None))
    assert len(key) == 32
    assert key == row_key(b"s" * 32, ("Shaw", "Amy", None))
    others = [
        row_key(b"t" * 32, ("Shaw", "Amy", None)),
        row_key(b"s" * 32, ("Shaw", None, "Amy")),
        row_key(b"s" * 32, ("ShawAmy", "", None)),
    ]
    assert key not in others
    assert "Shaw" not in repr(Checkpoint(Path("x"), RUN, int))
