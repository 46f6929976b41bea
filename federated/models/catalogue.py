"""Which code makes the model that a task names: built in, or brought by a plug-in.

A plug-in is a module with `Settings` (a dataclass, what the task may say) and `model(settings, inputs, counts_in)`,
under an entry point of the group ``trialveil.models``. It cannot take the place of a built-in name.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, ClassVar

from federated.errors import ConfigurationError, MissingExtra, TaskRefused
from federated.models.interface import Amount, Model
from federated.models.selection import Selection
from federated.names import PREFIX

logger = logging.getLogger(__name__)

GROUP = "trialveil.models"


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes a model.

    Attributes:
        module: has ``Settings`` and the function.
        function: takes the settings, the number of inputs and the unit of training; gives a `Model`.
        extra: of this distribution, that has to be installed.
    """

    module: str
    function: str = "model"
    extra: str | None = None


BUILT_IN: Mapping[str, Maker] = MappingProxyType(
    {
        "linear_regression": Maker("federated.models.linear", "linear_regression"),
        "logistic_regression": Maker("federated.models.linear", "logistic_regression"),
        "torch_module": Maker("federated.models.torch_modules", "torch_module", extra="torch"),
    }
)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of a task.

    Args:
        name: see `names`.
        settings: of this kind of model.
        inputs: how many it has; needed where the task chooses columns by a prefix, else counted.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: int | None = None


@cache
def plugins() -> Mapping[str, Maker]:
    """Models of other installed distributions; a name that is taken or brought twice is left out, with a warning."""
    points = entry_points(group=GROUP)
    count = Counter(point.name for point in points)
    usable: dict[str, Maker] = {}
    for point in points:
        if point.name in BUILT_IN or point.name.startswith(PREFIX) or count[point.name] > 1:
            logger.warning("A plug-in brings a name of %s that is taken; it is not used.", GROUP)
        else:
            usable[point.name] = _maker(point)
    return MappingProxyType(usable)


def _maker(point: EntryPoint) -> Maker:
    return Maker(point.module, point.attr or "model")


def names() -> tuple[str, ...]:
    """Every model that a task may name."""
    return (*BUILT_IN, *plugins())


def find(name: str) -> Maker:
    """What makes a model.

    Raises:
        TaskRefused: there is no such name.
    """
    maker = BUILT_IN.get(name) or plugins().get(name)
    if maker is None:
        near = get_close_matches(name, names(), n=1)
        hint = f" The nearest is {near[0]}." if near else f" There are {', '.join(names())}."
        raise TaskRefused("TASK_SETUP_ERROR", f"The task's model has a name that is not known.{hint}")
    return maker


def made(choice: ModelChoice, selection: Selection, counts_in: Amount = "epochs") -> Model:
    """The model of a task as it begins; the same arrays wherever it is made.

    Raises:
        TaskRefused: the name or its settings are wrong, or the number of inputs is not known.
        MissingExtra: a package is not installed.
        ConfigurationError: a plug-in cannot be imported or is no model.
    """
    inputs = _inputs(choice, selection)
    maker = find(choice.name)
    module = _imported(maker)
    settings = _settings(module.Settings, choice)
    try:
        model: Model = getattr(module, maker.function)(settings, inputs, counts_in)
    except ValueError as error:
        raise TaskRefused("TASK_SETUP_ERROR", f"The task's model cannot be made: {error}") from None
    return model


def _inputs(choice: ModelChoice, selection: Selection) -> int:
    if selection.include_prefix is None:
        counted = len(selection.features(selection.inputs(())))
        if choice.inputs not in (None, counted):
            raise _refused(f"inputs is {choice.inputs}; the columns make {counted}")
        if not counted:
            raise _refused("the columns make no input")
        return counted
    if choice.inputs is None or choice.inputs < 1:
        raise _refused("with include_prefix the model must say how many inputs it has")
    return choice.inputs


def _imported(maker: Maker) -> Any:
    try:
        module = import_module(maker.module)
    except ImportError as error:
        if maker.extra is not None:
            raise MissingExtra("This model", maker.extra) from error
        if maker.module.startswith("federated."):
            raise
        raise ConfigurationError("A plug-in's module cannot be imported.") from error
    if missing := [name for name in ("Settings", maker.function) if not hasattr(module, name)]:
        raise ConfigurationError(f"A model's module has no {', '.join(missing)}; expected both.")
    return module


def _settings(kind: type[Any], choice: ModelChoice) -> Any:
    from pydantic import TypeAdapter, ValidationError

    known = set(getattr(kind, "__dataclass_fields__", {}))
    if strange := sorted(set(choice.settings) - known):
        raise _refused(f"it has no setting {strange[0]!r}; it has {', '.join(sorted(known))}")
    try:
        return TypeAdapter(kind).validate_python(dict(choice.settings))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise _refused(f"{where}: {first['msg']}") from None


def _refused(why: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"The task's model: {why}. Nothing was run.")
