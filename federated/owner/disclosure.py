"""What each name of a task needs of a pod, and which kinds of things leave the pod when it runs.

A name that is not in the tables, such as a plug-in's, needs every permission: nobody here knows what it gives away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from federated.errors import UnknownName
from federated.names import AlgorithmType
from federated.task.registry import RegisteredName, find
from federated.task.spec import TaskSpec, Unit

Leaves = Literal["counts", "updates", "metrics", "model_results", "row_export"]
"""What may leave: numbers of patients; changes of a model; measures of a model; what a model says about single
rows; columns of single rows."""

ALL: frozenset[Leaves] = frozenset(get_args(Leaves))
MODEL_ARGUMENTS = ("model", "model_id", "pretrained_file", "checkpoint_path", "weights")
"""Arguments that name a model or its file."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One algorithm.

    Attributes:
        leaves: kinds of what it gives to a sum, or returns.
        model: whether it runs a model, which the task then must name.
        ehr: whether it reads the pod's EHR.
        data: whether it reads a data source, which the task then must name.
    """

    leaves: frozenset[Leaves] = ALL
    model: bool = False
    ehr: bool = False
    data: bool = False


UNKNOWN = Disclosure()
A = AlgorithmType
_MAY_READ = frozenset({A.EHRPatientQueryAlgorithm.name})
"""What reads a data source where the task names one, and needs none."""


def _kinds(*kinds: Leaves) -> frozenset[Leaves]:
    return frozenset(kinds)


_METRICS = Disclosure(_kinds("metrics"), model=True, data=True)
_TRIAL = Disclosure(_kinds("counts"), ehr=True)
_INFERENCE = Disclosure(_kinds("model_results"), model=True, data=True)
_SQL = Disclosure(_kinds("row_export"), data=True)

DISCLOSURES: Mapping[str, Disclosure] = MappingProxyType(
    {
        A.FederatedModelTraining.name: Disclosure(_kinds("updates", "metrics"), model=True, data=True),
        A.ModelTrainingAndEvaluation.name: _METRICS,
        A.ModelEvaluation.name: _METRICS,
        A.ModelInference.name: _INFERENCE,
        A.HuggingFaceImageClassificationInference.name: _INFERENCE,
        A.HuggingFaceImageSegmentationInference.name: _INFERENCE,
        A.HuggingFacePerplexityEvaluation.name: _INFERENCE,
        A.HuggingFaceTextClassificationInference.name: _INFERENCE,
        A.HuggingFaceTextGenerationInference.name: _INFERENCE,
        A.TIMMInference.name: _INFERENCE,
        A.TIMMFineTuning.name: _METRICS,
        A.TrialInclusionCriteriaMatchAlgorithmJade.name: _TRIAL,
        A.TrialInclusionCriteriaMatchAlgorithmAmethyst.name: _TRIAL,
        A.TrialInclusionCriteriaMatchAlgorithmBronze.name: _TRIAL,
        A.TrialInclusionCriteriaMatchAlgorithmCharcoal.name: _TRIAL,
        A.EHRPatientQueryAlgorithm.name: Disclosure(_kinds(), ehr=True),  # its rows stay in the pod
        A.SqlQuery.name: _SQL,
        A.PrivateSqlQuery.name: _SQL,
    }
)


def canonical(entry: RegisteredName) -> str:
    """The one name under which a policy knows an entry: an alias stands for its target."""
    return entry.alias_of or entry.name


def disclosure(name: str) -> Disclosure:
    """What is known of an algorithm by its canonical name."""
    return DISCLOSURES.get(name, UNKNOWN)


def source_of(spec: TaskSpec, pod: str) -> str:
    """The data source that a task can read in a pod; "" where it reads the EHR alone.

    A name that no algorithm reads by is none: under it a modeller could ask the same people twice, as two sources.
    """
    names = [_canonical_name(unit) for unit in spec.algorithms]
    reads = any(disclosure(name).data or name in _MAY_READ or name not in DISCLOSURES for name in names)
    return (spec.participant(pod).data or "") if reads else ""


def _canonical_name(unit: Unit) -> str:
    try:
        return canonical(find(unit.name))
    except UnknownName:
        return ""


def stays(protocol: str, spec: TaskSpec) -> bool:
    """Whether the protocol keeps every result in the pod, so that nothing leaves.

    Args:
        protocol: canonical name.
        spec: the task.
    """
    where = spec.protocol.arguments.get("save_location")
    return protocol == "ResultsOnly" and spec.aggregation is None and where == ["Worker"]


def models_named(unit: Unit) -> tuple[str, ...] | None:
    """Every model, file and digest that an algorithm's arguments name; None where one cannot be read.

    A model is a name, or a table with ``name`` and digests (keys that end in ``sha256``). Whatever is named must be
    allowed: a name does not vouch for a file, nor a file for a name.
    """
    found: list[str] = []
    for argument in MODEL_ARGUMENTS:
        value = unit.arguments.get(argument)
        if value is None:
            continue
        named = [value] if isinstance(value, str) else _in_table(value)
        if not named:
            return None
        found += named
    return tuple(found)


def _in_table(value: object) -> list[str]:
    if not isinstance(value, Mapping):
        return []
    named = [value[key] for key in value if key == "name" or str(key).endswith("sha256")]
    return named if all(isinstance(each, str) and each for each in named) else []
