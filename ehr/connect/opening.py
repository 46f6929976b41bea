"""From the settings of ``pod.yaml`` to a pinned transport and a way to log in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ehr.auth.discovery import Endpoints
from ehr.auth.keys import KeyRing, read_ring
from ehr.auth.scopes import Style
from ehr.auth.tokens import TokenSource
from ehr.config import ProviderProfile
from ehr.connect import allowance
from ehr.errors import ConfigurationError
from ehr.fhir.paging import Budget
from ehr.files.settings import SiteFile
from ehr.providers.registry import Provider, provider
from ehr.records.patient import RESOURCES
from ehr.transport.client import SYSTEM_CLOCK, Clock, Limits, Transport

_POINTED_TO = {"Medication", "Binary"}  # no kinds of their own: prescriptions and documents point to them


@dataclass(frozen=True, slots=True, repr=False)
class AtKeyboard:
    """A person who can log in.

    Args:
        show: brings an address into a browser, or before the person's eyes; may block.
        ask: asks for something that must not be seen while it is typed; may block.
        wait_s: how long the person has for a login.
    """

    show: Callable[[str], None]
    ask: Callable[[str], str]
    wait_s: float = 300.0

    def __repr__(self) -> str:
        return "<AtKeyboard>"


@dataclass(frozen=True, slots=True)
class ClockAndWire:
    """What the outside brings; tests give their own.

    Args:
        clock: time and chance.
        wire: what sends requests; None is the real engine.
        limits: of the transport; how often a host is asked comes from the profile and the pod file.
        budget: where a search stops.
        providers: looks a provider up by its name.
        person: who logs in where a login in a browser is needed; None where nobody is there.
    """

    clock: Clock = SYSTEM_CLOCK
    wire: httpx.AsyncBaseTransport | None = None
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    providers: Callable[[str], Provider] = provider
    person: AtKeyboard | None = None


REAL = ClockAndWire()
"""The system's clock and the network; nobody at the keyboard."""


@dataclass(frozen=True, slots=True)
class Place:
    """One hospital as it is being opened.

    Args:
        file: the checked settings.
        profile: of the EHR's vendor.
        folder: paths in the settings are relative to it.
        surroundings: clock, wire and person.
    """

    file: SiteFile
    profile: ProviderProfile
    folder: Path
    surroundings: ClockAndWire


@dataclass(frozen=True, slots=True)
class LoginMethod:
    """A way to log in.

    Args:
        endpoints: what discovery found.
        source: of tokens.
        turn: entered around each login.
    """

    endpoints: Endpoints
    source: TokenSource
    turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


def check_settings(place: Place) -> None:
    """Compare the settings with what the vendor has.

    Raises:
        ConfigurationError: something is missing, or the vendor does not have it.
    """
    section, profile = place.file.ehr, place.profile
    missing = [
        name for name in profile.required_settings if not getattr(section, name, section.headers.get(name))
    ]
    if missing:
        raise ConfigurationError(f"ehr: {missing[0]} is missing; {profile.name} needs it.")
    known = sorted({header.setting for header in profile.extra_headers} | set(profile.required_settings))
    if not set(section.headers) <= set(known):
        raise ConfigurationError(
            f"ehr.headers: a setting that {profile.name} does not have. It has: {known}."
        )
    if section.auth.mode not in profile.auth_modes:
        offered = ", ".join(profile.auth_modes)
        raise ConfigurationError(f"auth: {profile.name} has no login of this kind. It has: {offered}.")


def transport_of(place: Place, counted_in: Path | None = None) -> Transport:
    """The transport, pinned to the FHIR base; limits are the lower ones of site and vendor.

    Args:
        place: see `Place`.
        counted_in: folder of the day's count of requests; see `ehr.site.open_site_async`.
    """
    section, around = place.file.ehr, place.surroundings
    return Transport(
        section.base_url,
        limits=allowance.limits(section, place.profile, around.limits),
        clock=around.clock,
        allow_http_loopback=section.allow_http == "loopback",
        ca_file=place.folder / section.ca_file if section.ca_file else None,
        inner=around.wire,
        never_retry=place.profile.never_retry,
        quota=allowance.quota(place.file, place.profile, around.clock, counted_in),
        provider=place.profile.name,
    )


def headers_of(place: Place) -> dict[str, str]:
    """The vendor's headers that belong to this way of logging in."""
    section = place.file.ehr
    mode, login = section.auth.mode, section.auth.backend or section.auth.browser
    # A client id that is given for the login need not be written twice.
    values = ({} if login is None else {"client_id": login.client_id}) | section.headers
    return {
        header.name: values[header.setting]
        for header in place.profile.extra_headers
        if mode in header.modes and header.setting in values
    }


def signing_keys(place: Place, where: str) -> KeyRing:
    """The key ring of a pod.

    Raises:
        ConfigurationError: there is none, or the vendor does not take its algorithm.
    """
    keys = read_ring(place.folder / where)
    algorithm = keys.signing.algorithm
    if algorithm not in place.profile.assertion_algorithms:
        raise ConfigurationError(f"keys: {place.profile.name} does not take {algorithm} assertions.")
    return keys


def scope_style(place: Place, endpoints: Endpoints) -> Style:
    """The scope version to ask in."""
    style = place.profile.scope_style
    return endpoints.scope_style if style == "either" else style


def types_asked_for(place: Place) -> set[str]:
    """The resource types that may be asked for here."""
    asked = {resource.__name__ for resources in RESOURCES.values() for resource in resources} | _POINTED_TO
    cohort = place.file.cohort
    if cohort is not None and cohort.patients is None:
        asked.add("List" if cohort.group is None else "Group")
    return asked & set(place.profile.search_parameters)
