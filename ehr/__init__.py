"""One hospital's EHR: log in over SMART on FHIR, find each patient, read the record.

Names are loaded when they are used, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr.config import EHRConfig, EHRProvider
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
    from ehr.records import PatientRecord, PatientRef

__all__ = [
    "AuthError",
    "ConfigurationError",
    "EHRConfig",
    "EHRError",
    "EHRProvider",
    "Fetched",
    "Kind",
    "LoginRefused",
    "NotMatched",
    "PatientRecord",
    "PatientRef",
    "State",
    "TransportError",
    "Unavailable",
]

_MODULES = {
    "AuthError": "ehr.errors",
    "ConfigurationError": "ehr.errors",
    "EHRConfig": "ehr.config",
    "EHRError": "ehr.errors",
    "EHRProvider": "ehr.config",
    "Fetched": "ehr.fetched",
    "Kind": "ehr.fetched",
    "LoginRefused": "ehr.errors",
    "NotMatched": "ehr.errors",
    "PatientRecord": "ehr.records",
    "PatientRef": "ehr.records",
    "State": "ehr.fetched",
    "TransportError": "ehr.errors",
    "Unavailable": "ehr.errors",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
