"""``Aggregator``: the weighted mean of vectors that the modeller sees one by one.

Only pods whose owners do not require masks take part. The mean is taken in the order of the pods' names, so that it
does not depend on who answers first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.aggregators.secure_rounds import Combined, Exchange, log_begin
from federated.aggregators.values import Layout, unpack
from federated.errors import InvalidArgument, MessageRefused, TooFewPods
from federated.rounds.coordinator import STAGES, Answer, Coordinator, News
from federated.task.spec import Aggregation, TaskSpec

Parameters = Aggregation


def checked(vector: NDArray[Any], layout: Layout, task: TaskSpec) -> NDArray[Any]:
    """A vector as it may leave in the clear: finite, and within the clip of the task.

    Raises:
        InvalidArgument: it is not, and the task does not say that it be clipped.
    """
    if layout.kind == "counts":
        return vector
    if not np.isfinite(vector).all():
        raise InvalidArgument("the update has NaN or infinity. Nothing was sent")
    clip = math.inf if task.aggregation is None else task.aggregation.clip
    if vector.size and float(np.abs(vector).max()) > clip:
        if task.aggregation is None or task.aggregation.on_clip == "error":
            raise InvalidArgument("the update is beyond the clip of the task. Nothing was sent")
        return np.asarray(np.clip(vector, -clip, clip))
    return vector


worker = checked


async def modeller(coordinator: Coordinator, exchange: Exchange) -> Combined:
    """Ask every pod for its vector, and take the weighted mean over those that answer in time.

    Raises:
        TooFewPods: fewer than the quorum.
    """
    seq, spec, terms = exchange.terms.seq, coordinator.spec, exchange.terms
    log_begin(coordinator, exchange, 0.0)
    number = seq * STAGES + 1
    note = {**exchange.note, "seq": seq, "purpose": terms.purpose, "round": exchange.number}
    requests = {pod: coordinator.request(pod, number, "compute", note, exchange.body) for pod in terms.cohort}
    found: dict[str, tuple[NDArray[Any], float]] = {}
    lost: dict[str, str] = {}
    coordinator.on_progress(News("step", exchange.number, 0, "", f"computing: {len(requests)} pods"))
    least = max(spec.quorum, 1 if spec.aggregation is None else spec.aggregation.minimum_survivors)
    waits = spec.deadlines.compute
    async for answer in coordinator.ask_all(requests, number, waits, lambda: len(found) >= least):
        try:
            found[answer.pod] = _read(answer, exchange, spec)
        except MessageRefused as error:
            lost[answer.pod] = str(error)
            coordinator.on_progress(News("pod", exchange.number, 0, answer.pod, str(error)))
    if len(found) < least:
        sentence = f"{len(found)} of {len(requests)} pods answered; the task needs {least}. There is no mean."
        coordinator.journal.end(seq, "failed", {"reason": sentence, "released": False})
        raise TooFewPods(sentence)
    return _combined(found, lost, exchange)


def _read(answer: Answer, exchange: Exchange, spec: TaskSpec) -> tuple[NDArray[Any], float]:
    if answer.message is None:
        raise MessageRefused(f"{answer.code}: {answer.sentence}")
    layout = exchange.layout
    kind = "<i8" if layout.kind == "counts" else "<f4" if layout.narrow else "<f8"
    body = memoryview(answer.message.body).cast("B")
    if body.nbytes != layout.length * np.dtype(kind).itemsize:
        raise MessageRefused("a vector has another length than the task's")
    vector = np.frombuffer(body, kind)
    try:
        checked(vector, layout, spec)
    except InvalidArgument as error:
        raise MessageRefused(str(error)) from None
    weight = answer.message.note.get("weight")
    rows = spec.aggregation is not None and spec.aggregation.weights == "rows" and layout.kind == "reals"
    if not rows:
        return vector, 1.0
    most = spec.aggregation.maximum_weight if spec.aggregation is not None else 0.0
    if not isinstance(weight, float) or not 0 < weight <= most:
        raise MessageRefused("a weight is not above 0 and at most the task's maximum")
    return vector, weight


def _combined(
    found: dict[str, tuple[NDArray[Any], float]], lost: dict[str, str], exchange: Exchange
) -> Combined:
    names = tuple(sorted(found))
    counts = exchange.layout.kind == "counts"
    total: NDArray[Any] = np.zeros(exchange.layout.length, np.int64 if counts else np.float64)
    weight = 0.0
    for name in names:
        vector, one = found[name]
        total = total + (vector if counts else vector * np.float64(one))
        weight += one
    mean = total if counts else total / weight
    parts = unpack(exchange.layout, mean, exchange.clip)
    return Combined(parts, names, weight, lost, {"mode": "plain", "n_survivors": len(names)})
