"""The contract kit: what every EHR adapter must hold, run against mocks and over real sockets.

For people who write or change an adapter: subclass `AdapterContract` in a test file, or run "trialveil ehr
contract". Needs the extra ``testing``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr.testing.case import Case as Case
    from ehr.testing.case_context import CaseContext as CaseContext
    from ehr.testing.cases import CASES as CASES
    from ehr.testing.contract import AdapterContract as AdapterContract
    from ehr.testing.expect import ContractBroken as ContractBroken
    from ehr.testing.harness import ProviderHarness as ProviderHarness
    from ehr.testing.run import Result as Result
    from ehr.testing.run import run_contract as run_contract

_WHERE = {
    "AdapterContract": "contract",
    "CASES": "cases",
    "Case": "case",
    "ContractBroken": "expect",
    "ProviderHarness": "harness",
    "Result": "run",
    "Stage": "stage",
    "run_contract": "run",
}

__all__ = sorted(_WHERE)  # made from the table above


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
