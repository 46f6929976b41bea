"""The digest of a trial, and the locked file: one text that needs no other file and decides alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import yaml

from ehr.files.yaml_nodes import MAX_BYTES
from ehr.records.codes import URIS
from federated.errors import ConfigurationError
from federated.screening.trial.criteria import AtLeastOf, Criterion, NotOf, Trial, ValueSet
from federated.screening.trial.predicates import AgeAt
from federated.screening.trial.value_types import CountBound, EveryPeriod

# What explains, and decides nothing.
_WORDS = frozenset({"text", "source", "title", "why", "tags", "provenance", "at", "merged", "warnings"})
_OF_TRIAL = frozenset({"value_sets", "parameters"})
_IN_DIGESTS: Mapping[type, str] = MappingProxyType(
    {AgeAt: "Age", NotOf: "Not", AtLeastOf: "AtLeast", CountBound: "Count", EveryPeriod: "Every"}
)
"""What a digest calls a class that has another name now: digests of trials that owners have allowed must stay."""


def digest(trial: Trial) -> str:
    """SHA-256 of what the trial decides, in hexadecimal.

    Titles, texts, sources and tags are no part of it, nor names of value sets and parameters:
    a correction of spelling keeps it, a changed threshold, window, unit or code changes it.
    """
    return hashlib.sha256(
        json.dumps(canonical(trial), sort_keys=True, ensure_ascii=True).encode()
    ).hexdigest()


def canonical(value: Any) -> Any:
    """A part of the model as plain JSON values, always in the same form."""
    if isinstance(value, ValueSet):
        return {"members": value.digest, "hints": sorted(value.text_hints)}
    if is_dataclass(value) and not isinstance(value, type):
        left_out = _WORDS | _OF_TRIAL if isinstance(value, Trial) else _WORDS
        kept = {f.name: canonical(getattr(value, f.name)) for f in fields(value) if f.name not in left_out}
        if isinstance(value, Criterion):
            kept["todo"] = value.todo is not None
        return {"is": _IN_DIGESTS.get(type(value), type(value).__name__)} | kept
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(canonical(item) for item in value)
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    return value


def _number(value: Decimal) -> str:
    """One spelling per number: 5.70 and 5.7 are one."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text.removeprefix("+")


def lock(trial: Trial) -> str:
    """One self-contained trial file, as YAML.

    Used and parent files and imported code lists are written out, overrides are put in, and ``digest`` tells
    a reader whether anything was changed since.

    Raises:
        ConfigurationError: the text would be larger than a trial file may be.
    """
    plain = {
        key: value for key, value in trial.merged.items() if key not in ("use", "extends", "drop", "digest")
    }
    plain["digest"] = digest(trial)
    if trial.value_sets:
        plain["value_sets"] = {name: _value_set(found) for name, found in trial.value_sets.items()}
    text = str(yaml.dump(plain, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110))
    if len(text.encode()) > MAX_BYTES:
        message = (
            f"the locked file would have {len(text.encode())} bytes; at most 1 MiB is read. Use fewer codes."
        )
        raise ConfigurationError(message)
    return text


class _Plain(yaml.SafeDumper):
    """Writes no anchors, which readers refuse."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _value_set(found: ValueSet) -> dict[str, Any]:
    made: dict[str, Any] = {"title": found.title} if found.title else {}
    members: dict[str, dict[str, list[str]]] = {"include": {}, "exclude": {}}
    for system, pattern in found.members():
        side = "exclude" if pattern.startswith("-") else "include"
        members[side].setdefault(system, []).append(pattern.removeprefix("-"))
    for side, systems in members.items():
        if systems:
            made[side] = [{"system": _system(system), "codes": codes} for system, codes in systems.items()]
    if found.text_hints:
        made["text_hints"] = list(found.text_hints)
    if found.origin:
        made["origin"] = dict(found.origin)
    return made


def _system(name: str) -> str:
    return name if name in URIS or name.startswith("uri:") else f"uri:{name}"
