"""A task file, read whole: every mistake in it and in what it names is found in one run, without a pod.

Each part is tried by itself, so that a mistake in one hides none in another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from ehr.errors import ConfigurationError as EHRConfigurationError
from ehr.files.pod_file import inside, part, place, read_bytes, validated
from ehr.files.problems import FileErrors, Mark, Problem, Problems
from ehr.files.settings import Secret
from ehr.files.yaml_nodes import Items, Table, Text, plain, read_yaml
from federated.aggregators.round_terms import COHORT_LIMIT, noise_of
from federated.algorithms.step_context import wrong_parameters
from federated.errors import (
    ConfigurationError,
    FederatedError,
    MissingExtra,
    NameWaits,
    UnknownName,
)
from federated.protocols.step_document import read_steps
from federated.task import registry
from federated.task.file import (
    AggregatorSection,
    Arguments,
    DocumentSection,
    PodSection,
    Seconds,
    TaskFile,
    UnitSection,
    make_spec,
    read_document,
    which_sections,
)
from federated.task.identity_file import read_identity
from federated.task.reference_task import translated
from federated.task.spec import (
    FORMAT,
    LONGEST_LIFE,
    Participant,
    TaskSpec,
    Unit,
    broken_rules,
    moment,
)
from secure_agg import Parameters
from secure_agg.errors import ParameterError

# Of the reference, inside an algorithm; what it accepted there and then ignored is refused with what to write.
MODEL_FIELDS = {
    "bitfount_model": 'models are named: write "model: {name: …}"',
    "dp_config": 'noise is added under the mask: write "aggregator: {noise: …, l2_clip: …, delta: …}"',
    "hyperparameters": 'write "model: {name: …, settings: {…}}", and epochs or steps as arguments',
    "logger_config": "nothing is logged elsewhere; leave it out",
    "pretrained_file": 'write the argument "weights: {file: …}" of the algorithm',
}


Keys = tuple[str | int, ...]
Try = Callable[[Table, Path, Problems], object]


def load_task(path: Path) -> TaskFile:
    """A task file.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: it cannot be read.
    """
    return check_task(path)[0]


def check_task(path: Path) -> tuple[TaskFile, tuple[Problem, ...]]:
    """Read a task file and try what it names: components, keys, documents, and whether the numbers fit together.

    Returns:
        The file and the warnings.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    return _checked(path, _try_names, _public_key, _try_documents, _try_numbers)


def check_whole_task(path: Path) -> tuple[TaskFile, tuple[Problem, ...]]:
    """`check_task`, with the arguments of the components and the arithmetic of the sum.

    Returns:
        The file and the warnings.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    return _checked(
        path,
        _refuse_model_fields,
        _try_names,
        _public_key,
        _try_documents,
        _try_numbers,
        _try_arguments,
        _try_width,
    )


def _checked(path: Path, *tries: Try) -> tuple[TaskFile, tuple[Problem, ...]]:
    problems = Problems()
    read = read_yaml(read_bytes(path, "task file"), path.name, problems)
    if not isinstance(read, Table):
        if read is not None:
            problems.error(read.mark, "TK100", "the file is a table of sections; found something else.")
        raise FileErrors(problems.found)
    root = translated(read, problems)
    task = validated(root, problems, TaskFile)
    for attempt in tries:
        attempt(root, path.parent, problems)
    if task is None:
        _judge_sections(root, problems)
    if task is None or problems.failed:
        raise FileErrors(problems.found)
    _try_whole(task, root, path.parent, problems)
    return task, tuple(problems.found)


def _judge_sections(root: Table, problems: Problems) -> None:
    """Which sections there are is judged with the whole file, and by itself where a section is wrong."""
    documents = inside(root, ("documents",))
    given = [name for name, node in root.entries.items() if plain(node)]
    wrong = which_sections(given, documents.entries if isinstance(documents, Table) else ())
    if wrong is not None:
        problems.error(root.mark, "PV110", f"the file: {wrong}.")


def _try_whole(task: TaskFile, root: Table, folder: Path, problems: Problems) -> None:
    try:
        make_spec(task, folder, _NOW, "0" * 32, bytes(32).hex())
    except FederatedError as error:
        problems.error(root.mark, "TK123", str(error))
        raise FileErrors(problems.found) from None


_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _units(root: Table) -> list[tuple[str, Keys]]:
    """Protocol and algorithms of a file: what kind each must be, and its place."""
    listed = inside(root, ("algorithms",))
    count = len(listed.items) if isinstance(listed, Items) else 0
    every: list[tuple[str, Keys]] = [("protocol", ("protocol",)), ("algorithm", ("algorithm",))]
    every += [("algorithm", ("algorithms", number)) for number in range(count)]
    return [one for one in every if inside(root, one[1]) is not None]


def _named(root: Table, where: Keys) -> Text | None:
    """The name of a protocol or an algorithm, with its place."""
    node = inside(root, where)
    named = node.entries.get("name") if isinstance(node, Table) else node
    return named if isinstance(named, Text) else None


def _try_names(root: Table, folder: Path, problems: Problems) -> None:
    for kind, where in _units(root):
        name = _named(root, where)
        if name is None:
            continue  # said already
        try:
            entry = registry.find(name.value)
            if entry.kind != kind:
                problems.error(name.mark, "TK120", f"{entry.name} is an {entry.kind}; expected a {kind}.")
                continue
            registry.load(registry.resolve(name.value, part(root, Arguments, *where, "arguments") or {}))
        except (UnknownName, NameWaits, MissingExtra, ConfigurationError) as error:
            problems.error(name.mark, "TK120", str(error))
            continue
        section: UnitSection | None = part(root, UnitSection, *where)
        try:
            if section is not None:
                section.unit(folder)
        except ConfigurationError as error:
            problems.error(place(root, (*where, "arguments", "weights", "file"))[0], "TK123", str(error))


def _public_key(root: Table, folder: Path, problems: Problems) -> str | None:
    """The modeller's public key; None where it cannot be read."""
    secret = part(root, Secret, "modeller", "key")
    if secret is None:
        return None
    try:
        return read_identity(secret, folder, "modeller.key").public.hex()
    except (EHRConfigurationError, FederatedError) as error:
        problems.error(place(root, ("modeller", "key"))[0], "TK121", str(error))
    return None


def _try_documents(root: Table, folder: Path, problems: Problems) -> None:
    trial, listed = part(root, str, "trial"), inside(root, ("documents",))
    named: list[tuple[Keys, DocumentSection | None]] = []
    if trial:
        named.append((("trial",), DocumentSection(kind="trial", file=trial)))
    for name in listed.entries if isinstance(listed, Table) else ():
        named.append((("documents", name), part(root, DocumentSection, "documents", name)))
    for where, one in named:
        try:
            if one is not None:
                made = read_document(one, folder)
                if one.kind == "steps":
                    read_steps(made.text.encode(), one.file)
        except FileErrors as error:
            problems.found.extend(error.problems)
        except (EHRConfigurationError, FederatedError) as error:
            problems.error(place(root, where)[0], "TK122", str(error))


_PLACES = {"participants": "pods", "aggregation": "aggregator", "expires": "valid_for"}
"""What a field of the signed task is called in the file."""


def _try_numbers(root: Table, folder: Path, problems: Problems) -> None:
    """Whether the numbers fit together; what is wrong by itself has a stand-in that breaks no rule."""
    spec = _with_stand_ins(root, _public_key(root, folder, Problems()))
    for field, refusal in broken_rules(spec):
        path = [_PLACES.get(key, key) for key in field.split(".")]
        problems.error(place(root, path)[0], "TK123", str(refusal))
    pods = _pods_named(root)
    if spec.aggregation is not None and spec.secure and pods:
        needed = max(spec.aggregation.minimum_survivors, 2 * pods // 3 + 1)
        if spec.quorum < needed:
            mark = place(root, ("quorum",) if "quorum" in root.entries else ("aggregator",))[0]
            message = f"with {pods} pods a masked sum needs {needed} that answer; quorum is {spec.quorum}."
            problems.warn(mark, "TK124", message)


def _with_stand_ins(root: Table, modeller_key: str | None) -> TaskSpec:
    count = _pods_named(root) or COHORT_LIMIT
    pods = [_pod(part(root, PodSection, "pods", number), number) for number in range(count)]
    section: AggregatorSection | None = part(root, AggregatorSection, "aggregator")
    aggregation = None if section is None else section.aggregation()
    least = 1 if aggregation is None else min(aggregation.minimum_survivors, count)
    life = min(part(root, Seconds, "valid_for") or 1.0, LONGEST_LIFE.total_seconds() + 1)
    return TaskSpec(
        format=FORMAT,
        name="stand-in",
        nonce="0" * 32,
        created=moment(_NOW),
        expires=moment(_NOW + timedelta(seconds=max(life, 1.0))),
        modeller=Participant(name="modeller", key=modeller_key or "f" * 64),
        participants=tuple(sorted(pods, key=lambda pod: pod.name)),
        protocol=Unit(name="stand-in"),
        algorithms=(Unit(name="stand-in"),),
        aggregation=aggregation,
        quorum=part(root, PositiveInt, "quorum") or least,
        cohort_minimum=part(root, PositiveInt, "cohort_minimum") or 1,
    )


def _pods_named(root: Table) -> int:
    listed = inside(root, ("pods",))
    return len(listed.items) if isinstance(listed, Items) else 0


def _pod(section: PodSection | None, number: int) -> Participant:
    if section is None:
        return Participant(name=f"stand-in-{number}", key="f" * 32 + f"{number:032x}")
    return Participant(name=section.name, key=section.key)


def _try_width(root: Table, folder: Path, problems: Problems) -> None:
    chosen: AggregatorSection | None = part(root, AggregatorSection, "aggregator")
    pods, broken = _pods_named(root), any(problem.code == "TK123" for problem in problems.found)
    if chosen is not None and chosen.secure and pods and not broken:
        try_sum(chosen, pods, place(root, ("aggregator",))[0], problems)


def _refuse_model_fields(root: Table, folder: Path, problems: Problems) -> None:
    for _, where in _units(root):
        for keys in ((*where, "model"), (*where, "arguments", "model"), where):
            for name, says in MODEL_FIELDS.items():
                mark, node = place(root, (*keys, name))
                if node is not place(root, keys)[1]:
                    problems.error(mark, "TK133", f'"{name}" is refused: {says}.')


def _try_arguments(root: Table, folder: Path, problems: Problems) -> None:
    for _, where in _units(root):
        section: UnitSection | None = part(root, UnitSection, *where)
        if section is None or _names_a_model_field(root, where):
            continue  # said already
        try:
            unit = section.unit(folder)
            component: Any = registry.load(registry.resolve(unit.name, unit.arguments))
        except FederatedError:
            continue  # said already
        for message in wrong_parameters(component.Parameters, unit):
            problems.error(_argument(root, where, message), "TK125", message)


def _names_a_model_field(root: Table, where: Keys) -> bool:
    held = (inside(root, (*where, *keys)) for keys in (("model",), ("arguments", "model"), ()))
    return any(set(node.entries) & set(MODEL_FIELDS) for node in held if isinstance(node, Table))


def _argument(root: Table, where: Keys, message: str) -> Mark:
    """The place of the argument that a message names, or as near as that can be told."""
    named = re.search(r"(?:no argument '|: )([\w.]+)", message)
    path = named[1].split(".") if named else []
    inner = (
        ("model",) if path[:1] == ["model"] and _has(root, (*where, "model")) else ("arguments", *path[:1])
    )
    return place(root, (*where, *inner, *path[1:]))[0]


def _has(root: Table, path: Keys) -> bool:
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
            dp=noise_of(chosen.aggregation()),
        ).encoding(pods, "equal" if chosen.weights == "equal" else "weights_first")
    except ParameterError as error:
        problems.error(mark, "TK126", str(error))
