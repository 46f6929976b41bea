"""What makes one vendor's server answer unlike another's, as data."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from ehr.errors import ConfigurationError
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.store import Store

Situation = Literal[
    "no-results",
    "missing-parameter",
    "too-few",
    "unknown-parameter",
    "bad-parameter",
    "bad-value",
    "not-found",
    "no-binary",
    "unknown-patient",
    "merged",
    "unknown-type",
    "session-expired",
    "login-required",
    "forbidden",
    "too-many",
    "fault",
]


@dataclass(frozen=True, slots=True)
class OutcomeCode:
    """How a server words one situation in an OperationOutcome.

    Args:
        code: the FHIR issue type.
        system: of the vendor's own code; empty without one.
        vendor: the vendor's own code, in ``issue.details.coding``.
        severity: of the issue.
    """

    code: str
    system: str = ""
    vendor: str = ""
    severity: str = "error"


PLAIN_CODES: Mapping[Situation, OutcomeCode] = MappingProxyType(
    {
        "no-results": OutcomeCode("not-found", severity="warning"),
        "missing-parameter": OutcomeCode("required"),
        "too-few": OutcomeCode("required"),
        "unknown-parameter": OutcomeCode("not-supported", severity="warning"),
        "bad-parameter": OutcomeCode("invalid"),
        "bad-value": OutcomeCode("code-invalid"),
        "not-found": OutcomeCode("not-found"),
        "no-binary": OutcomeCode("not-found"),
        "unknown-patient": OutcomeCode("invalid"),
        "merged": OutcomeCode("processing"),
        "unknown-type": OutcomeCode("not-supported"),
        "session-expired": OutcomeCode("expired"),
        "login-required": OutcomeCode("login"),
        "forbidden": OutcomeCode("forbidden"),
        "too-many": OutcomeCode("too-costly", severity="fatal"),
        "fault": OutcomeCode("exception"),
    }
)


@dataclass(frozen=True, slots=True)
class Paging:
    """How a server cuts its answers into pages.

    Args:
        parameter: the name that asks for a page size.
        default_count: entries a page without it.
        max_count: more is cut down to this.
        session_life_s: a ``next`` link older than this is refused.
        links_at: ``base`` puts the session id on the FHIR base, ``type`` on the resource type's path.
        expired_status: HTTP status of a refused ``next`` link.
        total: whether a searchset says how many matches there are.
    """

    parameter: str = "_count"
    default_count: int = 20
    max_count: int = 250
    session_life_s: int = 3600
    links_at: Literal["base", "type"] = "type"
    expired_status: int = 410
    total: bool = True


@dataclass(frozen=True, slots=True)
class Searching:
    """What a server's search accepts.

    Args:
        parameters: names allowed for a type; a type that is not listed allows all the sandbox knows.
        required: for a type, sets of names of which one must be given in full.
        values: for a type and a parameter, the only values that are accepted.
        prefixes: date prefixes understood.
        strings: how text is compared, case and accents aside; ``weighted`` takes one letter more, less or other.
        weighs: parameters of Patient that only weigh in a weighted search and so exclude nobody.
        typed_identifiers: ``identifier=TYPE|value`` means the type of the number as well as its system.
        post_filters: for a type, parameters that are applied to each page after it was cut.
        post: which parameters of ``POST _search`` count: the body's, the query's too, or no POST at all.
        knows_patients: a search about a patient whom the server does not know is refused instead of empty.
        unknown: what happens to an unknown parameter (``Prefer: handling=strict`` always rejects).
        name_yields: ``name`` is ignored where ``family`` or ``given`` is asked for.
        sorts: whether ``_sort`` is understood.
        modifiers: search modifiers understood.
        no_results_outcome: an empty answer carries a warning.
        max_patients: more Patient matches than this are refused; 0 for no such limit.
    """

    parameters: Mapping[str, frozenset[str]] = field(default_factory=dict)
    required: Mapping[str, tuple[frozenset[str], ...]] = field(default_factory=dict)
    values: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    prefixes: frozenset[str] = frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"})
    strings: Literal["starts-with", "contains", "exact", "weighted"] = "starts-with"
    weighs: frozenset[str] = frozenset()
    typed_identifiers: bool = False
    post_filters: Mapping[str, frozenset[str]] = field(default_factory=dict)
    post: Literal["body", "both", "none"] = "both"
    knows_patients: bool = False
    unknown: Literal["ignore", "reject"] = "ignore"
    name_yields: bool = False
    sorts: bool = True
    modifiers: frozenset[str] = frozenset({"exact", "contains", "not", "missing"})
    no_results_outcome: bool = False
    max_patients: int = 0


@dataclass(frozen=True, slots=True)
class LoginRules:
    """How a server hands out tokens.

    Args:
        scope_styles: SMART scope versions understood.
        scope_required: a token request without ``scope`` is refused; else it gets all that is registered.
        token_life_s: life of an access token, in seconds.
        states_expiry: whether the answer carries ``expires_in``.
        states_issuer: whether answers of the authorization endpoint name the server (RFC 9207).
        announced: members of the smart-configuration that are other than usual; None leaves one out.
    """

    scope_styles: frozenset[str] = frozenset({"v1", "v2"})
    scope_required: bool = True
    token_life_s: int = 3600
    states_expiry: bool = True
    states_issuer: bool = True
    announced: Mapping[str, object] = field(default_factory=dict)


class HasStore(Protocol):
    """A server, as far as what answers ``beside`` it may look: `ehr.sandbox.handlers.Service` is one."""

    @property
    def store(self) -> Store:
        """Its data."""
        ...


@dataclass(frozen=True, slots=True)
class Skin:
    """One vendor's behaviour.

    Args:
        name: as users type it.
        title: for people.
        fhir_path: path of the FHIR base.
        token_path: path of the token endpoint.
        types: resource types served; None for every type the sandbox knows or has data of.
        required_headers: a request without one of them is refused.
        forbidden_headers: a request with one of them is refused.
        match_operation: whether ``Patient/$match`` exists.
        merged: what a read or search of a Patient that was merged away brings: the old ``record`` with its link, or
            an outcome with a ``redirect`` to the survivor.
        metadata: form of the CapabilityStatement unless JSON is asked for.
        dress: makes the data look as this vendor has it; None takes it as it is.
        outcome_codes: the vendor's wording, where it differs from `PLAIN_CODES`.
        beside: answers requests outside FHIR R4 search and read (a vendor's own REST API, another FHIR
            version) from the same data, after the token was checked; None from it means there is no such thing.
    """

    name: str
    title: str
    fhir_path: str
    token_path: str
    types: frozenset[str] | None = None
    paging: Paging = Paging()
    searching: Searching = Searching()
    login: LoginRules = LoginRules()
    required_headers: tuple[str, ...] = ()
    forbidden_headers: tuple[str, ...] = ()
    match_operation: bool = False
    merged: Literal["record", "redirect"] = "record"
    metadata: Literal["json", "xml"] = "json"
    dress: Callable[[Store], Store] | None = None
    outcome_codes: Mapping[Situation, OutcomeCode] = field(default_factory=dict)
    beside: Callable[[Request, HasStore], Answer | None] | None = None

    @property
    def authorize_path(self) -> str:
        """Path of the authorization endpoint, beside the token endpoint."""
        return self.token_path.rpartition("/")[0] + "/authorize"

    def code_of(self, situation: Situation) -> OutcomeCode:
        return self.outcome_codes.get(situation, PLAIN_CODES[situation])


def skin_names() -> list[str]:
    """Names of the skins there are."""
    import ehr.sandbox.skins as skins

    return sorted(module.name for module in pkgutil.iter_modules(skins.__path__))


def skin_named(name: str) -> Skin:
    """One skin by its name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    known = skin_names()
    if name not in known:
        raise ConfigurationError(f"skin is not one of: {', '.join(known)}")
    found = importlib.import_module(f"ehr.sandbox.skins.{name}").SKIN
    if not isinstance(found, Skin):
        raise ConfigurationError("a skin module must hold SKIN, a Skin")
    return found
