"""Reading nodes: ``all``, ``any``, ``not``, ``at_least``, ``ref`` and the predicates under them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from ehr.files.problems import Mark, quoted, suggestion
from ehr.files.yaml_nodes import Hole, Items, Table, Yaml, shape
from federated.screening.trial.criteria import AllOf, AnyOf, At, AtLeastOf, Node, NotOf, Predicate
from federated.screening.trial.grammar import PREDICATES, read_predicate
from federated.screening.trial.scalars import BAD, TEXT, ReaderContext, integer, unknown_keys

MAX_NODES = 2000
MAX_DEPTH = 20
LOGIC = ("all", "any", "not", "at_least", "ref")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a node stands: the key's name, its place, the path inside the criterion, how deep."""

    name: str
    mark: Mark
    path: str
    depth: int = 1

    def under(self, name: str, mark: Mark, step: str) -> Spot:
        """The spot of a child."""
        return Spot(name, mark, f"{self.path}.{step}", self.depth + 1)


def read_node(node: Yaml, reading: ReaderContext, spot: Spot) -> Node | None:
    """A node, or None where it or one under it has a mistake."""
    entry = _single_entry(node, reading, spot)
    if entry is None or not _within_limits(node, reading, spot):
        return None
    name, mark, value = entry
    at = At(spot.path, node.mark.line, node.mark.column, node.mark.file)
    if name in PREDICATES:
        return _made(name, value, at, reading)
    if name in ("all", "any"):
        of = _read_list(value, reading, spot.under(name, mark, name))
        if of is None:
            return None
        return AllOf(of=of, at=at) if name == "all" else AnyOf(of=of, at=at)
    if name == "not":
        inner = read_node(value, reading, spot.under("not", mark, "not"))
        return None if inner is None else NotOf(of=inner, at=at)
    return _at_least(value, reading, spot, at) if name == "at_least" else _ref(value, reading, spot)


def _single_entry(node: Yaml, reading: ReaderContext, spot: Spot) -> tuple[str, Mark, Yaml] | None:
    if isinstance(node, Items):
        hint = 'Write "all:" in front if every one must hold.'
        reading.bad(
            spot.mark, "TV111", f'"{spot.name}" is one node; found a list of {len(node.items)}. {hint}'
        )
        return None
    if not isinstance(node, Table):
        message = f'"{spot.name}" is a node such as "condition: {{in: NAME}}"; found {shape(node)}.'
        reading.bad(node, "TV106", message)
        return None
    names = list(node.keys)
    unknown = [name for name in names if name not in PREDICATES and name not in LOGIC]
    for name in unknown[:1]:
        known = (*LOGIC, *PREDICATES)
        message = f"{quoted(name)} is not a node. Known: {', '.join(known)}.{suggestion(name, known)}"
        reading.bad(node.keys[name], "TV112", message)
    if not unknown and len(names) != 1:
        found = " and ".join(quoted(name) for name in names) or "none"
        message = f'a node has one key; found {found}. Put them under "all:" or "any:".'
        reading.bad(node, "TV110", message)
    if unknown or len(names) != 1 or names[0] not in node.entries:
        return None
    return names[0], node.keys[names[0]], node.entries[names[0]]


def _within_limits(node: Yaml, reading: ReaderContext, spot: Spot) -> bool:
    reading.nodes += 1
    if reading.nodes == MAX_NODES + 1:
        reading.bad(node, "TV108", f"the file has more than {MAX_NODES} nodes, references followed.")
    if spot.depth == MAX_DEPTH + 1:
        reading.bad(node, "TV108", f"nodes are nested deeper than {MAX_DEPTH}.")
    return reading.nodes <= MAX_NODES and spot.depth <= MAX_DEPTH


def _made(name: str, value: Yaml, at: At, reading: ReaderContext) -> Node | None:
    fields = read_predicate(name, value, reading)
    if fields is None:
        return None
    made = cast(Predicate, PREDICATES[name].made(**fields, at=at))
    if isinstance(value, Table):
        reading.places[id(made)] = (made, value)
    return made


def _read_list(node: Yaml, reading: ReaderContext, spot: Spot) -> tuple[Node, ...] | None:
    if isinstance(node, Hole):
        return None
    if not isinstance(node, Items):
        reading.bad(node, "TV106", f'"{spot.name}" is a list of nodes; found {shape(node)}.')
        return None
    if not node.items:
        reading.bad(node, "TV113", f'"{spot.name}" is empty; it needs at least one node.')
        return None
    children = [
        read_node(item, reading, Spot("an item", item.mark, f"{spot.path}[{index}]", spot.depth))
        for index, item in enumerate(node.items)
    ]
    good = tuple(child for child in children if child is not None)
    return good if len(good) == len(children) else None


def _at_least(node: Yaml, reading: ReaderContext, spot: Spot, at: At) -> Node | None:
    if not isinstance(node, Table):
        reading.bad(node, "TV106", f'"at_least" is {{n: 2, of: [...]}}; found {shape(node)}.')
        return None
    bad = unknown_keys(node, reading, "at_least", ("n", "of"), needed=("n", "of"))
    if bad or not {"n", "of"} <= node.entries.keys():
        return None
    n = integer(1, MAX_NODES).read(node.entries["n"], reading, "n")
    of = _read_list(node.entries["of"], reading, spot.under("of", node.keys["of"], "at_least"))
    if n is BAD or of is None:
        return None
    if n > len(of):
        reading.bad(node.entries["n"], "TV114", f"at least {n} of {len(of)} nodes can never hold.")
        return None
    return AtLeastOf(n=n, of=of, at=at)


def _ref(node: Yaml, reading: ReaderContext, spot: Spot) -> Node | None:
    name = TEXT.read(node, reading, "ref")
    if not isinstance(name, str):
        return None
    reading.used.add(("criterion", name))
    if name not in reading.named:
        hint = suggestion(name, reading.named)
        reading.bad(node, "TV115", f'{quoted(name)} is not defined under "criteria".{hint}')
        return None
    if name in reading.resolving:
        reading.bad(node, "TV115", f"{quoted(name)} refers to itself.")
        return None
    reading.resolving = (*reading.resolving, name)
    inner = Spot("ref", node.mark, spot.path, spot.depth)
    found = read_node(reading.named[name], reading, inner)
    reading.resolving = reading.resolving[:-1]
    return found
