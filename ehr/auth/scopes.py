"""SMART scopes: what is asked for, what was granted, and what that covers.

Source: SMART App Launch 2.2, "Scopes and Launch Context" (v1 ``system/Patient.read``, v2 ``system/Patient.rs``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ehr.errors import ConfigurationError

Style = Literal["v1", "v2"]

_SCOPE = re.compile(r"(patient|user|system)/(\*|[A-Za-z]+)\.(\*|read|write|c?r?u?d?s?)(?:\?\S*)?\Z")
_V1 = {"read": frozenset("rs"), "write": frozenset("cud"), "*": frozenset("cruds")}


@dataclass(frozen=True, slots=True)
class Scope:
    """One resource scope.

    Args:
        context: ``patient``, ``user`` or ``system``.
        resource: FHIR type, or ``*``.
        rights: letters of ``cruds``.
        narrowed: True where a query limits it (``?category=…``): it does not cover the whole type.
    """

    context: str
    resource: str
    rights: frozenset[str]
    narrowed: bool = False


def parse_scopes(text: str | None) -> frozenset[Scope]:
    """The resource scopes in a scope string, in either style; other scopes (``openid``, …) are left out."""
    found = set()
    for word in (text or "").split():
        match = _SCOPE.match(word)
        if match is None:
            continue
        context, resource, rights = match.groups()
        letters = _V1.get(rights, frozenset(rights))
        if letters:
            found.add(Scope(context, resource, letters, narrowed="?" in word))
    return frozenset(found)


def covers(granted: Iterable[Scope], resource: str) -> bool:
    """Whether a whole resource type may be searched: read and search rights, without a narrowing query."""
    rights: set[str] = set()
    for scope in granted:
        if scope.resource in ("*", resource) and not scope.narrowed:
            rights |= scope.rights
    return {"r", "s"} <= rights


def translated(text: str, style: Style) -> str:
    """A scope string with its resource scopes in the other style; other scopes stay as they are.

    v1 has fewer words: what it can only say by asking for more than was written is refused.

    Raises:
        ConfigurationError: a scope has rights or a query that v1 cannot say.
    """
    return " ".join(_in_style(word, style) for word in text.split())


def _in_style(word: str, style: Style) -> str:
    match = _SCOPE.match(word)
    if match is None or not match[3]:
        return word
    context, resource, rights = match.groups()
    if style == "v2":
        letters = _V1.get(rights)
        return word if letters is None else f"{context}/{resource}.{_in_order(letters)}"
    if rights in _V1:
        return word
    name = next((name for name, letters in _V1.items() if letters == frozenset(rights)), None)
    if name is None or "?" in word:
        raise ConfigurationError(
            "scope: this EHR knows SMART v1 scopes only, which cannot say every right or query that is asked for. "
            "Write .read instead."
        )
    return f"{context}/{resource}.{name}"


def _in_order(letters: frozenset[str]) -> str:
    return "".join(letter for letter in "cruds" if letter in letters)


def wanted_scopes(resources: Iterable[str], style: Style, context: str = "system") -> str:
    """The scope string that asks to read these types and nothing more."""
    ending = "read" if style == "v1" else "rs"
    return " ".join(f"{context}/{name}.{ending}" for name in sorted(set(resources)))


def missing_types(granted: Iterable[Scope], resources: Iterable[str]) -> tuple[str, ...]:
    """The types that were wanted and are not covered by what was granted, sorted."""
    kept = tuple(granted)
    return tuple(name for name in sorted(set(resources)) if not covers(kept, name))
