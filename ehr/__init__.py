"""One hospital's EHR: log in over SMART on FHIR, find each patient, read the record.

Names are loaded when they are used, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr.config import EHRConfig, EHRProvider, ProviderProfile
    from ehr.errors import (
        AuthError,
        ConfigurationError,
        EHRError,
        LoginRefused,
        NotMatched,
        TransportError,
        Unavailable,
    )
    from ehr.files.problems import FileErrors
    from ehr.people.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
    from ehr.providers.adapter import EHRAdapter
    from ehr.providers.probe import ProbeReport
    from ehr.reading.cohort import Bounds, Reading
    from ehr.reading.query import QueryResult
    from ehr.records.fetched import Fetched, Kind, State
    from ehr.records.patient import PatientRecord, PatientRef
    from ehr.site import Site, open_site_async
    from ehr.sync import SyncSite, open_site

__all__ = [
    "Ambiguous",
    "AuthError",
    "Bounds",
    "ConfigurationError",
    "EHRAdapter",
    "EHRConfig",
    "EHRError",
    "EHRProvider",
    "Fetched",
    "FileErrors",
    "Grade",
    "Kind",
    "LoginRefused",
    "MatchResult",
    "Matched",
    "NotFound",
    "NotMatched",
    "PatientRecord",
    "PatientRef",
    "Person",
    "ProbeReport",
    "ProviderProfile",
    "QueryResult",
    "Reading",
    "Site",
    "State",
    "SyncSite",
    "TransportError",
    "Unavailable",
    "Undetermined",
    "open_site",
    "open_site_async",
]

_MODULES = {
    "Ambiguous": "ehr.people.identity",
    "AuthError": "ehr.errors",
    "Bounds": "ehr.reading.cohort",
    "ConfigurationError": "ehr.errors",
    "EHRAdapter": "ehr.providers.adapter",
    "EHRConfig": "ehr.config",
    "EHRError": "ehr.errors",
    "EHRProvider": "ehr.config",
    "Fetched": "ehr.records.fetched",
    "FileErrors": "ehr.files.problems",
    "Grade": "ehr.people.identity",
    "Kind": "ehr.records.fetched",
    "LoginRefused": "ehr.errors",
    "MatchResult": "ehr.people.identity",
    "Matched": "ehr.people.identity",
    "NotFound": "ehr.people.identity",
    "NotMatched": "ehr.errors",
    "PatientRecord": "ehr.records.patient",
    "PatientRef": "ehr.records.patient",
    "Person": "ehr.people.identity",
    "ProbeReport": "ehr.providers.probe",
    "ProviderProfile": "ehr.config",
    "QueryResult": "ehr.reading.query",
    "Reading": "ehr.reading.cohort",
    "Site": "ehr.site",
    "State": "ehr.records.fetched",
    "SyncSite": "ehr.sync",
    "TransportError": "ehr.errors",
    "Unavailable": "ehr.errors",
    "Undetermined": "ehr.people.identity",
    "open_site": "ehr.sync",
    "open_site_async": "ehr.site",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
