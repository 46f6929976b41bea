"""Pods, modellers, tasks, screening, and the command line.

Names are loaded when they are used, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from federated import types
    from federated.errors import FederatedError
    from federated.local import Decisions, Options, screen, screen_async
    from federated.local_task import run_task
    from federated.screening.criteria import Trial
    from federated.screening.load import TrialFileErrors, load_trial
    from federated.task_run import TaskResult

__all__ = [
    "Decisions",
    "FederatedError",
    "Options",
    "TaskResult",
    "Trial",
    "TrialFileErrors",
    "load_trial",
    "run_task",
    "screen",
    "screen_async",
    "types",
]

_MODULES = {
    "Decisions": "federated.local",
    "FederatedError": "federated.errors",
    "Options": "federated.local",
    "TaskResult": "federated.task_run",
    "Trial": "federated.screening.criteria",
    "TrialFileErrors": "federated.screening.load",
    "load_trial": "federated.screening.load",
    "run_task": "federated.local_task",
    "screen": "federated.local",
    "screen_async": "federated.local",
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
