"""The function `step` of the components that read the EHR: the task in, files and results in the pod."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest

from federated.algorithms import criteria_match, ehr_query
from federated.algorithms.results import WorkerResult
from federated.algorithms.step_context import parameters_of
from federated.counts.differencing import Counted
from federated.errors import NameWaits, PolicyRefused, TaskRefused
from federated.screening.report.results import PatientResult, Run
from federated.screening.run import CHECKPOINT, Options, screen
from federated.task.spec import TaskDocument, Unit
from federated.types import BitfountSchema, DatasourceContainer, PodDataConfig, PodDetailsConfig
from tests.fakes.workplaces import ADULTS, place, sandbox_pod, trial_document


class Stopped(Exception):
    """A person presses Ctrl-C."""


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_pod(tmp_path_factory.mktemp("pod")) as file:
        yield file


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))
    return tmp_path / "results" / "task"


def match(**arguments: Any) -> criteria_match.Parameters:
    found: criteria_match.Parameters = parameters_of(
        criteria_match.Parameters, Unit(name="match", arguments={"trial": "adults", **arguments})
    )
    return found


async def test_a_step_decides_as_screen_does_and_writes_the_same_files(
    pod: Path, results: Path, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    where = place(pod, progress=lambda what, done, total: told.append((what, done, total)))
    result = await criteria_match.step(match(), where, {})
    (tmp_path / "trial.yaml").write_text(ADULTS.format(status="final"))
    options = Options(out=tmp_path / "out", index_date=date(2026, 6, 1))
    by_hand = await asyncio.to_thread(screen, pod, tmp_path / "trial.yaml", options)
    assert result.local.patients == by_hand.run.patients
    assert result.local.index_date == "2026-06-01", "the day on which the task was made"
    for name in ("decisions.csv", "decisions.json", "summary.json", "report.html"):
        assert (results / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert not dict(result.leaves)
    assert not (results / CHECKPOINT).exists()
    assert told[-1] == ("patients decided", 3, 3)


async def test_a_step_that_was_stopped_goes_on_where_it_stopped(pod: Path, results: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        await criteria_match.step(match(), place(pod, progress=stop), {})
    assert (results / CHECKPOINT).exists()
    told: list[int] = []
    where = place(pod, progress=lambda what, done, total: told.append(done))
    result = await criteria_match.step(match(), where, {})
    assert told[0] >= 2, "whoever was done is not asked again"
    assert len(result.local.patients) == 3


async def test_the_people_of_an_earlier_query_are_decided_for(pod: Path) -> None:
    source = Table([{"id": "demo-2", "note": "x"}])
    queried = await ehr_query.step(ehr_query.Parameters(), place(pod, data=container(source)), {})
    result = await criteria_match.step(match(), place(pod), {"query": queried})
    assert [patient.decision.value for patient in result.local.patients] == ["not_eligible"]


async def test_a_query_without_a_data_source_asks_for_the_cohort(pod: Path) -> None:
    queried = await ehr_query.step(ehr_query.Parameters(), place(pod), {})
    assert len(queried.local.readings) == 3
    assert not dict(queried.leaves)


def other(kind: Literal["trial", "steps"], text: str) -> TaskDocument:
    return TaskDocument(kind=kind, digest="0" * 64, text=text)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (trial_document(ADULTS.format(status="draft")), "draft"),
        (other("trial", ADULTS.format(status="final")), "digest"),
        (other("trial", "trialveil: 1\n"), "mistakes"),
        (other("steps", "steps: []\n"), "no trial"),
    ],
)
async def test_a_trial_that_cannot_be_trusted_is_refused(document: TaskDocument, words: str) -> None:
    with pytest.raises(TaskRefused, match=words) as refused:
        await criteria_match.step(match(), place(None, {"adults": document}), {})
    assert refused.value.code == "TASK_SETUP_ERROR"


async def test_a_pod_without_an_ehr_refuses() -> None:
    for work in (
        criteria_match.step(match(), place(None), {}),
        ehr_query.step(ehr_query.Parameters(), place(None), {}),
    ):
        with pytest.raises(TaskRefused) as refused:
            await work
        assert refused.value.code == "MISSING_EHR_CONNECTION"


async def test_a_data_source_that_names_nobody_is_refused(pod: Path) -> None:
    source = Table([{"age": "70"}])
    with pytest.raises(TaskRefused) as refused:
        await ehr_query.step(ehr_query.Parameters(), place(pod, data=container(source)), {})
    assert refused.value.code == "INCOMPATIBLE_DATASOURCE"


async def test_a_task_cannot_name_a_folder_of_this_pod(pod: Path) -> None:
    with pytest.raises(TaskRefused, match="no trial"):
        await criteria_match.step(match(trial="../adults"), place(pod), {})
    with pytest.raises(NameWaits):
        await criteria_match.worker(match(), None, [])  # type: ignore[arg-type]  # it is refused before


@dataclass
class Table:
    """Rows in memory."""

    cells: Sequence[dict[str, Any]]

    def columns(self) -> list[str]:
        return list(self.cells[0])

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        return ({name: row[name] for name in columns} for row in self.cells)


def container(source: Table) -> DatasourceContainer:
    return DatasourceContainer(
        "table", source, PodDetailsConfig("table"), PodDataConfig(), BitfountSchema("table")
    )


async def test_a_pod_gives_its_counts_with_the_consent_of_its_ledger(pod: Path) -> None:
    asked: list[Counted] = []
    few = place(pod, smallest_cell=5, admit_counts=asked.append)
    result = await criteria_match.step(match(), few, {})
    with pytest.raises(TaskRefused) as refused:
        criteria_match.values(match(), few, result)
    assert refused.value.code == "NO_DATA", "three people are too few to take part"
    assert not asked
    many = WorkerResult(replace(result.local, patients=again(result.local, 20)))
    given = criteria_match.values(match(), few, many)
    assert given["evaluated"] == 60
    layout = criteria_match.layout(match(), few.spec)
    assert [field.name for field in layout.fields] == list(given)
    assert layout.largest == 1_000_000
    assert [one.counts["evaluated"] for one in asked] == [60]
    trial, found = criteria_match.totals_of(match(), few.spec, given, 1)
    assert (trial.id, found.total("evaluated").at_least) == ("adults", 60)

    def refuse(counted: Counted) -> None:
        raise PolicyRefused("no")

    with pytest.raises(PolicyRefused):
        criteria_match.values(match(), place(pod, admit_counts=refuse), many)


def again(run: Run, times: int) -> list[PatientResult]:
    return [
        replace(one, input_row=3 * turn + one.input_row, ref=f"{turn:02x}{one.ref}"[: len(one.ref)])
        for turn in range(times)
        for one in run.patients
    ]


def test_limits_that_cannot_be_kept_are_refused() -> None:
    for wrong in ({"smallest_cell": 4}, {"maximum_count": 999_999}):
        with pytest.raises(TaskRefused, match="smallest_cell must be"):
            criteria_match.layout(match(**wrong), place(None).spec)
