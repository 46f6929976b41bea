"""B. OAuth and tokens: the login with a signed assertion, and what becomes of its tokens."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

from ehr.errors import AuthError, ClockWrong, ConfigurationError, LoginRefused
from ehr.records.fetched import Kind, State
from ehr.records.patient import PatientRef
from ehr.sandbox.faults import Fault, FaultScript, RevokeToken, Status, When
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.clock import START
from ehr.testing.expect import equal, expect, raises
from ehr.testing.server import CLIENT_ID, Received, Said, said
from ehr.testing.synthetic import ANA, Resource, condition, patient

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_S = 300
_STORM = 100


def assertion(login: Received) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token request's assertion."""
    parts = login.form["client_assertion"].split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    return header, claims


async def _logged_in(context: CaseContext) -> list[Received]:
    """The token requests of one short use."""
    context.people(condition("c1"))
    equal((await context.conditions()).state, State.OK, "state of the conditions")
    return context.ehr.logins()


@case(15, needs=needs.signed_login)
async def auth_backend_jwt_header_and_claims_exact(context: CaseContext) -> None:
    """The assertion's header and claims are those of SMART backend services, to the letter."""
    (login,) = await _logged_in(context)
    header, claims = assertion(login)
    equal(header, {"alg": context.algorithm, "kid": context.kid, "typ": "JWT"}, "header of the assertion")
    equal((claims["iss"], claims["sub"]), (CLIENT_ID, CLIENT_ID), "iss and sub")
    known = {"iss", "sub", "aud", "exp", "jti", "iat", "nbf"}
    equal(set(claims) - known, set(), "further claims")
    expect(isinstance(claims["jti"], str) and len(claims["jti"]) >= 16, "jti is short or no text")
    equal(login.method, "POST", "method of the token request")
    equal(login.form["grant_type"], "client_credentials", "grant_type")
    equal(login.form["client_assertion_type"], ASSERTION_TYPE, "client_assertion_type")
    equal(login.headers["content-type"], "application/x-www-form-urlencoded", "content type")
    expect("authorization" not in login.headers, "the token request carries an Authorization header")


@case(16, needs=needs.signed_login)
async def auth_jwt_lifetime_within_300s(context: CaseContext) -> None:
    """An assertion is good for at most 300 seconds."""
    (login,) = await _logged_in(context)
    claims = assertion(login)[1]
    ahead = float(claims["exp"]) - START.timestamp() - login.at
    expect(0 < ahead <= LONGEST_S, f"exp lies {ahead:.0f} s ahead; expected 1 to {LONGEST_S}")
    begun = float(claims.get("iat", claims["exp"] - LONGEST_S))
    expect(float(claims["exp"]) - begun <= LONGEST_S, "exp lies more than 300 s after iat")


@case(17, needs=needs.signed_login)
async def auth_jwt_jti_unique_across_retries_and_refreshes(context: CaseContext) -> None:
    """No two assertions have one jti: not on a repetition, not on a renewal, not after a 401."""
    context.people(condition("c1"))
    context.ehr.fails(Fault(Status(503), When(endpoint="token"), times=2))
    async with context.open() as site:
        await site.conditions(ANA)
        context.clock.seconds += 7200
        await site.conditions(ANA)
        server = context.ehr.app.server
        if server is not None:
            server.revoke_all()
        equal((await site.conditions(ANA)).state, State.OK, "state after a revoked token")
    used = [assertion(login)[1]["jti"] for login in context.ehr.logins()]
    expect(len(used) >= 5, f"{len(used)} token requests; expected 5 or more")
    equal(len(set(used)), len(used), "different jti")


@case(18, needs=needs.signed_login)
async def auth_jwt_aud_equals_token_endpoint(context: CaseContext) -> None:
    """aud is the token endpoint, letter by letter."""
    (login,) = await _logged_in(context)
    equal(assertion(login)[1]["aud"], context.ehr.token_url, "aud")


@case(19, on=("mocks",), needs=needs.signed_login)
async def auth_rs384_and_es384_supported(context: CaseContext) -> None:
    """Each algorithm that the profile lists signs a login; one that it does not list is refused beforehand."""
    context.people(condition("c1"))
    listed = context.profile.assertion_algorithms
    expect(set(listed) <= {"RS384", "ES384"} and bool(listed), "the profile lists another algorithm, or none")
    for algorithm in ("ES384", "RS384"):
        context.sign_with("ES384" if algorithm == "ES384" else "RS384")
        context.ehr.restart()
        if algorithm not in listed:
            with raises(ConfigurationError, f"a key for {algorithm}, which the profile does not list"):
                async with context.open():
                    pass
            continue
        equal((await context.conditions()).state, State.OK, f"state after a login with {algorithm}")
        equal(assertion(context.ehr.logins()[-1])[0]["alg"], algorithm, "alg")


@case(20, needs=needs.signed_login)
async def auth_clock_skew_tolerated_and_diagnosed(context: CaseContext) -> None:
    """Clocks that differ by seconds make no trouble; minutes are named as what is wrong."""
    context.people(condition("c1"))
    for seconds in (-20, 20):
        context.ehr.app.faults = FaultScript(clock_offset=timedelta(seconds=seconds))
        equal((await context.conditions()).state, State.OK, f"state with {seconds} s between the clocks")
    for minutes in (-15, 15):
        context.ehr.app.faults = FaultScript(clock_offset=timedelta(minutes=minutes))
        with raises(ClockWrong, f"{minutes} min between the clocks"):
            await context.conditions()


@case(21, needs=needs.both(needs.signed_login, needs.no_scope))
async def auth_scope_omitted_when_profile_says_so(context: CaseContext) -> None:
    """Where the app's record decides, the token request has no scope."""
    logins = await _logged_in(context)
    expect(all("scope" not in login.form for login in logins), "a token request has a scope")


@case(22, needs=needs.signed_login)
async def auth_v1_and_v2_scopes_translated(context: CaseContext) -> None:
    """Scopes are asked for and understood in the style that the server speaks."""
    context.people(condition("c1"))
    styles = ("v1", "v2") if context.profile.scope_style == "either" else (context.profile.scope_style,)
    for style in styles:
        right = "read" if style == "v1" else "rs"
        context.ehr.grants = (f"system/Patient.{right}", f"system/Condition.{right}")
        context.ehr.reskin(login={"scope_styles": frozenset({style})})
        context.ehr.restart()
        async with context.open() as site:
            equal((await site.conditions(ANA)).state, State.OK, f"state with {style} scopes")
            equal((await site.procedures(ANA)).state, State.FORBIDDEN, "state of a type outside the scopes")
            equal(site.adapter.supports(Kind.PROCEDURE).answer, "no", "support of a type outside the scopes")
        asked = context.ehr.logins()[-1].form.get("scope", "").split()
        odd = [word for word in asked if "/" in word and not word.endswith(f".{right}")]
        equal(odd, [], f"scopes that are not in {style} style")


@case(23, needs=needs.signed_login)
async def auth_granted_scope_narrower_marks_forbidden(context: CaseContext) -> None:
    """A type that was not granted is FORBIDDEN, never EMPTY."""
    context.ehr.grants = ("system/Patient.rs", "system/Condition.rs")
    context.people(condition("c1"))
    async with context.open() as site:
        equal((await site.conditions(ANA)).state, State.OK, "state of a granted type")
        equal((await site.procedures(ANA)).state, State.FORBIDDEN, "state of a type that was not granted")


@case(27, needs=needs.signed_login)
async def auth_expired_token_refreshed_before_use(context: CaseContext) -> None:
    """A token that is about to expire is replaced before it is used."""
    context.people(condition("c1"))
    async with context.open() as site:
        await site.conditions(ANA)
        for _ in range(3):
            context.clock.seconds += context.ehr.skin.login.token_life_s - 1
            equal((await site.conditions(ANA)).state, State.OK, "state after the token's life")
    equal(len(context.ehr.logins()), 4, "token requests")
    expect(all(one.status != 401 for one in context.ehr.requests), "an expired token was sent")


@case(28, needs=needs.signed_login)
async def auth_no_expires_in_uses_profile_default(context: CaseContext) -> None:
    """A token of unknown life is good for as long as the profile says, and not for ever."""
    life = context.profile.token_life_s
    context.ehr.reskin(login={"states_expiry": False, "token_life_s": life})
    context.people(condition("c1"))
    async with context.open() as site:
        await site.conditions(ANA)
        context.clock.seconds += life / 4
        await site.conditions(ANA)
        equal(len(context.ehr.logins()), 1, "token requests within the profile's life of a token")
        context.clock.seconds += life
        await site.conditions(ANA)
    equal(len(context.ehr.logins()), 2, "token requests after it")
    expect(all(one.status != 401 for one in context.ehr.requests), "an expired token was sent")


def _crowd() -> list[Resource]:
    return [patient(f"kit-{number}") for number in range(_STORM)]


def _slow_logins(context: CaseContext) -> None:
    """A login takes so long that everybody meets it under way."""

    async def late(received: Received) -> None:
        await asyncio.sleep(0.01)

    context.ehr.says(context.ehr.skin.token_path, late)


@case(29, needs=needs.signed_login)
async def auth_single_flight_100_concurrent_one_token_request(context: CaseContext) -> None:
    """A hundred requests at once wait for one login."""
    context.people(*_crowd())
    _slow_logins(context)
    async with context.open() as site:
        found = await asyncio.gather(*(site.conditions(PatientRef(f"kit-{n}")) for n in range(_STORM)))
    equal({one.state for one in found}, {State.EMPTY}, "states")
    equal(len(context.ehr.logins()), 1, "token requests")


@case(32, needs=needs.signed_login)
async def auth_401_one_reauth_then_error(context: CaseContext) -> None:
    """After a 401 there is one new login and one more try; then the answer is an error, never nothing."""
    context.people(condition("c1"))
    async with context.open() as site:
        equal((await site.procedures(ANA)).state, State.EMPTY, "state of the procedures")
        before = len(context.ehr.data())
        context.ehr.fails(Fault(Status(401)))
        try:
            found = await site.procedures(ANA)
            expect(found.state is State.FORBIDDEN, f"state after two 401: {found.state.name}")
        except AuthError:
            pass
    equal(len(context.ehr.data()) - before, 2, "tries of the search")
    equal(len(context.ehr.logins()), 2, "token requests")


@case(33, needs=needs.signed_login)
async def auth_401_storm_triggers_single_refresh(context: CaseContext) -> None:
    """When a token is withdrawn under many requests, one of them logs in again for all."""
    context.people(*_crowd())
    _slow_logins(context)
    refused: list[Received] = []

    async def late(received: Received) -> Said | None:
        # Several are under way with the old token, and one of them is answered when everybody has the new one.
        if len(context.ehr.logins()) > 1:
            return None
        await asyncio.sleep(0.01)
        if refused:
            return None
        refused.append(received)
        while not any(login.status for login in context.ehr.logins()[1:]):  # noqa: ASYNC110 - may be another thread
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        return said({}, 401)

    async with context.open() as site:
        await site.conditions(ANA)
        context.ehr.says("Condition", late)
        server = context.ehr.app.server
        if server is not None:
            server.revoke_all()
        refs = [PatientRef(f"kit-{n}") for n in range(_STORM // 4)]
        found = await asyncio.gather(*(site.conditions(ref) for ref in refs))
        found.append(await site.conditions(refs[0]))
    equal({one.state for one in found}, {State.EMPTY}, "states")
    equal((len(refused), len(context.ehr.logins())), (1, 2), "late refusals, and token requests")


@case(34, needs=needs.signed_login)
async def auth_invalid_grant_is_terminal(context: CaseContext) -> None:
    """A login that has ended is not tried again; it needs a person."""
    refused = said({"error": "invalid_grant"}, 400)
    context.ehr.says(context.ehr.skin.token_path, lambda _: refused)
    async with context.open() as site:
        for _ in range(3):
            with raises(LoginRefused, "invalid_grant"):
                await site.conditions(ANA)
    equal(len(context.ehr.logins()), 1, "token requests")


@case(35, level="should", needs=needs.signed_login)
async def auth_reauth_bare_400_retried_once_with_fresh_jti(context: CaseContext) -> None:
    """A 400 without a reason is asked once more, with a new assertion, but not at the first login."""
    context.people(condition("c1"))
    bare = Status(400, body=b"")
    context.ehr.fails(
        Fault(RevokeToken(), When("search", "Condition"), times=1),
        Fault(bare, When(endpoint="token"), skip=1, times=1),
    )
    equal((await context.conditions()).state, State.OK, "state after a bare 400")
    used = [assertion(login)[1]["jti"] for login in context.ehr.logins()]
    equal((len(used), len(set(used))), (3, 3), "token requests and different jti")
    context.ehr.fails(Fault(bare, When(endpoint="token")))
    async with context.open() as site:
        with raises(AuthError, "a first login that got a bare 400"):
            await site.conditions(ANA)
    equal(len(context.ehr.logins()), 4, "token requests")


BAD_TOKENS: tuple[Said, ...] = (
    Said(200, b"<html>Sign in</html>", "text/html"),
    Said(200, b"not json", "application/json"),
    said([]),
    said({"token_type": "bearer", "expires_in": 300}),
    said({"access_token": 5, "token_type": "bearer"}),
    said({"access_token": "two words", "token_type": "bearer"}),
    said({"access_token": "x", "token_type": "mac"}),
)


@case(36, needs=needs.signed_login)
async def auth_token_response_malformed_typed_error(context: CaseContext) -> None:
    """A token response that holds no usable token is an error of the login."""
    for number, answer in enumerate(BAD_TOKENS):
        context.ehr.says(context.ehr.skin.token_path, lambda _, answer=answer: answer)  # type: ignore[misc]  # bound now
        async with context.open() as site:
            with raises(AuthError, f"bad token response {number + 1}"):
                await site.conditions(ANA)
    equal([one for one in context.ehr.data() if "authorization" in one.headers], [], "requests with a token")
