"""One hospital's EHR, opened from its part of ``pod.yaml``: the one place where all parts are put together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from zoneinfo import ZoneInfo

import httpx

from ehr import allowance
from ehr.auth.authenticator import Authenticator
from ehr.auth.discovery import Endpoints, discover
from ehr.auth.external import Anonymous, ExternalCallable, GetToken
from ehr.auth.keys import read_ring
from ehr.auth.scopes import wanted_scopes
from ehr.auth.signed_jwt import BackendJWT
from ehr.auth.tokens import TokenSource
from ehr.cohort import Bounds, Reading, finished_cohort, read_cohort
from ehr.config import ProviderProfile
from ehr.errors import ConfigurationError, HttpStatusError, TransportError
from ehr.fhir.paging import Budget
from ehr.fhir.session import FhirSession
from ehr.identity import MatchResult, Person
from ehr.people_file import Row, read_people
from ehr.pod_file import read_bytes, read_site_file
from ehr.providers.adapter import CohortRef, EHRAdapter
from ehr.providers.generic import AdapterParts
from ehr.providers.probe import ProbeReport
from ehr.providers.registry import Provider, provider
from ehr.query import QueryResult
from ehr.records import RESOURCES, Fetched, Kind, PatientRef
from ehr.settings import EHRSection, Secret, SiteFile
from ehr.transport.client import SYSTEM_CLOCK, Clock, Limits, Transport
from ehr.transport.quota import DailyQuota

T = TypeVar("T")
KEY_BYTES = 32
_POINTED_TO = {"Medication", "Binary"}  # no kinds of their own: prescriptions and documents point to them


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the outside brings; tests give their own.

    Args:
        clock: time and chance.
        wire: what sends requests; None is the real engine.
        limits: of the transport; how often a host is asked comes from the profile and the pod file.
        budget: where a search stops.
        providers: looks a provider up by its name.
    """

    clock: Clock = SYSTEM_CLOCK
    wire: httpx.AsyncBaseTransport | None = None
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    providers: Callable[[str], Provider] = provider


REAL = Surroundings()
"""The system's clock and the network."""


class Site:
    """An open EHR with what the hospital knows about itself. Use it with ``async with``.

    Attributes:
        file: the checked settings.
        adapter: the EHR.
        zone: the site's time zone.
        key: secret of the pseudonyms.
    """

    def __init__(self, file: SiteFile, adapter: EHRAdapter, key: bytes, folder: Path) -> None:
        self.file = file
        self.adapter = adapter
        self.zone = ZoneInfo(file.site.time_zone)
        self.key = key
        self._folder = folder

    def __repr__(self) -> str:
        return f"<Site {self.file.ehr.provider}>"

    def _repr_html_(self) -> str:
        return f"<code>{self!r}</code>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.adapter.aclose()

    async def find(self, person: Person) -> MatchResult:
        """Find one person; never a guess."""
        return await self.adapter.find_patient(person)

    async def read(self, kind: Kind | str, ref: PatientRef) -> Fetched[Any]:
        """One kind of record of one patient.

        Raises:
            ValueError: there is no such kind.
        """
        from ehr.cohort import READERS

        wanted = Kind.parse(kind)
        return await (
            self.adapter.patient(ref) if wanted is Kind.PATIENT else READERS[wanted](self.adapter, ref)
        )

    async def conditions(self, ref: PatientRef) -> Fetched[Any]:
        """Diagnoses and problems; the further kinds are alike."""
        return await self.adapter.conditions(ref)

    async def procedures(self, ref: PatientRef) -> Fetched[Any]:
        """What was done."""
        return await self.adapter.procedures(ref)

    async def observations(self, ref: PatientRef) -> Fetched[Any]:
        """Measurements and findings."""
        return await self.adapter.observations(ref)

    async def medications(self, ref: PatientRef) -> Fetched[Any]:
        """Drug requests and statements."""
        return await self.adapter.medications(ref)

    async def encounters(self, ref: PatientRef) -> Fetched[Any]:
        """Visits and stays."""
        return await self.adapter.encounters(ref)

    async def appointments(self, ref: PatientRef) -> Fetched[Any]:
        """Appointments, past and future."""
        return await self.adapter.appointments(ref)

    async def probe(self) -> ProbeReport:
        """Try each step that a screening run needs; no patient data in the report."""
        return await self.adapter.probe()

    @property
    def listed_in_ehr(self) -> str | None:
        """``group/…`` or ``list/…`` where the cohort is the EHR's own and may change between two starts."""
        cohort = self.file.cohort
        if cohort is None or cohort.patients is not None:
            return None
        return f"group/{cohort.group}" if cohort.group else f"list/{cohort.list}"

    async def rows(self, patients: Path | None = None) -> tuple[Row, ...]:
        """Whom to read: a patients file, or the cohort of ``pod.yaml``.

        Args:
            patients: CSV file; None takes the cohort.

        Raises:
            ConfigurationError: there is no cohort, or the file is wrong.
            Unavailable: the Group or List could not be read.
        """
        cohort = self.file.cohort
        if patients is None and cohort is not None and cohort.patients is not None:
            patients = self._folder / cohort.patients
        if patients is not None:
            return read_people(read_bytes(patients, "patients file"))
        if cohort is None:
            raise ConfigurationError(
                'there is no cohort: add "cohort:" to pod.yaml, or give --patients FILE.'
            )
        source = CohortRef("group", cohort.group) if cohort.group else CohortRef("list", cohort.list or "")
        refs = [ref async for ref in self.adapter.cohort(source)]
        return tuple(Row(number, Person(id=ref.id)) for number, ref in enumerate(refs, start=1))

    def bounds(self) -> Bounds:
        """How many patients at once, and how long for each."""
        return allowance.bounds(self.file.ehr, self.adapter.profile)

    def readings(self, rows: Iterable[Row], kinds: Sequence[Kind]) -> AsyncIterator[Reading]:
        """Each row's patient, in input order; see `ehr.cohort.read_cohort`."""
        return read_cohort(self.adapter, rows, kinds, self.bounds())

    def finished(
        self,
        rows: Iterable[Row],
        kinds: Sequence[Kind],
        finish: Callable[[Sequence[Reading]], Sequence[T]],
    ) -> AsyncIterator[T]:
        """What ``finish`` makes of each row's patient, in input order; see `ehr.cohort.finished_cohort`."""
        return finished_cohort(self.adapter, rows, kinds, finish, self.bounds())

    async def query(self, people: Iterable[Person], kinds: Sequence[Kind | str]) -> QueryResult:
        """Find and read some people.

        Args:
            people: who.
            kinds: what, as `Kind` or by name.

        Raises:
            ValueError: there is no such kind.
            AuthError: the login was refused.
        """
        wanted = [Kind.parse(kind) for kind in kinds]
        rows = [Row(number, person) for number, person in enumerate(people, start=1)]
        readings = [reading async for reading in self.readings(rows, wanted)]
        profile = self.adapter.profile
        return QueryResult(
            tuple(readings), tuple(wanted), self.key, self.zone, profile.code_systems, profile.mrn_types
        )


@asynccontextmanager
async def open_site_async(
    config: str | Path | SiteFile, surroundings: Surroundings = REAL, *, counted_in: Path | None = None
) -> AsyncIterator[Site]:
    """Open one hospital's EHR.

    Args:
        config: path of ``pod.yaml``, or settings that are checked already (paths in them are then relative to the
            working directory).
        surroundings: clock and wire, for tests.
        counted_in: folder that keeps the day's count of requests, where there is a daily budget; None keeps it
            for this process alone.

    Raises:
        ConfigurationError: the file, a key, or what the server announces is wrong; nothing was read.
        TransportError: the server could not be asked where to log in.
    """
    if isinstance(config, SiteFile):
        file, folder = config, Path()
    else:
        file, folder = read_site_file(Path(config)), Path(config).parent
    key = read_secret(file.site.key, folder)
    found = surroundings.providers(file.ehr.provider)
    _check_settings(file.ehr, found.profile)
    quota = allowance.quota(file, found.profile, surroundings.clock, counted_in)
    async with _transport(file.ehr, found.profile, folder, surroundings, quota) as transport:
        endpoints, source = await _source(file, found.profile, folder, transport)
        authenticator = Authenticator(
            source, monotonic=surroundings.clock.monotonic, headers=_headers(file.ehr, found.profile)
        )
        session = FhirSession(
            transport,
            authenticator,
            found.profile,
            clock=surroundings.clock,
            zone=ZoneInfo(file.site.time_zone),
            strict=file.ehr.strict,
            validation=file.ehr.validation,
            budget=surroundings.budget,
        )
        adapter = found.make(AdapterParts(found.profile, transport, authenticator, session, endpoints))
        async with Site(file, adapter, key, folder) as site:
            # What the server does not offer is not asked for. Where it says nothing, the profile alone decides.
            with suppress(TransportError, HttpStatusError):
                await adapter.discover()
            yield site


def read_secret(secret: Secret, folder: Path) -> bytes:
    """The bytes of a site key.

    Raises:
        ConfigurationError: it is missing, shorter than 32 bytes, or others can read its file.
    """
    if secret.env is not None:
        value = os.fsencode(os.environ.get(secret.env, ""))
        where = "the environment variable of site.key"
    else:
        path = folder / (secret.file or "")
        if path.exists() and os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigurationError(
                "site.key: others than its owner can read the file; run chmod 600 on it."
            )
        value = read_bytes(path, "site.key").strip()
        where = "the file of site.key"
    if len(value) < KEY_BYTES:
        raise ConfigurationError(
            f"{where} holds {len(value)} bytes; at least {KEY_BYTES} are needed. "
            'Make one with "trialveil pod new".'
        )
    return value


def _check_settings(section: EHRSection, profile: ProviderProfile) -> None:
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


def _transport(
    section: EHRSection,
    profile: ProviderProfile,
    folder: Path,
    surroundings: Surroundings,
    quota: DailyQuota | None,
) -> Transport:
    return Transport(
        section.base_url,
        limits=allowance.limits(section, profile, surroundings.limits),
        clock=surroundings.clock,
        allow_http_loopback=section.allow_http == "loopback",
        ca_file=folder / section.ca_file if section.ca_file else None,
        inner=surroundings.wire,
        never_retry=profile.never_retry,
        quota=quota,
    )


def _headers(section: EHRSection, profile: ProviderProfile) -> dict[str, str]:
    mode = section.auth.mode
    return {
        header.name: section.headers[header.setting]
        for header in profile.extra_headers
        if mode in header.modes and header.setting in section.headers
    }


async def _source(
    file: SiteFile, profile: ProviderProfile, folder: Path, transport: Transport
) -> tuple[Endpoints, TokenSource]:
    section, auth = file.ehr, file.ehr.auth
    if auth.external is not None:
        get_token = _callable(auth.external.callable)
        return Endpoints(), ExternalCallable(get_token, profile.token_life_s, auth.external.scope)
    if auth.backend is None:
        return Endpoints(), Anonymous()
    keys = read_ring(folder / auth.backend.keys)
    endpoints = await discover(transport, section.base_url, token_url=auth.backend.token_url)
    algorithm = keys.signing.algorithm
    if algorithm not in profile.assertion_algorithms:
        raise ConfigurationError(f"keys: {profile.name} does not take {algorithm} assertions.")
    scope = auth.backend.scope
    if scope is None and profile.scope_required:
        style = endpoints.scope_style if profile.scope_style == "either" else profile.scope_style
        scope = wanted_scopes(_types_asked_for(file, profile), style)
    return endpoints, BackendJWT(
        client_id=auth.backend.client_id,
        token_url=endpoints.token_url or "",
        keys=keys,
        wanted_scope=scope,
        now=transport.clock.now,
        life_s=profile.token_life_s,
    )


def _types_asked_for(file: SiteFile, profile: ProviderProfile) -> set[str]:
    asked = {resource.__name__ for resources in RESOURCES.values() for resource in resources} | _POINTED_TO
    cohort = file.cohort
    if cohort is not None and cohort.patients is None:
        asked.add("List" if cohort.group is None else "Group")
    return asked & set(profile.search_parameters)


def _callable(name: str) -> GetToken:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - the site's own module may raise anything
        raise ConfigurationError(
            f"auth.external.callable cannot be imported ({type(error).__name__})."
        ) from None
    if not callable(found):
        raise ConfigurationError("auth.external.callable is not callable.")
    return found  # type: ignore[no-any-return]  # what it returns is checked when it is called


def site_today(site: Site, clock: Clock) -> date:
    """The calendar day at the site."""
    return clock.now().astimezone(site.zone).date()
