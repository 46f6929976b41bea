"""What the demonstration's pods do together: count where patients drop out, and train a risk model; both masked.

Everything is as in the field: files of pods and tasks, keys, policies, signed tasks, SA-1. Only the link is a call
inside this process. The one thing that nobody could do in the field is to look at one pod's masked upload *and* its
update before masking; the demonstration does it, to show what the server sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.algorithms import criteria_match
from federated.algorithms.step_context import parameters_of
from federated.demo.lung_comparison import compare
from federated.demo.lung_study import FEATURES, NAMES, TARGET, study, write_table
from federated.links.in_process import InProcess
from federated.modeller.local_task import prepared, run_over
from federated.modeller.task_run import TaskResult
from federated.models.catalogue import ModelChoice, made
from federated.models.interface import Tensors
from federated.models.selection import Selection
from federated.pod.services import PodEnvironment, open_pod
from federated.reports.federation import Discrimination, FunnelSum, ServerView
from federated.reports.histograms import histogram_of_values, histogram_of_words
from federated.screening.report.results import ALIVE, Run
from federated.screening.trial.criteria import Trial
from federated.screening.trial.lock import digest, lock
from federated.task.envelope import Envelope, is_sealed
from federated.task.identity_file import new_identity
from secure_agg.uploads import HEADER_SIZE

ROUNDS = 30
LEARNING_RATE = 0.3
WATCHED = "lung-1"
MODELLER = "study-office"

LogFunction = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Keys:
    """Public keys of one federation, hexadecimal; the private ones lie with their owners.

    Attributes:
        folder: where each pod has a folder, and the modeller its key.
        pods: name to key.
        modeller: the modeller's.
    """

    folder: Path
    pods: Mapping[str, str]
    modeller: str


def make_keys(folder: Path, names: Sequence[str]) -> Keys:
    """An Ed25519 identity for every pod and for the modeller."""
    pods = {name: new_identity(folder / name / "pod.key").hex() for name in names}
    return Keys(folder, pods, new_identity(folder / "modeller.key").hex())


def federation_section(keys: Keys, name: str) -> str:
    """``federation:`` of one pod's file."""
    peers = "".join(f"    {other}: {key}\n" for other, key in keys.pods.items() if other != name)
    return (
        f"federation:\n  name: {name}\n  key: {{file: pod.key}}\n"
        f"  modeller: {{name: {MODELLER}, key: {keys.modeller}}}\n  peers:\n{peers}"
    )


def screening_policy(trial: Trial, pods: int) -> str:
    """``policy:`` of a clinic: counts of this one trial, over at least three pods."""
    return (
        "policy:\n  protocols: [ResultsOnly]\n  algorithms: [TrialInclusionCriteriaMatchAlgorithm]\n"
        f"  trials: [{digest(trial)}]\n  leaves: [counts]\n"
        "  # Five is the default; of four pods a sum over three may be opened.\n"
        f"  minimum_survivors: 3\n  cohort_minimum: {pods}\n"
    )


def _task(name: str, keys: Keys, body: str, data: str = "") -> str:
    source = f", data: {data}" if data else ""
    pods = "".join(f"  - {{name: {pod}, key: {key}{source}}}\n" for pod, key in keys.pods.items())
    return f"name: {name}\n{body}pods:\n{pods}modeller: {{name: {MODELLER}, key: {{file: modeller.key}}}}\n"


@dataclass(frozen=True, slots=True)
class CountingResult:
    """What came of counting.

    Attributes:
        funnel: the sums, as they may be shown.
        runs: pod to its own run; these never left their pods.
    """

    funnel: FunnelSum
    runs: Mapping[str, Run] = field(repr=False)


def count_together(
    trial: Trial, keys: Keys, files: Mapping[str, Path], out: Path, log: LogFunction
) -> CountingResult:
    """Let every clinic screen its patients, and add up the counts under masks.

    Args:
        trial: the trial.
        keys: see `Keys`.
        files: pod to pod file, with `federation_section` and `screening_policy`.
        out: each pod's own results go into a folder of its name.
        log: hears each step.
    """
    (keys.folder / "trial.yaml").write_text(lock(trial), encoding="utf-8")
    body = (
        "protocol: ResultsOnly\n"
        "algorithm: {name: TrialInclusionCriteriaMatchAlgorithm, arguments: {trial: trial}}\n"
        "trial: trial.yaml\naggregator: {minimum_survivors: 3}\nquorum: 3\n"
    )
    task = keys.folder / "screening.yaml"
    task.write_text(_task("screening", keys, body), encoding="utf-8")
    runs: dict[str, Run] = {}

    def around(name: str) -> PodEnvironment:
        return PodEnvironment(results=out / name, observe=lambda what, result: runs.__setitem__(name, result))

    result = asyncio.run(_over(task, {name: (path, around(name)) for name, path in files.items()}, log))
    combined = result.outcome.counts
    if combined is None:
        raise AssertionError("a task of counts ends with counts")
    unit = result.spec.algorithms[0]
    parameters = parameters_of(criteria_match.Parameters, unit)
    sums = {name: int(part) for name, part in combined.parts.items()}
    _, counts = criteria_match.totals_of(parameters, result.spec, sums, len(combined.survivors))
    names = {criterion.id: criterion.text for criterion in trial.criteria} | {ALIVE.id: ALIVE.text}
    return CountingResult(FunnelSum(counts, names, len(files), 3), runs)


@dataclass(slots=True)
class _Watching:
    """A link that keeps what the server gets of one pod."""

    link: InProcess
    pod: str
    words: list[NDArray[np.uint32]] = field(default_factory=list)

    @property
    def connected(self) -> frozenset[str]:
        return self.link.connected

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        answer = await self.link.ask(pod, request)
        if pod == self.pod and is_sealed(answer):
            self.words.append(np.frombuffer(bytes(answer.body), "<u4", offset=HEADER_SIZE))
        return answer

    async def close(self) -> None:
        await self.link.close()


async def _over(task: Path, pods: Mapping[str, tuple[Path, PodEnvironment]], log: LogFunction) -> TaskResult:
    given = prepared(task, None, lambda news: log(f"{news.pod}: {news.text}") if news.what == "pod" else None)
    with ExitStack() as held:
        return await run_over(given, _linked(pods, held))


def _linked(pods: Mapping[str, tuple[Path, PodEnvironment]], held: ExitStack) -> InProcess:
    """A link to the pods of these files, which are open as long as the stack."""
    handlers = {}
    for name, (path, around) in pods.items():
        pod = open_pod(path, around)
        held.callback(pod.close)
        handlers[name] = pod.handle
    return InProcess(handlers)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of training."""

    discrimination: Discrimination
    server: ServerView


def train_together(folder: Path, log: LogFunction) -> TrainingResult:
    """Train the risk model of `lung_study` over its six pods, and compare it.

    Args:
        folder: for pods, keys and results; made if it is missing.
        log: hears each step.
    """
    pods = study()
    keys = make_keys(folder, [pod.name for pod in pods])
    for pod in pods:
        write_table(pod, folder / pod.name / "lung.csv")
        (folder / pod.name / "pod.yaml").write_text(_lung_pod(keys, pod.name), encoding="utf-8")
    task = folder / "lung.yaml"
    task.write_text(_task("lung", keys, _lung_task(), "lung"), encoding="utf-8")
    models: list[Tensors] = []
    updates: list[NDArray[np.float64]] = []
    watching = asyncio.run(_trained(task, folder, keys, models, updates))
    log(f"{ROUNDS} rounds are done; the masked uploads of {WATCHED} are drawn beside its updates.")

    def initial() -> Any:
        return made(ModelChoice("logistic_regression", _SETTINGS), _SELECTION, "steps")

    server = ServerView(
        WATCHED,
        len(watching.words),
        histogram_of_words(np.concatenate(watching.words)),
        histogram_of_values(np.concatenate(updates)),
    )
    return TrainingResult(compare(initial, models, scale=True), server)


async def _trained(
    task: Path, folder: Path, keys: Keys, models: list[Tensors], updates: list[NDArray[np.float64]]
) -> _Watching:
    def observe(what: str, result: Any) -> None:
        if what == "update":
            updates.append(np.concatenate([np.ravel(array) for array in result.values()]).astype(np.float64))

    def around(name: str) -> PodEnvironment:
        made = PodEnvironment(results=folder / name / "results")
        return replace(made, observe=observe) if name == WATCHED else made

    given = replace(
        prepared(task, None, lambda news: None),
        watch=lambda number, model: models.append({name: np.array(part) for name, part in model.items()}),
    )
    with ExitStack() as held:
        pods = {name: (folder / name / "pod.yaml", around(name)) for name in keys.pods}
        link = _Watching(_linked(pods, held), WATCHED)
        await run_over(given, link)
    # Weights are a sum of their own, of one 64-bit number; the words of updates are what is looked at.
    link.words[:] = [words for words in link.words if len(words) >= len(NAMES)][-ROUNDS:]
    return link


_SETTINGS: Mapping[str, Any] = {"learning_rate": LEARNING_RATE}
_SELECTION = Selection(
    include=NAMES,
    target=TARGET,
    center={feature.name: float(feature.centre) for feature in FEATURES},
    scale={feature.name: float(feature.spread) for feature in FEATURES},
)


def _lung_pod(keys: Keys, name: str) -> str:
    columns = ", ".join(f"{column}: continuous" for column in (*NAMES, TARGET))
    return (
        f"name: {name}\ndata:\n  lung:\n    file: lung.csv\n    columns: {{{columns}}}\n"
        "    split: {train: 100, validation: 0, test: 0}\n"
        "policy:\n  protocols: [FederatedAveraging]\n  algorithms: [FederatedModelTraining]\n"
        "  models: [logistic_regression]\n  leaves: [updates, metrics]\n"
        f"  maximum_rounds: {2 * ROUNDS}\n" + federation_section(keys, name)
    )


def _lung_task() -> str:
    center = ", ".join(f"{feature.name}: {feature.centre}" for feature in FEATURES)
    scale = ", ".join(f"{feature.name}: {feature.spread}" for feature in FEATURES)
    return (
        "protocol: {name: FederatedAveraging, arguments: {auto_eval: false}}\n"
        "algorithm:\n  name: FederatedModelTraining\n"
        f"  model: {{name: logistic_regression, settings: {{learning_rate: {LEARNING_RATE}}}}}\n"
        f"  arguments:\n    steps: {ROUNDS}\n    data:\n      include: [{', '.join(NAMES)}]\n"
        f"      target: {TARGET}\n      center: {{{center}}}\n      scale: {{{scale}}}\n"
        "aggregator: {weights: rows, maximum_weight: 500}\n"
    )
