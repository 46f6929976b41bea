"""SMART scopes: what is asked for, what was granted, and what that covers.

Source: SMART App Launch 2.2, "Scopes and Launch Context" (v1 ``system/Patient.read``, v2 ``system/Patient.rs``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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


def wanted_scopes(resources: Iterable[str], style: Style, context: str = "system") -> str:
    """The scope string that asks to read these types and nothing more."""
    ending = "read" if style == "v1" else "rs"
    return " ".join(f"{context}/{name}.{ending}" for name in sorted(set(resources)))


def missing_types(granted: Iterable[Scope], resources: Iterable[str]) -> tuple[str, ...]:
    """The types that were wanted and are not covered by what was granted, sorted."""
    kept = tuple(granted)
    return tuple(name for name in sorted(set(resources)) if not covers(kept, name))
