"""A task from its signed bytes to its results on the disk, over any link; and the same task resumed.

The folder of a run holds the journal while it is needed, and in the end what came out: ``result.json``, and for a
training task the last and the best model with where they come from.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from federated.aggregators.secure_rounds import Combined
from federated.aggregators.values import as_reported
from federated.errors import ConfigurationError, FederatedError
from federated.links.link import Link
from federated.modeller import program as modeller
from federated.models.files import save
from federated.models.interface import Tensors
from federated.protocols.sides import RoundOutcome, TaskOutcome
from federated.rounds.coordinator import Coordinator, OnProgress
from federated.rounds.journal import Journal, open_existing
from federated.screening.report import files
from federated.screening.report.document_models import Closed
from federated.screening.report.files import OutputError
from federated.task.signatures import sign_task
from federated.task.spec import TaskSpec, read_task_spec
from secure_agg import Signer

RESULT = "result.json"
LAST, BEST = "model-last.safetensors", "model-best.safetensors"


class Round(Closed):
    """One training round; ``metrics`` are weighted means over the survivors, null where no pod has one.

    ``report`` is of the sum, see `secure_agg.RoundReport`; of an unmasked mean it has the mode and the survivors.
    """

    round: Annotated[int, Field(ge=1)]
    survivors: tuple[str, ...]
    lost: dict[str, str]
    weight: float
    metrics: dict[str, float | None]
    report: dict[str, Any]


class Sum(Closed):
    """A sum that was made once: names to numbers, or to lists of numbers.

    ``metric/NAME`` is the mean over the pods that have that metric, null where none has, and ``has/NAME`` is the
    share of the survivors that have it: a pod with too few rows gives none.

    Where it must pass a rule before anybody sees it (counts of patients), ``values`` is empty and ``files`` names
    what was written instead.
    """

    survivors: tuple[str, ...]
    lost: dict[str, str]
    values: dict[str, Any]
    files: tuple[str, ...]


class TaskResultDocument(Closed):
    """What a task came to (``result.json``); of a single pod it tells the name and whether it was in a sum."""

    schema_: Annotated[Literal["trialveil/task-result/1"], Field(alias="schema")]
    task: str
    name: str
    reason: str
    pods: tuple[str, ...]
    refused: dict[str, str]
    rounds: tuple[Round, ...]
    best_round: int | None
    sum: Sum | None
    results: dict[str, Any]


class SumModel(Closed):
    """One sum of a task: of weights, of an update, or of counts."""

    seq: Annotated[int, Field(ge=1)]
    purpose: Literal["weights", "update", "counts"]
    round: Annotated[int, Field(ge=0)]
    state: Literal["open", "done", "failed"]
    survivors: tuple[str, ...]
    metrics: dict[str, float | None]


class TaskStatusDocument(Closed):
    """Where a task stands (``task status --json``); ``pods`` says what each answered."""

    schema_: Annotated[Literal["trialveil/task-status/1"], Field(alias="schema")]
    name: str
    task: str
    state: Literal["open", "done", "failed"]
    reason: str
    created: str
    expires: str
    pods: dict[str, str]
    rounds: tuple[SumModel, ...]


@dataclass(frozen=True, slots=True)
class TaskRun:
    """What is needed to run a task, or to go on with it.

    Attributes:
        make: makes the task's specification; called once, at the first start, with the time and a fresh nonce.
        identity: what must be equal for an earlier start to be resumed: the text of the task file.
        signer: the modeller's identity.
        out: folder of the journal and the results; None keeps nothing.
        on_progress: hears what happens.
        clock: gives the time, aware.
        watch: see `Coordinator.watch`.
    """

    make: Callable[[datetime, str], TaskSpec]
    identity: str
    signer: Signer = field(repr=False)
    out: Path | None = None
    on_progress: OnProgress = field(default=lambda news: None, repr=False)
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    watch: Callable[[int, Tensors], None] = field(default=lambda number, model: None, repr=False)


@dataclass(frozen=True, slots=True)
class Begun:
    """A task whose specification is fixed, and its open journal.

    Attributes:
        spec: signed.
        signature: the modeller's.
        journal: open.
        resumes: whether an earlier start is resumed.
    """

    spec: TaskSpec
    signature: bytes = field(repr=False)
    journal: Journal = field(repr=False)
    resumes: bool


def begin(run: TaskRun) -> Begun:
    """Fix the task, or take it up where an earlier start left it.

    Raises:
        ConfigurationError: the folder holds another task, or one that has ended.
    """
    journal = Journal(run.out)
    try:
        return _begun(run, journal)
    except FederatedError:
        journal.close()
        raise


def _begun(run: TaskRun, journal: Journal) -> Begun:
    data = journal.told("spec")
    if data is None:
        spec = run.make(run.clock(), secrets.token_hex(16))
        signature = sign_task(run.signer, spec.to_bytes())
        journal.tell("identity", run.identity)
        journal.tell("signature", signature)
        journal.tell("spec", spec.to_bytes())
        return Begun(spec, signature, journal, False)
    if journal.told("identity") != run.identity:
        raise ConfigurationError(
            "the folder holds a run of another task file; give another folder, or the file as it was."
        )
    if journal.told("state") == "done":
        raise ConfigurationError("the task of this folder is done; give another folder for a new run.")
    journal.tell("state", "open")
    journal.tell("reason", "")
    return Begun(read_task_spec(data), journal.told("signature"), journal, True)


async def run(begun: Begun, run: TaskRun, link: Link) -> TaskResult:
    """Run to the end, and write what came out.

    Raises:
        PolicyRefused, TooFewPods, BudgetSpent: see `federated.modeller.program.run`.
    """
    coordinator = Coordinator(begun.spec, run.signer, link, begun.journal, run.on_progress, watch=run.watch)

    def keep(outcome: TaskOutcome) -> None:
        if run.out is not None:
            TaskResult(begun.spec, outcome).write(run.out)

    return TaskResult(begun.spec, await modeller.run(coordinator, begun.signature, keep))


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task came to.

    Attributes:
        spec: the task.
        outcome: rounds, model, counts or results.
    """

    spec: TaskSpec
    outcome: TaskOutcome

    @property
    def model(self) -> Tensors:
        """The last model's arrays; empty where nothing was trained."""
        return self.outcome.model

    @property
    def metrics(self) -> tuple[Mapping[str, float], ...]:
        """The weighted mean metrics of each round."""
        return tuple(one.metrics for one in self.outcome.rounds)

    def report(self) -> dict[str, Any]:
        """What ``result.json`` holds: nothing of a single pod but its name and whether it was in a sum."""
        outcome, combined = self.outcome, self.outcome.counts
        return TaskResultDocument.of(
            outcome,
            task=self.spec.hash.hex(),
            name=self.spec.name,
            pods=list(self.spec.names),
            refused=dict(outcome.refused),
            rounds=[_round(one) for one in outcome.rounds],
            best_round=None if outcome.best is None else outcome.best[0],
            sum=None if combined is None else _sum(combined, outcome.files),
            results=dict(outcome.results),
        )

    def document(self) -> dict[str, Any]:
        """`report` as JSON can hold it."""
        found: dict[str, Any] = without_nan(self.report())
        return found

    def write(self, folder: Path) -> list[Path]:
        """Write the results; each file whole or not at all.

        Raises:
            ConfigurationError: the system refused; the log has everything that the results are made of.
        """
        try:
            return self._write(folder)
        except (OSError, OutputError):
            raise ConfigurationError(
                "the results cannot be written into the folder of the task: its disk is full, or it is gone or "
                "read-only. Make room, and the same command writes them."
            ) from None

    def _write(self, folder: Path) -> list[Path]:
        files.ready(folder)
        written = []
        for name, number, tensors in self._models():
            one = self.outcome.rounds[number - 1]
            facts = {
                "task": self.spec.hash.hex(),
                "round": str(number),
                "rounds": str(len(self.outcome.rounds)),
                "survivors": ",".join(one.survivors),
                "weight": repr(one.weight),
                "made_by": f"trialveil {version('trialveil')}",
            }
            save(folder / name, tensors, facts)
            written.append(folder / name)
        for name, content in (self._page() | dict(self.outcome.files)).items():
            written.append(files.write(folder / name, [content]))
        text = json.dumps(self.document(), ensure_ascii=False, indent=2) + "\n"
        return [*written, files.write(folder / RESULT, [text])]

    def _page(self) -> dict[str, str]:
        """What was trained, as a page for people; a sum of counts has brought its own."""
        from federated.reports.task_page import TrainedRound, head_of, rounds_page

        outcome = self.outcome
        if not outcome.rounds:
            return {}
        times: Counter[str] = Counter(name for one in outcome.rounds for name in one.survivors)
        fates = {name: f"in {count} of {len(outcome.rounds)} rounds" for name, count in times.items()}
        rounds = [
            TrainedRound(one.number, one.survivors, one.lost, one.weight, one.metrics)
            for one in outcome.rounds
        ]
        best = None if outcome.best is None else outcome.best[0]
        head = head_of(self.spec, fates | dict(outcome.refused))
        return {"report.html": rounds_page(head, rounds, reason=outcome.reason, best=best)}

    def _models(self) -> list[tuple[str, int, Tensors]]:
        rounds, best = self.outcome.rounds, self.outcome.best
        found: list[tuple[str, int, Tensors]] = []
        if rounds and self.outcome.model:
            found.append((LAST, len(rounds), self.outcome.model))
        if best is not None:
            found.append((BEST, *best))
        return found

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{one.number}</td><td>{len(one.survivors)}</td>"
            + "".join(f"<td>{value:.4g}</td>" for value in one.metrics.values())
            + "</tr>"
            for one in self.outcome.rounds
        ]
        names = "".join(f"<th>{name}</th>" for name in (self.metrics[-1] if self.metrics else ()))
        head = f"<tr><th>round</th><th>pods</th>{names}</tr>"
        return f"<table><caption>{self.outcome.reason}</caption>{head}{''.join(rows)}</table>"


def _round(one: RoundOutcome) -> dict[str, Any]:
    return Round.of(
        one,
        round=one.number,
        lost=dict(one.lost),
        metrics=dict(one.metrics),
        report={name: one.report[name] for name in sorted(one.report)},
    )


def _sum(combined: Combined, brought: Mapping[str, str]) -> dict[str, Any]:
    values = {} if brought else {name: part.tolist() for name, part in as_reported(combined.parts).items()}
    return Sum.of(combined, lost=dict(combined.lost), values=values, files=sorted(brought))


def without_nan(value: Any) -> Any:
    """JSON has no NaN: a metric that no pod has is null."""
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and value != value else value


@dataclass(frozen=True, slots=True)
class Status:
    """Where a task stands, as its journal tells."""

    name: str
    task: str
    state: str
    reason: str
    created: str
    expires: str
    pods: Mapping[str, str]
    rounds: tuple[Mapping[str, Any], ...]


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a task that can be resumed, or that has ended."""
    journal = open_existing(folder)
    if journal is not None:
        journal.close()
    return journal is not None


def status(folder: Path) -> Status:
    """Where the task of a folder stands; also while it runs.

    Raises:
        ConfigurationError: there is none.
    """
    journal = open_existing(folder)
    if journal is None:
        raise ConfigurationError("the folder holds no task; it was never started, or the folder is another.")
    try:
        spec, answers = read_task_spec(journal.told("spec")), journal.answers()
        pods = {name: answers[name][0] if name in answers else "no answer" for name in spec.names}
        rounds = tuple(
            SumModel.of(
                one,
                round=one.number,
                survivors=list(one.outcome.get("survivors", ())),
                metrics=dict(one.outcome.get("metrics", {})),
            )
            for one in journal.rounds()
        )
        state, reason = journal.told("state", "open"), journal.told("reason", "")
        return Status(spec.name, spec.hash.hex(), state, reason, spec.created, spec.expires, pods, rounds)
    finally:
        journal.close()
