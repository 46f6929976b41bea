"""Which adapter and profile serve a provider's name: the shipped ones, and those of entry points.

Group ``trialveil.ehr_providers``: an entry point's name is the provider's; its value is a `ProviderProfile`, a path
of a profile file, or a callable that takes `AdapterParts` and has a ``profile``. A plug-in cannot replace a
built-in name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from ehr.config import EHRProvider, ProviderProfile
from ehr.errors import ConfigurationError
from ehr.providers.adapter import EHRAdapter
from ehr.providers.epic import EpicAdapter
from ehr.providers.generic import AdapterParts, generic_adapter
from ehr.providers.profile import read_profile, read_profile_file

GROUP = "trialveil.ehr_providers"
MakeAdapter = Callable[[AdapterParts], EHRAdapter]


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that can be opened.

    Args:
        profile: the vendor's ways.
        make: builds the adapter from its parts.
    """

    profile: ProviderProfile
    make: MakeAdapter


_SHIPPED: Mapping[str, tuple[str, MakeAdapter]] = {
    "smarthealthit r4": ("smarthealthit-r4", generic_adapter),
    "epic r4": ("epic-r4", EpicAdapter),
}


def shipped_profile(name: str) -> ProviderProfile:
    """The profile of a built-in provider.

    Raises:
        ConfigurationError: there is none of that name in this release.
    """
    if name not in _SHIPPED:
        raise ConfigurationError(_unknown(name, ()))
    file = files("ehr.providers").joinpath("profiles", f"{_SHIPPED[name][0]}.toml")
    return read_profile(file.read_text(encoding="utf-8"), shipped_profile)


def provider(name: str) -> Provider:
    """Look a provider up.

    Raises:
        ConfigurationError: not known, part of a later release, or a plug-in that cannot be used.
    """
    if name in _SHIPPED:
        return Provider(shipped_profile(name), _SHIPPED[name][1])
    plugins = {point.name: point for point in entry_points(group=GROUP) if point.name not in _SHIPPED}
    if name not in plugins:
        raise ConfigurationError(_unknown(name, tuple(plugins)))
    return _plugin(plugins[name])


def _unknown(name: str, plugins: tuple[str, ...]) -> str:
    available = ", ".join((*_SHIPPED, *sorted(plugins)))
    if name in get_args(EHRProvider):
        return f"provider {name} is not part of this release. Available: {available}."
    return f"provider is not known. Available: {available}."


def _plugin(point: EntryPoint) -> Provider:
    try:
        loaded: Any = point.load()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        raise ConfigurationError(
            f"the plug-in for this provider cannot be imported ({type(error).__name__})."
        ) from None
    if isinstance(loaded, str | Path):  # where the plug-in keeps its profile
        loaded = read_profile_file(Path(loaded), shipped_profile)
    if isinstance(loaded, ProviderProfile):
        return Provider(loaded, generic_adapter)
    profile = getattr(loaded, "profile", None)
    if callable(loaded) and isinstance(profile, ProviderProfile):
        return Provider(profile, loaded)
    raise ConfigurationError(
        "the plug-in for this provider is neither a profile, a profile file, nor a callable with a profile."
    )
