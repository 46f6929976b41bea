"""``policy:`` of ``pod.yaml``: what its owner allows. What is not named is not allowed, so an empty one runs nothing.

The checked section is the policy; what it means for a task is in `federated.owner.decide`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ehr.files.settings import Section
from federated.errors import UnknownName
from federated.owner.disclosure import Leaves
from federated.task import registry
from secure_agg.parameters import DEFAULT_MINIMUM_SURVIVORS, HARD_MINIMUM_SURVIVORS

SMALLEST_CELL = 11
LEAST_CELL = 5
MINIMUM_CHANGE = 2
"""Pods by which two cohorts of one modeller over the same data must differ, if they differ."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}")


def or_empty(value: object) -> object:
    """A section whose lines are all comments is YAML's empty value; it stands for an empty table."""
    return {} if value is None or value == "" else value


def digest(text: str) -> str:
    """A SHA-256 as this project compares it: 64 lower case hexadecimal digits.

    Raises:
        ValueError: it is none.
    """
    lower = text.lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(lower):
        raise ValueError("is not a SHA-256: 64 hexadecimal digits")
    return lower


def _model(text: str) -> str:
    bare = text.lower().removeprefix("sha256:")
    if _DIGEST.fullmatch(bare):
        return bare
    if not _MODEL.fullmatch(text):
        raise ValueError("is neither the name of a model nor the SHA-256 of its file")
    return text


def _value_of(kind: registry.Kind) -> AfterValidator:
    """Reads a name of this kind, bare or with its prefix, as it stands in a task."""

    def value(name: str) -> str:
        try:
            entry = registry.find(name)
        except UnknownName as error:
            raise ValueError(str(error).rstrip(".")) from None
        if entry.kind != kind:
            raise ValueError(f"{entry.name} is a name of another kind ({entry.kind})")
        return entry.value

    return AfterValidator(value)


Digest = Annotated[str, AfterValidator(digest)]
ProtocolName = Annotated[str, _value_of("protocol")]
AlgorithmName = Annotated[str, _value_of("algorithm")]
ModelName = Annotated[str, AfterValidator(_model)]


class Budgets(Section):
    """What a task may use up, over all tasks.

    Args:
        epsilon: privacy loss that all tasks of this pod together may cause; a task without noise is then refused.
            None asks for no noise.
        delta: at which it is counted.
        inferences: predictions that each model may make, by model as in ``models``; a model without a number makes
            as many as a task asks for.
        tasks_per_day: tasks that may begin on one calendar day (UTC).
    """

    epsilon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    inferences: dict[ModelName, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    tasks_per_day: int = Field(default=20, ge=0)


def budgets_of_others(budgeted: Iterable[str], models: Iterable[str]) -> str | None:
    """What is wrong with budgets by model, given the models that are allowed; None where they fit together."""
    strange = set(budgeted) - set(models)
    if strange:
        return f'budgets.inferences names {len(strange)} models that are not under "models"'
    return None


class PolicySection(Section):
    """``policy:``: what may run here, with whom, and what may leave.

    Args:
        protocols, algorithms: names that a task may use, as ``trialveil list`` has them.
        trials: digests of the trial files that may be decided here ("trialveil trial lock" prints it).
        steps: SHA-256 of the step documents that may run here.
        models: models that may be trained or used: names of built-in ones, or SHA-256 of their files.
        leaves: see `Leaves`; nothing by default.
        secure_aggregation: ``required``: whatever is added up across pods is masked. ``optional``: the modeller may
            see this pod's own counts, updates and metrics.
        minimum_survivors: fewest pods in a sum that this pod is part of.
        cohort_minimum: fewest pods that a task may invite where something is added up.
        smallest_cell: a count of 1 to one less than this never leaves, not even under a mask.
        maximum_weight: the largest weight that a task may give to one pod.
        maximum_rounds: the most rounds that one task may have.
        budgets: see `Budgets`.
    """

    protocols: tuple[ProtocolName, ...] = ()
    algorithms: tuple[AlgorithmName, ...] = ()
    trials: tuple[Digest, ...] = ()
    steps: tuple[Digest, ...] = ()
    models: tuple[ModelName, ...] = ()
    leaves: tuple[Leaves, ...] = ()
    secure_aggregation: Literal["required", "optional"] = "required"
    minimum_survivors: int = Field(default=DEFAULT_MINIMUM_SURVIVORS, ge=HARD_MINIMUM_SURVIVORS)
    cohort_minimum: int = Field(default=DEFAULT_MINIMUM_SURVIVORS, ge=HARD_MINIMUM_SURVIVORS)
    smallest_cell: int = Field(default=SMALLEST_CELL, ge=LEAST_CELL)
    maximum_weight: float = Field(default=1_000_000, gt=0, allow_inf_nan=False)
    maximum_rounds: int = Field(default=100, ge=1)
    budgets: Annotated[Budgets, BeforeValidator(or_empty)] = Budgets()

    @model_validator(mode="after")
    def _budget_of_known_models(self) -> PolicySection:
        wrong = budgets_of_others(self.budgets.inferences, self.models)
        if wrong is not None:
            raise ValueError(wrong)
        return self
