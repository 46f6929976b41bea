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
    from ehr.fetched import Fetched, Kind, State
    from ehr.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
    from ehr.providers.adapter import EHRAdapter
    from ehr.records import PatientRecord, PatientRef

__all__ = [
    "Ambiguous",
    "AuthError",
    "ConfigurationError",
    "EHRAdapter",
    "EHRConfig",
    "EHRError",
    "EHRProvider",
    "Fetched",
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
    "ProviderProfile",
    "State",
    "TransportError",
    "Unavailable",
    "Undetermined",
]

_MODULES = {
    "Ambiguous": "ehr.identity",
    "AuthError": "ehr.errors",
    "ConfigurationError": "ehr.errors",
    "EHRAdapter": "ehr.providers.adapter",
    "EHRConfig": "ehr.config",
    "EHRError": "ehr.errors",
    "EHRProvider": "ehr.config",
    "Fetched": "ehr.fetched",
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
    "ProviderProfile": "ehr.config",
    "State": "ehr.fetched",
    "TransportError": "ehr.errors",
    "Unavailable": "ehr.errors",
    "Undetermined": "ehr.identity",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
