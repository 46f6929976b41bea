"""What describes one EHR: the address (`EHRConfig`) and the vendor's ways (`ProviderProfile`).

Standard library only: `federated.types` re-exports `EHRConfig` and must stay light.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from ehr.errors import ConfigurationError

EHRProvider = Literal["nextgen enterprise", "nextech intellechartpro r4", "smarthealthit r4", "epic r4"]
"""The providers of the reference's types page; further ones come through entry points."""

AuthMode = Literal["backend", "browser", "nextgen", "nextech", "external", "none"]


@dataclass(slots=True)
class EHRConfig:
    """Where one hospital's EHR is.

    Args:
        base_url: FHIR base, without a trailing slash when used.
        provider: one of `EHRProvider`.
        enterprise_url: base of NextGen's Enterprise REST interface; NextGen only.
        smart_on_fhir_url: token broker; NextGen only.
        smart_on_fhir_resource_server_url: which server the broker issues tokens for; NextGen only.

    Raises:
        ConfigurationError: the provider is unknown, or the base URL is empty.
    """

    base_url: str
    provider: EHRProvider
    enterprise_url: str | None = None
    smart_on_fhir_url: str | None = None
    smart_on_fhir_resource_server_url: str | None = None

    def __post_init__(self) -> None:
        known = get_args(EHRProvider)
        if self.provider not in known:
            raise ConfigurationError(f"provider is not known. Known: {', '.join(known)}.")
        if not isinstance(self.base_url, str) or not self.base_url.strip():
            raise ConfigurationError("base_url is empty; expected the FHIR base address of the EHR.")


@dataclass(frozen=True, slots=True)
class ExtraHeader:
    """A header that a vendor wants beside the bearer token, on the pinned origin only.

    Args:
        name: header name, such as ``Epic-Client-ID``.
        setting: the key of the site's ``ehr`` settings that holds its value.
        modes: authentication modes in which it is sent; in all others it must not be.
    """

    name: str
    setting: str
    modes: frozenset[AuthMode]


@dataclass(frozen=True, slots=True)
class RateRule:
    """How hard a server may be asked.

    Args:
        concurrency: requests in flight, per host.
        requests_per_s: token bucket per host; ``None`` means no such limit.
        endpoint_requests_per_s: token bucket per endpoint, that is resource type; ``None`` means no such limit.
        daily_requests: budget of one calendar day at the site (`ehr.transport.quota`); ``None`` means none.
    """

    concurrency: int = 8
    requests_per_s: float | None = None
    endpoint_requests_per_s: float | None = None
    daily_requests: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """What one vendor does in its own way, as data (`providers/profiles/*.toml`, checked on load).

    Args:
        name: the provider's name in configuration, such as ``epic r4``.
        title: name for people.
        required_settings: keys of ``ehr:`` without which nothing starts.
        auth_modes: ways to log in that the vendor has.
        scope_required: False where the app's record decides and ``scope`` may be left out.
        scope_style: SMART scope version to ask for (``either``: v2 if the server says so).
        assertion_algorithms: accepted for ``private_key_jwt``, the preferred one first.
        token_life_s: assumed life of a token whose answer has no ``expires_in``.
        extra_headers: see `ExtraHeader`.
        page_parameter, page_size, page_size_max: how a page is sized; a larger size is never asked.
        patient_search: sets of search parameters that find a patient, in the order they are tried. ``$match`` as
            a set of its own says where the operation stands among them; else it comes before those by name.
        number_type: what a record number without a system is searched under (``type|number``); empty for as it is.
        search_parameters: resource type to the parameters the vendor documents. A type that is
            not here is unsupported; a parameter that is not here is filtered locally.
        trust: which statement wins where profile and CapabilityStatement differ.
        fan_out: resource type to (parameter, values): one search for each value, the worst state wins.
        sort, post_search, not_modifier: whether the server can do it.
        match_operation: whether ``Patient/$match`` exists.
        string_search: how a string parameter matches; local verification follows in any case.
        outcome_states: OperationOutcome code to the name of an `ehr.records.patient.State`, or to one of the words of
            `ehr.fhir.outcome` (``AMBIGUOUS``, ``RESTART``, ``ABSENT``, ``MERGED``).
        empty_body_is_quota: an HTTP 200 without body means that the day's quota is used up.
        next_link: ``same-origin``, or ``rewrite``: only path suffix and query are used, on our base.
        appointment_source: where appointments are read: ``appointment``, ``encounter`` or another API.
        code_systems: spellings of a code system to the canonical URI, for this vendor alone.
        mrn_types: identifier type codes or texts that mark the medical record number.
        never_retry: path endings that may change something and are sent at most once.
        rate: see `RateRule`.
        bulk: levels at which ``$export`` exists: ``group``, ``patient``, ``system``.
    """

    name: str
    title: str
    required_settings: tuple[str, ...] = ("base_url",)
    auth_modes: tuple[AuthMode, ...] = ("backend", "browser", "external", "none")
    scope_required: bool = True
    scope_style: Literal["v1", "v2", "either"] = "either"
    assertion_algorithms: tuple[str, ...] = ("RS384", "ES384")
    token_life_s: int = 300
    extra_headers: tuple[ExtraHeader, ...] = ()
    page_parameter: str = "_count"
    page_size: int = 100
    page_size_max: int = 1000
    patient_search: tuple[tuple[str, ...], ...] = (
        ("_id",),
        ("identifier",),
        ("family", "given", "birthdate"),
        ("family", "birthdate"),
    )
    number_type: str = ""
    search_parameters: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    trust: Literal["profile", "server", "both"] = "both"
    fan_out: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=lambda: MappingProxyType({}))
    sort: bool = False
    post_search: bool = False
    not_modifier: bool = False
    match_operation: bool = False
    string_search: Literal["starts-with", "exact", "weighted"] = "starts-with"
    outcome_states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    empty_body_is_quota: bool = False
    next_link: Literal["same-origin", "rewrite"] = "same-origin"
    appointment_source: str = "appointment"
    code_systems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    mrn_types: tuple[str, ...] = ("MR",)
    never_retry: tuple[str, ...] = ("$docref", "$export")
    rate: RateRule = RateRule()
    bulk: tuple[str, ...] = ()
