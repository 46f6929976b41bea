"""Every role of a round in one process: the same machines that run between hospitals, without the network.

Pods can be lost at any point, so that a study can be planned with the dropouts it expects. Real keys, real
masks, real messages; only the clock is made up.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from secure_agg.client import Client
from secure_agg.errors import ParameterError, WeightError
from secure_agg.graph import certified, commitment
from secure_agg.journal import PodJournal, PodPolicy
from secure_agg.keys import Entropy, Identity, fingerprint
from secure_agg.messages import Data
from secure_agg.parameters import DpSpec, Encoding, Parameters
from secure_agg.pod_setup import Contribution, PodSetup, Step
from secure_agg.reports import RoundResult
from secure_agg.server import Outgoing, Server
from secure_agg.specification import Member, RoundIdentity, RoundSpec, make_spec
from secure_agg.transitions import PodState

LostAt = Literal[
    "before_advertise",
    "after_advertise",
    "after_shares",
    "after_upload",
    "after_confirm",
    "after_reveal",
]
"""Where a pod falls silent: after it has sent that message, or before its first one."""

DROPOUT_POINTS: tuple[LostAt, ...] = get_args(LostAt)
_SILENT_FROM = {
    "before_advertise": PodState.IDLE,
    "after_advertise": PodState.ADVERTISED,
    "after_shares": PodState.SHARED,
    "after_upload": PodState.UPLOADED,
    "after_confirm": PodState.CONFIRMED,
    "after_reveal": PodState.REVEALED,
}


@dataclass(frozen=True, slots=True)
class Cast:
    """The identities and settings of a simulated round, and its source of entropy.

    Attributes:
        entropy: gives bytes; `os.urandom` unless a test wants the same round twice.
        threads: for masking, in each pod.
        task, round: which round it is.
        model: bytes of the model whose hash is bound into the round.
    """

    entropy: Entropy = os.urandom
    threads: int | None = None
    task: bytes = b""
    round: int = 0
    model: bytes = b"simulated"


@dataclass(slots=True, repr=False)
class Cohort:
    """The simulated pods with their long-term keys, and the modeller."""

    modeller: Identity
    identities: dict[str, Identity]
    nonces: dict[str, bytes]
    journals: dict[str, PodJournal] = field(default_factory=dict)

    @property
    def pinned(self) -> dict[str, bytes]:
        """Public keys by name."""
        return {name: identity.public for name, identity in self.identities.items()}

    def members(self) -> list[Member]:
        """The cohort as a specification lists it."""
        return [
            Member(
                name,
                fingerprint(identity.public),
                commitment(name, self.nonces[name]) if self.nonces else b"",
            )
            for name, identity in self.identities.items()
        ]


def make_cohort(names: list[str], parameters: Parameters, entropy: Entropy) -> Cohort:
    """Fresh identities for every name, pinned by all the others."""
    sparse = parameters.graph == "sparse"
    return Cohort(
        Identity(entropy(32)),
        {name: Identity(entropy(32)) for name in names},
        {name: entropy(32) for name in names} if sparse else {},
    )


@dataclass(frozen=True, slots=True)
class RoundToRun:
    """Which round is run, by whom, and with what encoding; without one, every pod counts the same."""

    parameters: Parameters
    cohort: Cohort
    cast: Cast
    encoding: Encoding | None = None

    def spec(self) -> RoundSpec:
        """The specification that the modeller signs."""
        task = self.cast.task or hashlib.sha256(b"simulated task").digest()[:16]
        model = hashlib.sha256(self.cast.model).digest()
        schema = hashlib.sha256(b"one vector").digest()
        previous = bytes(32) if self.cast.round == 0 else model
        identity = RoundIdentity(task, self.cast.round, model, schema, previous)
        return make_spec(self.parameters, self.cohort.members(), identity, self.encoding)


def simulate(
    parameters: Parameters,
    updates: Mapping[str, NDArray[Any]],
    *,
    weights: Mapping[str, float] | None = None,
    lost: Mapping[str, LostAt] | None = None,
    cast: Cast | None = None,
) -> RoundResult:
    """Run one round with every role in this process.

    With ``weights`` and ``parameters.weighting == "weights_first"``, a small exact secure sum of the weights
    runs first, and relative weights come from it; with "per_round", weights are relative to
    ``parameters.maximum_weight``. Without weights every pod counts the same.

    Args:
        parameters: sizes and bounds; ``minimum_survivors`` is taken for every pod's own floor.
        updates: name to update, shape ``(parameters.length,)``.
        weights: name to weight, above 0, for the same names.
        lost: name to the point at which that pod falls silent.
        cast: entropy, threads and names of the round.

    Returns:
        ``.mean``, ``.survivors``, ``.report`` and more.

    Raises:
        TooFewPods: fewer pods than the threshold answered; there is no sum.
        InputRefused: an update or a weight cannot be used.
        ParameterError: names or numbers that do not fit together.
    """
    cast, lost = cast or Cast(), dict(lost or {})
    _check_names(updates, weights, lost)
    if parameters.mode == "semi_honest" and "after_confirm" in lost.values():
        raise ParameterError("A semi-honest round has no confirmations: no pod can be lost after one.")
    parameters = _certified(parameters, len(updates))
    cohort = make_cohort(sorted(updates), parameters, cast.entropy)
    encoding = _encoding(parameters, updates, weights, cohort, cast)
    given = weights or dict.fromkeys(updates, 1.0)
    return run_round(RoundToRun(parameters, cohort, cast, encoding), updates, given, lost)


def _certified(parameters: Parameters, pods: int) -> Parameters:
    """The parameters with a degree and a threshold, where a sparse graph leaves them open."""
    if parameters.graph == "complete" or parameters.degree:
        return parameters
    found = certified(pods, parameters.sparse_corrupt, parameters.sparse_dropped)
    return msgspec.structs.replace(parameters, degree=found.degree, sparse_threshold=found.threshold)


def _check_names(
    updates: Mapping[str, Any], weights: Mapping[str, float] | None, lost: Mapping[str, LostAt]
) -> None:
    if not set(lost) <= set(updates) or not set(lost.values()) <= set(DROPOUT_POINTS):
        raise ParameterError(f"lost must name pods of updates, each with one of {', '.join(DROPOUT_POINTS)}.")
    if weights is not None and set(weights) != set(updates):
        raise ParameterError(
            f"weights has {len(weights)} names; expected the {len(updates)} names of updates."
        )


def _encoding(
    parameters: Parameters,
    updates: Mapping[str, Any],
    weights: Mapping[str, float] | None,
    cohort: Cohort,
    cast: Cast,
) -> Encoding | None:
    """The weighted encoding, after a secure sum of the weights where they come first."""
    if weights is None:
        return None
    if parameters.weighting == "per_round":
        return parameters.encoding(len(updates), "per_round", parameters.maximum_weight)
    return parameters.encoding(
        len(updates), "weights_first", sum_of_weights(parameters, weights, cohort, cast)
    )


WEIGHT_STEPS = 2**20
"""Weights are added as whole numbers of 2^-20, rounded up: relative weights then sum to 1 at most."""


def sum_of_weights(parameters: Parameters, weights: Mapping[str, float], cohort: Cohort, cast: Cast) -> float:
    """The total weight of all pods, by an exact secure sum of one number each.

    Raises:
        WeightError: a weight that is not a finite number above 0, or too large to be added exactly.
    """
    largest = float(2**62 // len(weights))
    if not all(math.isfinite(w) and 0 < w * WEIGHT_STEPS <= largest for w in weights.values()):
        raise WeightError(
            f"A weight is not a finite number above 0 and at most {largest / WEIGHT_STEPS:g}. Nothing was sent."
        )
    exact = msgspec.structs.replace(parameters, bits=64, on_clip="error", l2_clip=0.0, dp=DpSpec())
    small = msgspec.structs.replace(exact, length=1, clip=largest)
    steps = {name: np.array([math.ceil(w * WEIGHT_STEPS)], np.int64) for name, w in weights.items()}
    counting = replace(cast, task=hashlib.sha256(b"sa1/weights" + cast.task).digest()[:16], round=0)
    counting = replace(counting, model=b"sa1/weights" + cast.model)
    found = run_round(RoundToRun(small, cohort, counting), steps, dict.fromkeys(weights, 1.0), {})
    if found.total is None:
        raise ParameterError("The sum of weights is not exact; there is no total.")
    return int(found.total[0]) / WEIGHT_STEPS


class _Wires:
    """Carries messages between the machines; a lost pod neither receives nor sends any more."""

    def __init__(self, pods: Mapping[str, Client], given: Mapping[str, Contribution], cohort: Cohort) -> None:
        self._pods, self._given, self._cohort = pods, given, cohort

    def deliver(self, mail: tuple[Outgoing, ...], now: float, lost: Mapping[str, LostAt]) -> Iterator[Data]:
        """What the pods answer, in the order of the messages."""
        for message in mail:
            pod = self._pods[message.to]
            if message.to in lost and pod.state is _SILENT_FROM[lost[message.to]]:
                pod.close()
            elif pod.state is PodState.IDLE:
                yield from self._send(message.to, pod.start(message.data, self._given[message.to], now))
            elif pod.state is not PodState.CLOSED:
                yield from self._send(message.to, pod.receive(message.data, now))

    def _send(self, name: str, step: Step) -> tuple[Data, ...]:
        def store(journal: PodJournal) -> None:
            self._cohort.journals[name] = journal

        return step.send_after(store)


def run_round(
    this: RoundToRun,
    updates: Mapping[str, NDArray[Any]],
    weights: Mapping[str, float],
    lost: Mapping[str, LostAt],
) -> RoundResult:
    """One round over machines that are made here, with the journals of the cohort; see `simulate`."""
    spec, cohort = this.spec(), this.cohort
    server = Server(spec, cohort.modeller, cohort.pinned)
    wires = _Wires(_pods(spec, this), _contributions(spec, cohort, updates, weights), cohort)
    began, now = time.perf_counter(), 0.0
    mail = server.start(now)
    while server.result is None:
        following: list[Outgoing] = []
        for answer in wires.deliver(mail, now, lost):
            following += server.receive(answer, now)
        if not following and server.result is None:
            now = server.deadline
            following += server.tick(now)
        mail = tuple(following)
    report = replace(server.result.report, seconds=time.perf_counter() - began)
    return replace(server.result, report=report)


def _pods(spec: RoundSpec, this: RoundToRun) -> dict[str, Client]:
    cohort, cast, chosen = this.cohort, this.cast, this.parameters
    policy = PodPolicy(
        minimum_survivors=spec.minimum_survivors,
        semi_honest=spec.mode == "semi_honest",
        sparse_corrupt=chosen.sparse_corrupt,
        sparse_dropped=chosen.sparse_dropped,
    )
    setups = {
        name: PodSetup(name, identity, cohort.pinned, cohort.modeller.public, policy, cast.threads)
        for name, identity in cohort.identities.items()
    }
    return {
        name: Client(setup, cohort.journals.get(name, PodJournal()), cast.entropy)
        for name, setup in setups.items()
    }


def _contributions(
    spec: RoundSpec, cohort: Cohort, updates: Mapping[str, NDArray[Any]], weights: Mapping[str, float]
) -> dict[str, Contribution]:
    return {
        name: Contribution(
            update,
            spec.model_hash,
            spec.schema_hash,
            weights[name],
            graph_nonce=cohort.nonces.get(name, b""),
        )
        for name, update in updates.items()
    }
