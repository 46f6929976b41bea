"""A task file with the arguments of its components and the arithmetic of its sum, which `file` cannot see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ehr.files.pod_file import place, read_bytes, read_table
from ehr.files.problems import FileErrors, Mark, Problem, Problems
from ehr.files.yaml_nodes import Table
from federated.algorithms.step_context import parameters_of
from federated.errors import FederatedError, TaskRefused
from federated.task import registry
from federated.task.file import AggregatorSection, TaskFile, UnitSection, check_task
from federated.task.reference_task import translated
from secure_agg import Parameters
from secure_agg.errors import ParameterError
from secure_agg.parameters import DpSpec

# Of the reference, inside an algorithm; what it accepted there and then ignored is refused with what to write.
MODEL_FIELDS = {
    "bitfount_model": 'models are named: write "model: {name: …}"',
    "dp_config": 'noise is added under the mask: write "aggregator: {noise: …, l2_clip: …, delta: …}"',
    "hyperparameters": 'write "model: {name: …, settings: {…}}", and epochs or steps as arguments',
    "logger_config": "nothing is logged elsewhere; leave it out",
    "pretrained_file": 'write the argument "weights: {file: …}" of the algorithm',
}


def check_whole_task(path: Path) -> tuple[TaskFile, tuple[Problem, ...]]:
    """Read a task file and try everything in it that can be tried without a pod.

    Returns:
        The file and the warnings.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    problems = Problems()
    root = _root(path)
    if root is not None:
        _refuse_model_fields(root, problems)
    try:
        task, warnings = check_task(path)
    except FileErrors as error:
        raise FileErrors((*error.problems, *problems.found)) from None
    if root is not None and not problems.failed:
        _try_arguments(task, path.parent, root, problems)
        if task.aggregator is not None and task.aggregator.secure:
            try_sum(task.aggregator, len(task.pods), place(root, ("aggregator",))[0], problems)
    if problems.failed:
        raise FileErrors((*warnings, *problems.found))
    return task, (*warnings, *problems.found)


def _root(path: Path) -> Table | None:
    passed_over = Problems()  # `check_task` says them
    root = read_table(read_bytes(path, "task file"), path.name, passed_over)
    return None if root is None else translated(root, passed_over)


def _refuse_model_fields(root: Table, problems: Problems) -> None:
    for where in _algorithms(root):
        for keys in ((*where, "model"), (*where, "arguments", "model"), where):
            for name, says in MODEL_FIELDS.items():
                mark, node = place(root, (*keys, name))
                if node is not place(root, keys)[1]:
                    problems.error(mark, "TK133", f'"{name}" is refused: {says}.')


def _algorithms(root: Table) -> list[tuple[str | int, ...]]:
    listed = getattr(root.entries.get("algorithms"), "items", [])
    return [("algorithm",), *(("algorithms", number) for number in range(len(listed)))]


def _try_arguments(task: TaskFile, folder: Path, root: Table, problems: Problems) -> None:
    units: list[tuple[tuple[str | int, ...], UnitSection]] = [(("protocol",), task.protocol)]
    if task.algorithm is not None:
        units.append((("algorithm",), task.algorithm))
    units += [(("algorithms", number), unit) for number, unit in enumerate(task.algorithms)]
    for where, section in units:
        try:
            unit = section.unit(folder)
            component: Any = registry.load(registry.resolve(unit.name, unit.arguments))
            parameters_of(component.Parameters, unit)
        except TaskRefused as error:
            problems.error(_argument(root, where, str(error)), "TK125", str(error))
        except FederatedError:
            continue  # `check_task` says it


def _argument(root: Table, where: tuple[str | int, ...], message: str) -> Mark:
    """The place of the argument that a message names, or as near as that can be told."""
    named = re.search(r"(?:no argument '|: )([\w.]+)", message)
    path = named[1].split(".") if named else []
    inner = (
        ("model",) if path[:1] == ["model"] and _has(root, (*where, "model")) else ("arguments", *path[:1])
    )
    return place(root, (*where, *inner, *path[1:]))[0]


def _has(root: Table, path: tuple[str | int, ...]) -> bool:
    return place(root, path)[1] is not place(root, path[:-1])[1]


def try_sum(chosen: AggregatorSection, pods: int, mark: Mark, problems: Problems) -> None:
    """Note it where the words of a masked sum are too narrow for so many pods, clip and noise."""
    try:
        Parameters(
            length=1,
            clip=chosen.clip,
            minimum_survivors=chosen.minimum_survivors,
            mode=chosen.mode,
            bits=chosen.bits,
            l2_clip=chosen.l2_clip,
            dp=_noise(chosen),
        ).encoding(pods, "equal" if chosen.weights == "equal" else "weights_first")
    except ParameterError as error:
        problems.error(mark, "TK126", str(error))


def _noise(chosen: AggregatorSection) -> DpSpec:
    if not chosen.noise:
        return DpSpec()
    return DpSpec("distributed_discrete_gaussian", chosen.noise, chosen.delta, chosen.l2_clip)
