"""SMART resource scopes, versions 1 (``system/Patient.read``) and 2 (``system/Patient.rs``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_SCOPE = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]+)\.(read|write|\*|c?r?u?d?s?)")
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}


@dataclass(frozen=True, slots=True)
class AllowedScope:
    """What one scope allows.

    Args:
        resource_type: a type, or ``*``.
        rights: letters of ``cruds``.
        style: ``v1`` or ``v2``.
        context: ``system``, ``user``, or ``patient``: the one patient of the login.
    """

    resource_type: str
    rights: frozenset[str]
    style: str
    context: str = "system"

    def __str__(self) -> str:
        letters = "".join(letter for letter in "cruds" if letter in self.rights)
        if self.style == "v1":
            letters = next((old for old, new in _VERSION_1.items() if set(new) == self.rights), letters)
        return f"{self.context}/{self.resource_type}.{letters}"

    def covers(self, other: AllowedScope) -> bool:
        same = self.context == other.context and self.resource_type in {"*", other.resource_type}
        return same and other.rights <= self.rights


def parse_scope(text: str) -> AllowedScope | None:
    """One scope; None if it is no resource scope the sandbox understands (finer ones are not)."""
    found = _SCOPE.fullmatch(text)
    if found is None or not found[3]:
        return None
    style = "v1" if found[3] in _VERSION_1 else "v2"
    return AllowedScope(found[2], frozenset(_VERSION_1.get(found[3], found[3])), style, found[1])


def common(asked: AllowedScope, held: Iterable[AllowedScope]) -> list[AllowedScope]:
    """The parts of one asked scope that are held, in the style it was asked in."""
    parts = []
    for scope in held:
        rights = asked.rights & scope.rights
        kinds = {asked.resource_type, scope.resource_type}
        if rights and asked.context == scope.context and ("*" in kinds or len(kinds) == 1):
            kind = scope.resource_type if asked.resource_type == "*" else asked.resource_type
            parts.append(AllowedScope(kind, rights, asked.style, asked.context))
    return list(dict.fromkeys(parts))


def only_one_patient(scopes: Collection[AllowedScope], resource_type: str) -> bool:
    """Whether a type is covered by ``patient`` scopes alone."""
    contexts = {scope.context for scope in scopes if scope.resource_type in {"*", resource_type}}
    return contexts == {"patient"}


def allows(scopes: Collection[AllowedScope], resource_type: str, right: str) -> bool:
    """Whether any scope gives the right (``r`` or ``s``) on a type."""
    return any(scope.resource_type in {"*", resource_type} and right in scope.rights for scope in scopes)
