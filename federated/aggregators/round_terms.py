"""What a round of secure aggregation must look like, given the task: built by the modeller, rebuilt by every pod.

A pod takes from a round only what differs from round to round (cohort, place, total weight). Everything else it
computes from the signed task, its own layout and the request that brought the round, and refuses a round that says
otherwise. So the masks of two pods cancel only if both were asked for the same: a modeller that sent the others
another model, or asked them to train for nothing, would have the sum of one pod alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from federated.aggregators.values import Layout, known_model_hash
from federated.errors import InvalidArgument, TaskRefused
from federated.task.spec import Aggregation, TaskSpec
from secure_agg import (
    DpSpec,
    Encoding,
    Member,
    Parameters,
    RoundIdentity,
    RoundSpec,
    SecureAggError,
    fingerprint,
    make_spec,
)

Purpose = Literal["weights", "update", "counts"]
COHORT_LIMIT = 128
"""Larger cohorts need the sparse graph, whose promise is another one; tasks do not use it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What differs between the rounds of one task.

    Attributes:
        purpose: what is added up: the pods' weights, their updates, or counts.
        seq: place among all exchanges of the task, from 1.
        cohort: names of the invited pods.
        model_hash: of the model that the round begins with, 32 bytes.
        previous: the model hash of the round of this purpose before; zeros for the first.
        total_weight: for updates by rows, what all weights of the cohort sum to; 0 where every pod counts the same.
    """

    purpose: Purpose
    seq: int
    cohort: tuple[str, ...]
    model_hash: bytes = field(repr=False)
    previous: bytes = field(default=bytes(32), repr=False)
    total_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What a pod is asked for, as the request says it.

    Attributes:
        purpose: what is added up.
        number: of the training round, from 1; 0 for none.
        model: SHA-256 of the model that came with it; empty where none did.
    """

    purpose: Purpose
    number: int = 0
    model: bytes = field(default=b"", repr=False)


def weights_layout(task: TaskSpec) -> Layout:
    """One exact number: how many rows a pod has."""
    from federated.aggregators.values import counts_layout

    return counts_layout(["rows"], int(aggregation_of(task).maximum_weight))


def aggregation_of(task: TaskSpec) -> Aggregation:
    """How the task adds up.

    Raises:
        TaskRefused: it does not.
    """
    if task.aggregation is None:
        raise TaskRefused("TASK_SETUP_ERROR", "The task adds up nothing, and a sum was asked for.")
    return task.aggregation


def sa1_task(task: TaskSpec, purpose: Purpose) -> bytes:
    """The 16 bytes that secure aggregation knows a task's rounds of one purpose by."""
    return hashlib.sha256(b"trialveil/sa1/" + purpose.encode() + task.hash).digest()[:16]


def weights_hash(task: TaskSpec, seq: int) -> bytes:
    """What stands for a model where weights are added; each such round is another."""
    return hashlib.sha256(b"trialveil/weights" + task.hash + seq.to_bytes(8, "big")).digest()


def counts_hash(task: TaskSpec) -> bytes:
    """What stands for a model where counts are added: one, so that they are released once."""
    return hashlib.sha256(b"trialveil/counts" + task.hash).digest()


def begun_with(task: TaskSpec, layout: Layout, asked: PodRequest, seq: int) -> bytes:
    """What a round binds of what it begins with, 32 bytes: of the model, where the request brings one."""
    if asked.purpose == "weights":
        return weights_hash(task, seq)
    if asked.purpose == "counts" or not asked.model:
        return counts_hash(task)
    return known_model_hash(task.hash, layout.hash, asked.model)


def schema_of(layout: Layout, number: int) -> bytes:
    """What a round binds of its vector and of the training behind it, 32 bytes."""
    return hashlib.sha256(b"trialveil/schema" + layout.hash + number.to_bytes(8, "big")).digest()


def parameters(task: TaskSpec, layout: Layout) -> Parameters:
    """Sizes and bounds of secure aggregation for one layout of a task; no sum is opened below the task's quorum.

    Raises:
        InvalidArgument: they do not fit together; the message shows the inequality.
    """
    chosen, waits = aggregation_of(task), task.deadlines
    counts = layout.kind == "counts"
    try:
        return Parameters(
            length=layout.length,
            clip=float(layout.largest if counts else chosen.clip),
            minimum_survivors=max(chosen.minimum_survivors, task.quorum),
            mode=chosen.mode,
            bits=64 if counts else chosen.bits,
            on_clip="error" if counts else chosen.on_clip,
            l2_clip=0.0 if counts else float(chosen.l2_clip),
            dp=DpSpec() if counts else noise_of(chosen),
            deadlines_s=(float(waits.compute), *(float(waits.step),) * 4),
        )
    except SecureAggError as error:
        raise InvalidArgument(str(error)) from None


def noise_of(chosen: Aggregation) -> DpSpec:
    """The noise of a sum of updates, as secure aggregation is told it."""
    if not chosen.noise:
        return DpSpec()
    return DpSpec("distributed_discrete_gaussian", float(chosen.noise), chosen.delta, float(chosen.l2_clip))


def round_spec(task: TaskSpec, layout: Layout, terms: Terms, number: int) -> RoundSpec:
    """The specification of one round.

    Args:
        task: signed and accepted.
        layout: of the vector.
        terms: what differs between the rounds of one task.
        number: of the training round, from 1; 0 for none.

    Raises:
        InvalidArgument: the numbers do not fit together.
    """
    if len(terms.cohort) > COHORT_LIMIT:
        raise InvalidArgument(f"the cohort has {len(terms.cohort)} pods; a task has at most {COHORT_LIMIT}")
    chosen = parameters(task, layout)
    schema = schema_of(layout, number)
    identity = RoundIdentity(
        sa1_task(task, terms.purpose), terms.seq, terms.model_hash, schema, terms.previous
    )
    try:
        return make_spec(chosen, members(task.pinned, terms.cohort), identity, _encoding(chosen, terms))
    except SecureAggError as error:
        raise InvalidArgument(str(error)) from None


def _encoding(chosen: Parameters, terms: Terms) -> Encoding:
    pods = len(terms.cohort)
    if terms.purpose == "update" and terms.total_weight:
        return chosen.encoding(pods, "weights_first", terms.total_weight)
    return chosen.encoding(pods)


def members(pinned: Mapping[str, bytes], cohort: tuple[str, ...]) -> list[Member]:
    """The cohort as a round lists it.

    Raises:
        InvalidArgument: a pod is not of the task.
    """
    if not set(cohort) <= set(pinned):
        raise InvalidArgument("the cohort has a pod that is not of the task")
    return [Member(name, fingerprint(pinned[name])) for name in cohort]


def check_round(task: TaskSpec, layout: Layout, asked: PodRequest, spec: RoundSpec) -> Terms:
    """Refuse a round that is not the task's own.

    Args:
        task: signed and accepted.
        layout: what this pod will give.
        asked: what the request that brought the round is for.
        spec: the round, as the modeller signed it.

    Raises:
        TaskRefused: it differs from what the task says.
    """
    purpose, rows = asked.purpose, aggregation_of(task).weights == "rows"
    weighted = purpose == "update" and spec.encoding.weighting == "weights_first"
    total = spec.encoding.maximum_weight if weighted else 0.0
    about = begun_with(task, layout, asked, spec.round)
    terms = Terms(purpose, spec.round, spec.names, about, spec.previous_model_hash, total)
    try:
        same = round_spec(task, layout, terms, asked.number) == spec
    except (InvalidArgument, OverflowError):
        same = False
    # Rows are asked for only where they count.
    fits = {"update": weighted is rows, "weights": rows, "counts": True}[purpose]
    if not same or not fits or not math.isfinite(total):
        raise TaskRefused(
            "TASK_SETUP_ERROR", "A round is not what the signed task says. Nothing was computed or sent."
        )
    return terms
