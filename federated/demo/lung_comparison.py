"""The risk model trained three ways, all judged on the same people: federated, pooled, and at each site alone.

Only a demonstration can do this: pooling and judging need all rows in one place. They are all here because they were
published. Pods in the field see the federated curve of a metric that they sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from federated.demo.lung_study import HORIZON_DAYS, LungPod, Patients, study, together
from federated.errors import InvalidArgument
from federated.models.interface import Model, Tensors
from federated.reports.discrimination import LEVEL, Panel
from federated.reports.federation import Arm, Curve, Discrimination

Risks = Sequence[NDArray[np.float64]]
"""For each round, a risk for each person judged."""


def compare(
    make_model: Callable[[], Model], federated: Sequence[Tensors], amount: int = 1, *, scale: bool = False
) -> Discrimination:
    """Judge the federated model of each round beside the pooled one and those of single sites.

    Args:
        make_model: the initial model, the same each time.
        federated: the arrays after each round, the first after round 1.
        amount: epochs or steps in each round, as in the federated training.
        scale: whether the inputs are scaled here; no where the model scales its own.

    Raises:
        InvalidArgument: there is no round.
    """
    if not federated:
        raise InvalidArgument("federated: no round; expected the arrays of one or more")
    pods = study()
    judged = together(pod.evaluation for pod in pods)
    panel = Panel(judged.time_days.astype(np.float64), judged.died)
    inputs = judged.inputs_as(scale=scale)
    model = make_model()
    risks = [_loaded(model, tensors).predict(inputs) for tensors in federated]
    last = {name: np.asarray(array, dtype=np.float64) for name, array in federated[-1].items()}
    everybody = together(pod.training for pod in pods)
    pooled = make_model()
    together_risks = _alone(pooled, everybody, len(federated), amount, inputs, scale)
    curves = [
        _curve(panel, ("Federated", Arm.FEDERATED), everybody, risks, None),
        _curve(panel, ("Pooled", Arm.POOLED), everybody, together_risks, risks),
    ]
    for pod in pods:
        own = _alone(make_model(), pod.training, len(federated), amount, inputs, scale)
        curves.append(_curve(panel, (f"{pod.name} alone", Arm.SINGLE), pod.training, own, risks))
    return _written(pods, judged, panel, curves, _farthest(last, pooled))


def _loaded(model: Model, tensors: Tensors) -> Model:
    model.load(tensors)
    return model


def _alone(
    model: Model, people: Patients, rounds: int, amount: int, inputs: NDArray[np.float64], scale: bool
) -> Risks:
    """Train in one place, as long as the pods did; the risks after each round."""
    rows, found = people.rows(scale=scale), []
    for number in range(rounds):
        model.fit(rows, amount, hashlib.sha256(number.to_bytes(8, "big")).digest())
        found.append(model.predict(inputs))
    return found


def _curve(
    panel: Panel, who: tuple[str, Arm], people: Patients, risks: Risks, federated: Risks | None
) -> Curve:
    difference = None if federated is None else panel.difference(risks[-1], federated[-1])
    rounds = tuple(panel.estimate(one) for one in risks)
    return Curve(*who, int(np.count_nonzero(people.known)), rounds, difference)


def _farthest(federated: dict[str, NDArray[np.float64]], pooled: Model) -> float:
    own = pooled.tensors()
    return max(float(np.abs(array - own[name]).max()) for name, array in federated.items())


def _written(
    pods: Sequence[LungPod], judged: Patients, panel: Panel, curves: Sequence[Curve], farthest: float
) -> Discrimination:
    training = together(pod.training for pod in pods)
    sizes = ", ".join(str(len(pod.training) + len(pod.evaluation)) for pod in pods)
    institutions = sum(len(pod.institutions) for pod in pods)
    return Discrimination(
        title=f"A risk model across {len(pods)} pods: death within {HORIZON_DAYS} days, advanced lung cancer",
        measure="Harrell's C",
        data=(
            f"Real data of a published study (North Central Cancer Treatment Group): {len(training) + len(judged)} "
            f"people of {institutions} institutions, grouped into {len(pods)} pods of {sizes}; in each pod, every "
            f"third person is kept for judging. {training.filled} of the features' values in training were missing "
            "and count as the middle of their scale."
        ),
        curves=tuple(curves),
        evaluated=len(judged),
        events=int(judged.died.sum()),
        pairs=panel.pairs,
        left_out=sum(pod.left_out for pod in pods),
        resamples=panel.resamples,
        level=LEVEL,
        farthest=farthest,
    )
