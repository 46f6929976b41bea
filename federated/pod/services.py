"""What stands behind one pod: its file, its owner's policy, its ledgers, its data; opened together as a `Pod`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ehr.site import ClockAndWire, Site, open_site_async
from federated.algorithms.step_context import StepContext
from federated.counts.summed_counts import HELD
from federated.datasources.tables import open_table
from federated.errors import ConfigurationError, TaskRefused
from federated.links.sockets import Modeller, dial
from federated.names import TaskContext, _PodResponseType
from federated.owner.access import AccessContext, check_access
from federated.owner.audit import Audit, AuditEvent
from federated.owner.budgets import BudgetLedger, Opened, pod_policy
from federated.owner.config import PodFile, read_pod
from federated.owner.decide import check_release
from federated.owner.disclosure import source_of
from federated.owner.policy import MINIMUM_CHANGE
from federated.owner.state import FILE, PodState
from federated.pod.program import Pod
from federated.screening.report.document_models import Closed
from federated.screening.trial.load import read_trial
from federated.screening.trial.lock import digest
from federated.task.identity_file import read_identity
from federated.task.spec import TaskDocument, TaskSpec, read_task_spec
from federated.types import (
    AccessCheckResult,
    DatasourceContainer,
    InferenceLimits,
    ModelURLs,
    ProtocolContext,
)
from secure_agg import PodPolicy

Clock = Callable[[], datetime]
Observe = Callable[[str, Any], None]


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


def nobody(what: str, result: Any) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class PodEnvironment:
    """What a program that holds a pod may put around it; a pod that runs by itself needs none of it.

    Attributes:
        clock: gives the time, aware.
        surroundings: of the EHR's client.
        results, observe: see `OwnerServices`.
    """

    clock: Clock = utc_now
    surroundings: ClockAndWire | None = None
    results: Path | None = None
    observe: Observe = nobody


class PodTask(Closed):
    """A task that a pod has accepted; ``task`` is the beginning of its hash."""

    task: str
    name: str
    accepted: str
    state: Literal["open", "done", "stopped"]
    reason: str


class Used(Closed):
    """Predictions of one model; ``limit`` is null where there is none."""

    used: Annotated[int, Field(ge=0)]
    limit: int | None


class PodStatusDocument(Closed):
    """What a pod has accepted and used (``pod status --json``); ``rounds`` are masked rounds that it has entered."""

    schema_: Annotated[Literal["trialveil/pod-status/1"], Field(alias="schema")]
    name: str
    tasks: tuple[PodTask, ...]
    rounds: Annotated[int, Field(ge=0)]
    budgets: dict[str, Used]


@dataclass(frozen=True, slots=True)
class OwnerServices:
    """The owner's side of a pod.

    Attributes:
        path: the pod file.
        file: as it was read; its ``policy`` is what the owner allows.
        access_context: what tasks are decided with.
        budgets, audit: the ledgers.
        clock: gives the time, aware.
        surroundings: of the EHR's client.
        results: folder of results, for all tasks; None gives each task its own, and in it each pod its own.
        observe: see `StepContext.observe`.
    """

    path: Path
    file: PodFile
    access_context: AccessContext
    budgets: BudgetLedger = field(repr=False)
    audit: Audit = field(repr=False)
    clock: Clock = utc_now
    surroundings: ClockAndWire | None = None
    results: Path | None = None
    observe: Observe = nobody

    def admit(
        self, spec: TaskSpec, data: bytes, signature: bytes, now: datetime
    ) -> tuple[AccessCheckResult, str]:
        """See `federated.pod.program.Owner.admit`."""
        access, verdict = check_access(data, signature, self.access_context, now)
        if access["response_type"] is not _PodResponseType.ACCEPT:
            words = tuple(reason.text for reason in verdict.reasons)
            code = access["response_type"].name
            self.audit.note(now, AuditEvent("refused", spec.hash, spec.modeller.name, code, words))
        return access, verdict.message

    def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
        """See `federated.pod.program.Owner.workplace`."""
        context = ProtocolContext(
            inference_limits=InferenceLimits.from_access_check_result(access),
            model_urls=ModelURLs.from_access_check_result(access),
            task_context=TaskContext.WORKER,
            project_id=spec.project,
            task_id=spec.hash.hex(),
        )
        name = spec.participant(self.access_context.pod).data
        return StepContext(
            self.access_context.pod,
            spec,
            context,
            secret,
            data=None if name is None else self._source(name),
            open_site=None if self.file.ehr is None else self._open_site,
            smallest_cell=self.file.policy.smallest_cell,
            leaves=frozenset(self.file.policy.leaves),
            admit_counts=lambda counted: self.budgets.admit_counts(
                source_of(spec, self.access_context.pod), counted, self.file.policy.smallest_cell
            ),
            folder=self.results or context.get_task_results_dir() / self.access_context.pod,
            observe=self.observe,
            reserve=lambda model, wanted: self.budgets.reserve(model, wanted, spec.hash),
        )

    def _source(self, name: str) -> DatasourceContainer:
        settings = self.file.data.get(name)
        if settings is None:
            raise TaskRefused("NO_DATA", "The task names a data source that this pod does not have.")
        try:
            return open_table(name, settings, self.path.parent)
        except ConfigurationError:
            # The file's name and its faults are the owner's business.
            raise TaskRefused("DATASOURCE_INACCESSIBLE", "The data source cannot be read.") from None

    def _open_site(self) -> AbstractAsyncContextManager[Site]:
        if self.surroundings is None:
            return open_site_async(self.path)
        return open_site_async(self.path, self.surroundings)

    def rounds(self, spec: TaskSpec) -> PodPolicy:
        """See `federated.pod.program.Owner.rounds`."""
        return pod_policy(self.file.policy, self.budgets.rho())

    def released(self, spec: TaskSpec, what: str, facts: Mapping[str, Any]) -> None:
        """See `federated.pod.program.Owner.released`."""
        check_release(self.file.policy, spec, what, max(0, int(facts.get("round", 0)) - 1))
        if "names" in facts:
            cohort = frozenset(spec.pinned[name] for name in facts["names"])
            # Whether a number is suppressed is no number of anybody.
            counts = {name: int(one) for name, one in facts["counts"].items() if not name.startswith(HELD)}
            opened = Opened(question(spec), cohort, counts)
            self.budgets.admit_opening(opened, MINIMUM_CHANGE)
        left = {name: value for name, value in facts.items() if type(value) is int}
        self.audit.note(self.clock(), AuditEvent(what, spec.hash, spec.modeller.name, left=left))

    def note(self, spec_hash: bytes, modeller: str, event: str, facts: Mapping[str, Any]) -> None:
        """See `federated.pod.program.Owner.note`."""
        if event != "refused":  # `admit` has written that with its reasons
            self.audit.note(self.clock(), AuditEvent(event, spec_hash, modeller, str(facts.get("code", ""))))

    def close(self) -> None:
        """Let go of the files."""
        self.budgets.close()
        self.audit.close()


def open_pod(path: Path, around: PodEnvironment = PodEnvironment()) -> Pod:
    """A pod from its file, ready to answer.

    Raises:
        ConfigurationError: the file, a key, or what the state folder holds cannot be used.
    """
    file = read_pod(path)
    federation = file.federation
    if federation is None:
        raise ConfigurationError('the pod file has no "federation": the pod takes nobody\'s tasks.')
    identity = read_identity(federation.key, path.parent, "federation.key")
    modellers = {federation.modeller.name: federation.modeller.public}
    state = path.parent / federation.state
    with ExitStack() as held:
        budgets = BudgetLedger(state, file.policy.budgets.inferences)
        held.callback(budgets.close)
        audit = Audit(state)
        held.callback(audit.close)
        access_context = AccessContext(
            federation.name,
            identity.public,
            file.policy,
            budgets,
            modellers,
            federation.pinned,
            dict.fromkeys(file.data, "tables"),
            has_ehr=file.ehr is not None,
            digest_of=digest_of,
        )
        services = OwnerServices(
            path,
            file,
            access_context,
            budgets,
            audit,
            around.clock,
            around.surroundings,
            around.results,
            around.observe,
        )
        peers = {**federation.pinned, federation.name: identity.public}
        memory = PodState(state, identity.public)
        pod = Pod(federation.name, identity, modellers, peers, services, memory, clock=around.clock)
        held.pop_all()
        return pod


def question(spec: TaskSpec) -> bytes:
    """What a task counts, whatever else it says: its protocol, algorithms and documents."""
    names = [spec.protocol.name, *(unit.name for unit in spec.algorithms)]
    digests = sorted(document.digest for document in spec.documents.values())
    return hashlib.sha256("\n".join([*names, *digests]).encode()).digest()


def digest_of(document: TaskDocument) -> str:
    """What a document of a task really is, computed from its text.

    Raises:
        ConfigurationError: it is none.
    """
    if document.kind == "steps":
        return hashlib.sha256(document.text.encode()).hexdigest()
    trial = read_trial(document.text).trial
    if trial is None:
        raise ConfigurationError("the trial file of the task has mistakes.")
    return digest(trial)


async def dialled(pod: Pod, path: Path, log: Callable[[str], None]) -> None:
    """Serve the modeller of a pod file until cancelled.

    Raises:
        ConfigurationError: the file names no address.
    """
    federation = read_pod(path).federation
    address = None if federation is None else federation.modeller.host_and_port
    if federation is None or address is None:
        raise ConfigurationError('the pod file has no "federation.modeller.address" to dial.')
    modeller = Modeller(*address, federation.modeller.public, federation.modeller.proxy_host_and_port)
    await dial(modeller, pod.signer, pod.name, pod.handle, told=log)


def pod_status(path: Path) -> dict[str, Any]:
    """What a pod has accepted and used, for ``pod status``; also while it runs.

    Raises:
        ConfigurationError: there is no state yet, or it cannot be read.
    """
    file = read_pod(path)
    federation = file.federation
    if federation is None or not (path.parent / federation.state / FILE).exists():
        raise ConfigurationError("the pod has no state yet: it has never been run.")
    folder = path.parent / federation.state
    state = PodState(folder, read_only=True)
    budgets = BudgetLedger(folder, file.policy.budgets.inferences, read_only=True)
    try:
        tasks = [
            PodTask.of(one, task=one.hash.hex()[:16], name=read_task_spec(one.spec).name)
            for one in state.tasks()
        ]
        used = {
            name: Used.of(used=budgets.used(name), limit=limit)
            for name, limit in sorted(file.policy.budgets.inferences.items())
        }
        return PodStatusDocument.of(federation, tasks=tasks, rounds=len(state.journal.records), budgets=used)
    finally:
        state.close()
        budgets.close()
