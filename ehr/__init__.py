"""One hospital's EHR: log in over SMART on FHIR, find each patient, read the record.

Names are loaded when they are used, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr.cohort import Bounds, Reading
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
    from ehr.fetched import Fetched, Kind, State
    from ehr.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
    from ehr.problems import FileErrors
    from ehr.providers.adapter import EHRAdapter
    from ehr.providers.probe import ProbeReport
    from ehr.query import QueryResult
    from ehr.records import PatientRecord, PatientRef
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
    "Ambiguous": "ehr.identity",
    "AuthError": "ehr.errors",
    "Bounds": "ehr.cohort",
    "ConfigurationError": "ehr.errors",
    "EHRAdapter": "ehr.providers.adapter",
    "EHRConfig": "ehr.config",
    "EHRError": "ehr.errors",
    "EHRProvider": "ehr.config",
    "Fetched": "ehr.fetched",
    "FileErrors": "ehr.problems",
    "Grade": "ehr.identity",
    "Kind": "ehr.fetched",
    "LoginRefused": "ehr.errors",
    "MatchResult": "ehr.identity",
    "Matched": "ehr.identity",
    "NotFound": "ehr.identity",
    "NotMatched": "ehr.errors",
    "PatientRecord": "ehr.records",
    "PatientRef": "ehr.records",
    "Person": "ehr.identity",
    "ProbeReport": "ehr.providers.probe",
    "ProviderProfile": "ehr.config",
    "QueryResult": "ehr.query",
    "Reading": "ehr.cohort",
    "Site": "ehr.site",
    "State": "ehr.fetched",
    "SyncSite": "ehr.sync",
    "TransportError": "ehr.errors",
    "Unavailable": "ehr.errors",
    "Undetermined": "ehr.identity",
    "open_site": "ehr.sync",
    "open_site_async": "ehr.site",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
