"""Tries each step that a screening run needs and says which one is wrong, without patient data.

The report may be sent to a vendor's support: it holds counts, types, states and our own advice, never a name, an
id, a token, an address or a sentence of the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ehr.auth.authenticator import Authenticator
from ehr.auth.discovery import Endpoints
from ehr.auth.scopes import missing_types
from ehr.errors import AuthError, ClockWrong, EHRError
from ehr.fhir.session import FhirSession
from ehr.records.patient import RESOURCES, Fetched, Kind, State

Result = Literal["ok", "warning", "failed", "skipped"]

CLAIM_WORDS: Mapping[str, str] = {
    "aud": "the assertion's aud is not what the server expects: set auth.token_url to the registered address",
    "audience": "the assertion's aud is not what the server expects: set auth.token_url to the registered address",
    "exp": "the assertion's exp is refused: check this machine's clock",
    "expired": "the assertion's exp is refused: check this machine's clock",
    "iat": "the assertion's iat is refused: check this machine's clock",
    "jti": "the assertion's jti is refused as used before: is another program using the same client?",
    "replay": "the assertion's jti is refused as used before: is another program using the same client?",
    "kid": 'the assertion\'s kid is not known: register the output of "trialveil ehr jwks"',
    "key": 'the signing key is not known: register the output of "trialveil ehr jwks"',
    "jwks": 'the server could not use the registered JWKS: compare it with "trialveil ehr jwks"',
    "signature": 'the signature does not fit the registered key: register the output of "trialveil ehr jwks"',
    "iss": "the assertion's iss is refused: check auth.client_id",
    "sub": "the assertion's sub is refused: check auth.client_id",
    "client": "the client is not known: check auth.client_id",
    "scope": "a scope is refused: compare auth.scope with what was approved",
}
"""Words in a server's error text to our advice. The text itself is never repeated."""
_CONNECTION = "check ehr.base_url, the network between this machine and the EHR, and ehr.ca_file"
_LOG_IN = "This EHR wants a login: set auth to backend or external in the pod file."
_AGAIN = ' Run "trialveil ehr probe".'


@dataclass(frozen=True, slots=True)
class Check:
    """One step.

    Args:
        name: ``discovery``, ``login``, ``clock``, ``scopes``, ``capability``, ``search:<Type>``, ``paging``.
        result: ``ok``, ``warning``, ``failed`` or ``skipped``.
        detail: what was seen, in our words.
        advice: what to do, where something is wrong.
    """

    name: str
    result: Result
    detail: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All steps, in order.

    Args:
        provider: name of the provider.
        checks: see `Check`.
        refused: True where the login was refused, which is another end than a broken server.
    """

    provider: str
    checks: tuple[Check, ...]
    refused: bool = False

    @property
    def ok(self) -> bool:
        """Whether a screening run can work: no step failed."""
        return all(check.result != "failed" for check in self.checks)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{c.name}</td><td>{c.result}</td><td>{c.detail}</td></tr>" for c in self.checks
        )
        return f"<table>{rows}</table>"


async def run_probe(session: FhirSession, auth: Authenticator, endpoints: Endpoints) -> ProbeReport:
    """Run all steps; a step whose ground is missing is skipped, never passed.

    Raises:
        Nothing: what goes wrong is in the report.
    """
    checks = [_discovery(endpoints, auth)]
    refused = False
    try:
        for steps in (_capability(session), _login(session, auth), _searches(session, auth)):
            async for check in steps:
                checks.append(check)
        auth.check()
    except AuthError as error:
        refused = True
        checks.append(_refusal(error))
    except EHRError as error:
        checks.append(Check("connection", "failed", str(error), _CONNECTION))
    return ProbeReport(session.profile.name, tuple(checks), refused)


def _discovery(endpoints: Endpoints, auth: Authenticator) -> Check:
    if auth.mode == "none":
        return Check("discovery", "skipped", "no login is configured")
    if auth.mode == "external":
        return Check("discovery", "skipped", "tokens come from an external callable")
    left_out = sum(issue.code.startswith("discovery:missing") for issue in endpoints.issues)
    detail = f"token endpoint from {endpoints.source}"
    if left_out:
        detail += f"; {left_out} optional members are not announced, which is common"
    return Check("discovery", "ok", detail)


async def _capability(session: FhirSession) -> AsyncIterator[Check]:
    offered = await session.load_capability()
    if offered.types is None:
        yield Check(
            "capability",
            "warning",
            "the CapabilityStatement could not be read; the profile alone decides what is asked",
            "Check that base_url is the FHIR base.",
        )
        return
    version = offered.fhir_version or "an unstated version"
    yield Check("capability", "ok", f"FHIR {version}, {len(offered.types)} resource types can be searched")
    if offered.fhir_version is not None and not offered.fhir_version.startswith("4."):
        yield Check(
            "capability", "failed", f"FHIR {offered.fhir_version} is not R4", "Use the R4 base address."
        )


async def _login(session: FhirSession, auth: Authenticator) -> AsyncIterator[Check]:
    if auth.mode == "none":
        yield Check("login", "skipped", "no login is configured")
        return
    await session.touch()
    yield Check("login", "ok", f"a token was given ({auth.mode})")
    yield Check("clock", "ok", "the server accepted this machine's time")
    if auth.granted is None:
        yield Check(
            "scopes", "warning", "nobody said what was granted", "Set auth.scope to what was approved."
        )
        return
    wanted = [
        resource.__name__
        for kind in Kind
        for resource in RESOURCES[kind]
        if session.offers(resource.__name__)
    ]
    gaps = missing_types(auth.granted, wanted)
    if gaps:
        yield Check(
            "scopes",
            "warning",
            f"not granted: {', '.join(gaps)}",
            "Criteria over these stay unknown. Have the scopes approved, or leave such criteria out.",
        )
    else:
        yield Check("scopes", "ok", f"all {len(set(wanted))} types that may be asked for are granted")


async def _searches(session: FhirSession, auth: Authenticator) -> AsyncIterator[Check]:
    sample = await session.sample("Patient", pages=2)
    wrong = sorted({issue.code for issue in sample.issues if issue.code.startswith(("paging:", "security:"))})
    if sample.state is State.FORBIDDEN:
        if auth.mode == "none":
            yield Check("search:Patient", "failed", "the server forbids the search without a login", _LOG_IN)
        else:
            yield Check(
                "search:Patient", "failed", "the server forbids the search", "Ask for the Patient scope."
            )
        return
    if not wrong and sample.state not in (State.OK, State.EMPTY, State.PARTIAL):
        yield Check(
            "search:Patient",
            "warning",
            f"a search without criteria ends in {sample.state.name}; many EHRs refuse it",
            'Try one patient with "trialveil ehr query".',
        )
        return
    yield Check(
        "search:Patient", "ok", f"{sample.received} entries came, {sample.quarantined} could not be read"
    )
    if wrong:
        words = ", ".join(wrong)
        yield Check(
            "paging", "failed", f"the second page is wrong: {words}", "Report this to the EHR's vendor."
        )
    elif sample.pages < 2:
        yield Check("paging", "skipped", "one page held everything")
    else:
        yield Check("paging", "ok", "the second page came through the server's own link")
    yield _validity(sample)


def _validity(sample: Fetched[Any]) -> Check:
    repairs = sum(issue.count for issue in sample.issues if issue.code.startswith("repair:"))
    invalid = [issue for issue in sample.issues if issue.code == "invalid"]
    if not repairs and not invalid and not sample.quarantined:
        return Check("validation", "ok", "the sample is valid FHIR R4")
    count = sum(issue.count for issue in invalid)
    detail = f"in the sample: {count} faults, {repairs} repairs, {sample.quarantined} entries set aside"
    paths = sorted({issue.path for issue in invalid if issue.path is not None})
    return Check("validation", "warning", detail + (f"; at {', '.join(paths[:5])}" if paths else ""))


def _refusal(error: AuthError) -> Check:
    if isinstance(error, ClockWrong):
        return Check("clock", "failed", str(error), "Set this machine's clock.")
    words = (error.debug_detail or "").lower().replace("_", " ").replace("'", " ").replace('"', " ").split()
    cleaned = {word.strip(".,:;()") for word in words}
    advice = next((text for word, text in CLAIM_WORDS.items() if word in cleaned), None)
    return Check("login", "failed", str(error).removesuffix(_AGAIN), advice)
