"""A modeller that departs from its program to see one pod's numbers: it ends in a refusal, never in a sum."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from federated.aggregators.round_terms import (
    PodRequest,
    Terms,
    check_round,
    counts_hash,
    round_spec,
    weights_hash,
    weights_layout,
)
from federated.aggregators.values import Layout, counts_layout, tensors_to_bytes
from federated.algorithms.results import WorkerResult
from federated.algorithms.step_context import StepContext, Trained
from federated.errors import ConfigurationError, TaskRefused, TooFewPods
from federated.links.in_process import InProcess
from federated.modeller import program as modeller
from federated.owner.audit import Audit
from federated.owner.budgets import BudgetLedger
from federated.owner.policy import PolicySection
from federated.pod.services import OwnerServices
from federated.protocols import steps
from federated.protocols.steps import document_of
from federated.rounds.coordinator import STAGES, Coordinator
from federated.rounds.journal import Journal
from federated.task import registry
from federated.task.envelope import Buffer
from federated.task.spec import Aggregation, TaskSpec, Unit
from tests.federated.algorithms.places import OwnerWithTable, source
from tests.federated.algorithms.test_model_evaluation import EVALUATION
from tests.federated.runtime.cast import NAMES, NOW, PLAIN, SECURE, Cast, OpenOwner, make_task
from tests.federated.runtime.training_stand_in import Halfway, Parameters, model

EQUAL = Aggregation(name=SECURE, weights="equal", minimum_survivors=3)
ROWS = Aggregation(name=SECURE, weights="rows", minimum_survivors=3, maximum_weight=1000.0)
VICTIM = "kent"
Change = Callable[[str, Mapping[str, Any], Buffer], tuple[Mapping[str, Any], Buffer]]


def training(epochs: int, **changed: Any) -> TaskSpec:
    unit = Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": epochs})
    return make_task(algorithms=(unit,), **({"aggregation": EQUAL} | changed))


class Bent(Coordinator):
    """Asks all pods but one for something else."""

    def __init__(self, honest: Coordinator, change: Change) -> None:
        super().__init__(**{one.name: getattr(honest, one.name) for one in fields(honest)})
        object.__setattr__(self, "_change", change)

    def request(self, pod: str, number: int, kind: Any, note: Mapping[str, Any], body: Buffer = b"") -> Any:
        if kind == "compute" and pod != VICTIM:
            note, body = self.__dict__["_change"](pod, note, body)
        return super().request(pod, number, kind, note, body)


def other_model(pod: str, note: Mapping[str, Any], body: Buffer) -> tuple[Mapping[str, Any], Buffer]:
    """A model from which the others would not move."""
    end = {"kent": 0.75, "bath": 0.25, "hull": 0.5, "leeds": 1.0, "york": 1.25}[pod]
    return note, tensors_to_bytes(
        {name: array + end for name, array in model(Parameters()).tensors().items()}
    )


ELSE: dict[str, Change] = {
    "no training": lambda pod, note, body: ({**note, "amount": 0}, body),
    "more training": lambda pod, note, body: ({**note, "amount": 1000}, body),
    "another round": lambda pod, note, body: ({**note, "round": 2}, body),
    "a round that is not planned": lambda pod, note, body: ({**note, "round": 9}, body),
    "another model": other_model,
}


@pytest.mark.parametrize("what", ELSE)
async def test_pods_that_are_asked_for_different_things_are_in_no_sum_together(cast: Cast, what: str) -> None:
    """Otherwise the others would add nothing, and the sum would be one pod's update."""
    spec = training(4)
    bent = Bent(cast.coordinator(spec), ELSE[what])
    with pytest.raises(TooFewPods):
        await modeller.run(bent, cast.signature(spec))
    assert not any(one.released for pod in cast.pods.values() for one in pod.state.journal.records)
    assert sum(len(pod.state.journal.records) > 0 for pod in cast.pods.values()) <= 1


def agreed(spec: TaskSpec, layout: Layout, asked: PodRequest, terms: Terms) -> Terms:
    return check_round(spec, layout, asked, round_spec(spec, layout, terms, asked.number))


def test_counts_and_rows_are_added_once_under_the_one_hash_that_stands_for_them() -> None:
    """A second sum of the same numbers, without one pod, would be that pod's by subtraction."""
    layout = counts_layout(["evaluated"], 1000)
    first = Terms("counts", 1, NAMES, counts_hash(training(1)))
    assert agreed(training(1), layout, PodRequest("counts", 1), first) == first
    with pytest.raises(TaskRefused):
        agreed(training(1), layout, PodRequest("counts", 1), Terms("counts", 2, NAMES, b"h" * 32))
    rows = training(1, aggregation=ROWS)
    with pytest.raises(TaskRefused):
        agreed(rows, weights_layout(rows), PodRequest("weights", 1), Terms("weights", 2, NAMES, b"h" * 32))


async def test_rows_are_not_added_where_every_pod_counts_the_same(cast: Cast) -> None:
    spec = training(1)
    layout = weights_layout(spec)
    terms = Terms("weights", 1, NAMES, weights_hash(spec, 1))
    with pytest.raises(TaskRefused):
        agreed(spec, layout, PodRequest("weights", 1), terms)


async def ask(cast: Cast, spec: TaskSpec, kind: Any, number: int, **note: Any) -> Any:
    desk = cast.coordinator(spec, InProcess(cast.handlers()))
    return await desk.ask("bath", desk.request("bath", number, kind, note), number)


async def offered(cast: Cast, spec: TaskSpec) -> None:
    desk = cast.coordinator(spec, InProcess(cast.handlers()))
    request = desk.request("bath", 1, "offer", {"signature": cast.signature(spec)}, spec.to_bytes())
    answer = await desk.ask("bath", request, 1)
    assert answer.message is not None, answer.sentence


@pytest.mark.parametrize("aggregator", [SECURE, PLAIN])
async def test_a_task_that_adds_up_returns_nothing_of_one_pod(
    cast: Cast, tmp_path: Path, aggregator: str
) -> None:
    cast.start("bath")
    owner = OwnerWithTable(name="bath", tables={"bath": source(tmp_path / "bath", 200)})
    object.__setattr__(cast.pods["bath"], "owner", owner)
    spec = make_task(
        protocol=Unit(name="bitfount.ResultsOnly"),
        algorithms=(Unit(name="bitfount.ModelEvaluation", arguments=EVALUATION),),
        aggregation=msgspec.structs.replace(EQUAL, name=aggregator),
    )
    await offered(cast, spec)
    answer = await ask(cast, spec, "result", STAGES)
    assert (answer.message, answer.code) == (None, "NO_ACCESS")
    assert "result" not in [what for what, _ in owner.left]
    alone = msgspec.structs.replace(spec, aggregation=None, nonce="1" * 32)
    await offered(cast, alone)
    assert (await ask(cast, alone, "result", STAGES)).message is not None


def of_pod(cast: Cast, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Any], Any]) -> None:
    """Let the victim's training come to something else."""
    real = Halfway.train

    def train(self: Any, tensors: Any, amount: int, number: int) -> Any:
        trained = real(self, tensors, amount, number)
        return harm(trained) if self._place.pod == VICTIM else trained

    monkeypatch.setattr(Halfway, "train", train)


def too_large(trained: Trained) -> Trained:
    return replace(trained, update={**trained.update, "first": trained.update["first"] + 7.654321})


def runs_away(trained: Trained) -> Trained:
    raise TaskRefused("TASK_SETUP_ERROR", "Training failed: it ran away. Nothing was sent.")


@pytest.mark.parametrize("harm", [too_large, runs_away])
@pytest.mark.parametrize("name", [SECURE, PLAIN])
async def test_a_round_that_a_pod_s_rows_do_not_allow_is_its_last_of_the_task(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Any], Any], name: str
) -> None:
    """With a model of its choice in each round a modeller would find the largest value, refusal by refusal."""
    of_pod(cast, monkeypatch, harm)
    spec = training(3, aggregation=msgspec.structs.replace(EQUAL, name=name))
    outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert [VICTIM in one.survivors for one in outcome.rounds] == [False] * 3
    assert not outcome.rounds[0].lost[VICTIM].startswith("UNAUTHORISED")
    assert [one.lost[VICTIM].split(":")[0] for one in outcome.rounds[1:]] == ["UNAUTHORISED"] * 2
    known = cast.pods[VICTIM].state.task(spec.hash)
    assert known is not None
    assert known.state == "stopped"
    cast.start(VICTIM)
    answer = await cast.coordinator(spec).ask(
        VICTIM, cast.coordinator(spec).request(VICTIM, 900, "compute", {}), 900
    )
    assert (answer.message, answer.code) == (None, "UNAUTHORISED")


async def test_how_large_an_update_is_is_told_to_the_pod_s_owner_only(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    of_pod(cast, monkeypatch, too_large)
    spec = training(1)
    with caplog.at_level(logging.WARNING):
        outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    why = outcome.rounds[0].lost[VICTIM]
    assert why == "INCOMPATIBLE_DATASOURCE: A number lies beyond the clip of the task. Nothing was sent."
    assert not any(digit in str(cast.news) for digit in ("7.", "8.", "fits"))
    assert "largest absolute value" in caplog.text


async def test_a_task_cannot_say_what_a_pod_imports(cast: Cast) -> None:
    """``module:attribute`` is how a plug-in's document is found; the name is the registry's, not the task's."""
    unit = Unit(name="bitfount.InferenceAndCSVReport", arguments={"steps": "this:s"})
    with pytest.raises(TaskRefused, match="holds no step document"):
        document_of(make_task(protocol=unit), steps.Parameters(steps="this:s"))
    assert "this" not in sys.modules


async def test_a_round_without_masks_is_answered_for_one_model(cast: Cast) -> None:
    """The number of a round is the modeller's word; under the same one it could ask as often as it likes."""
    spec = training(2, aggregation=msgspec.structs.replace(EQUAL, name=PLAIN))
    await offered(cast, spec)
    desk = cast.coordinator(spec, InProcess(cast.handlers()))
    start = model(Parameters()).tensors()

    async def asked(number: int, moved: float, of: int = 1) -> str:
        body = tensors_to_bytes({name: array + moved for name, array in start.items()})
        note = {"seq": 1, "purpose": "update", "round": of, "amount": 1}
        answer = await desk.ask("bath", desk.request("bath", number, "compute", note, body), number)
        return answer.code

    assert await asked(20, 0.0) == ""
    assert await asked(21, 0.0) == "", "begun anew after too few answered"
    assert await asked(22, 0.001) == "NO_ACCESS"
    assert await asked(23, 0.001, of=2) == ""
    assert await asked(24, 0.002, of=3) == "TASK_SETUP_ERROR"


async def test_what_is_wrong_with_a_pod_s_own_files_is_told_to_its_owner_only(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> Any:
        raise ConfigurationError("/srv/lungs/patients.csv:7: the header has two names")

    spec = training(1)
    cast.start("bath")
    monkeypatch.setattr(cast.owners["bath"], "workplace", fails)
    desk = cast.coordinator(spec, InProcess(cast.handlers()))
    request = desk.request("bath", 1, "offer", {"signature": cast.signature(spec)}, spec.to_bytes())
    with caplog.at_level(logging.ERROR):
        answer = await desk.ask("bath", request, 1)
    assert "its log says why" in answer.sentence
    assert "patients.csv" in caplog.text
    assert "patients.csv" not in answer.sentence


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


async def _step(parameters: Any, place: StepContext, inputs: Any) -> WorkerResult[int]:
    return WorkerResult(20 + NAMES.index(place.pod))


COUNTING = SimpleNamespace(
    Parameters=Nothing,
    step=_step,
    layout=lambda parameters, spec: counts_layout(["evaluated", "held/evaluated"], 1000),
    values=lambda parameters, place, result: {"evaluated": result.local, "held/evaluated": 0},
)


async def test_a_pod_that_failed_at_what_it_was_not_given_may_be_asked_again(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count depends on nothing that a modeller chooses from round to round."""
    real, failed = registry.load, list[str]()

    async def step(parameters: Any, place: StepContext, inputs: Any) -> WorkerResult[int]:
        if place.pod not in failed and place.pod in NAMES[:3]:
            failed.append(place.pod)
            raise TaskRefused("TASK_SETUP_ERROR", "The step failed (OSError); the pod's log says why.")
        return await _step(parameters, place, inputs)

    flaky = SimpleNamespace(**{**vars(COUNTING), "step": step})
    monkeypatch.setattr(
        registry, "load", lambda row: flaky if "training_stand_in" in row.component else real(row)
    )
    spec = make_task(protocol=Unit(name="bitfount.ResultsOnly"), aggregation=EQUAL)
    journal = Journal(cast.folder / "modeller")
    with pytest.raises(TooFewPods):
        await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec))
    outcome = await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec))
    journal.close()
    assert outcome.counts is not None
    assert outcome.counts.survivors == NAMES


class Remembers(OpenOwner):
    """Has the premises of a real pod behind it, for what leaves."""

    premises: Any = None

    def released(self, spec: TaskSpec, what: str, facts: Mapping[str, Any]) -> None:
        self.premises.released(spec, what, facts)
        super().released(spec, what, facts)


async def test_a_second_task_does_not_count_the_same_without_one_pod(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A modeller that says it has not heard of the victim would have what the victim counted, by subtraction."""
    real = registry.load
    monkeypatch.setattr(
        registry, "load", lambda row: COUNTING if "training_stand_in" in row.component else real(row)
    )

    def owner(name: str) -> Remembers:
        found, state = Remembers(name=name), cast.folder / "ledgers" / name
        file = SimpleNamespace(policy=PolicySection(leaves=("updates", "metrics", "counts")))
        parts: Any = (None, file, None)
        path, file, gate = parts
        found.premises = OwnerServices(
            path,
            file,
            gate,
            BudgetLedger(state),
            Audit(state),
            clock=lambda: NOW,
        )
        return found

    cast.owner = owner
    spec = make_task(protocol=Unit(name="bitfount.ResultsOnly"), aggregation=EQUAL)
    counted = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert counted.counts is not None
    assert int(counted.counts.parts["evaluated"]) == sum(20 + place for place in range(5))
    second = msgspec.structs.replace(spec, nonce="1" * 32)
    others = InProcess({name: handle for name, handle in cast.handlers().items() if name != VICTIM})
    with pytest.raises(TooFewPods):
        await modeller.run(cast.coordinator(second, others), cast.signature(second))
    assert "the difference would be theirs" in str(cast.news)
    third = msgspec.structs.replace(spec, nonce="2" * 32)
    again = await modeller.run(cast.coordinator(third), cast.signature(third))
    assert again.counts is not None
    assert again.counts.survivors == NAMES
    assert ("masked sum opened", 5) in [(what, facts.get("pods")) for what, facts in cast.owners["bath"].left]
