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
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from ehr.config import AuthMode, ExtraHeader, ProviderProfile, RateRule
from ehr.errors import ConfigurationError
from ehr.fhir.outcome import ABSENT, EXPIRED, MERGED, TOO_MANY
from ehr.records.fetched import State

VERSION = 1
_META = {"version", "extends"}
_TYPES = get_type_hints(ProviderProfile)
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
        return _READERS.get(name, _plain(name))(raw)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ConfigurationError(f'profile key "{name}" has a value of the wrong form.') from None


def _plain(name: str) -> Callable[[Any], Any]:
    choices = get_args(_TYPES[name]) if get_origin(_TYPES[name]) is Literal else None
    default = _FIELDS[name].default
    kind = str if default is dataclasses.MISSING else type(default)

    def read(raw: Any) -> Any:
        if kind is tuple:
            return tuple(_text(item) for item in _list(raw))
        if type(raw) is not kind or (choices is not None and raw not in choices):
            raise TypeError
        return raw

    return read


def _chosen(*choices: str) -> Callable[[Any], tuple[str, ...]]:
    def read(raw: Any) -> tuple[str, ...]:
        values = tuple(_text(item) for item in _list(raw))
        if not set(values) <= set(choices):
            raise ValueError
        return values

    return read


def _rate(raw: Any) -> RateRule:
    for name, value in raw.items():
        whole = not name.endswith("requests_per_s")
        if type(value) is not int and (whole or type(value) is not float):
            raise TypeError
        if not value > 0:
            raise ValueError
    return RateRule(**raw)


def _list(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise TypeError
    return raw


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError
    return raw


def _states(raw: Any) -> Mapping[str, str]:
    names = {word: word for word in (*State.__members__, TOO_MANY, EXPIRED, ABSENT, MERGED)}
    return MappingProxyType({str(code): names[_text(name)] for code, name in raw.items()})


def _modes(raw: Any) -> tuple[AuthMode, ...]:
    return cast("tuple[AuthMode, ...]", _chosen(*get_args(AuthMode))(raw))


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "auth_modes": _modes,
    "patient_search": lambda raw: tuple(tuple(_text(name) for name in _list(group)) for group in _list(raw)),
    "search_parameters": lambda raw: MappingProxyType(
        {_text(kind): frozenset(_text(name) for name in _list(names)) for kind, names in raw.items()}
    ),
    "fan_out": lambda raw: MappingProxyType(
        {
            kind: (_text(rule["parameter"]), tuple(_text(v) for v in _list(rule["values"])))
            for kind, rule in raw.items()
        }
    ),
    "extra_headers": lambda raw: tuple(
        ExtraHeader(_text(row["name"]), _text(row["setting"]), frozenset(_modes(row["modes"])))
        for row in _list(raw)
    ),
    "outcome_states": _states,
    "code_systems": lambda raw: MappingProxyType({_text(k).lower(): _text(v) for k, v in raw.items()}),
    "rate": _rate,
    "assertion_algorithms": _chosen("RS384", "ES384"),
    "bulk": _chosen("group", "patient", "system"),
}
