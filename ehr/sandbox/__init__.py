"""An embedded EHR for trying things out and for tests: SMART login, FHIR search, faults, a witness.

    with Sandbox(folder, clients={"screener": RegisteredClient(jwks)}) as ehr:
        ehr.base_url, ehr.token_url, ehr.witness
        ehr.faults = [Fault(Status(503), When(resource_type="Condition"), times=2)]

It shares no code with the client of this package, so each can show the other's mistakes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr.sandbox.app import SandboxApp as SandboxApp
    from ehr.sandbox.app import build_app as build_app
    from ehr.sandbox.apps import RegisteredApp as RegisteredApp
    from ehr.sandbox.data import load as load
    from ehr.sandbox.faults import Alien as Alien
    from ehr.sandbox.faults import Body as Body
    from ehr.sandbox.faults import Duplicate as Duplicate
    from ehr.sandbox.faults import ExpireSession as ExpireSession
    from ehr.sandbox.faults import Fault as Fault
    from ehr.sandbox.faults import FaultScript as FaultScript
    from ehr.sandbox.faults import Hang as Hang
    from ehr.sandbox.faults import LostPage as LostPage
    from ehr.sandbox.faults import NextLink as NextLink
    from ehr.sandbox.faults import Oversize as Oversize
    from ehr.sandbox.faults import Remark as Remark
    from ehr.sandbox.faults import Reset as Reset
    from ehr.sandbox.faults import RevokeToken as RevokeToken
    from ehr.sandbox.faults import Status as Status
    from ehr.sandbox.faults import Trickle as Trickle
    from ehr.sandbox.faults import When as When
    from ehr.sandbox.faults import WrongTotal as WrongTotal
    from ehr.sandbox.listener import TLS as TLS
    from ehr.sandbox.oauth import RegisteredClient as RegisteredClient
    from ehr.sandbox.server import Registration as Registration
    from ehr.sandbox.server import Sandbox as Sandbox
    from ehr.sandbox.server import serve as serve
    from ehr.sandbox.skin import Skin as Skin
    from ehr.sandbox.skin import skin_named as skin_named
    from ehr.sandbox.skin import skin_names as skin_names
    from ehr.sandbox.store import Store as Store
    from ehr.sandbox.store import store_of as store_of
    from ehr.sandbox.witness import TokenLeaked as TokenLeaked
    from ehr.sandbox.witness import Witness as Witness

_FAULT_NAMES = (
    *("Alien", "Body", "Duplicate", "ExpireSession", "Fault", "FaultScript", "Hang", "LostPage", "NextLink"),
    *("Oversize", "Remark", "Reset", "RevokeToken", "Status", "Trickle", "When", "WrongTotal"),
)
_WHERE = {
    **dict.fromkeys(("SandboxApp", "build_app"), "app"),
    "RegisteredApp": "apps",
    "load": "data",
    **dict.fromkeys(_FAULT_NAMES, "faults"),
    "RegisteredClient": "oauth",
    "TLS": "listener",
    **dict.fromkeys(("Registration", "Sandbox", "serve"), "server"),
    **dict.fromkeys(("Skin", "skin_named", "skin_names"), "skin"),
    "Who": "login_routes",
    "Store": "store",
    "store_of": "store",
    **dict.fromkeys(("TokenLeaked", "Witness"), "witness"),
}

__all__ = sorted(_WHERE)  # made from the table above


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
