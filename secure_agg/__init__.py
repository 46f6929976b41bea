"""Adding vectors from many parties so that only the sum is seen.

Whatever the server and up to the stated number of colluding pods do, they learn the sum over at least the
agreed number of survivors (and the sum of their weights), or nothing. `simulate` runs every role in one
process; `Client` and `Server` are pure state machines for real use. Names are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_agg.client import Client
    from secure_agg.errors import (
        BadMaskInput,
        BadShare,
        BadSignature,
        BudgetRefused,
        CohortRefused,
        ExtraMissing,
        GraphNotCertified,
        InputRefused,
        MalformedMessage,
        MemoryRefused,
        NonFiniteUpdateError,
        OutOfOrder,
        ParameterError,
        PolicyRefused,
        ProtocolError,
        RangeError,
        RosterRefused,
        RoundRepeated,
        SchemaMismatchError,
        SecureAggError,
        SharesRefused,
        SpecRefused,
        SurvivorsRefused,
        TooFewPods,
        UnmaskIntegrityError,
        WeightError,
    )
    from secure_agg.journal import PodJournal, PodPolicy, read_journal
    from secure_agg.keys import Identity, Signer, fingerprint
    from secure_agg.parameters import DpSpec, Encoding, Parameters
    from secure_agg.pod_setup import Contribution, PodSetup, Step
    from secure_agg.recovery import MaskedSum
    from secure_agg.reports import RoundReport, RoundResult
    from secure_agg.server import Outgoing, Server
    from secure_agg.simulation import Cast, simulate
    from secure_agg.specification import Member, RoundIdentity, RoundSpec, make_spec, read_spec, spec_hash
    from secure_agg.transitions import PodState, ServerState

__all__ = [
    "BadMaskInput",
    "BadShare",
    "BadSignature",
    "BudgetRefused",
    "Cast",
    "Client",
    "CohortRefused",
    "Contribution",
    "DpSpec",
    "Encoding",
    "ExtraMissing",
    "GraphNotCertified",
    "Identity",
    "InputRefused",
    "MalformedMessage",
    "MaskedSum",
    "Member",
    "MemoryRefused",
    "NonFiniteUpdateError",
    "OutOfOrder",
    "Outgoing",
    "ParameterError",
    "Parameters",
    "PodJournal",
    "PodPolicy",
    "PodSetup",
    "PodState",
    "PolicyRefused",
    "ProtocolError",
    "RangeError",
    "RosterRefused",
    "RoundIdentity",
    "RoundRepeated",
    "RoundReport",
    "RoundResult",
    "RoundSpec",
    "SchemaMismatchError",
    "SecureAggError",
    "Server",
    "ServerState",
    "SharesRefused",
    "Signer",
    "SpecRefused",
    "Step",
    "SurvivorsRefused",
    "TooFewPods",
    "UnmaskIntegrityError",
    "WeightError",
    "fingerprint",
    "make_spec",
    "read_journal",
    "read_spec",
    "simulate",
    "spec_hash",
]

_MODULES = {
    "BadMaskInput": "secure_agg.errors",
    "BadShare": "secure_agg.errors",
    "BadSignature": "secure_agg.errors",
    "BudgetRefused": "secure_agg.errors",
    "Cast": "secure_agg.simulation",
    "Client": "secure_agg.client",
    "CohortRefused": "secure_agg.errors",
    "Contribution": "secure_agg.pod_setup",
    "DpSpec": "secure_agg.parameters",
    "Encoding": "secure_agg.parameters",
    "ExtraMissing": "secure_agg.errors",
    "GraphNotCertified": "secure_agg.errors",
    "Identity": "secure_agg.keys",
    "InputRefused": "secure_agg.errors",
    "MalformedMessage": "secure_agg.errors",
    "MaskedSum": "secure_agg.recovery",
    "Member": "secure_agg.specification",
    "MemoryRefused": "secure_agg.errors",
    "NonFiniteUpdateError": "secure_agg.errors",
    "OutOfOrder": "secure_agg.errors",
    "Outgoing": "secure_agg.server",
    "ParameterError": "secure_agg.errors",
    "Parameters": "secure_agg.parameters",
    "PodJournal": "secure_agg.journal",
    "PodPolicy": "secure_agg.journal",
    "PodSetup": "secure_agg.pod_setup",
    "PodState": "secure_agg.transitions",
    "PolicyRefused": "secure_agg.errors",
    "ProtocolError": "secure_agg.errors",
    "RangeError": "secure_agg.errors",
    "RosterRefused": "secure_agg.errors",
    "RoundIdentity": "secure_agg.specification",
    "RoundRepeated": "secure_agg.errors",
    "RoundReport": "secure_agg.reports",
    "RoundResult": "secure_agg.reports",
    "RoundSpec": "secure_agg.specification",
    "SchemaMismatchError": "secure_agg.errors",
    "SecureAggError": "secure_agg.errors",
    "Server": "secure_agg.server",
    "ServerState": "secure_agg.transitions",
    "SharesRefused": "secure_agg.errors",
    "Signer": "secure_agg.keys",
    "SpecRefused": "secure_agg.errors",
    "Step": "secure_agg.pod_setup",
    "SurvivorsRefused": "secure_agg.errors",
    "TooFewPods": "secure_agg.errors",
    "UnmaskIntegrityError": "secure_agg.errors",
    "WeightError": "secure_agg.errors",
    "fingerprint": "secure_agg.keys",
    "make_spec": "secure_agg.specification",
    "read_journal": "secure_agg.journal",
    "read_spec": "secure_agg.specification",
    "simulate": "secure_agg.simulation",
    "spec_hash": "secure_agg.specification",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
