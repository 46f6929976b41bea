"""A task that one pod's policy allows, to be changed in one place at a time."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from federated.owner.access import AccessContext
from federated.owner.budgets import BudgetLedger
from federated.owner.policy import PolicySection
from federated.task.signatures import sign_task
from federated.task.spec import FORMAT, Aggregation, Participant, TaskDocument, TaskSpec, Unit, moment
from secure_agg import Identity

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PODS = ("bath", "hull", "kent", "leeds", "york")
POD = "leeds"
MODELLER = Identity(hashlib.sha256(b"modeller").digest())
MODELLERS = {"ana": MODELLER.public}
TRIAL = TaskDocument(kind="trial", digest="a" * 64, text="trialveil: 1\n")


def identity(name: str) -> Identity:
    """The key pair of an invented pod."""
    return Identity(hashlib.sha256(name.encode()).digest())


PEERS = {name: identity(name).public for name in PODS if name != POD}


def participant(name: str, data: str | None = "heart") -> Participant:
    return Participant(name=name, key=identity(name).public.hex(), data=data)


def task(**changes: Any) -> TaskSpec:
    """Five pods train one model under a mask."""
    spec = TaskSpec(
        format=FORMAT,
        name="risk",
        nonce="0" * 32,
        created=moment(NOW - timedelta(hours=1)),
        expires=moment(NOW + timedelta(days=1)),
        modeller=Participant(name="ana", key=MODELLER.public.hex()),
        participants=tuple(participant(name) for name in PODS),
        protocol=Unit(name="bitfount.FederatedAveraging"),
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"model": "logistic"}),),
        aggregation=Aggregation(name="bitfount.SecureAggregator"),
        quorum=5,
        cohort_minimum=5,
    )
    return msgspec.structs.replace(spec, **changes)


def counting(**changes: Any) -> TaskSpec:
    """Five pods count under a mask who may join a trial."""
    unit = Unit(name="bitfount.TrialInclusionCriteriaMatchAlgorithm", arguments={"trial": "trial.yaml"})
    more: dict[str, Any] = {
        "protocol": Unit(name="bitfount.ResultsOnly"),
        "algorithms": (unit,),
        "documents": {"trial.yaml": TRIAL},
        "participants": tuple(participant(name, None) for name in PODS),
    }
    return task(**(more | changes))


def policy(**changes: Any) -> PolicySection:
    """Allows both tasks, and nothing besides."""
    allowed = {
        "protocols": ("FederatedAveraging", "ResultsOnly"),
        "algorithms": ("FederatedModelTraining", "TrialInclusionCriteriaMatchAlgorithmJade"),
        "trials": (TRIAL.digest,),
        "models": ("logistic",),
        "leaves": ("counts", "updates", "metrics"),
    }
    return PolicySection.model_validate(allowed | changes)


def gate(folder: Path, owner: PolicySection | None = None) -> AccessContext:
    """The pod leeds, with a ledger of its own."""
    chosen = policy() if owner is None else owner
    return AccessContext(
        pod=POD,
        key=identity(POD).public,
        policy=chosen,
        budgets=BudgetLedger(folder, chosen.budgets.inferences),
        modellers=MODELLERS,
        peers=PEERS,
        sources={"heart": "tables", "scans": "images"},
        has_ehr=True,
        digest_of=real_digest,
    )


def real_digest(document: TaskDocument) -> str:
    """What a document is: TRIAL's text has TRIAL's digest, every other text its own."""
    if document.text == TRIAL.text:
        return TRIAL.digest
    return hashlib.sha256(document.text.encode()).hexdigest()


def signed(spec: TaskSpec, signer: Identity = MODELLER) -> tuple[bytes, bytes]:
    """The bytes and their signature."""
    data = spec.to_bytes()
    return data, sign_task(signer, data)
