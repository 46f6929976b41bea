"""A modeller and pods in this process, with owners who allow everything, for tests of what happens between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from federated.algorithms.step_context import StepContext
from federated.links.in_process import InProcess
from federated.links.link import Handler, Link
from federated.names import _PodResponseType
from federated.owner.state import PodState
from federated.pod.program import Pod
from federated.rounds.coordinator import Coordinator, News
from federated.rounds.journal import Journal
from federated.task import registry
from federated.task.signatures import sign_task
from federated.task.spec import FORMAT, Aggregation, Deadlines, Participant, TaskSpec, Unit, moment
from federated.types import AccessCheckResult, ProtocolContext
from secure_agg import Identity, PodPolicy

NAMES = ("bath", "hull", "kent", "leeds", "york")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
STAND_IN = "tests.federated.runtime.training_stand_in"
SECURE = "bitfount.SecureAggregator"
PLAIN = "bitfount.Aggregator"


def identity(name: str) -> Identity:
    """The same key for a name in every test."""
    return Identity(hashlib.sha256(name.encode()).digest())


@dataclass
class OpenOwner:
    """Allows everything, and remembers what left."""

    floor: int = 3
    folder: Path | None = None
    left: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def admit(
        self, spec: TaskSpec, data: bytes, signature: bytes, now: datetime
    ) -> tuple[AccessCheckResult, str]:
        return {"response_type": _PodResponseType.ACCEPT, "limits": None}, ""

    def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
        return StepContext(self.pod_name(spec), spec, ProtocolContext(task_id=spec.hash.hex()), secret)

    name: str = ""

    def pod_name(self, spec: TaskSpec) -> str:
        return self.name

    def rounds(self, spec: TaskSpec) -> PodPolicy:
        return PodPolicy(minimum_survivors=self.floor)

    def released(self, spec: TaskSpec, what: str, facts: Mapping[str, Any]) -> None:
        self.left.append((what, facts))

    def note(self, spec_hash: bytes, modeller: str, event: str, facts: Mapping[str, Any]) -> None:
        self.left.append((event, facts))

    def close(self) -> None:
        self.left.append(("closed", {}))


def make_task(names: tuple[str, ...] = NAMES, **changed: Any) -> TaskSpec:
    """A training task over the stand-in."""
    given: dict[str, Any] = {
        "format": FORMAT,
        "name": "halfway",
        "nonce": "0" * 32,
        "created": moment(NOW),
        "expires": moment(NOW + timedelta(days=1)),
        "modeller": Participant(name="modeller", key=identity("modeller").public.hex()),
        "participants": tuple(Participant(name=name, key=identity(name).public.hex()) for name in names),
        "protocol": Unit(name="bitfount.FederatedAveraging"),
        "algorithms": (Unit(name="bitfount.FederatedModelTraining"),),
        "aggregation": Aggregation(name=SECURE, weights="rows", minimum_survivors=3, maximum_weight=1000.0),
        "quorum": 3,
        "deadlines": Deadlines(accept=60.0, compute=60.0, step=60.0),
    }
    return TaskSpec(**(given | changed))


@dataclass
class Cast:
    """A modeller and its pods.

    Args:
        folder: of all state; pods made anew from it are the same pods started again.
        names: of the pods.
    """

    folder: Path
    names: tuple[str, ...] = NAMES
    pods: dict[str, Pod] = field(default_factory=dict)
    owners: dict[str, OpenOwner] = field(default_factory=dict)
    news: list[News] = field(default_factory=list)
    owner: Callable[[str], OpenOwner] = field(default=lambda name: OpenOwner(name=name))

    def start(self, name: str) -> Pod:
        """Start a pod, or start it again after it was killed."""
        if name in self.pods:
            self.pods[name].close()
        self.owners[name] = self.owner(name)
        keys = {each: identity(each).public for each in self.names}
        self.pods[name] = Pod(
            name,
            identity(name),
            {"modeller": identity("modeller").public},
            keys,
            self.owners[name],
            PodState(self.folder / name),
            clock=lambda: NOW,
            threads=1,
        )
        return self.pods[name]

    def handlers(self) -> dict[str, Handler]:
        for name in self.names:
            if name not in self.pods:
                self.start(name)

        def of(name: str) -> Handler:
            async def handle(parcel: Any) -> Any:
                return await self.pods[name].handle(parcel)

            return handle

        return {name: of(name) for name in self.names}

    def coordinator(
        self, spec: TaskSpec, link: Link | None = None, journal: Journal | None = None
    ) -> Coordinator:
        return Coordinator(
            spec,
            identity("modeller"),
            link or InProcess(self.handlers()),
            journal or Journal(None),
            self.news.append,
        )

    def signature(self, spec: TaskSpec) -> bytes:
        return sign_task(identity("modeller"), spec.to_bytes())

    def close(self) -> None:
        for pod in self.pods.values():
            pod.close()


def with_stand_in(monkeypatch: Any) -> None:
    """Let the training of tasks be that of the stand-in."""
    real = registry.resolve

    def resolve(name: str, arguments: Mapping[str, object] | None = None) -> registry.Row:
        rows = {
            "bitfount.FederatedModelTraining": STAND_IN,
            "bitfount.FederatedAveraging": "federated.protocols.federated_averaging",
            SECURE: "federated.aggregators.secure",
            PLAIN: "federated.aggregators.mean",
        }
        return registry.Row(rows[name]) if name in rows else real(name, arguments)

    monkeypatch.setattr(registry, "resolve", resolve)
