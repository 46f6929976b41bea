"""Small wrong changes to a module, one at a time, on its syntax tree.

Each change is of a kind that people make: a bound off by one, a comparison turned, a condition negated, a constant
changed, a result dropped, a statement forgotten. Words for people (docstrings, messages of errors) are left alone.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SKIPPED_CALLS = frozenset({"TypeVar", "NewType", "field", "dataclass"})


Key = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Args:
        module: dotted name.
        index: which of the module's changes it is; what `mutated` takes.
        function: where it lies; empty at the top.
        line: of the file as it is now.
        kind: the operator's name.
        before, after: the changed piece of code.
        text: the line, without the space around it.
    """

    module: str
    index: int
    function: str
    line: int
    kind: str
    before: str
    after: str
    text: str

    @property
    def key(self) -> Key:
        """What names it when lines move."""
        return (self.module, self.function, self.text, self.before, self.after)


Place = tuple[ast.AST, str, str, ast.AST, str]
"""Node, kind, function, replacement, the replacement's text."""


class _Walker:
    """Every place of a tree that can be changed, in a fixed order."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree

    def places(self) -> Iterator[Place]:
        """All of them."""
        yield from self._body(self.tree.body, "")

    def _body(self, body: list[ast.stmt], function: str) -> Iterator[Place]:
        for statement in body:
            if _is_text(statement) or _is_typing(statement):
                continue
            yield from self._statement(statement, function)

    def _statement(self, node: ast.stmt, function: str) -> Iterator[Place]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{function}.{node.name}".lstrip(".")
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None:
                    yield from self._expression(default, name)
            yield from self._body(node.body, name)
            return
        if isinstance(node, ast.ClassDef):
            yield from self._body(node.body, f"{function}.{node.name}".lstrip("."))
            return
        if isinstance(node, ast.Raise):
            yield node, "statement removed", function, ast.Pass(), "pass"
            return
        if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
            nothing = ast.Return(value=ast.Constant(value=None))
            yield node, "returns nothing", function, nothing, "return None"
        if isinstance(node, ast.AugAssign | ast.Continue | ast.Break):
            yield node, "statement removed", function, ast.Pass(), "pass"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node, "statement removed", function, ast.Pass(), "pass"
        if isinstance(node, ast.If | ast.While) and not _plain(node.test):
            yield node.test, "condition negated", function, *_negated(node.test)
        yield from self._children(node, function)

    def _children(self, node: ast.AST, function: str) -> Iterator[Place]:
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return  # of zip: a check of ours, no behaviour
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "pattern", "type_params"):
                continue
            if isinstance(value, list):
                if value and isinstance(value[0], ast.stmt):
                    yield from self._body(value, function)
                    continue
                for item in value:
                    if isinstance(item, ast.AST):
                        yield from self._part(item, function)
            elif isinstance(value, ast.AST):
                yield from self._part(value, function)

    def _part(self, node: ast.AST, function: str) -> Iterator[Place]:
        if isinstance(node, ast.expr):
            yield from self._expression(node, function)
        elif isinstance(node, ast.stmt):
            yield from self._statement(node, function)
        else:
            yield from self._children(node, function)

    def _expression(self, node: ast.expr, function: str) -> Iterator[Place]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in _SKIPPED_CALLS:
                return
            if node.func.id in _CALLS:
                other = ast.copy_location(ast.Name(_CALLS[node.func.id], ast.Load()), node.func)
                yield node.func, "call swapped", function, other, other.id
        if isinstance(node, ast.Compare) and len(node.ops) >= 1:
            for place, operator in enumerate(node.ops):
                swapped = _COMPARE[type(operator)]()
                made = copy.copy(node)
                made.ops = [*node.ops[:place], swapped, *node.ops[place + 1 :]]
                yield node, "comparison swapped", function, made, ast.unparse(made)
        if isinstance(node, ast.BoolOp):
            turned: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            joined = ast.BoolOp(op=turned, values=node.values)
            yield node, "and/or swapped", function, joined, ast.unparse(joined)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, "not removed", function, node.operand, ast.unparse(node.operand)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield node, "sign removed", function, node.operand, ast.unparse(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY and not _has_text(node):
            made_op = ast.BinOp(left=node.left, op=_BINARY[type(node.op)](), right=node.right)
            yield node, "arithmetic swapped", function, made_op, ast.unparse(made_op)
        if isinstance(node, ast.IfExp) and not _plain(node.test):
            yield node.test, "condition negated", function, *_negated(node.test)
        if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
            for generator in node.generators:
                for condition in generator.ifs:
                    if not _plain(condition):
                        yield condition, "condition negated", function, *_negated(condition)
        if isinstance(node, ast.Constant):
            yield from _constants(node, function)
            return
        if isinstance(node, ast.JoinedStr):
            return
        yield from self._children(node, function)


def _constants(node: ast.Constant, function: str) -> Iterator[Place]:
    value = node.value
    changed: list[bool | int | float | str] = []
    if isinstance(value, bool):
        changed = [not value]
    elif isinstance(value, int):
        changed = [value + 1, value - 1] if value else [1]
    elif isinstance(value, float):
        changed = [value * 2 + 1]
    elif isinstance(value, str) and value:
        changed = [value + "~"]
    for other in changed:
        made = ast.Constant(value=other)
        yield node, "constant changed", function, made, ast.unparse(made)


def _plain(test: ast.expr) -> bool:
    """Whether another change negates this condition already."""
    if isinstance(test, ast.Compare):
        return len(test.ops) == 1 and type(test.ops[0]) not in _ORDERS
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def _negated(test: ast.expr) -> tuple[ast.expr, str]:
    made = ast.UnaryOp(op=ast.Not(), operand=test)
    return made, ast.unparse(made)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_typing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
        # ``CodeOf = Callable[...]``, ``Value = A | B``: names for types, at the top.
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return bool(names) and all(name[:1].isupper() and not name.isupper() for name in names)
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    )


def _has_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in (node.left, node.right)
    )


def mutants(module: str, source: str) -> list[Mutant]:
    """Every change of a module, in the order of the file."""
    found = []
    lines = source.splitlines()
    for index, (node, kind, function, _, text) in enumerate(_Walker(ast.parse(source)).places()):
        line = getattr(node, "lineno", 0)
        whole = lines[line - 1].strip()
        found.append(Mutant(module, index, function, line, kind, ast.unparse(node), text, whole))
    return found


def mutated(source: str, index: int) -> ast.Module:
    """The module with one change made.

    Raises:
        IndexError: there is no change of that number.
    """
    tree = ast.parse(source)
    for number, (node, _, _, other, _) in enumerate(_Walker(tree).places()):
        if number == index:
            _Replacing(node, other).visit(tree)
            return ast.fix_missing_locations(tree)
    raise IndexError(index)


class _Replacing(ast.NodeTransformer):
    """Puts one node in another's place."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.old:
            return ast.copy_location(self.new, node)
        visited: ast.AST = self.generic_visit(node)
        return visited
