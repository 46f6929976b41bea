"""YAML as text, lists and tables with the place of each: a small, safe subset.

Every scalar stays the text that was written, so ``NO`` is not false and ``010`` is not eight. Anchors, aliases,
tags, merge keys, keys that are not plain text and several documents are refused, because each lets a short
file mean something that its reader does not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from ehr.files.problems import Mark, Problems, quoted

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_INDENT_TAB = re.compile(r"^ *\t(?=\s*\S)", re.MULTILINE)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar, exactly as written."""

    value: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: list[Yaml]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; ``keys`` has the place of each key."""

    entries: dict[str, Yaml]
    keys: dict[str, Mark]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Hole:
    """Something that was refused; its problem is noted, so readers pass over it."""

    mark: Mark


Yaml = Text | Items | Table | Hole


def read_yaml(data: bytes, file: str, problems: Problems) -> Yaml | None:
    """Read one document.

    Args:
        data: the file's bytes, UTF-8.
        file: name for messages.
        problems: gets every mistake; with one of syntax or size the result is None.
    """
    text = _decoded(data, file, problems)
    if text is None:
        return None
    builder = _Builder(file, problems)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(file, 1, 1) if at is None else Mark(file, at.line + 1, at.column + 1)
        problems.error(mark, "TV100", _syntax_message(error))
        return None
    except (yaml.YAMLError, _TooDeep, RecursionError) as error:
        if not isinstance(error, _TooDeep):
            problems.error(Mark(file, 1, 1), "TV100", "this is not YAML that can be read.")
        return None
    if builder.root is None:
        problems.error(Mark(file, 1, 1), "TV100", "the file is empty.")
    return builder.root


def _decoded(data: bytes, file: str, problems: Problems) -> str | None:
    if len(data) > MAX_BYTES:
        problems.error(Mark(file, 1, 1), "TV108", f"the file has {len(data)} bytes; at most 1 MiB is read.")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        problems.error(_mark(file, before, len(before)), "TV100", "a byte is not UTF-8. Save it as UTF-8.")
        return None
    bad = list(_CONTROL.finditer(text))
    for found in bad[:20]:
        problems.error(_mark(file, text, found.start()), "TV100", "a control character is not allowed.")
    tabs = list(_INDENT_TAB.finditer(text))
    for found in tabs[:20]:
        problems.error(_mark(file, text, found.start()), "TV100", "tabs cannot indent.")
    return None if bad or tabs else text


def _mark(file: str, text: str, position: int) -> Mark:
    line_start = text.rfind("\n", 0, position) + 1
    return Mark(file, text.count("\n", 0, position) + 1, position - line_start + 1)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    words = (error.problem or "").lower()
    if "anchor" in words or "alias" in words:
        return 'this is not an anchor or alias; quote a text that begins with "&" or "*".'
    if "mapping values are not allowed" in words:
        return 'a ":" stands where none can; quote a text that has ": " in it.'
    if "expected" in words and ("'," in words or "',' or" in words):
        return 'a list or table in brackets is not closed, or a "," is missing.'
    if "block end" in words or "block mapping" in words or "block collection" in words:
        return "the indentation does not fit the lines above."
    if "quoted scalar" in words or "end of stream" in words:
        return "a quoted text is not closed."
    return "this is not YAML that can be read."


class _TooDeep(Exception):
    pass


@dataclass(slots=True)
class _Open:
    """A list or table that is being read."""

    node: Items | Table
    key: str | None = None
    key_mark: Mark | None = None
    skip: bool = False


@dataclass(slots=True)
class _Builder:
    """Turns parser events into nodes, without recursion."""

    file: str
    problems: Problems
    root: Yaml | None = None
    stack: list[_Open] = field(default_factory=list)
    documents: int = 0

    def take(self, event: Any) -> None:
        """One event of the parser."""
        mark = Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents == 2:
                self.problems.error(mark, "TV101", 'one file holds one document; remove what follows "---".')
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()
        elif isinstance(event, yaml.NodeEvent) and self.documents == 1:
            self._node(event, mark)
        elif isinstance(event, yaml.CollectionStartEvent):
            self.stack.append(_Open(Items([], mark)))  # of a second document: kept only to pair its end

    def _node(self, event: Any, mark: Mark) -> None:
        node = self._made(event, mark)
        if not isinstance(event, yaml.CollectionStartEvent):
            self._place(node)
            return
        if len(self.stack) >= MAX_DEPTH:
            self.problems.error(mark, "TV108", f"lists and tables are nested deeper than {MAX_DEPTH}.")
            raise _TooDeep
        self._place(node)
        self.stack.append(_Open(node if isinstance(node, Items | Table) else Items([], mark)))

    def _made(self, event: Any, mark: Mark) -> Yaml:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(mark, 'aliases are not used; repeat the text or use "ref".')
            return Hole(mark)
        if event.anchor is not None:
            self._refuse(mark, 'anchors are not used; repeat the text or use "ref".')
        if event.tag is not None:
            self._refuse(mark, "tags are not used; write the plain value.")
        if isinstance(event, yaml.ScalarEvent):
            return Text(event.value, mark)
        return Items([], mark) if isinstance(event, yaml.SequenceStartEvent) else Table({}, {}, mark)

    def _refuse(self, mark: Mark, message: str) -> None:
        self.problems.error(mark, "TV101", message)

    def _place(self, node: Yaml) -> None:
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if isinstance(top.node, Items):
            top.node.items.append(node)
        elif top.key_mark is None:
            self._key(top, top.node, node)
        else:
            if not top.skip and top.key is not None:
                top.node.entries[top.key] = node
            top.key, top.key_mark, top.skip = None, None, False

    def _key(self, top: _Open, table: Table, node: Yaml) -> None:
        top.key_mark = node.mark
        if not isinstance(node, Text):
            self._refuse(node.mark, "a key is a plain word; found a list, a table or an alias.")
            top.skip = True
            return
        top.key = node.value
        if node.value == "<<":
            self._refuse(node.mark, 'merge keys ("<<") are not used; repeat the text or use "ref".')
            top.skip = True
        elif node.value in table.keys:
            first = table.keys[node.value].line
            message = f"{quoted(node.value)} is given twice (first on line {first})."
            self.problems.error(node.mark, "TV102", message)
            top.skip = True
        else:
            table.keys[node.value] = node.mark


def plain(node: Yaml) -> Any:
    """The node as dict, list and str, without places."""
    if isinstance(node, Table):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return node.value if isinstance(node, Text) else ""


def shape(node: Yaml) -> str:
    """What a node is, for messages."""
    if isinstance(node, Table):
        return f"a table with {len(node.entries)} key{'s' * (len(node.entries) != 1)}"
    if isinstance(node, Items):
        return f"a list of {len(node.items)}"
    if isinstance(node, Text):
        return quoted(node.value) if node.value else "nothing"
    return "an alias"


def texts_in(node: Yaml) -> Iterator[Text]:
    """Every scalar under a node."""
    if isinstance(node, Text):
        yield node
    for child in node.items if isinstance(node, Items) else []:
        yield from texts_in(child)
    for child in node.entries.values() if isinstance(node, Table) else ():
        yield from texts_in(child)
