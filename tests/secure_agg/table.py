"""A round laid out on a table: every machine, every message, and a place to put a hand between them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure_agg.client import Client
from secure_agg.journal import PodJournal, PodPolicy
from secure_agg.keys import Entropy, Identity, fingerprint
from secure_agg.messages import FORWARD, INVITATION, PROOFS, ROSTER, SURVIVORS
from secure_agg.parameters import Encoding, Parameters
from secure_agg.pod_setup import Contribution, PodSetup
from secure_agg.reports import RoundResult
from secure_agg.server import Server
from secure_agg.specification import Member, RoundIdentity, RoundSpec, make_spec

NAMES = (
    "bath",
    "hull",
    "kent",
    "leeds",
    "york",
    "dover",
    "exeter",
    "truro",
    "wells",
    "ripon",
    "ely",
    "stoke",
)
DOWN = (INVITATION, ROSTER, FORWARD, SURVIVORS, PROOFS)
Messages = dict[str, bytes]


def entropy_from(seed: str) -> Entropy:
    """Bytes that are the same in every run, and no stream twice."""
    counter = itertools.count()

    def take(size: int) -> bytes:
        return hashlib.shake_256(f"{seed}/{next(counter)}".encode()).digest(size)

    return take


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass
class Setting:
    """What differs between rounds in tests; the defaults make a small honest one."""

    pods: int = 5
    length: int = 7
    seed: str = "a round"
    task: str = "a task"
    number: int = 0
    model: str = "a model"
    previous: bytes = bytes(32)
    encoding: Encoding | None = None
    policy: PodPolicy = field(default_factory=lambda: PodPolicy(minimum_survivors=3, semi_honest=True))
    parameters: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


IDENTITIES = {name: Identity(sha(f"identity of {name}")) for name in NAMES}
MODELLER = Identity(sha("identity of the modeller"))


class Table:
    """One round's machines, in the same state in every run."""

    def __init__(
        self, setting: Setting | None = None, journals: Mapping[str, PodJournal] | None = None
    ) -> None:
        self.setting = given = setting or Setting()
        self.names = tuple(sorted(NAMES[: given.pods]))
        self.parameters = Parameters(
            **{"length": given.length, "clip": 8.0, "minimum_survivors": 3, **given.parameters}
        )
        self.pinned = {name: IDENTITIES[name].public for name in self.names}
        self.spec = self.make_spec()
        self.server = Server(self.spec, MODELLER, self.pinned)
        self.journals = dict(journals or {})
        self.updates = {name: update(name, given.length, self.parameters.bits) for name in self.names}
        self.clients = {name: self.make_client(name) for name in self.names}
        self.transcript: list[tuple[str, bytes]] = []
        self.now = 0.0

    def make_spec(self) -> RoundSpec:
        given = self.setting
        identity = RoundIdentity(
            sha(given.task)[:16], given.number, sha(given.model), sha("schema"), given.previous
        )
        return make_spec(self.parameters, self.members(), identity, given.encoding)

    def members(self) -> list[Member]:
        return [Member(name, fingerprint(self.pinned[name])) for name in self.names]

    def make_client(self, name: str, policy: PodPolicy | None = None) -> Client:
        setup = PodSetup(
            name, IDENTITIES[name], self.pinned, MODELLER.public, policy or self.setting.policy, threads=1
        )
        entropy = entropy_from(f"{self.setting.seed}/{name}")
        return Client(setup, self.journals.get(name, PodJournal()), entropy)

    def contribution(self, name: str) -> Contribution:
        weight = self.setting.weights.get(name, 1.0)
        return Contribution(self.updates[name], self.spec.model_hash, self.spec.schema_hash, weight)

    def ask(self, name: str, data: bytes) -> bytes:
        """One pod's answer; its journal is stored first, as it must be."""
        client = self.clients[name]
        if client.state.value == "idle":
            step = client.start(data, self.contribution(name), self.now)
        else:
            step = client.receive(data, self.now)
        (answer,) = step.send_after(lambda journal: self.journals.__setitem__(name, journal))
        return bytes(answer)

    def ask_all(self, messages: Messages) -> Messages:
        return {name: self.ask(name, data) for name, data in messages.items()}

    def tell(self, answers: Iterable[bytes]) -> Messages:
        """What the server sends after these answers, and after the deadline where some are missing."""
        sent: Messages = {}
        for answer in answers:
            self.transcript.append(("up", answer))
            sent |= {out.to: out.data for out in self.server.receive(answer, self.now)}
        if not sent and self.server.result is None:
            self.now = self.server.deadline
            sent = {out.to: out.data for out in self.server.tick(self.now)}
        self.transcript += [("down", data) for data in sent.values()]
        return sent

    def start(self) -> Messages:
        sent = {out.to: out.data for out in self.server.start(self.now)}
        self.transcript += [("down", data) for data in sent.values()]
        return sent

    def up_to(self, kind: bytes, lost: Mapping[str, bytes] | None = None) -> Messages:
        """The server's messages of ``kind``, not delivered yet.

        ``lost`` names pods with the kind of message that they no longer answer.
        """
        sent = self.start()
        while next(iter(sent.values()))[4:5] != kind:
            sent = self.tell(self.answers(sent, lost or {}).values())
        return sent

    def answers(self, sent: Messages, lost: Mapping[str, bytes]) -> Messages:
        gone = {name for name, kind in lost.items() if any(data[4:5] >= kind for data in sent.values())}
        return self.ask_all({name: data for name, data in sent.items() if name not in gone})

    def finish(self, sent: Messages, lost: Mapping[str, bytes] | None = None) -> RoundResult:
        while self.server.result is None:
            sent = self.tell(self.answers(sent, lost or {}).values())
        return self.server.result

    def run(self, lost: Mapping[str, bytes] | None = None) -> RoundResult:
        return self.finish(self.start(), lost)

    def mean_of(self, names: Iterable[str]) -> NDArray[np.float64]:
        chosen = list(names)
        weights = [self.setting.weights.get(name, 1.0) for name in chosen]
        found: NDArray[np.float64] = np.average(
            [self.updates[name] for name in chosen], axis=0, weights=weights
        )
        return found


def update(name: str, length: int, bits: int = 32) -> NDArray[Any]:
    """A pod's update, the same in every run."""
    generator = np.random.default_rng(int.from_bytes(sha(name)[:4], "big"))
    if bits == 64:
        return generator.integers(-8, 9, length)
    return np.clip(generator.normal(size=length), -7, 7)


Edit = Callable[[Any], Any]
