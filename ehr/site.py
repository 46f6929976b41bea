"""One hospital's EHR, opened from its part of ``pod.yaml``: the one place where all parts are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from inspect import iscoroutinefunction
from pathlib import Path
from types import MethodType
from typing import Any, Generic, Protocol, Self, TypeVar, overload
from zoneinfo import ZoneInfo

from ehr.auth.authenticator import Authenticator
from ehr.connect import allowance
from ehr.connect.access import access_to
from ehr.connect.opening import REAL as REAL
from ehr.connect.opening import ClockAndWire as ClockAndWire
from ehr.connect.opening import Place, check_settings, headers_of, transport_of
from ehr.errors import ConfigurationError, HttpStatusError, TransportError
from ehr.fhir.session import FhirSession
from ehr.files.pod_file import read_bytes, read_site_file, secret_bytes
from ehr.files.settings import Secret, SiteFile
from ehr.people.identity import MatchResult, Person
from ehr.people.people_file import Row, read_people
from ehr.providers.adapter import CohortRef, EHRAdapter
from ehr.providers.generic import AdapterParts
from ehr.providers.probe import ProbeReport
from ehr.reading.cohort import Bounds, Reading, finished_cohort, read_cohort
from ehr.reading.outage_wait import OutageWait
from ehr.reading.query import QueryResult
from ehr.records.patient import (
    RESOURCES,
    AllergyIntolerance,
    Appointment,
    Condition,
    DeviceRequest,
    DiagnosticReport,
    DocumentReference,
    Encounter,
    Fetched,
    ImagingStudy,
    Immunization,
    Kind,
    MedicationRequest,
    MedicationStatement,
    Observation,
    PatientRef,
    Practitioner,
    Procedure,
    ServiceRequest,
)
from ehr.transport.client import SYSTEM_CLOCK, Clock

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
KEY_BYTES = 32


class ReadsOneKind(Protocol[T_co]):
    """A method that reads one kind: a coroutine on `Site`, the answer itself on `ehr.sync.SyncSite`."""

    def __call__(self, ref: PatientRef) -> T_co:
        """Read it for one patient."""
        ...


class _Waits(Protocol):
    def read(self, kind: Kind | str, ref: PatientRef) -> Fetched[Any]: ...


class _ReadsKind(Generic[T]):
    """``read`` of one kind as a method of its own; ``T`` is what its records are."""

    def __init__(self, kind: Kind, about: str) -> None:
        async def read(self: Any, ref: PatientRef) -> Any:
            return await self.read(kind, ref)

        def wait(self: Any, ref: PatientRef) -> Any:
            return self.read(kind, ref)

        records = " and ".join(resource.__name__ for resource in RESOURCES[kind])
        read.__doc__ = wait.__doc__ = (
            f"{about}: a `Fetched` of {records}, the same as ``read({kind.value!r}, ref)``."
        )
        self.kind = kind
        self._read, self._wait = read, wait

    def __set_name__(self, owner: type, name: str) -> None:
        for form in (self._read, self._wait):
            form.__name__, form.__qualname__ = name, f"{owner.__qualname__}.{name}"

    @overload
    def __get__(
        self, site: Site, owner: type[KindsByName]
    ) -> ReadsOneKind[Coroutine[Any, Any, Fetched[T]]]: ...

    @overload
    def __get__(self, site: _Waits, owner: type[KindsByName]) -> ReadsOneKind[Fetched[T]]: ...

    @overload
    def __get__(self, site: None, owner: type[KindsByName]) -> Callable[[Any, PatientRef], Any]: ...

    def __get__(self, site: Any, owner: type[KindsByName]) -> Any:
        form: Callable[..., Any] = (
            self._read if iscoroutinefunction(getattr(owner, "read", None)) else self._wait
        )
        return form if site is None else MethodType(form, site)


class KindsByName:
    """Each kind's method, for both forms of an open EHR."""

    conditions = _ReadsKind[Condition](Kind.CONDITION, "Diagnoses and problems")
    procedures = _ReadsKind[Procedure](Kind.PROCEDURE, "What was done")
    medications = _ReadsKind[MedicationRequest | MedicationStatement](
        Kind.MEDICATION, "Drug requests and statements"
    )
    allergies = _ReadsKind[AllergyIntolerance](
        Kind.ALLERGY, "Allergies, and coded statements that none is known"
    )
    observations = _ReadsKind[Observation](Kind.OBSERVATION, "Measurements and findings")
    encounters = _ReadsKind[Encounter](Kind.ENCOUNTER, "Visits and stays")
    appointments = _ReadsKind[Appointment](Kind.APPOINTMENT, "Appointments, past and future")
    reports = _ReadsKind[DiagnosticReport](Kind.REPORT, "Diagnostic reports")
    imaging = _ReadsKind[ImagingStudy](Kind.IMAGE, "Imaging studies")
    documents = _ReadsKind[DocumentReference](Kind.DOCUMENT, "References to documents")
    immunizations = _ReadsKind[Immunization](Kind.IMMUNIZATION, "Vaccinations")
    orders = _ReadsKind[ServiceRequest | DeviceRequest](Kind.ORDER, "Orders of services and devices")
    practitioner = _ReadsKind[Practitioner](Kind.PRACTITIONER, "Who saw the patient last")


class Site(KindsByName):
    """An open EHR with what the hospital knows about itself. Use it with ``async with``.

    Attributes:
        file: the checked settings.
        adapter: the EHR.
        zone: the site's time zone.
        key: secret of the pseudonyms.
    """

    def __init__(
        self, file: SiteFile, adapter: EHRAdapter, key: bytes, folder: Path, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.file = file
        self.adapter = adapter
        self.zone = ZoneInfo(file.site.time_zone)
        self.key = key
        self._folder = folder
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Site {self.file.ehr.provider}>"

    def _repr_html_(self) -> str:
        return f"<code>{self!r}</code>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.adapter.aclose()

    async def find(self, person: Person) -> MatchResult:
        """Find one person; never a guess."""
        return await self.adapter.find_patient(person)

    async def read(self, kind: Kind | str, ref: PatientRef) -> Fetched[Any]:
        """One kind of record of one patient.

        Raises:
            ValueError: there is no such kind.
        """
        return await self.adapter.read(Kind.parse(kind), ref)

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
        """Each row's patient, in input order; see `ehr.reading.cohort.read_cohort`."""
        return read_cohort(self.adapter, rows, kinds, self.bounds(), self._outage_wait())

    def finished(
        self,
        rows: Iterable[Row],
        kinds: Sequence[Kind],
        finish: Callable[[Sequence[Reading]], Sequence[T]],
    ) -> AsyncIterator[T]:
        """What ``finish`` makes of each row's patient, in input order; see `ehr.reading.cohort.finished_cohort`."""
        return finished_cohort(self.adapter, rows, kinds, finish, self.bounds(), self._outage_wait())

    def _outage_wait(self) -> OutageWait:
        return OutageWait(self.file.ehr.patient_seconds, self._clock)

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
    config: str | Path | SiteFile, surroundings: ClockAndWire = REAL, *, counted_in: Path | None = None
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
    place = Place(file, found.profile, folder, surroundings)
    check_settings(place)
    async with transport_of(place, counted_in) as transport:
        access = await access_to(place, transport)
        authenticator = Authenticator(
            access.source,
            monotonic=surroundings.clock.monotonic,
            headers=headers_of(place),
            turn=access.turn,
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
        adapter = found.make(AdapterParts(found.profile, transport, authenticator, session, access.endpoints))
        async with Site(file, adapter, key, folder, surroundings.clock) as site:
            # What the server does not offer is not asked for. Where it says nothing, the profile alone decides.
            with suppress(TransportError, HttpStatusError):
                await adapter.discover()
            yield site


def read_secret(secret: Secret, folder: Path) -> bytes:
    """The bytes of a site key.

    Raises:
        ConfigurationError: it is missing, shorter than 32 bytes, or others can read its file.
    """
    value = secret_bytes(secret, folder, "site.key")
    if len(value) < KEY_BYTES:
        where = f"the {'file' if secret.env is None else 'environment variable'} of site.key"
        raise ConfigurationError(
            f"{where} holds {len(value)} bytes; at least {KEY_BYTES} are needed. "
            'Make one with "trialveil pod new".'
        )
    return value


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["Site"]
