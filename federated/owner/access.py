"""The pod's answer to a task: its signature, the owner's policy, the budgets and the clock, as one decision.

    check_access(spec_bytes, signature, context, now) -> (AccessCheckResult, TaskDecision)

It fails closed: whatever goes wrong inside is no access, and nothing of it is told. An access manager of somebody
else's is not asked; its answers can be read with `federated.types.access.read_access_check`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from federated.errors import ConfigurationError, FederatedError, MessageRefused, TaskRefused
from federated.names import _PodResponseType as Code
from federated.owner.budgets import BudgetLedger, History, TaskEntry
from federated.owner.decide import Facts, Reason, TaskDecision, decide
from federated.owner.disclosure import models_named, source_of
from federated.owner.policy import PolicySection
from federated.task.signatures import check_task_signature
from federated.task.spec import TaskDocument, TaskSpec, read_task_spec
from federated.types.access import MODEL_INFERENCE, AccessCheckResult, ResourceLimit

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccessContext:
    """What a pod decides with.

    Attributes:
        pod, key: its name and raw public key.
        policy: what the owner allows.
        modellers, peers: see `Facts`.
        budgets: see `BudgetLedger`.
        sources: names of its data sources to what kind each is.
        has_ehr: whether an EHR is connected.
        digest_of: what a document really is, computed from its text; for a trial
            `federated.screening.trial.lock.digest`. It may raise for one that is none.
    """

    pod: str
    key: bytes = field(repr=False)
    policy: PolicySection
    budgets: BudgetLedger = field(repr=False)
    modellers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    peers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict)
    has_ehr: bool = False
    digest_of: Callable[[TaskDocument], str] | None = field(default=None, repr=False)


def check_access(
    spec_bytes: bytes, signature: bytes, context: AccessContext, now: datetime
) -> tuple[AccessCheckResult, TaskDecision]:
    """Whether a task may run in this pod; an accepted one is remembered in the ledger. It never raises.

    Args:
        spec_bytes: the task as it was signed.
        signature: the modeller's, 64 bytes; empty where none came.
        context: see `AccessContext`.
        now: aware.

    Returns:
        What the types page calls the answer, with the limits of the task's models; and the verdict: its ``message``
        is for the modeller, its ``reasons`` are for the owner's log.
    """
    try:
        spec = read_task_spec(spec_bytes)
        verdict = _identity(spec, spec_bytes, signature, context.modellers) or _decided(spec, context, now)
        limits = _limits(spec, context) if verdict.code is Code.ACCEPT else None
    except TaskRefused as error:
        verdict, limits = _refused(Code[error.code], "task", str(error)), None
    except ConfigurationError as error:
        verdict, limits = _refused(Code.TASK_SETUP_ERROR, "state", str(error)), None
    except Exception as error:  # noqa: BLE001 - whatever it is, the task does not run and nothing of it is told
        logger.error("An access check failed (%s); the task was refused.", type(error).__name__)
        verdict, limits = (
            _refused(Code.NO_ACCESS, "fault", f"The check failed ({type(error).__name__})."),
            None,
        )
    return {"response_type": verdict.code, "limits": limits}, verdict


def _refused(code: Code, rule: str, text: str) -> TaskDecision:
    return TaskDecision((Reason(code, rule, text),))


def _identity(
    spec: TaskSpec, data: bytes, signature: bytes, modellers: Mapping[str, bytes]
) -> TaskDecision | None:
    """A refusal where the signature does not prove who asks; None where it does."""
    if not signature:
        return _refused(Code.NO_PROOF_OF_IDENTITY, "signature", "The task came without a signature.")
    pinned = modellers.get(spec.modeller.name)
    if pinned is None:
        return _refused(Code.UNAUTHORISED, "modeller", "No key is pinned for this modeller.")
    try:
        check_task_signature(pinned, signature, data)
    except MessageRefused:
        text = "The task is not signed by the key that is pinned for its modeller."
        return _refused(Code.INVALID_PROOF_OF_IDENTITY, "signature", text)
    return None


def _decided(spec: TaskSpec, context: AccessContext, now: datetime) -> TaskDecision:
    verdict = TaskDecision()

    def judge(history: History) -> bool:
        nonlocal verdict
        verdict = decide(context.policy, spec, _facts(spec, context, now, history))
        return verdict.code is Code.ACCEPT

    context.budgets.admit_task(_entry(spec, context, now), judge)
    return verdict


def _entry(spec: TaskSpec, context: AccessContext, now: datetime) -> TaskEntry:
    invited = any(pod.name == context.pod for pod in spec.participants)
    return TaskEntry(
        hash=spec.hash,
        modeller=spec.modeller.public,
        nonce=spec.nonce,
        day=now.astimezone(UTC).date().isoformat(),
        source=source_of(spec, context.pod) if invited else "",
        cohort=frozenset(spec.pinned.values()),
    )


def _facts(spec: TaskSpec, context: AccessContext, now: datetime, history: History) -> Facts:
    quotas = context.policy.budgets.inferences
    return Facts(
        pod=context.pod,
        key=context.key,
        now=now,
        modellers=context.modellers,
        peers=context.peers,
        sources=context.sources,
        has_ehr=context.has_ehr,
        digests=_digests(spec, context),
        nonce_used=history.nonce_used,
        begun_today=history.begun_today,
        cohorts=history.cohorts,
        left={model: limit - history.used.get(model, 0) for model, limit in quotas.items()},
    )


def _digests(spec: TaskSpec, context: AccessContext) -> dict[str, str]:
    """What each document is; one that cannot be read is left out, and so refused."""
    found: dict[str, str] = {}
    for name, document in spec.documents.items():
        try:
            if context.digest_of is not None:
                found[name] = context.digest_of(document)
        except FederatedError:
            continue
    return found


def _limits(spec: TaskSpec, context: AccessContext) -> list[ResourceLimit]:
    models = sorted({name for unit in spec.algorithms for name in models_named(unit) or ()})
    return [
        {
            "resourceType": MODEL_INFERENCE,
            "resourceName": model,
            "totalUsage": context.budgets.used(model),
            "limit": context.policy.budgets.inferences.get(model),
            "modelDownloadUrl": None,
        }
        for model in models
    ]
