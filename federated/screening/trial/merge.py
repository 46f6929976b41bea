"""Putting files together: parents (``extends``), used files (``use``) and older formats become one table.

All of it happens on the read nodes, so every message still names the file and line in which a thing is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ehr.files.problems import Mark, Problems, quoted, suggestion
from ehr.files.yaml_nodes import Items, Table, Text, Yaml, read_yaml, shape
from federated.screening.trial.scalars import PARAMETER, ReaderContext, unknown_keys

FORMAT = 1
MAX_USE_DEPTH = 3
LIBRARY_KEYS = ("trialveil", "use", "parameters", "value_sets", "criteria")
_SHARED = ("parameters", "value_sets", "criteria")
_SET_KEYS = ("in", "type", "component", "discharge", "code_in")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*\Z")
_STEM = re.compile(r"[a-z][a-z0-9_-]*\Z")


class LinkRefused(ValueError):
    """A file that a trial names is a link, or lies outside the trial's folder."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where other files come from.

    Args:
        read: gives the bytes of a file by its path relative to the trial's folder; raises `FileNotFoundError`,
            or `LinkRefused`.
        parent: gives the packaged trial of an id, or None.
    """

    read: Callable[[str], bytes]
    parent: Callable[[str], bytes | None]


def safe_path(text: str) -> bool:
    """Whether a path stays in its folder by its spelling alone: relative, no ``..``, no backslash, no hidden part."""
    parts = text.split("/")
    return len(text) <= 200 and all(_SEGMENT.match(part) and not part.startswith(".") for part in parts)


def fetch(node: Text, reading: ReaderContext, sources: Sources) -> bytes | None:
    """The bytes of the file that a text names; None after noting why not."""
    path = node.value.strip()
    if not safe_path(path):
        message = (
            f'{quoted(path)} is not a file in or under this folder; ".." and absolute paths are refused.'
        )
        reading.bad(node, "TV170", message)
        return None
    try:
        return sources.read(path)
    except LinkRefused:
        reading.bad(node, "TV170", f"{quoted(path)} is a link or leaves the folder; links are refused.")
    except (OSError, ValueError):
        reading.bad(node, "TV171", f"file {quoted(path)} cannot be read.")
    return None


def upgraded(root: Table, problems: Problems) -> Table | None:
    """The table in today's format; None where it is no trial file or a newer one."""
    node = root.entries.get("trialveil")
    if not isinstance(node, Text) or not re.fullmatch(r"\d{1,6}", node.value.strip()):
        message = 'a trial file says its format: "trialveil: 1".'
        problems.error(root.mark if node is None else node.mark, "TV104", message)
        return None
    version = int(node.value)
    if version > FORMAT:
        message = f"this is format {version}; this release reads up to {FORMAT}. Use a newer release."
        problems.error(node.mark, "TV109", message)
        return None
    return _from_0(root) if version == 0 else root


def _from_0(root: Table) -> Table:
    """Format 0 wrote a measurement as keys of its criterion, and ``on_unknown`` for ``if_unknown``."""
    entries = dict(root.entries)
    entries["trialveil"] = Text(str(FORMAT), root.entries["trialveil"].mark)
    for side in ("inclusion", "exclusion"):
        part = entries.get(side)
        if isinstance(part, Items):
            entries[side] = replace(part, items=[_criterion_from_0(item) for item in part.items])
    return replace(root, entries=entries)


_OF_MEASUREMENT = {"metric": "metric", "unit": "unit", "eyes": "eye", "within": "within"}


def _criterion_from_0(node: Yaml) -> Yaml:
    if not isinstance(node, Table):
        return node
    entries, keys = dict(node.entries), dict(node.keys)
    if "on_unknown" in keys:
        keys["if_unknown"] = keys.pop("on_unknown")
        if "on_unknown" in entries:
            entries["if_unknown"] = entries.pop("on_unknown")
    if "metric" not in keys or "where" in keys:
        return replace(node, entries=entries, keys=keys)
    inner = Table({}, {}, keys["metric"])
    for old, new in _OF_MEASUREMENT.items():
        if old in keys:
            inner.keys[new] = keys.pop(old)
            if old in entries:
                inner.entries[new] = entries.pop(old)
    op, value = entries.pop("op", None), entries.pop("value", None)
    place = keys.pop("op", keys.pop("value", inner.mark))
    keys.pop("value", None)
    if isinstance(op, Text) and isinstance(value, Text):
        operator = {"==": "="}.get(op.value, op.value)
        inner.entries["is"], inner.keys["is"] = Text(f"{operator} {value.value}", value.mark), place
    elif value is not None:
        inner.entries["is"], inner.keys["is"] = (
            Table({"between": value}, {"between": place}, value.mark),
            place,
        )
    where = Table({"measurement": inner}, {"measurement": inner.mark}, inner.mark)
    return replace(node, entries={**entries, "where": where}, keys={**keys, "where": inner.mark})


def with_parent(root: Table, reading: ReaderContext, sources: Sources, seen: tuple[str, ...] = ()) -> Table:
    """The table with its packaged parent's keys put in; the file's own win."""
    node = root.entries.get("extends")
    if node is None:
        if "drop" in root.keys:
            reading.bad(root.keys["drop"], "TV179", '"drop" is for files with "extends".')
        return root
    name = node.value.strip() if isinstance(node, Text) else ""
    data = sources.parent(name) if name and name not in seen and len(seen) < MAX_USE_DEPTH else None
    if data is None:
        reading.bad(
            node, "TV178", f"{quoted(name) if name else shape(node)} is not a packaged trial to extend."
        )
        return root
    parent = read_yaml(data, f"{name}.yaml", reading.problems)
    table = upgraded(parent, reading.problems) if isinstance(parent, Table) else None
    if table is None:
        return root
    return _extended(with_parent(table, reading, sources, (*seen, name)), root, reading)


def _extended(parent: Table, child: Table, reading: ReaderContext) -> Table:
    entries, keys = {**parent.entries, **child.entries}, {**parent.keys, **child.keys}
    for key in _SHARED:
        one, other = parent.entries.get(key), child.entries.get(key)
        if isinstance(one, Table) and isinstance(other, Table):
            entries[key] = Table({**one.entries, **other.entries}, {**one.keys, **other.keys}, other.mark)
    for side in ("inclusion", "exclusion"):
        entries_of = _replaced(parent.entries.get(side), child, side)
        if entries_of is not None:
            entries[side] = entries_of
            keys.setdefault(side, entries_of.mark)
    _drop(entries, keys, child.entries.get("drop"), reading)
    entries.pop("extends", None)
    keys.pop("extends", None)
    return Table(entries, keys, child.mark)


def _ids(part: Yaml | None) -> dict[str, Yaml]:
    found = {}
    for item in part.items if isinstance(part, Items) else []:
        node = item.entries.get("id") if isinstance(item, Table) else None
        if isinstance(node, Text):
            found[node.value.strip()] = item
    return found


def _replaced(parent: Yaml | None, child: Table, side: str) -> Items | None:
    own = child.entries.get(side)
    if own is not None and not isinstance(own, Items):
        return None
    new = _ids(own)
    everywhere = _ids(child.entries.get("inclusion")) | _ids(child.entries.get("exclusion"))
    kept: list[Yaml] = []
    for item in parent.items if isinstance(parent, Items) else []:
        node = item.entries.get("id") if isinstance(item, Table) else None
        name = node.value.strip() if isinstance(node, Text) else ""
        if name in new:
            kept.append(new.pop(name))
        elif name not in everywhere:
            kept.append(item)
    rest = [item for item in (own.items if own else []) if not any(item is old for old in kept)]
    mark = own.mark if own else parent.mark if parent is not None else child.mark
    return Items(kept + rest, mark) if kept or rest or own else None


def _drop(entries: dict[str, Yaml], keys: dict[str, Mark], node: Yaml | None, reading: ReaderContext) -> None:
    entries.pop("drop", None)
    keys.pop("drop", None)
    known = _ids(entries.get("inclusion")) | _ids(entries.get("exclusion"))
    dropped = []
    for item in node.items if isinstance(node, Items) else [] if node is None else [node]:
        name = item.value.strip() if isinstance(item, Text) else ""
        if name not in known:
            shown = quoted(name) if name else shape(item)
            reading.bad(item, "TV179", f"{shown} is no criterion of the parent.{suggestion(name, known)}")
        dropped.append(known.get(name))
    for side in ("inclusion", "exclusion"):
        part = entries.get(side)
        if isinstance(part, Items):
            entries[side] = replace(part, items=[item for item in part.items if not _among(item, dropped)])


def _among(item: Yaml, others: list[Yaml | None]) -> bool:
    return any(item is other for other in others)


def with_used(root: Table, reading: ReaderContext, sources: Sources, seen: tuple[str, ...] = ()) -> Table:
    """The table with the shared parts of the files under ``use``, their names prefixed."""
    part = root.entries.get("use")
    nodes = part.items if isinstance(part, Items) else [] if part is None else [part]
    entries, keys = dict(root.entries), dict(root.keys)
    stems: set[str] = set()
    for node in nodes:
        library = _library(node, reading, sources, seen)
        if library is None:
            continue
        stem, table = library
        if stem in stems:
            reading.bad(node, "TV172", f"two used files are called {quoted(stem)}; rename one.")
        stems.add(stem)
        _add(entries, keys, _prefixed(table, stem))
    return Table(entries, keys, root.mark)


def _library(
    node: Yaml, reading: ReaderContext, sources: Sources, seen: tuple[str, ...]
) -> tuple[str, Table] | None:
    if not isinstance(node, Text):
        reading.bad(node, "TV170", f'"use" lists files; found {shape(node)}.')
        return None
    path = node.value.strip()
    stem = path.rsplit("/", 1)[-1].removesuffix(".yaml")
    if path in seen:
        reading.bad(node, "TV172", f"{quoted(path)} uses itself.")
        return None
    if len(seen) >= MAX_USE_DEPTH:
        reading.bad(node, "TV173", f"files are used at most {MAX_USE_DEPTH} deep.")
        return None
    if not safe_path(path) or not path.endswith(".yaml") or not _STEM.match(stem):
        message = f'{quoted(path)} is not a file such as "sets/retina.yaml" in or under this folder.'
        reading.bad(node, "TV170", message)
        return None
    data = fetch(node, reading, sources)
    tree = None if data is None else read_yaml(data, path, reading.problems)
    if tree is None:
        return None
    if not isinstance(tree, Table):
        reading.bad(tree, "TV106", f"a used file is a table of keys; found {shape(tree)}.")
        return None
    unknown_keys(tree, reading, "a used file", LIBRARY_KEYS)
    table = upgraded(tree, reading.problems)
    return None if table is None else (stem, with_used(table, reading, sources, (*seen, path)))


def _add(entries: dict[str, Yaml], keys: dict[str, Mark], library: Table) -> None:
    for key in _SHARED:
        part, own = library.entries.get(key), entries.get(key)
        if not isinstance(part, Table):
            continue
        mine = own if isinstance(own, Table) else Table({}, {}, part.mark)
        entries[key] = Table({**part.entries, **mine.entries}, {**part.keys, **mine.keys}, mine.mark)
        keys.setdefault(key, part.mark)


def _prefixed(library: Table, stem: str) -> Table:
    """The library with its names, and the uses of them inside it, prefixed."""
    names = {key: set(part.keys) for key in _SHARED if isinstance(part := library.entries.get(key), Table)}
    renamed: dict[str, Yaml] = {}
    for key in _SHARED:
        part = library.entries.get(key)
        if isinstance(part, Table):
            entries = {f"{stem}.{name}": _renamed(node, stem, names) for name, node in part.entries.items()}
            renamed[key] = Table(entries, {f"{stem}.{n}": mark for n, mark in part.keys.items()}, part.mark)
    return Table(renamed, library.keys, library.mark)


def _renamed(node: Yaml, stem: str, names: dict[str, set[str]]) -> Yaml:
    if isinstance(node, Items):
        return replace(node, items=[_renamed(item, stem, names) for item in node.items])
    if isinstance(node, Table):
        entries: dict[str, Yaml] = {}
        for key, value in node.entries.items():
            kind = "value_sets" if key in _SET_KEYS else "criteria" if key == "ref" else ""
            if isinstance(value, Text) and value.value.strip() in names.get(kind, ()):
                entries[key] = replace(value, value=f"{stem}.{value.value.strip()}")
            else:
                entries[key] = _renamed(value, stem, names) if key != "column" else value
        return replace(node, entries=entries)
    if isinstance(node, Text) and "$" in node.value:
        known = names.get("parameters", set())
        text = PARAMETER.sub(lambda m: f"${stem}.{m[1]}" if m[1] in known else m[0], node.value)
        return replace(node, value=text)
    return node
