"""What a server says it can do, and which of profile and CapabilityStatement is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from ehr.config import ProviderProfile
from ehr.records.elements import Element


class _Named(Element, frozen=True):
    """An interaction by its code; a parameter or a software by its name."""

    code: str | None = None
    name: str | None = None


class _Type(Element, frozen=True):
    type: str | None = None
    interaction: list[_Named] | None = None
    search_param: list[_Named] | None = None


class _Rest(Element, frozen=True):
    mode: str | None = None
    resource: list[_Type] | None = None


class _Statement(Element, frozen=True, tag_field="resourceType", tag="CapabilityStatement"):
    fhir_version: str | None = None
    software: _Named | None = None
    rest: list[_Rest] | None = None


@dataclass(frozen=True, slots=True)
class Capability:
    """A CapabilityStatement, as far as it matters.

    Args:
        fhir_version: such as ``4.0.1``.
        software: the server's product name.
        types: resource types that can be searched or read; None where the statement could not be read.
        parameters: resource type to search parameters, where the statement lists any.
    """

    fhir_version: str | None = None
    software: str | None = None
    types: frozenset[str] | None = None
    parameters: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))


_DECODER = msgspec.json.Decoder(_Statement)


def read_capability(body: bytes) -> Capability:
    """Read a CapabilityStatement; an unreadable one says nothing."""
    try:
        statement = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Capability()
    listed = [
        kind
        for rest in statement.rest or ()
        if rest.mode in (None, "server")
        for kind in rest.resource or ()
        if kind.type and _readable(kind)
    ]
    parameters = {
        kind.type: frozenset(one.name for one in kind.search_param or () if one.name)
        for kind in listed
        if kind.type and kind.search_param
    }
    return Capability(
        statement.fhir_version,
        None if statement.software is None else statement.software.name,
        frozenset(kind.type for kind in listed if kind.type) or None,
        MappingProxyType(parameters),
    )


def _readable(kind: _Type) -> bool:
    codes = {one.code for one in kind.interaction or ()}
    return not codes or bool(codes & {"search-type", "read"})


def offers(type_name: str, profile: ProviderProfile, capability: Capability | None) -> bool:
    """Whether a resource type can be asked for (``profile.trust`` says who is believed)."""
    in_profile = type_name in profile.search_parameters
    types = None if capability is None else capability.types
    if profile.trust == "profile" or types is None:
        return in_profile
    in_statement = type_name in types
    return in_statement if profile.trust == "server" else in_profile and in_statement


def parameters(type_name: str, profile: ProviderProfile, capability: Capability | None) -> frozenset[str]:
    """Search parameters that may be sent for a type.

    Parameters that begin with ``_`` and the one that names the patient are seldom listed by servers, so the
    profile alone decides about those.
    """
    ours = profile.search_parameters.get(type_name, frozenset())
    theirs = None if capability is None else capability.parameters.get(type_name)
    if profile.trust == "profile" or theirs is None:
        return ours
    if profile.trust == "server":
        return theirs | ours & {"_id"}
    return frozenset(
        name for name in ours if name in theirs or name.startswith("_") or name in ("patient", "subject")
    )
