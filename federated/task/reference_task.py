"""The reference's field names of a task file: each is honoured as one of ours, or refused with what to write instead.

Nothing is accepted and then ignored. The names are those of ``federated-core`` 2.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehr.files.problems import Mark, Problems
from ehr.files.yaml_nodes import Table, Text, Yaml


@dataclass(frozen=True, slots=True)
class ReferenceField:
    """One field of the reference.

    Attributes:
        path: keys from the top, with dots.
        honoured: where it stands in our form; "" where it is refused.
        says: what was understood, or why it is refused and what to write instead.
        harmless: a value (as text) with which it asks for nothing, so that it may stay.
    """

    path: str
    honoured: str
    says: str
    harmless: str | None = None


FIELDS: tuple[ReferenceField, ...] = (
    ReferenceField("task.protocol", "protocol", 'read as "protocol"'),
    ReferenceField("task.algorithm", "algorithm", 'read as "algorithm"'),
    ReferenceField("task.aggregator", "aggregator", 'read as "aggregator"'),
    ReferenceField("project_id", "project", 'read as "project"'),
    ReferenceField("modeller.username", "modeller.name", 'read as "modeller.name"'),
    ReferenceField("modeller.private_key_file", "modeller.key.file", 'read as "modeller.key: {file: …}"'),
    ReferenceField(
        "pods.identifiers", "", 'a pod is pinned by its key: write "pods: [{name: …, key: …, data: …}]"'
    ),
    ReferenceField(
        "modeller.identity_verification_method",
        "",
        "a modeller is known by its Ed25519 key alone",
        "key-based",
    ),
    ReferenceField(
        "secrets",
        "",
        'a secret never stands in a file: "modeller.key" names a file or an environment variable',
    ),
    ReferenceField("hub", "", "there is no hub: keys are pinned in the files of task and pod"),
    ReferenceField("message_service", "", 'there is no message service: pods dial "modeller.listen"'),
    ReferenceField("version", "", "a task has no version of its own; leave it out"),
    ReferenceField(
        "run_on_new_data_only", "", "every run reads all rows of the split; leave it out", "false"
    ),
    ReferenceField(
        "batched_execution", "", "rows are read as the algorithm needs them; leave it out", "false"
    ),
    ReferenceField("test_run", "", "there are no test runs; try the task on synthetic data", "false"),
    ReferenceField("force_rerun_failed_files", "", "files are not read by this release", "true"),
    ReferenceField("enable_anonymized_tracker_upload", "", "nothing is uploaded anywhere", "false"),
    ReferenceField("template", "", "there are no templates: write the values"),
    ReferenceField("task.data_structure", "", 'write it as the argument "data" of the algorithm'),
    ReferenceField("task.transformation_file", "", "transformations are not part of this release"),
    ReferenceField("task.primary_results_path", "", 'results lie in the folder given with "--out"'),
)
"""In the order in which they are looked for."""


def translated(root: Table, problems: Problems) -> Table:
    """A task file in our form; what was understood of the reference's fields is noted as warnings."""
    for field in FIELDS:
        node, holder, key = _at(root, field.path.split("."))
        if node is None or holder is None:
            continue
        mark = holder.keys[key]
        harmless = (
            isinstance(node, Text) and field.harmless is not None and node.value.lower() == field.harmless
        )
        if field.honoured:
            problems.warn(mark, "TK130", f'"{field.path}" is {field.says}.')
            root = _moved(root, field.path.split("."), field.honoured.split("."), node)
        elif harmless:
            problems.warn(mark, "TK131", f'"{field.path}" asks for nothing here: {field.says}.')
            root = _without(root, field.path.split("."))
        else:
            problems.error(mark, "TK132", f'"{field.path}" is refused: {field.says}.')
            root = _without(root, field.path.split("."))
    return _without(root, ["task"]) if _empty(root, "task") else root


def _at(root: Table, path: list[str]) -> tuple[Yaml | None, Table | None, str]:
    node: Yaml = root
    holder: Table | None = None
    for part in path:
        if not isinstance(node, Table) or part not in node.entries:
            return None, None, ""
        holder, node = node, node.entries[part]
    return node, holder, path[-1]


def _without(root: Table, path: list[str]) -> Table:
    key, *rest = path
    entries = dict(root.entries)
    inner = entries.get(key)
    if rest and isinstance(inner, Table):
        entries[key] = _without(inner, rest)
    else:
        entries.pop(key, None)
    return Table(entries, root.keys, root.mark)


def _moved(root: Table, old: list[str], new: list[str], node: Yaml) -> Table:
    mark = (_at(root, old)[1] or root).keys[old[-1]]
    return _with(_without(root, old), new, node, mark)


def _with(root: Table, path: list[str], node: Yaml, mark: Mark) -> Table:
    key, *rest = path
    entries, keys = dict(root.entries), dict(root.keys)
    inner = entries.get(key)
    if rest:
        table = inner if isinstance(inner, Table) else Table({}, {}, root.mark)
        entries[key] = _with(table, rest, node, mark)
    else:
        entries[key] = node
    keys.setdefault(key, mark)
    return Table(entries, keys, root.mark)


def _empty(root: Table, key: str) -> bool:
    inner = root.entries.get(key)
    return isinstance(inner, Table) and not inner.entries


def typed(node: object) -> object:
    """Scalars of free arguments as JSON has them: numbers, true, false and null; everything else stays text."""
    if isinstance(node, dict):
        return {name: typed(part) for name, part in node.items()}
    if isinstance(node, list | tuple):
        return [typed(part) for part in node]
    return _scalar(node) if isinstance(node, str) else node


# As JSON writes numbers; "010", "1_0" and "nan" stay text.
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None, "~": None, "": None}


def _scalar(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)
