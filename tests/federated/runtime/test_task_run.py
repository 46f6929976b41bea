"""A task from its file's text to its results on the disk; and gone on with."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import numpy as np
import pytest

from federated.errors import ConfigurationError
from federated.links.in_process import InProcess
from federated.modeller.task_run import BEST, LAST, RESULT, TaskResult, TaskRun, begin, run, status
from federated.models.files import load
from federated.task.spec import TaskSpec, Unit
from tests.federated.runtime.cast import NOW, Cast, identity, make_task


def made(now: datetime, nonce: str) -> TaskSpec:
    stop = {"early_stopping": {"metric": "loss", "patience": 2}}
    return make_task(
        nonce=nonce,
        protocol=Unit(name="bitfount.FederatedAveraging", arguments=stop),
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 3, "narrow": True}),),
    )


def run_of(cast: Cast, text: str = "a task file") -> TaskRun:
    return TaskRun(made, text, identity("modeller"), cast.folder / "run", clock=lambda: NOW)


async def ran(cast: Cast, given: TaskRun) -> TaskResult:
    begun = begin(given)
    try:
        return await run(begun, given, InProcess(cast.handlers()))
    finally:
        begun.journal.close()


async def test_models_and_result_are_written_with_where_they_come_from(cast: Cast) -> None:
    given = run_of(cast)
    result = await ran(cast, given)
    assert given.out is not None
    saved = load(given.out / LAST, like=result.model)
    np.testing.assert_array_equal(saved.tensors["first"], result.model["first"])
    facts = saved.facts
    assert facts["task"] == result.spec.hash.hex()
    assert facts["survivors"] == ",".join(cast.names)
    assert facts["round"] == "3"
    assert (given.out / BEST).exists()
    document = json.loads((given.out / RESULT).read_text())
    assert document["schema"] == "trialveil/task-result/1"
    assert [one["round"] for one in document["rounds"]] == [1, 2, 3]
    assert document["reason"] == "done"
    assert "html" not in document
    assert "<table>" in result._repr_html_()
    # Every pod has the last model too.
    kept = list((cast.folder / "out").rglob("model.safetensors"))
    assert len(kept) == 1, "the pods of one process share a folder of results"


async def test_a_run_that_was_stopped_goes_on_and_one_that_is_done_does_not(cast: Cast) -> None:
    given = run_of(cast)
    first = begin(given)
    assert not first.resumes
    first.journal.close()
    again = begin(given)
    assert again.resumes
    assert again.spec.hash == first.spec.hash
    assert again.signature == first.signature
    again.journal.close()
    await ran(cast, given)
    with pytest.raises(ConfigurationError, match="done"):
        begin(given)
    with pytest.raises(ConfigurationError, match="another task file"):
        begin(run_of(cast, "another file"))


async def test_two_programs_do_not_run_one_task(cast: Cast) -> None:
    given = run_of(cast)
    first = begin(given)
    with pytest.raises(ConfigurationError, match="another process"):
        begin(given)
    first.journal.close()


async def test_the_status_tells_where_a_task_stands_also_while_it_runs(cast: Cast) -> None:
    given = run_of(cast)
    assert given.out is not None
    with pytest.raises(ConfigurationError, match="no task"):
        status(given.out)
    begun = begin(given)
    assert status(given.out).pods == dict.fromkeys(cast.names, "no answer")
    await run(begun, given, InProcess(cast.handlers()))
    found = status(given.out)
    begun.journal.close()
    assert (found.state, found.reason) == ("done", "done")
    assert set(found.pods.values()) == {"ACCEPT"}
    assert [one["purpose"] for one in found.rounds] == ["weights", "update", "update", "update"]
    assert all(one["state"] == "done" for one in found.rounds)


@pytest.mark.parametrize("damage", [b"", b"not a database at all, whatever it is" * 50])
def test_a_damaged_log_is_not_begun_afresh(cast: Cast, damage: bytes) -> None:
    folder = cast.folder / "run"
    folder.mkdir()
    (folder / "task.db").write_bytes(damage)
    if not damage:
        begin(run_of(cast)).journal.close()  # an empty file is what SQLite makes before its first entry
        return
    with pytest.raises(ConfigurationError, match="cannot be read"):
        begin(run_of(cast))
    assert (folder / "task.db").read_bytes() == damage
    assert asyncio.iscoroutinefunction(run)


async def test_results_that_a_kill_kept_from_being_written_are_written_by_the_next_start(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = run_of(cast)
    assert given.out is not None
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TaskResult, "write", interrupted)
        await ran(cast, given)
    assert status(given.out).state == "open"
    result = await ran(cast, given)
    assert load(given.out / LAST, like=result.model).facts["round"] == "3"
    assert json.loads((given.out / RESULT).read_text())["reason"] == "done"


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
