"""Reads a provider profile from TOML, and says where a mistake is.

A profile is data, versioned, checked on load; a user derives one by writing ``extends`` and what differs. What is
written takes the place of the parent's value; tables and lists are not merged.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

import msgspec

from ehr.config import ProviderProfile, RateRule
from ehr.errors import ConfigurationError
from ehr.fhir.outcome import ABSENT, EXPIRED, MERGED, TOO_MANY
from ehr.records.fetched import State

VERSION = 1
_META = {"version", "extends"}
_STATES = (*State.__members__, TOO_MANY, EXPIRED, ABSENT, MERGED)
_TYPES = get_type_hints(ProviderProfile) | {
    "outcome_states": Mapping[str, Literal[*_STATES]],  # type: ignore[valid-type]  # made from the words
    "assertion_algorithms": tuple[Literal["RS384", "ES384"], ...],
    "bulk": tuple[Literal["group", "patient", "system"], ...],
}
_FIELDS = {field.name: field for field in dataclasses.fields(ProviderProfile)}


def read_profile(text: str, parent: Callable[[str], ProviderProfile]) -> ProviderProfile:
    """A profile from its TOML text.

    Args:
        text: content of the file.
        parent: looks up the profile named by ``extends``.

    Raises:
        ConfigurationError: not TOML, an unknown key, a value of the wrong type, or a newer version.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise ConfigurationError("the profile is not TOML.") from None
    if document.get("version") != VERSION:
        raise ConfigurationError(f"the profile's version is not {VERSION}.")
    unknown = set(document) - set(_FIELDS) - _META
    if unknown:
        raise ConfigurationError(_unknown_key(sorted(unknown)[0]))
    values = {name: _value(name, raw) for name, raw in document.items() if name not in _META}
    if "extends" in document:
        return _sound(dataclasses.replace(parent(str(document["extends"])), **values))
    missing = {"name", "title"} - set(values)
    if missing:
        raise ConfigurationError(f"the profile has no {sorted(missing)[0]}.")
    return _sound(ProviderProfile(**values))


def _sound(profile: ProviderProfile) -> ProviderProfile:
    if not 1 <= profile.page_size <= profile.page_size_max:
        raise ConfigurationError("the profile's page_size is not between 1 and page_size_max.")
    if profile.token_life_s <= 0:
        raise ConfigurationError("the profile's token_life_s is not more than 0.")
    return profile


def read_profile_file(path: Path, parent: Callable[[str], ProviderProfile]) -> ProviderProfile:
    """`read_profile` of a file.

    Raises:
        ConfigurationError: also when the file cannot be read.
    """
    try:
        return read_profile(path.read_text(encoding="utf-8"), parent)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"profile file: cannot be read ({type(error).__name__}).") from None


def _unknown_key(name: str) -> str:
    near = get_close_matches(name, _FIELDS, n=1)
    return f'profile key "{name}" is not known.' + (f' Did you mean "{near[0]}"?' if near else "")


def _value(name: str, raw: Any) -> Any:
    try:
        if name == "rate":
            return _rate(raw)
        found = msgspec.convert(_READERS.get(name, lambda raw: raw)(raw), _TYPES[name])
    except (msgspec.ValidationError, TypeError, ValueError, KeyError, AttributeError):
        raise ConfigurationError(f'profile key "{name}" has a value of the wrong form.') from None
    return MappingProxyType(found) if isinstance(found, dict) else found


def _rate(raw: Any) -> RateRule:
    for name, value in raw.items():
        whole = not name.endswith("requests_per_s")
        if type(value) is not int and (whole or type(value) is not float):
            raise TypeError
        if not value > 0:
            raise ValueError
    return RateRule(**raw)


# What is written otherwise than it is held.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "fan_out": lambda raw: {kind: (rule["parameter"], rule["values"]) for kind, rule in raw.items()},
    "code_systems": lambda raw: {spelling.lower(): uri for spelling, uri in raw.items()},
}
