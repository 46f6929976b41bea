"""Every class of `ehr`, filled with a word that must not come out of it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

import ehr

CANARY = "Canarysecret-4711"
_TEXT = re.compile(r"\b(str|bytes|Any|object|TypeVar|T)\b")


class Word(str):
    """The canary as a text that has every attribute, so that a repr which looks into it does not fail."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Blank()


class Blank:
    """Stands for a part that holds no text of its own, such as a clock."""

    def __repr__(self) -> str:
        return "<blank>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Blank()

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __call__(self, *_: Any, **__: Any) -> Any:
        return ()

    def __getitem__(self, _: Any) -> Any:
        return Blank()

    def __lt__(self, _: Any) -> bool:
        return False

    def __format__(self, _: str) -> str:
        return "<blank>"


def classes() -> list[type[Any]]:
    """Classes defined in `ehr`, but for sandbox and contract kit, which hold invented people only."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(ehr.__path__, "ehr."):
        if module.name.startswith(("ehr.sandbox", "ehr.testing")):
            continue
        loaded = importlib.import_module(module.name)
        for kind in vars(loaded).values():
            if inspect.isclass(kind) and kind.__module__ == module.name:
                found[f"{module.name}.{kind.__qualname__}"] = kind
    return [found[name] for name in sorted(found)]


def filled(kind: type[Any]) -> list[Any]:
    """Instances in which every field that can hold text holds the canary; none for a class without fields."""
    if issubclass(kind, msgspec.Struct):
        return _structs(kind)
    fields = _fields(kind)
    if not fields or issubclass(kind, tuple):
        return []
    made = object.__new__(kind)
    for name, annotation in fields.items():
        object.__setattr__(made, name, Word(CANARY) if _TEXT.search(annotation) else Blank())
    return [made]


def _structs(kind: type[msgspec.Struct]) -> list[Any]:
    """One for each field: some fields exclude each other."""
    made = []
    fields = msgspec.structs.fields(kind)
    required = {field.name: Word(CANARY) for field in fields if field.required}
    for field in fields:
        with suppress(ValueError, TypeError, AttributeError):
            made.append(kind(**{**required, field.name: Word(CANARY)}))
    return made


def _fields(kind: type[Any]) -> dict[str, str]:
    if dataclasses.is_dataclass(kind):
        return {field.name: str(field.type) for field in dataclasses.fields(kind)}
    if "__init__" not in vars(kind) or issubclass(kind, Exception):
        return {}
    source = inspect.getsource(kind.__init__)
    return dict.fromkeys(re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", source), "Any")


def shapes(made: Any) -> Iterator[tuple[str, str]]:
    """Every way in which an object becomes a text by itself."""
    yield "repr", repr(made)
    yield "str", str(made)
    yield "format", f"{made}"
    yield "in a container", repr([made])
    if hasattr(made, "_repr_html_"):
        yield "html", made._repr_html_()
