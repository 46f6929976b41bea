"""What a FHIR server does with each request that is in order."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import msgspec

from ehr.sandbox.instants import Clock, microseconds
from ehr.sandbox.match_operation import match
from ehr.sandbox.messages import FHIR_JSON, Answer, Request
from ehr.sandbox.oauth import AuthorizationServer
from ehr.sandbox.outcomes import Refused
from ehr.sandbox.pages import BundlePage, Cutter, Session, Sessions
from ehr.sandbox.parameters import KNOWN_TYPES, parameters_of
from ehr.sandbox.routes import Target
from ehr.sandbox.scopes import allows, only_one_patient
from ehr.sandbox.search import SearchRequest, read_query, run, sieve
from ehr.sandbox.skin import Situation, Skin
from ehr.sandbox.store import Store, Stored

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[ \w.+=\"-]+)*", re.ASCII)  # data must not write headers


@dataclass(frozen=True, slots=True)
class GrantedAccess:
    """What the presented token opens.

    Args:
        client_id: None where no login is needed.
        allows: whether a right (``r``, ``s``) on a type is given.
        only: for a type, the one patient whose records may be seen; None for no such limit.
    """

    client_id: str | None
    allows: Callable[[str, str], bool]
    only: Callable[[str], str | None] = lambda kind: None

    def sees(self, stored: Stored) -> bool:
        """Whether a resource may be seen; what is about nobody may."""
        only = self.only(stored.type)
        return only is None or not stored.patients or only in stored.patients


@dataclass(frozen=True, slots=True)
class Service:
    """One FHIR server over one store."""

    store: Store
    skin: Skin
    sessions: Sessions
    clock: Clock

    def access(self, request: Request, server: AuthorizationServer | None) -> GrantedAccess:
        """Check the bearer token.

        Raises:
            Refused: a header that the skin asks for is missing, or the token is missing, unknown or past.
        """
        for name in self.skin.required_headers:
            if name.lower() not in request.headers:
                raise Refused(403, "forbidden", "a header that this server needs is missing")
        if any(name.lower() in request.headers for name in self.skin.forbidden_headers):
            raise Refused(403, "forbidden", "a header does not belong to this way of logging in")
        if server is None:
            return GrantedAccess(None, lambda kind, right: True)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        grant = server.grant_of(token.strip()) if scheme.lower() == "bearer" else None
        if grant is None:
            raise Refused(401, "login-required", "the access token is missing, unknown or past")
        return GrantedAccess(
            grant.client_id,
            lambda kind, right: allows(grant.scopes, kind, right),
            lambda kind: grant.patient if only_one_patient(grant.scopes, kind) else None,
        )

    def served_types(self) -> frozenset[str]:
        return self.skin.types if self.skin.types is not None else KNOWN_TYPES | self.store.types()

    def search(self, target: Target, request: Request, access: GrantedAccess, base_url: str) -> BundlePage:
        """The first page of a search.

        Raises:
            Refused: the type is not served or not covered by the token, or the search is malformed.
        """
        kind = self._served(target)
        _allowed(access, kind, "s")
        strict = "handling=strict" in request.headers.get("prefer", "").replace(" ", "")
        query = read_query(kind, target.pairs, self.skin, strict=strict)
        if self.skin.merged == "redirect":
            self._redirect(query.patient, "this patient's record was merged", kind, target.pairs)
        if self.skin.searching.knows_patients and not self._known(query):
            raise Refused(400, "unknown-patient", "there is no such patient")
        now = microseconds(self.clock())
        found = run(query, self.store, self.skin, now=now)
        matches = [stored for stored in found if access.sees(stored)]
        session = Session(query, matches, access.client_id, self.clock(), sieve=sieve(query, self.skin, now))
        return self._cutter(base_url).page(session, 1, lambda other: access.allows(other, "r"))

    def later_page(self, target: Target, access: GrantedAccess, base_url: str) -> BundlePage:
        """A page of a search asked before.

        Raises:
            Refused: the session is over or another client's, or its type is no longer covered.
        """
        session = self.sessions.find(target.session_key, access.client_id)
        _allowed(access, session.query.resource_type, "s")
        return self._cutter(base_url).page(
            session, target.asked.page, lambda other: access.allows(other, "r")
        )

    def read(self, target: Target, request: Request, access: GrantedAccess) -> Answer:
        """One resource; a Binary in its own type unless JSON is asked for.

        Raises:
            Refused: not served, not covered, or not there.
        """
        kind = self._served(target)
        _allowed(access, kind, "r")
        stored = self.store.get(kind, target.resource_id)
        if stored is None or not access.sees(stored):
            situation: Situation = "no-binary" if kind == "Binary" else "not-found"
            raise Refused(404, situation, "there is no such resource")
        if self.skin.merged == "redirect" and kind == "Patient":
            self._redirect(target.resource_id, "the read resource was merged", kind)
        if kind == "Binary" and not _wants_json(request):
            return _raw_binary(stored.data.get("data"), stored.data.get("contentType"))
        return Answer(200, stored.body)

    def _known(self, query: SearchRequest) -> bool:
        patient = query.patient
        about = patient is not None and query.resource_type != "Patient"
        return not about or self.store.get("Patient", patient or "") is not None

    def _redirect(
        self, patient: str | None, why: str, kind: str, pairs: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send whoever asks for or about a patient that was merged away to the survivor."""
        survivor = self.store.survivor(patient) if patient is not None else None
        if patient is None or survivor is None:
            return
        asked = urlencode([(name, survivor if value.endswith(patient) else value) for name, value in pairs])
        raise Refused(302, "merged", why, f"{kind}?{asked}" if pairs else f"{kind}/{survivor}")

    def match(self, request: Request, access: GrantedAccess, base_url: str) -> Answer:
        """``Patient/$match``.

        Raises:
            Refused: not covered, or the Parameters are malformed.
        """
        _allowed(access, "Patient", "s")
        _allowed(access, "Patient", "r")
        if access.only("Patient") is not None:
            raise Refused(403, "forbidden", "the access token is for one patient only")
        living = self.skin.merged == "redirect"
        return Answer(200, match(request.body, self.store, base_url, living=living))

    def metadata(self, request: Request, base_url: str, token_url: str, *, login: bool) -> Answer:
        """The CapabilityStatement; anyone may read it."""
        statement = capability_statement(self, base_url, token_url, login=login)
        if self.skin.metadata == "xml" and not _wants_json(request):
            return Answer(200, _as_xml(statement), "application/fhir+xml; charset=utf-8")
        return Answer(200, msgspec.json.encode(statement))

    def _cutter(self, base_url: str) -> Cutter:
        return Cutter(base_url, self.skin, self.store, self.sessions)

    def _served(self, target: Target) -> str:
        kind = target.asked.resource_type
        if kind is None or kind not in self.served_types():
            raise Refused(404, "unknown-type", "this resource type is not served")
        return kind


def _allowed(access: GrantedAccess, kind: str, right: str) -> None:
    if not access.allows(kind, right):
        raise Refused(403, "forbidden", "the access token's scope does not cover this")


def _wants_json(request: Request) -> bool:
    asked = dict(request.parameters()).get("_format", "") + request.headers.get("accept", "")
    return "json" in asked


def _raw_binary(data: object, content_type: object) -> Answer:
    try:
        body = base64.b64decode(data if isinstance(data, str) else "", validate=True)
    except binascii.Error:
        raise Refused(500, "fault", "this Binary's data is not base64") from None
    plain = isinstance(content_type, str) and _MEDIA_TYPE.fullmatch(content_type)
    return Answer(200, body, str(content_type) if plain else "application/octet-stream")


def capability_statement(
    service: Service, base_url: str, token_url: str, *, login: bool
) -> dict[str, object]:
    """A CapabilityStatement of what this skin serves, with ``oauth-uris`` where a login is needed."""
    rest: dict[str, object] = {"mode": "server"}
    if login:
        uris = {
            "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
            "extension": [{"url": "token", "valueUri": token_url}],
        }
        rest["security"] = {"extension": [uris], "service": [{"coding": [{"code": "SMART-on-FHIR"}]}]}
    rest["resource"] = [_capability(kind, service.skin) for kind in sorted(service.served_types())]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": service.clock().isoformat(timespec="seconds"),
        "kind": "instance",
        "software": {"name": f"trialveil sandbox: {service.skin.title}"},
        "implementation": {"description": service.skin.title, "url": base_url},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON],
        "rest": [rest],
    }


def _capability(kind: str, skin: Skin) -> dict[str, object]:
    names = skin.searching.parameters.get(kind, frozenset(parameters_of(kind)))
    params = [
        {"name": name, "type": parameter.kind}
        for name, parameter in parameters_of(kind).items()
        if name in names
    ]
    found: dict[str, object] = {
        "type": kind,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchParam": params,
    }
    if kind == "Patient" and skin.match_operation:
        definition = "http://hl7.org/fhir/OperationDefinition/Patient-match"
        found["operation"] = [{"name": "match", "definition": definition}]
    return found


def _as_xml(resource: Mapping[str, Any]) -> bytes:
    """FHIR's XML form, for servers that answer in it unless JSON is asked for; elements in the definition's order."""
    root = ElementTree.Element(str(resource["resourceType"]), xmlns="http://hl7.org/fhir")
    _fill(root, {name: value for name, value in resource.items() if name != "resourceType"})
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _fill(parent: ElementTree.Element, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        if name == "url" and parent.tag == "extension":
            parent.set("url", str(value))
            continue
        for one in value if isinstance(value, list) else [value]:
            child = ElementTree.SubElement(parent, name)
            if isinstance(one, Mapping):
                _fill(child, one)
            else:
                child.set("value", str(one).lower() if isinstance(one, bool) else str(one))
