"""A FHIR server in this process: scripted answers behind the real transport, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import httpx

from ehr.config import ProviderProfile
from ehr.fhir.session import FhirSession
from ehr.transport.client import Transport
from ehr.transport.settings import Limits
from tests.fakes.clock import FakeClock

BASE = "https://ehr.example/api/r4"
TYPES = (
    *("Patient", "Condition", "Procedure", "Observation", "MedicationRequest", "MedicationStatement"),
    *(
        "AllergyIntolerance",
        "Encounter",
        "Appointment",
        "DiagnosticReport",
        "ImagingStudy",
        "DocumentReference",
    ),
    *("Immunization", "ServiceRequest", "DeviceRequest", "Practitioner"),
)
PROFILE = ProviderProfile(
    name="test",
    title="Test",
    search_parameters={
        name: frozenset(
            {"_id", "patient", "code", "category", "date", "family", "given", "birthdate", "identifier"}
        )
        for name in TYPES
    },
)

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


@dataclass
class Server:
    """Answers by path and query.

    Args:
        answers: (path below the base with its query) to an answer, or to several that are given in turn.
        default: what anything else gets.
    """

    answers: Mapping[str, Answer | Sequence[Answer]]
    default: Answer = field(default_factory=lambda: httpx.Response(404))
    requests: list[httpx.Request] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        self.requests.append(request)
        path = str(request.url).removeprefix(BASE).lstrip("/")
        key = next((key for key in (path, path.partition("?")[0]) if key in self.answers), None)
        answer: Any = self.default if key is None else self.answers[key]
        if isinstance(answer, (list, tuple)):
            at = self.given.get(key or "", 0)
            self.given[key or ""] = at + 1
            answer = answer[min(at, len(answer) - 1)]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else _again(answer)

    @property
    def asked(self) -> list[str]:
        """Paths and queries, in order."""
        return [str(request.url).removeprefix(BASE).lstrip("/") for request in self.requests]

    def params(self, index: int = 0) -> dict[str, str]:
        """Query and form of one request."""
        request = self.requests[index]
        return dict(parse_qsl(request.url.query.decode())) | dict(parse_qsl(request.content.decode()))


def _again(answer: httpx.Response) -> httpx.Response:
    return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@asynccontextmanager
async def opened(
    server: Server, profile: ProviderProfile = PROFILE, **options: Any
) -> AsyncIterator[FhirSession]:
    """A session over the real transport; changes to the profile go by ``change``, limits of it by ``limits``."""
    change = options.pop("change", {})
    auth, limits = options.pop("auth", None), options.pop("limits", Limits())
    clock, inner = FakeClock().clock, httpx.MockTransport(server.handle)
    async with Transport(BASE, inner=inner, clock=clock, limits=limits) as transport:
        yield FhirSession(
            transport,
            auth,
            replace(profile, **change),
            clock=clock,
            zone=ZoneInfo("Europe/London"),
            **options,
        )


def entry(resource: Mapping[str, Any], mode: str | None = "match", **more: Any) -> dict[str, Any]:
    """An entry of a searchset."""
    found: dict[str, Any] = {"resource": resource, **more}
    if mode is not None:
        found["search"] = {"mode": mode}
    return found


def bundle(*entries: Any, total: Any = None, **links: str) -> httpx.Response:
    """A searchset; resources may stand for entries. ``next`` and ``self_`` give links."""
    found: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
    if total is not None:
        found["total"] = total
    found["link"] = [{"relation": name.rstrip("_"), "url": url} for name, url in links.items()]
    found["entry"] = [one if "resource" in one else entry(one) for one in entries]
    return answer(found)


def answer(body: Any, status: int = 200) -> httpx.Response:
    """Any JSON."""
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return httpx.Response(status, headers={"content-type": "application/fhir+json"}, content=text)


def condition(record_id: str | None = "c1", who: str | None = "Patient/p1", **more: Any) -> dict[str, Any]:
    """A diagnosis of patient p1."""
    found = {
        "resourceType": "Condition",
        "id": record_id,
        "subject": None if who is None else {"reference": who},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "H35.31"}]},
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}


def outcome(
    severity: str, code: str, vendor: str | None = None, text: str = "CANARY server words"
) -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue: dict[str, Any] = {"severity": severity, "code": code, "diagnostics": text}
    if vendor is not None:
        issue["details"] = {"coding": [{"code": vendor}], "text": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
