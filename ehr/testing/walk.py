"""What an observer could get hold of: log lines, and every object that hangs on another."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_MOST = 5000
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), type)


@contextmanager
def heard(level: int = logging.DEBUG) -> Iterator[list[str]]:
    """Every log line of every library inside the block, with its arguments and traceback."""
    lines: list[str] = []

    class _Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name} {self.format(record)} {record.args!r}")

    keeper, root = _Keeps(level), logging.getLogger()
    before = root.level
    root.addHandler(keeper)
    root.setLevel(level)
    try:
        yield lines
    finally:
        root.removeHandler(keeper)
        root.setLevel(before)


def reachable(root: object) -> Iterator[object]:
    """Objects of our packages, and of an adapter's, that hang on ``root``; texts and numbers are not objects here."""
    todo, seen = [root], set[int]()
    kept: list[object] = []  # alive, so that no id is given twice
    while todo and len(seen) < _MOST:
        thing = todo.pop()
        if isinstance(thing, _PLAIN) or id(thing) in seen:
            continue
        seen.add(id(thing))
        kept.append(thing)
        if isinstance(thing, Mapping):
            todo += thing.values()
        elif isinstance(thing, list | tuple | set | frozenset):
            todo += thing
        elif _ours(thing):
            yield thing
            todo += _parts(thing)


def _ours(thing: object) -> bool:
    package = type(thing).__module__.partition(".")[0]
    return package not in _LIBRARIES and not callable(thing)


_LIBRARIES = frozenset(
    {"builtins", "asyncio", "aiohttp", "httpx", "ssl", "_ssl", "socket", "logging", "threading", "_thread", "types",
     "functools", "collections", "weakref", "respx", "starlette", "yarl", "multidict", "zoneinfo", "pathlib"}
)  # fmt: skip


def _parts(thing: object) -> Iterator[object]:
    yield from getattr(thing, "__dict__", {}).values()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(thing, name, None)
