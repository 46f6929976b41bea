"""``task.yaml``: a task as a person writes it; checked whole, then fixed and signed.

Every mistake is found in one run, with its line and column. What the pods get is the specification that is made from
it (`federated.task.spec`): files that it names travel inside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ehr.errors import ConfigurationError as EHRConfigurationError
from ehr.files.pod_file import read_bytes
from ehr.files.settings import Secret, Section
from federated.errors import (
    ConfigurationError,
    InvalidArgument,
    UnknownName,
)
from federated.models.weights import inside
from federated.screening.trial.load import load_trial
from federated.screening.trial.lock import digest, lock
from federated.task import registry
from federated.task.identity_file import read_identity
from federated.task.participants import Address, ParticipantName, PublicKey, split_address
from federated.task.reference_task import typed
from federated.task.spec import (
    FORMAT,
    PROJECT,
    TASK_NAME,
    Aggregation,
    Deadlines,
    Participant,
    TaskDocument,
    TaskSpec,
    Unit,
    check_task_spec,
    moment,
)
from secure_agg import Identity

SECURE, PLAIN = "bitfount.SecureAggregator", "bitfount.Aggregator"
_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|h|d)?")


def _seconds(value: object) -> float:
    found = _DURATION.fullmatch(str(value).strip())
    if found is None:
        raise ValueError('is not a duration such as "90 s", "5 min", "1 h" or "2 d"')
    return float(found[1]) * _UNITS[found[2] or "s"]


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
Arguments = Annotated[dict[str, Any], BeforeValidator(typed)]


class UnitSection(Section):
    """A protocol or an algorithm: its name, or a table.

    Args:
        name: as ``trialveil list`` has it; the prefix ``bitfount.`` may be left out.
        arguments: what it is given.
        model: short for ``arguments: {model: …}``.
        label: what later steps call its result.
    """

    name: str
    arguments: Arguments = Field(default_factory=dict)
    model: Arguments | None = None
    label: str = ""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    def unit(self, folder: Path) -> Unit:
        """As the specification has it; a model's file that the arguments name is read into it.

        Raises:
            ConfigurationError: that file cannot be used.
        """
        arguments = dict(self.arguments) | ({} if self.model is None else {"model": self.model})
        weights = arguments.get("weights")
        if isinstance(weights, dict) and set(weights) == {"file"}:
            arguments["weights"] = _inside(folder / str(weights["file"]))
        return Unit(name=registry.find(self.name).value, arguments=arguments, label=self.label)


def _inside(path: Path) -> dict[str, str]:
    try:
        return inside(read_bytes(path, "weights"))
    except (EHRConfigurationError, InvalidArgument) as error:
        raise ConfigurationError(f"weights.file: {error}") from None


class AggregatorSection(Section):
    """How results are added up; see `federated.task.spec.Aggregation`.

    Args:
        secure: true masks every pod's vector; false lets the modeller see each.
    """

    secure: bool = True
    weights: Literal["equal", "rows"] = "equal"
    maximum_weight: float = Field(default=1_000_000, gt=0, allow_inf_nan=False)
    clip: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    on_clip: Literal["error", "clip"] = "error"
    minimum_survivors: int = Field(default=5, ge=1)
    mode: Literal["active", "semi_honest"] = "active"
    bits: Annotated[Literal[16, 32], BeforeValidator(lambda value: int(str(value)))] = 32
    noise: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    l2_clip: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    delta: float = Field(default=1e-5, gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _no_name_alone(cls, value: object) -> object:
        if not isinstance(value, str) or not value:
            return value
        table = "write a table: {secure: true} or {secure: false}"
        try:
            registry.find(value)
        except UnknownName as error:
            raise ValueError(f"{error} Here {table}") from None
        raise ValueError(table)

    def aggregation(self) -> Aggregation:
        """As the specification has it."""
        given = self.model_dump(exclude={"secure"})
        return Aggregation(name=SECURE if self.secure else PLAIN, **given)


class PodSection(Section):
    """One invited pod: its name, its public key, and the data source that the task reads there."""

    name: ParticipantName
    key: PublicKey
    data: str | None = None


class SenderSection(Section):
    """Who sends the task.

    Args:
        name: as the pods have pinned it.
        key: where the Ed25519 identity is ("trialveil task key").
        listen: where pods dial to, ``host:port``; not needed where pods run in this process.
    """

    name: ParticipantName
    key: Secret
    listen: Address | None = None

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """``listen`` in its two parts."""
        return None if self.listen is None else split_address(self.listen)


class DeadlinesSection(Section):
    """How long the modeller waits, in seconds or with a unit."""

    accept: Seconds = 300.0
    compute: Seconds = 3600.0
    step: Seconds = 120.0


class DocumentSection(Section):
    """A file that travels inside the task."""

    kind: Literal["trial", "steps"]
    file: str = Field(min_length=1)


def which_sections(given: Iterable[str], documents: Iterable[str]) -> str | None:
    """What is wrong with the choice of sections and documents of a task file; None where they fit together."""
    names = set(given)
    if ("algorithm" in names) == ("algorithms" in names):
        return 'give "algorithm" or "algorithms", one of them'
    if "trial" in names and "trial" in documents:
        return 'give "trial" or "documents.trial", not both'
    return None


class TaskFile(Section):
    """A whole task file.

    Args:
        name: what a person calls the task.
        protocol, algorithm, algorithms: what is run; ``algorithm`` is one, ``algorithms`` a list.
        aggregator: absent where nothing is added up.
        pods, modeller: who takes part.
        quorum: fewest pods that must take part; by default all that the aggregator needs in a sum.
        cohort_minimum: fewest pods that the task makes sense with.
        valid_for: after this time no pod begins a round of it.
        trial: a trial file that travels inside, under the name "trial".
        documents: other files, by the name that arguments refer to.
        project: groups tasks in the folders of results.
    """

    name: str = Field(pattern=f"^{TASK_NAME.pattern}$")
    protocol: UnitSection
    algorithm: UnitSection | None = None
    algorithms: tuple[UnitSection, ...] = ()
    aggregator: AggregatorSection | None = None
    pods: tuple[PodSection, ...] = Field(min_length=1)
    modeller: SenderSection
    quorum: int | None = Field(default=None, ge=1)
    cohort_minimum: int = Field(default=1, ge=1)
    deadlines: DeadlinesSection = DeadlinesSection()
    valid_for: Seconds = 7 * 86_400.0
    trial: str | None = None
    documents: dict[str, DocumentSection] = Field(default_factory=dict)
    project: str | None = Field(default=None, pattern=f"^{PROJECT.pattern}$")

    @model_validator(mode="after")
    def _one_way(self) -> TaskFile:
        given = {"algorithm": self.algorithm, "algorithms": self.algorithms or None, "trial": self.trial}
        wrong = which_sections(
            [name for name, section in given.items() if section is not None], self.documents
        )
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def units(self) -> tuple[UnitSection, ...]:
        """The algorithms, in order."""
        return (self.algorithm,) if self.algorithm is not None else self.algorithms


def documents_of(task: TaskFile) -> dict[str, DocumentSection]:
    """The files that travel inside, by the names that arguments refer to."""
    own = {} if task.trial is None else {"trial": DocumentSection(kind="trial", file=task.trial)}
    return own | dict(task.documents)


def read_document(one: DocumentSection, folder: Path) -> TaskDocument:
    """A file as it travels inside the task.

    Raises:
        FileErrors: a trial file has mistakes.
        ConfigurationError: it cannot be read.
    """
    path = folder / one.file
    if one.kind == "trial":
        try:
            trial = load_trial(path)
        except FileNotFoundError:
            raise ConfigurationError("trial file: there is no such file.") from None
        except OSError as error:
            raise ConfigurationError(f"trial file: cannot be read ({type(error).__name__}).") from None
        # Locked, it needs no other file: what it uses and its value sets are written out.
        return TaskDocument(kind="trial", digest=digest(trial), text=lock(trial))
    data = read_bytes(path, "step document")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError("step document: not UTF-8. Save it as UTF-8.") from None
    return TaskDocument(kind="steps", digest=hashlib.sha256(data).hexdigest(), text=text)


def modeller_identity(task: TaskFile, folder: Path) -> Identity:
    """The modeller's identity.

    Raises:
        ConfigurationError: its file cannot be read, is readable by others, or holds no key.
    """
    return read_identity(task.modeller.key, folder, "modeller.key")


def make_spec(task: TaskFile, folder: Path, now: datetime, nonce: str, modeller_key: str) -> TaskSpec:
    """The specification of a task, checked.

    Args:
        task: the file.
        folder: where the files that it names are.
        now: aware.
        nonce: 32 hexadecimal digits, fresh.
        modeller_key: the modeller's public key, hexadecimal.

    Raises:
        TaskRefused: it does not hold together.
        ConfigurationError: a file that it names cannot be used.
    """
    aggregation = None if task.aggregator is None else task.aggregator.aggregation()
    least = 1 if aggregation is None else min(aggregation.minimum_survivors, len(task.pods))
    waits = task.deadlines
    spec = TaskSpec(
        format=FORMAT,
        name=task.name,
        nonce=nonce,
        created=moment(now),
        expires=moment(now + timedelta(seconds=task.valid_for)),
        modeller=Participant(name=task.modeller.name, key=modeller_key),
        participants=tuple(
            Participant(name=pod.name, key=pod.key, data=pod.data)
            for pod in sorted(task.pods, key=lambda pod: pod.name)
        ),
        protocol=task.protocol.unit(folder),
        algorithms=tuple(unit.unit(folder) for unit in task.units),
        aggregation=aggregation,
        quorum=task.quorum or least,
        cohort_minimum=task.cohort_minimum,
        deadlines=Deadlines(accept=waits.accept, compute=waits.compute, step=waits.step),
        documents={name: read_document(one, folder) for name, one in documents_of(task).items()},
        project=task.project,
    )
    check_task_spec(spec)
    return spec
