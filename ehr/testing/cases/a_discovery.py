"""A. Discovery and configuration."""

from __future__ import annotations

import json
from posixpath import relpath
from typing import Any

from ehr.errors import ConfigurationError, EHRError
from ehr.files.pod_file import read_site_file
from ehr.people.identity import Matched
from ehr.records.fetched import Kind, State
from ehr.sandbox.faults import Body, Fault, Status, When
from ehr.site import open_site_async
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect, raises
from ehr.testing.synthetic import ANA, CANARIES, PERSON, condition

SMART = "smart-configuration"


async def _finds_ana(context: CaseContext, **ehr: Any) -> None:
    """The whole way from discovery to a record."""
    context.people(condition("c1"))
    async with context.open(**ehr) as site:
        match = await site.find(PERSON)
        expect(isinstance(match, Matched), f"the person was not found: {match!r}")
        found = await site.conditions(match.require())
        equal(found.state, State.OK, "state of the conditions")


@case(1, needs=needs.signed_login)
async def disc_smart_configuration_used(context: CaseContext) -> None:
    """The token endpoint is the one that smart-configuration announces."""
    context.ehr.reskin(token_path="/announced/by/discovery/token")  # noqa: S106 - a path, not a secret
    await _finds_ana(context)
    expect(bool(context.ehr.asked(SMART)), "smart-configuration was not asked for")
    expect(bool(context.ehr.logins()), "the announced token endpoint was not used")


@case(2, needs=needs.signed_login)
async def disc_relative_endpoint_resolved_against_base(context: CaseContext) -> None:
    """A relative endpoint is resolved against the FHIR base."""
    skin = context.ehr.skin
    relative = relpath(skin.token_path, skin.fhir_path)
    context.ehr.amends(SMART, lambda document: document | {"token_endpoint": relative})
    await _finds_ana(context)


@case(3, needs=needs.signed_login)
async def disc_missing_optional_members_tolerated(context: CaseContext) -> None:
    """A smart-configuration with a token endpoint and nothing else is enough."""
    context.ehr.amends(SMART, lambda document: {"token_endpoint": document["token_endpoint"]})
    await _finds_ana(context)


@case(4, needs=needs.signed_login)
async def disc_scopes_supported_not_treated_as_exhaustive(context: CaseContext) -> None:
    """A scope that scopes_supported does not list is asked for and used all the same."""
    context.ehr.amends(SMART, lambda document: document | {"scopes_supported": ["openid", "fhirUser"]})
    await _finds_ana(context)


@case(5, level="should", needs=needs.signed_login)
async def disc_falls_back_to_capability_statement_oauth_uris(context: CaseContext) -> None:
    """Without smart-configuration, the CapabilityStatement says where to log in."""
    context.ehr.fails(Fault(Status(404), When(endpoint="discovery")))
    await _finds_ana(context)


@case(6, needs=needs.signed_login)
async def disc_explicit_config_overrides_discovery(context: CaseContext) -> None:
    """A token endpoint in the pod file wins over the announced one."""
    context.ehr.amends(
        SMART, lambda document: document | {"token_endpoint": f"{context.elsewhere.origin}/token"}
    )
    await _finds_ana(context, auth=context.auth(token_url=context.ehr.token_url))
    context.nothing_went_elsewhere()


@case(7, needs=needs.signed_login)
async def disc_rejects_http_endpoints(context: CaseContext) -> None:
    """An announced endpoint without TLS is refused, and nothing is sent there."""
    bare = context.ehr.token_url.replace("https://", "http://")
    context.ehr.amends(SMART, lambda document: document | {"token_endpoint": bare})
    with raises(ConfigurationError, "an announced http endpoint"):
        async with context.open():
            pass
    equal(len(context.ehr.logins()), 0, "requests to the token endpoint")


@case(8, needs=needs.signed_login)
async def disc_html_or_404_gives_typed_error(context: CaseContext) -> None:
    """Where discovery brings nothing usable, an error of ours says so."""
    context.ehr.amends("metadata", lambda document: document | {"rest": [{"mode": "server"}]})
    for broken in (Status(404), Body("html"), Body("truncated"), Body("empty")):
        context.ehr.fails(Fault(broken, When(endpoint="discovery")))
        with raises(EHRError, f"discovery answered with {type(broken).__name__}"):
            async with context.open():
                pass
    equal(len(context.ehr.logins()), 0, "requests to the token endpoint")


@case(9)
async def conf_base_and_enterprise_url_are_honoured(context: CaseContext) -> None:
    """Every request lies under the configured base, or goes to the login that belongs to it."""
    base = "/hospital/own base/FHIR/R4".replace(" ", "-")
    context.ehr.reskin(fhir_path=base)
    await _finds_ana(context)
    outside = [
        one
        for one in context.ehr.requests
        if not one.path.startswith(f"{base}/") and one not in context.ehr.logins()
    ]
    equal(len(outside), 0, "requests outside the configured base")
    context.nothing_went_elsewhere()


@case(10)
async def conf_unknown_provider_or_missing_key_fails_early_naming_key(context: CaseContext) -> None:
    """A wrong pod file is refused before anything is sent, and the message names the key."""
    for key in ("provider", "base_url", "auth"):
        settings = context.settings(**{key: None})
        file = context.folder / "pod.yaml"
        file.write_text(json.dumps(settings), encoding="utf-8")
        try:
            read_site_file(file)
        except ConfigurationError as error:
            expect(key in str(error), f"the message does not name the missing key {key}")
        else:
            expect(False, f"a pod file without {key} was accepted")
    with raises(ConfigurationError, "an unknown provider"):
        async with open_site_async(context.pod_file(provider="no such provider")):
            pass
    equal(len(context.ehr.requests), 0, "requests")


@case(11)
async def conf_trailing_slash_and_case_equivalent(context: CaseContext) -> None:
    """A slash at the base's end and the case of scheme and host make no difference."""
    context.people(condition("c1"))
    paths: list[list[str]] = []
    base = context.ehr.base_url
    host = context.ehr.origin.partition("://")[2]
    for written in (base, f"{base}/", base.replace("https", "HTTPS").replace(host, host.upper())):
        context.ehr.requests.clear()
        equal((await context.conditions(base_url=written)).state, State.OK, "state of the conditions")
        paths.append([one.path for one in context.ehr.requests])
    equal(paths[1], paths[0], "paths asked for with a slash at the base's end")
    equal(paths[2], paths[0], "paths asked for with capital letters in scheme and host")


@case(12, needs=needs.resource("AllergyIntolerance"))
async def caps_absent_type_is_unsupported_not_empty(context: CaseContext) -> None:
    """A type that the server does not offer is UNSUPPORTED, never EMPTY."""
    context.people()

    def without_allergies(document: dict[str, Any]) -> dict[str, Any]:
        offered = document["rest"][0]["resource"]
        document["rest"][0]["resource"] = [one for one in offered if one["type"] != "AllergyIntolerance"]
        return document

    context.ehr.amends("metadata", without_allergies)
    async with context.open() as site:
        found = await site.allergies(ANA)
        equal(found.state, State.UNSUPPORTED, "state of a type that is not offered")
        equal(site.adapter.supports(Kind.ALLERGY).answer, "no", "support of that kind")


@case(13, level="should")
async def caps_server_claims_more_than_profile_is_safe(context: CaseContext) -> None:
    """What a server claims beyond the profile changes nothing of what is sent."""
    context.people(condition("c1"))
    asked: list[list[list[tuple[str, str]]]] = []

    def more(document: dict[str, Any]) -> dict[str, Any]:
        for one in document["rest"][0]["resource"]:
            one.setdefault("searchParam", []).append({"name": "_has:anything", "type": "token"})
        document["rest"][0]["resource"].append(
            {"type": "NoSuchType", "interaction": [{"code": "search-type"}]}
        )
        return document

    for claims in (False, True):
        context.ehr.requests.clear()
        if claims:
            context.ehr.amends("metadata", more)
        equal((await context.conditions()).state, State.OK, "state of the conditions")
        # Searches that are sent side by side may come in any order.
        asked.append(sorted(one.params for one in context.ehr.searches("Condition")))
    equal(asked[1], asked[0], "parameters of the search")


@case(14, needs=needs.signed_login)
async def probe_reports_scope_gaps_without_phi(context: CaseContext) -> None:
    """A probe names the types that were not granted, and nothing about patients."""
    context.ehr.grants = ("system/Patient.rs", "system/Condition.rs")
    context.people(condition("c1"))
    async with context.open() as site:
        report = await site.probe()
    scopes = next((check for check in report.checks if check.name == "scopes"), None)
    expect(scopes is not None and scopes.result != "ok", "the probe reports no gap of scopes")
    text = repr([(check.name, check.result, check.detail, check.advice) for check in report.checks])
    expect("Observation" in text, "the probe does not name a type that was not granted")
    expect(not any(canary in text for canary in CANARIES), "the probe's report holds patient data")
