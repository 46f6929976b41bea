"""From the text of a trial file to the checked model, or to every mistake in it.

`read_trial` is pure: it is given bytes, and a function for the bytes of other files. `load_trial` and
`check_trial` read from a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from errno import EISDIR
from importlib.resources import files
from pathlib import Path

from ehr.files import yaml_nodes
from ehr.files.problems import FileErrors, Mark, Problem, Problems, quoted, suggestion
from ehr.files.yaml_nodes import Table, Text, Yaml, plain, read_yaml, shape
from federated.screening.trial import merge, valueset_files
from federated.screening.trial.checks import check
from federated.screening.trial.criteria import Parameter, Trial, ValueSet
from federated.screening.trial.head import TOP, read_criteria, read_settings
from federated.screening.trial.lock import digest
from federated.screening.trial.merge import LinkRefused, Sources
from federated.screening.trial.nodes import Spot, read_node
from federated.screening.trial.scalars import BOOLEAN, PROSE, ReaderContext, number, unknown_keys
from federated.screening.trial.valuesets import read_value_set

Overrides = Mapping[str, str | int | float]
_NAME = re.compile(r"[a-z][A-Za-z0-9_-]*(\.[a-z][A-Za-z0-9_-]*)*\Z")


class TrialFileErrors(FileErrors):
    """A trial file, or a file it uses, has mistakes; all of them are listed."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a file gave.

    Args:
        trial: the model, or None where there is an error.
        problems: errors and warnings, sorted by place.
    """

    trial: Trial | None
    problems: tuple[Problem, ...]

    def require(self) -> Trial:
        """The trial.

        Raises:
            TrialFileErrors: the file has mistakes; all of them, and the warnings.
        """
        if self.trial is None:
            raise TrialFileErrors(self.problems)
        return self.trial


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)


def packaged(name: str) -> bytes | None:
    """A trial that is part of this package (the colours), by its id; None where there is none."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
        return None
    folder = files("federated") / "trials" / "colours"
    for candidate in (name, name.rpartition("-")[2]):
        with suppress(OSError):
            return folder.joinpath(f"{candidate}.yaml").read_bytes()
    return None


ALONE = Sources(_no_file, packaged)
"""No other files but the packaged ones."""


def read_trial(
    data: bytes | str, file: str = "trial.yaml", sources: Sources = ALONE, overrides: Overrides | None = None
) -> Checked:
    """Read and check a trial file.

    Args:
        data: the text, UTF-8.
        file: its name for messages.
        sources: where used, imported and parent files come from.
        overrides: a site's values for parameters that allow it.

    Returns:
        The trial, or None, and every problem.
    """
    problems = Problems()
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    root = read_yaml(raw, file, problems)
    trial = None
    if root is not None and not isinstance(root, Table):
        problems.error(root.mark, "TV106", f"a trial file is a table of keys; found {shape(root)}.")
    elif isinstance(root, Table):
        trial = _read(root, ReaderContext(problems), sources, overrides or {})
    found = tuple(sorted(set(problems.found)))
    if trial is None or problems.failed:
        return Checked(None, found)
    return Checked(replace(trial, warnings=found), found)


def _read(root: Table, reading: ReaderContext, sources: Sources, overrides: Overrides) -> Trial | None:
    unknown_keys(root, reading, "a trial file", TOP)
    own = frozenset(
        (kind, name)
        for kind, key in (("value set", "value_sets"), ("parameter", "parameters"), ("criterion", "criteria"))
        for name in _table(root, key, reading).keys
    )
    table = merge.upgraded(root, reading.problems)
    if table is None:
        return None
    table = merge.with_used(merge.with_parent(table, reading, sources), reading, sources)
    table = _overridden(table, reading, overrides)
    reading.parameters = dict(_parameters(table, reading, overrides))
    reading.sets = dict(_value_sets(table, reading, sources))
    reading.named = dict(_table(table, "criteria", reading).entries)
    settings = read_settings(table, reading)
    reading.grain = settings.get("grain", "patient")
    sides = read_criteria(table, reading)
    _read_unused(reading)
    locked = "digest" in root.keys
    if not locked:
        _warn_unused(own, table, reading)
    if sides is None or reading.problems.failed:
        check(None, sides or ((), ()), settings, reading, table)
        return None
    trial = Trial(
        inclusion=sides[0],
        exclusion=sides[1],
        parameters=reading.parameters,
        value_sets={name: found for name, found in reading.sets.items() if found is not _REFUSED},
        merged=plain(table),
        **settings,
    )
    check(trial, sides, settings, reading, table)
    if locked and not overrides:
        _same_digest(trial, root, reading)
    return trial


_REFUSED = ValueSet("")


def _table(root: Table, key: str, reading: ReaderContext) -> Table:
    node = root.entries.get(key)
    if isinstance(node, Table):
        return node
    if node is not None and not isinstance(node, yaml_nodes.Hole):
        problem = Problem(*node.mark, "TV106", f'"{key}" is a table of names; found {shape(node)}.')
        if problem not in reading.problems.found:
            reading.problems.found.append(problem)
    return Table({}, {}, root.mark)


def _named(table: Table, what: str, reading: ReaderContext) -> Iterator[tuple[str, Yaml]]:
    for name, node in table.entries.items():
        if _NAME.match(name) and len(name) <= 200:
            yield name, node
        else:
            message = (
                f"{quoted(name)} is no name for a {what}: small letter first, then letters, digits, _ or -."
            )
            reading.bad(table.keys[name], "TV165", message)


def _overridden(table: Table, reading: ReaderContext, overrides: Overrides) -> Table:
    part = _table(table, "parameters", reading)
    for name, value in overrides.items():
        node = part.entries.get(name)
        mark = part.keys.get(name, Mark(table.mark.file, 1))
        if not isinstance(node, Table):
            hint = suggestion(name, part.keys)
            reading.bad(mark, "TV176", f"parameter {quoted(name)} is set, but not defined here.{hint}")
            continue
        site, old = node.entries.get("site"), node.entries.get("value")
        if not isinstance(site, Text) or site.value != "true":
            message = f'parameter {quoted(name)} is not for the site to set; it has no "site: true".'
            reading.bad(mark, "TV176", message)
        elif isinstance(old, Text) and number(old.value) is not None and number(str(value)) is None:
            reading.bad(mark, "TV176", f"parameter {quoted(name)} is a number; the site's value is not one.")
        else:
            node.entries["value"] = Text(str(value), old.mark if old else node.mark)
    return table


def _parameters(root: Table, reading: ReaderContext, overrides: Overrides) -> Iterator[tuple[str, Parameter]]:
    for name, node in _named(_table(root, "parameters", reading), "parameter", reading):
        if not isinstance(node, Table):
            message = f"parameter {quoted(name)} is {{value: ..., text: ...}}; found {shape(node)}."
            reading.bad(node, "TV106", message)
            continue
        keys = ("value", "unit", "text", "site")
        unknown_keys(node, reading, f"parameter {quoted(name)}", keys, needed=("value", "text"))
        read = {key: PROSE.read(node.entries[key], reading, key) for key in ("value", "unit", "text")
                if key in node.entries}  # fmt: skip
        site = BOOLEAN.read(node.entries["site"], reading, "site") if "site" in node.entries else False
        texts = {key: found for key, found in read.items() if isinstance(found, str)}
        made = Parameter(name, "0", "")
        if value := texts.get("value"):
            text, unit = texts.get("text", ""), texts.get("unit")
            made = Parameter(name, value, text, unit, site is True, name in overrides)
        yield name, made


def _value_sets(root: Table, reading: ReaderContext, sources: Sources) -> Iterator[tuple[str, ValueSet]]:
    def fetch(node: Text) -> bytes | None:
        return merge.fetch(node, reading, sources)

    for name, node in _named(_table(root, "value_sets", reading), "value set", reading):
        # A set with mistakes stays known, so that its uses are not reported as well.
        yield name, read_value_set(name, node, reading, fetch) or _REFUSED


def _read_unused(reading: ReaderContext) -> None:
    """Read the named criteria that nothing refers to, for their mistakes."""
    for name, node in reading.named.items():
        if ("criterion", name) not in reading.used:
            read_node(node, reading, Spot(name, node.mark, name))
            reading.used.discard(("criterion", name))


def _warn_unused(own: frozenset[tuple[str, str]], table: Table, reading: ReaderContext) -> None:
    keys = {"value set": "value_sets", "parameter": "parameters", "criterion": "criteria"}
    for kind, name in sorted(own - reading.used):
        mark = _table(table, keys[kind], reading).keys.get(name)
        if mark is not None:
            reading.problems.warn(mark, "TV126", f"{kind} {quoted(name)} is not used.")


def _same_digest(trial: Trial, root: Table, reading: ReaderContext) -> None:
    node = root.entries.get("digest")
    if isinstance(node, Text) and node.value.strip() != digest(trial):
        message = "this locked file was changed after it was locked: its digest is another. Lock it again."
        reading.bad(node, "TV180", message)


def load_trial(path: str | Path, *, overrides: Overrides | None = None) -> Trial:
    """Read a trial file and the files it names.

    Raises:
        TrialFileErrors: it, or a file it uses, has mistakes; all of them.
        OSError: the file itself cannot be read.
    """
    return check_trial(path, overrides=overrides).require()


def check_trial(path: str | Path, *, overrides: Overrides | None = None) -> Checked:
    """The same, with warnings and without raising for mistakes.

    Raises:
        OSError: the file itself cannot be read.
    """
    place = Path(path)
    data = _bounded(place, yaml_nodes.MAX_BYTES)
    return read_trial(data, place.name, in_folder(place.parent), overrides)


def in_folder(folder: Path) -> Sources:
    """The files in and under a folder; links are refused."""

    def read(relative: str) -> bytes:
        if not merge.safe_path(relative):
            raise LinkRefused
        step = folder
        for part in relative.split("/"):
            step = step / part
            if step.is_symlink():
                raise LinkRefused
        if not step.is_file():
            raise FileNotFoundError(relative)
        return _bounded(step, valueset_files.MAX_BYTES)

    return Sources(read, packaged)


def _bounded(path: Path, limit: int) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        raise IsADirectoryError(EISDIR, "not a plain file")
    with path.open("rb") as stream:
        return stream.read(limit + 1)
