"""Tasks made of steps: run in one pod, and summed over several under a mask."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import ehr
from ehr.sandbox.server import Sandbox
from federated.algorithms import criteria_match
from federated.algorithms.results import WorkerResult
from federated.algorithms.step_context import StepContext, parameters_of
from federated.errors import NameWaits, PolicyRefused, TaskRefused
from federated.modeller.program import run
from federated.protocols.step_document import read_steps
from federated.task import registry
from federated.task.spec import Aggregation, TaskDocument, TaskSpec, Unit
from federated.types import AccessCheckResult
from tests.fakes.workplaces import place, sandbox_pod, trial_document
from tests.federated.runtime.cast import SECURE, Cast, OpenOwner, make_task

QUERY, MATCH = "bitfount.EHRPatientQueryAlgorithm", "bitfount.TrialInclusionCriteriaMatchAlgorithm"
TRIAL = {"trial": trial_document()}
TWO = (Unit(name=QUERY), Unit(name=MATCH))


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))
    return tmp_path / "results" / "task"


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with sandbox_pod(tmp_path_factory.mktemp("pod")) as file:
        yield file


def steps_document(text: str) -> TaskDocument:
    return TaskDocument(kind="steps", digest=hashlib.sha256(text.encode()).hexdigest(), text=text)


def task(where: StepContext, document: str = "screen_and_count", **changed: Any) -> StepContext:
    import msgspec

    protocol = Unit(name="bitfount.ResultsOnly", arguments={"steps": document})
    given = {"protocol": protocol, "algorithms": TWO} | changed
    return replace(where, spec=msgspec.structs.replace(where.spec, **given))


def side(where: StepContext) -> Any:
    row = registry.resolve(where.spec.protocol.name, where.spec.protocol.arguments)
    module = registry.load(row)
    return module.worker(parameters_of(module.Parameters, where.spec.protocol), where)


async def test_the_packaged_document_screens_in_one_pod_and_gives_its_counts(
    pod: Path, results: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    where = task(place(pod, TRIAL, progress=lambda *news: told.append(news)))
    run_here = side(where)
    assert await run_here.result({}) == {"steps": {}, "skipped": {}}, "nothing but counts leaves"
    assert (results / "criteria" / "report.html").exists()
    assert [news for news in told if news[0].startswith("step")] == [
        ("step query", 0, 2),
        ("step criteria", 1, 2),
        ("steps", 2, 2),
    ]
    with pytest.raises(TaskRefused) as refused:
        await run_here.give({}, b"")
    assert refused.value.code == "NO_DATA", "three patients are too few"
    assert "held/evaluated" in {field.name for field in run_here.layout().fields}


async def test_a_skipped_step_is_in_the_result_with_its_reason(pod: Path) -> None:
    text = """\
steps:
  - {use: EHRPatientQueryAlgorithm, as: rows, needs: policy.row_export}
  - {use: TrialInclusionCriteriaMatchAlgorithm, as: criteria, from: [rows], with: {trial: trial}}
  - {use: EHRPatientQueryAlgorithm, as: table, when: {has: data}}
  - {use: EHRPatientQueryAlgorithm, as: after, when: {ran: table}}
counts: {of: criteria}
"""
    documents = {**TRIAL, "mine": steps_document(text)}
    algorithms = (TWO[0], TWO[1], TWO[0], TWO[0])
    run_here = side(task(place(pod, documents), "mine", algorithms=algorithms))
    found = await run_here.result({})
    assert found["skipped"] == {
        "rows": "the pod's owner does not let row export leave",
        "criteria": "it needs rows, which was skipped",
        "table": "the pod has no data source for this task",
        "after": "it needs table, which was skipped",
    }
    with pytest.raises(TaskRefused, match="needs rows"):
        await run_here.give({}, b"")
    allowed = side(
        task(place(pod, documents, leaves=frozenset({"row_export"})), "mine", algorithms=algorithms)
    )
    assert set((await allowed.result({}))["skipped"]) == {"table", "after"}


async def test_a_step_that_fails_fails_the_run_and_is_not_skipped(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*arguments: Any) -> WorkerResult[Any]:
        raise KeyError("Smith")

    monkeypatch.setattr(criteria_match, "step", broken)
    with pytest.raises(TaskRefused, match=r"step criteria failed \(KeyError\)") as caught:
        await side(task(place(pod, TRIAL))).result({})
    assert "Smith" not in str(caught.value)

    async def refuses(*arguments: Any) -> WorkerResult[Any]:
        raise PolicyRefused("not here")

    monkeypatch.setattr(criteria_match, "step", refuses)
    with pytest.raises(PolicyRefused, match="not here"):
        await side(task(place(pod, TRIAL))).result({})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"algorithms": TWO[:1]}, "not those of its step document"),
        ({"algorithms": (TWO[1], TWO[0])}, "not those of its step document"),
        ({"document": "nothing"}, "no step document"),
        ({"document": "trial"}, "not the one of its digest"),
        ({"document": "wrong"}, "1 mistakes"),
        ({"document": "forged"}, "not the one of its digest"),
        ({"algorithms": (Unit(name=QUERY, arguments={"kindz": 1}), TWO[1])}, "kindz"),
    ],
)
def test_a_task_that_does_not_fit_its_document_is_refused(changed: Mapping[str, Any], words: str) -> None:
    forged = TaskDocument(kind="steps", digest="0" * 64, text="steps: []\n")
    documents = {**TRIAL, "wrong": steps_document("steps: []\n"), "forged": forged}
    with pytest.raises(TaskRefused, match=words):
        side(task(place(None, documents), **changed))


def test_a_protocol_whose_steps_wait_is_refused_with_what_it_waits_for() -> None:
    text = "steps:\n  - {use: CSVReportAlgorithm, as: report}\n"
    where = place(None, {"mine": steps_document(text)})
    with pytest.raises(NameWaits, match="reports for imaging trials"):
        side(task(where, "mine", algorithms=(Unit(name="bitfount.CSVReportAlgorithm"),)))
    assert read_steps(text).waits_for == "reports for imaging trials"


@dataclass
class ScreeningOwner(OpenOwner):
    """Allows everything; its pod has an EHR."""

    pods: Mapping[str, Path] | None = None

    def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
        found = super().workplace(spec, access, secret)
        pod = (self.pods or {})[self.name]
        context = replace(found.context, task_id=f"{self.name}-{spec.hash.hex()}")
        return replace(found, context=context, smallest_cell=5, open_site=lambda: ehr.open_site_async(pod))


def clinic(folder: Path, men: int, women: int, unrecorded: int) -> Sandbox:
    """A sandbox with adults who do not exist; writes the patients file too."""
    folder.mkdir()
    people = [
        {"resourceType": "Patient", "id": f"p{number}", "active": True, "birthDate": "1960-01-01"}
        | ({"gender": sex} if sex else {})
        | {"name": [{"family": f"Muster{number}", "given": ["Kim"]}]}
        for number, sex in enumerate(["male"] * men + ["female"] * women + [""] * unrecorded)
    ]
    (folder / "data").mkdir()
    (folder / "data" / "people.ndjson").write_text("\n".join(map(json.dumps, people)))
    (folder / "patients.csv").write_text("\n".join(["id", *(str(one["id"]) for one in people)]) + "\n")
    return Sandbox(folder / "data", login=False)


async def test_four_pods_add_up_their_counts_and_one_with_few_patients_takes_no_part(tmp_path: Path) -> None:
    sizes = {"bath": (12, 20, 0), "hull": (9, 15, 6), "kent": (3, 18, 9), "leeds": (2, 1, 1)}
    pods: dict[str, Path] = {}
    with ExitStack() as held:
        for name, people in sizes.items():
            sandbox = held.enter_context(clinic(tmp_path / name, *people))
            pods[name] = tmp_path / name / "pod.yaml"
            (tmp_path / name / "site.key").write_text("ab" * 32)
            pods[name].write_text(
                f"name: {name}\nehr: {{provider: smarthealthit r4, base_url: '{sandbox.base_url}', "
                "allow_http: loopback, auth: none}\nsite: {time_zone: Europe/London, key: {file: site.key}}\n"
                "cohort: {patients: patients.csv}\n"
            )
            (tmp_path / name / "site.key").chmod(0o600)
        cast = Cast(tmp_path / "state", tuple(sizes), owner=lambda name: ScreeningOwner(name=name, pods=pods))
        spec = make_task(
            tuple(sizes),
            protocol=Unit(name="bitfount.ResultsOnly", arguments={"steps": "screen_and_count"}),
            algorithms=(TWO[0], Unit(name=MATCH, arguments={"smallest_cell": 5})),
            aggregation=Aggregation(name=SECURE, minimum_survivors=3),
            documents=TRIAL,
        )
        try:
            registry_rows = registry.resolve
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(
                    registry,
                    "resolve",
                    lambda name, arguments=None: (
                        registry.Row("federated.aggregators.secure")
                        if name == SECURE
                        else registry_rows(name, arguments)
                    ),
                )
                outcome = await run(cast.coordinator(spec), cast.signature(spec))
        finally:
            await asyncio.to_thread(cast.close)
    assert outcome.counts is not None
    assert sorted(outcome.counts.survivors) == ["bath", "hull", "kent"]
    assert set(outcome.counts.lost) == {"leeds"}
    sums = {name: int(number) for name, number in outcome.counts.parts.items()}
    parameters = parameters_of(
        criteria_match.Parameters, Unit(name=MATCH, arguments={"trial": "trial", "smallest_cell": 5})
    )
    _, found = criteria_match.totals_of(parameters, spec, sums, 3)
    assert str(found.total("evaluated")) == str(32 + 30 + 30)
    assert str(found.total("criterion", "age", "passed")) == "92"
    failed = found.total("criterion", "sex", "failed")
    assert failed.held_back == 1, "three men of kent are too few"
    assert failed.at_least == 12 + 9
