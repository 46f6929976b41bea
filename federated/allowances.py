"""What a pod's owner allows, as a value; made from the sections ``policy:`` and ``federation:`` of its pod file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from federated import registry
from federated.disclosure import Leaves, canonical
from federated.errors import InvalidArgument
from federated.federation_section import FederationSection
from federated.policy_section import LEAST_CELL, PolicySection
from secure_agg import PodPolicy
from secure_agg.parameters import DEFAULT_MINIMUM_SURVIVORS, HARD_MINIMUM_SURVIVORS
from secure_agg.privacy import epsilon as epsilon_of


@dataclass(frozen=True, slots=True)
class Policy:
    """What the owner allows. The default allows nothing.

    Attributes:
        modellers: names to pinned raw public keys of those whose tasks are looked at.
        peers: names to pinned raw public keys of the pods that this one agrees to add up with.
        protocols, algorithms: canonical names, see `federated.disclosure.canonical`.
        trials: digests of the trial files that may be decided here (`federated.screening.lock.digest`).
        steps: SHA-256 of the step documents that may run here, hexadecimal.
        models: built-in names, or SHA-256 of files, hexadecimal.
        leaves: what may leave.
        secure_aggregation: whether everything that is added up must be masked.
        semi_honest: whether sums are allowed that trust the modeller's program to follow the protocol.
        minimum_survivors: fewest pods in a sum; never below 3.
        cohort_minimum: fewest pods that a task may invite where something is added up; never below 3.
        minimum_change: pods by which two cohorts of one modeller over the same data must differ, if they differ.
        smallest_cell: a count of 1 to one less never leaves; never below 5.
        maximum_weight, maximum_rounds: upper bounds.
        epsilon: privacy loss of all tasks of this pod together; None where no noise is asked for. With it, a task
            without noise is refused.
        delta: at which it is counted.
        inferences: predictions by model, over all tasks; a model without a number has no limit.
        tasks_per_day: tasks that may begin on one day (UTC).
        model_urls: where models are fetched from, by digest; signed addresses, so secrets.
    """

    modellers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    peers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    protocols: frozenset[str] = frozenset()
    algorithms: frozenset[str] = frozenset()
    trials: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    leaves: frozenset[Leaves] = frozenset()
    secure_aggregation: bool = True
    semi_honest: bool = False
    minimum_survivors: int = DEFAULT_MINIMUM_SURVIVORS
    cohort_minimum: int = DEFAULT_MINIMUM_SURVIVORS
    minimum_change: int = 2
    smallest_cell: int = 11
    maximum_weight: float = 1_000_000.0
    maximum_rounds: int = 100
    epsilon: float | None = None
    delta: float = 1e-5
    inferences: Mapping[str, int] = field(default_factory=dict)
    tasks_per_day: int = 20
    model_urls: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        floors = {
            "minimum_survivors": HARD_MINIMUM_SURVIVORS,
            "cohort_minimum": HARD_MINIMUM_SURVIVORS,
            "smallest_cell": LEAST_CELL,
            "minimum_change": 1,
            "maximum_rounds": 1,
        }
        for name, least in floors.items():
            if getattr(self, name) < least:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; expected {least} or more")


def pod_policy(policy: Policy, rho_elsewhere: float = 0.0) -> PodPolicy:
    """The rules of masked rounds, for `secure_agg`.

    Args:
        policy: the owner's.
        rho_elsewhere: zCDP that this pod has spent outside masked rounds; see `federated.budgets`.
    """
    budget = None
    if policy.epsilon is not None:
        left = max(0.0, largest_rho(policy.epsilon, policy.delta) - rho_elsewhere)
        budget = epsilon_of(left, policy.delta)
    return PodPolicy(
        minimum_survivors=policy.minimum_survivors,
        minimum_change=policy.minimum_change,
        maximum_rounds=policy.maximum_rounds,
        semi_honest=policy.semi_honest,
        epsilon_budget=budget,
    )


def largest_rho(epsilon: float, delta: float) -> float:
    """The most zCDP that stays within (epsilon, delta)-DP, from below."""
    low, high = 0.0, epsilon + 1.0
    while epsilon_of(high, delta) < epsilon:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= epsilon else (low, middle)
    return low if math.isfinite(low) else 0.0


def make_policy(section: PolicySection, federation: FederationSection | None = None) -> Policy:
    """The policy of a checked pod file.

    Args:
        section: its ``policy:``.
        federation: its ``federation:``; None where the pod takes nobody's tasks.
    """
    modeller = None if federation is None else federation.modeller
    return Policy(
        modellers={} if modeller is None else {modeller.name: modeller.public},
        peers={} if federation is None else dict(federation.pinned),
        protocols=_canonical(section.protocols),
        algorithms=_canonical(section.algorithms),
        trials=frozenset(section.trials),
        steps=frozenset(section.steps),
        models=frozenset(section.models),
        leaves=frozenset(section.leaves),
        secure_aggregation=section.secure_aggregation == "required",
        minimum_survivors=section.minimum_survivors,
        cohort_minimum=section.cohort_minimum,
        smallest_cell=section.smallest_cell,
        maximum_weight=section.maximum_weight,
        maximum_rounds=section.maximum_rounds,
        epsilon=section.budgets.epsilon,
        delta=section.budgets.delta,
        inferences=dict(section.budgets.inferences),
        tasks_per_day=section.budgets.tasks_per_day,
    )


def _canonical(names: Iterable[str]) -> frozenset[str]:
    return frozenset(canonical(registry.find(name)) for name in names)
