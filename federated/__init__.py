"""Pods, modellers, tasks, screening, and the command line.

Names are loaded when they are used, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from federated import types
    from federated.errors import (
        BudgetSpent,
        ConfigurationError,
        FederatedError,
        InvalidArgument,
        MissingExtra,
        PolicyRefused,
        TooFewPods,
        UsageError,
    )
    from federated.modeller.local_task import run_task
    from federated.modeller.task_run import TaskResult
    from federated.screening.run import Decisions, Options, screen, screen_async
    from federated.screening.trial.criteria import Trial
    from federated.screening.trial.load import TrialFileErrors, load_trial

__all__ = [
    "BudgetSpent",
    "ConfigurationError",
    "Decisions",
    "FederatedError",
    "InvalidArgument",
    "MissingExtra",
    "Options",
    "PolicyRefused",
    "TaskResult",
    "TooFewPods",
    "Trial",
    "TrialFileErrors",
    "UsageError",
    "load_trial",
    "run_task",
    "screen",
    "screen_async",
    "types",
]

_MODULES = {
    "BudgetSpent": "federated.errors",
    "ConfigurationError": "federated.errors",
    "Decisions": "federated.screening.run",
    "FederatedError": "federated.errors",
    "InvalidArgument": "federated.errors",
    "MissingExtra": "federated.errors",
    "Options": "federated.screening.run",
    "PolicyRefused": "federated.errors",
    "TaskResult": "federated.modeller.task_run",
    "TooFewPods": "federated.errors",
    "Trial": "federated.screening.trial.criteria",
    "TrialFileErrors": "federated.screening.trial.load",
    "UsageError": "federated.errors",
    "load_trial": "federated.screening.trial.load",
    "run_task": "federated.modeller.local_task",
    "screen": "federated.screening.run",
    "screen_async": "federated.screening.run",
}
_SUBMODULES = {"types"}


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
