"""The authenticator on real sockets: one login for all, renewed in time, never asked twice when refused."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from ehr.auth.authenticator import TOKENS_REFUSED_LEFT, Authenticator
from ehr.auth.external import Anonymous, ExternalCallable
from ehr.auth.keys import Algorithm
from ehr.auth.tokens import Flow, Token
from ehr.errors import ClockWrong, LoginRefused, TokenResponseMalformed, TransportError
from ehr.sandbox import Fault, FaultScript, Hang, RevokeToken, Sandbox, Status, Store, When
from ehr.transport.client import Response, Transport
from tests.ehr.auth.login import CLIENT, authenticator, registered, source
from tests.fakes.clock import FakeClock

TOKEN = When(endpoint="token")


async def ask(transport: Transport, auth: httpx.Auth, what: str = "Patient/ana") -> Response:
    return await transport.request("GET", what, auth=auth)


@pytest.fixture
def auth(ehr: Sandbox, transport: Transport) -> Authenticator:
    return authenticator(ehr.token_url, transport)


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
async def test_a_real_server_accepts_both_algorithms(
    store: Store, time: FakeClock, algorithm: Algorithm
) -> None:
    with Sandbox(store, clients=registered(algorithm), clock=time.now) as ehr:
        async with Transport(ehr.base_url, clock=time.clock, allow_http_loopback=True) as transport:
            auth = authenticator(ehr.token_url, transport, algorithm)
            assert (await ask(transport, auth)).status == 200
        assert set(ehr.witness.issued.values()) == {CLIENT}
        ehr.witness.assert_tokens_stayed_home()


async def test_a_hundred_requests_at_once_make_one_login(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    answers = await asyncio.gather(*(ask(transport, auth) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert ehr.witness.count("token") == 1
    assert auth.logins == 1


async def test_a_storm_of_401_makes_one_more_login(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    await ask(transport, auth)
    ehr.revoke_tokens()
    answers = await asyncio.gather(*(ask(transport, auth) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert ehr.witness.count("token") == 2


async def test_a_second_401_goes_back_to_the_caller(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.faults = [Fault(RevokeToken())]
    assert (await ask(transport, auth)).status == 401
    assert ehr.witness.count("token") == 2
    ehr.faults = []
    assert (await ask(transport, auth)).status == 200


async def test_a_server_that_refuses_every_token_it_gives_ends_the_logins(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.faults = [Fault(RevokeToken())]
    seen = [(await ask(transport, auth)).status for _ in range(TOKENS_REFUSED_LEFT)]
    assert seen == [401] * TOKENS_REFUSED_LEFT
    before = ehr.witness.count("token")
    with pytest.raises(LoginRefused, match="then refuses them"):
        await ask(transport, auth)
    assert ehr.witness.count("token") == before


async def test_one_forbidden_address_does_not_end_the_logins(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.faults = [Fault(Status(401), When(resource_type="Condition"))]
    for _ in range(TOKENS_REFUSED_LEFT + 1):
        assert (await ask(transport, auth, "Condition/c1")).status == 401
        assert (await ask(transport, auth)).status == 200


@pytest.mark.parametrize(("life", "renewed"), [(3600, 3240), (600, 540), (300, 240), (100, 50)])
async def test_a_token_is_renewed_before_it_expires(
    ehr: Sandbox, transport: Transport, time: FakeClock, life: int, renewed: int
) -> None:
    tokens = iter([Token("one", life), Token("two", life)])
    auth = Authenticator(_Scripted(lambda: next(tokens)), monotonic=transport.clock.monotonic)
    for seconds, logins in ((0, 1), (renewed - 1, 1), (renewed, 2)):
        time.seconds = seconds
        await _bearer(auth)
        assert auth.logins == logins


async def test_an_expired_token_is_never_sent(
    ehr: Sandbox, transport: Transport, auth: Authenticator, time: FakeClock
) -> None:
    for _ in range(3):
        assert (await ask(transport, auth)).status == 200
        time.seconds += 3600
    assert ehr.witness.count("token") == 3
    assert ehr.witness.count("read") == 3  # no request came back with 401


async def test_a_refusal_is_asked_for_once_and_remembered(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.app.server._clients.clear()  # type: ignore[union-attr]  # the client is no longer registered
    answers = await asyncio.gather(*(ask(transport, auth) for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {LoginRefused}
    assert len({id(answer) for answer in answers}) == 20
    assert ehr.witness.count("token") == 1
    with pytest.raises(LoginRefused):
        auth.check()


@pytest.mark.parametrize("minutes", [10, -10])
async def test_a_wrong_clock_is_named(
    ehr: Sandbox, transport: Transport, auth: Authenticator, minutes: int
) -> None:
    ehr.faults = FaultScript(clock_offset=timedelta(minutes=minutes))
    with pytest.raises(ClockWrong, match="600 s"):
        await ask(transport, auth)


@pytest.mark.parametrize("seconds", [25, -200])
async def test_clocks_that_differ_a_little_do_not_matter(
    ehr: Sandbox, transport: Transport, auth: Authenticator, seconds: int
) -> None:
    ehr.faults = FaultScript(clock_offset=timedelta(seconds=abs(seconds) if seconds > 0 else -25))
    assert (await ask(transport, auth)).status == 200


async def test_an_outage_of_the_token_endpoint_is_not_remembered(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.faults = [Fault(Status(503), TOKEN)]
    with pytest.raises(TransportError):
        await ask(transport, auth)
    auth.check()
    ehr.faults = []
    assert (await ask(transport, auth)).status == 200


async def test_each_attempt_at_the_token_endpoint_has_a_jti_of_its_own(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    # The sandbox refuses a jti that it has seen, and counts it before the fault answers.
    ehr.faults = [Fault(Status(503), TOKEN, times=2)]
    used: list[str] = []
    real = auth._source.new_id  # type: ignore[attr-defined]  # of BackendJWT
    object.__setattr__(auth._source, "new_id", lambda: used.append(real()) or used[-1])
    assert (await ask(transport, auth)).status == 200
    assert ehr.witness.count("token") == 3
    assert len(set(used)) == len(used) >= 3


async def test_a_malformed_token_answer_ends_this_request_and_not_the_next(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.faults = [Fault(Status(200, body=b"<html>hello</html>", content_type="text/html"), TOKEN, times=1)]
    with pytest.raises(TokenResponseMalformed):
        await ask(transport, auth)
    with pytest.raises(TokenResponseMalformed):
        auth.check()
    assert (await ask(transport, auth)).status == 200
    auth.check()


async def test_being_cancelled_in_the_login_leaves_it_free_for_the_next(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.faults = [Fault(Hang(), TOKEN, times=1)]
    first = asyncio.create_task(ask(transport, auth))
    while ehr.witness.count("token") == 0:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(ask(transport, auth))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await second).status == 200
    assert not auth._lock.locked()


async def test_a_narrower_grant_forbids_the_rest(store: Store, time: FakeClock) -> None:
    clients = registered("ES384", "system/Patient.rs", narrows=True)
    with Sandbox(store, clients=clients, clock=time.now) as ehr:
        async with Transport(ehr.base_url, clock=time.clock, allow_http_loopback=True) as transport:
            auth = authenticator(ehr.token_url, transport)
            assert auth.granted is None
            assert auth.allows("Condition")  # nobody has said otherwise yet
            await ask(transport, auth)
            assert auth.allows("Patient")
            assert not auth.allows("Condition")
            ehr.revoke_tokens()
            ehr.faults = [Fault(Status(401))]
            await ask(transport, auth)
            assert not auth.allows("Condition")  # what was granted is not forgotten with the token


class _Scripted:
    """A source that gives what it is told, without HTTP."""

    token_url = None
    mode = "backend"

    def __init__(self, give: Callable[[], Token], wanted: str | None = None) -> None:
        self.give = give
        self.wanted_scope = wanted

    def fetch(self) -> Flow:
        yield from ()
        return self.give()


async def _bearer(auth: Authenticator, status: int = 200) -> str | None:
    flow = auth.async_auth_flow(httpx.Request("GET", "https://ehr.example/Patient"))
    request = await anext(flow)
    try:
        await flow.asend(httpx.Response(status, request=request))
    except StopAsyncIteration:
        pass
    finally:
        await flow.aclose()
    return request.headers.get("authorization")


@pytest.mark.parametrize(
    ("scope", "wanted", "allowed"),
    [("", "system/*.rs", False), (None, "system/*.rs", True), (None, None, True), ("openid", None, False)],
)
async def test_an_empty_grant_is_not_a_missing_one(
    scope: str | None, wanted: str | None, allowed: bool
) -> None:
    auth = Authenticator(_Scripted(lambda: Token("t", 300, scope), wanted), monotonic=lambda: 0.0)
    await _bearer(auth)
    assert auth.allows("Patient") is allowed


async def test_vendor_headers_go_with_the_request_and_not_to_the_token_endpoint(
    ehr: Sandbox, transport: Transport
) -> None:
    made = source(ehr.token_url, now=transport.clock.now)
    auth = Authenticator(made, monotonic=transport.clock.monotonic, headers={"Epic-Client-ID": "c-1"})
    await ask(transport, auth)
    sent = {seen.endpoint: seen.headers.get("epic-client-id") for seen in ehr.witness.requests}
    assert sent == {"token": None, "read": "c-1"}


async def test_a_vendor_header_cannot_replace_the_token(transport: Transport) -> None:
    auth = Authenticator(
        _Scripted(lambda: Token("real", 300)),
        monotonic=lambda: 0.0,
        headers={"authorization": "Bearer other"},
    )
    assert await _bearer(auth) == "Bearer real"


async def test_no_login_sends_headers_and_no_token(store: Store) -> None:
    with Sandbox(store, login=False) as ehr:
        async with Transport(ehr.base_url, allow_http_loopback=True) as transport:
            auth = Authenticator(Anonymous(), monotonic=lambda: 0.0, headers={"nx-practice-id": "9"})
            assert (await ask(transport, auth)).status == 200
        assert ehr.witness.requests[0].headers["nx-practice-id"] == "9"
        assert ehr.witness.requests[0].tokens == ()
    with pytest.raises(LoginRefused):
        next(Anonymous().fetch())


async def test_a_server_that_wants_a_login_is_told_apart_from_one_that_forbids(store: Store) -> None:
    with Sandbox(store, login=False) as ehr:
        async with Transport(ehr.base_url, allow_http_loopback=True) as transport:
            auth = Authenticator(Anonymous(), monotonic=lambda: 0.0)
            ehr.faults = [Fault(Status(403))]
            for _ in range(TOKENS_REFUSED_LEFT):
                assert (await ask(transport, auth)).status == 403
            auth.check()
            ehr.faults = [Fault(Status(401))]
            for _ in range(TOKENS_REFUSED_LEFT - 1):
                assert (await ask(transport, auth)).status == 401
            auth.check()
            ehr.faults = []
            await ask(transport, auth)  # what was answered in between starts the count anew
            ehr.faults = [Fault(Status(401))]
            for _ in range(TOKENS_REFUSED_LEFT):
                auth.check()
                assert (await ask(transport, auth)).status == 401
            with pytest.raises(LoginRefused, match="wants a login"):
                auth.check()


# --- tokens from outside -----------------------------------------------------------------------------------


def _external(get_token: Callable[[], object]) -> Authenticator:
    return Authenticator(ExternalCallable(get_token), monotonic=lambda: 0.0)  # type: ignore[arg-type]  # also bad ones


async def test_a_callable_s_token_is_used() -> None:
    auth = _external(lambda: ("abc", 3600))
    assert await _bearer(auth) == "Bearer abc"
    assert auth.mode == "external"
    assert auth.token_url is None


@pytest.mark.parametrize(
    "answer", [None, "abc", ("abc",), ("", 60), ("a b", 60), (b"abc", 60), ("a\r\nx: y", 60)]
)
async def test_a_callable_that_gives_no_token_is_refused(answer: object) -> None:
    with pytest.raises(TokenResponseMalformed, match="gave no token"):
        await _bearer(_external(lambda: answer))


@pytest.mark.parametrize("seconds", [None, 0, -1, "soon", float("nan")])
async def test_a_callable_that_does_not_say_how_long_gets_the_profile_s_life(seconds: object) -> None:
    now = [0.0]
    made = ExternalCallable(lambda: ("abc", seconds), life_s=300)  # type: ignore[arg-type, return-value]  # bad ones too
    auth = Authenticator(made, monotonic=lambda: now[0])
    await _bearer(auth)
    now[0] = 239.0
    await _bearer(auth)
    assert auth.logins == 1
    now[0] = 240.0
    await _bearer(auth)
    assert auth.logins == 2


async def test_a_failing_callable_is_a_refusal_without_its_words() -> None:
    def failing() -> tuple[str, float]:
        raise RuntimeError("canary-secret")

    auth = _external(failing)
    for _ in range(2):
        with pytest.raises(LoginRefused) as refused:
            await _bearer(auth)
        assert "canary-secret" not in "".join(traceback.format_exception(refused.value))


async def test_a_slow_callable_holds_nobody_up_and_is_asked_once() -> None:
    go, calls = threading.Event(), []

    def slow() -> tuple[str, float]:
        calls.append(1)
        go.wait(5)
        return "abc", 60

    auth = _external(slow)
    waiting = [asyncio.create_task(_bearer(auth)) for _ in range(5)]
    while not calls:
        await asyncio.sleep(0.001)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting[1:]) == ["Bearer abc"] * 4
    assert len(calls) == 1


# --- nothing shows a secret --------------------------------------------------------------------------------


async def test_no_text_form_log_or_pickle_shows_a_token(
    ehr: Sandbox, transport: Transport, auth: Authenticator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await ask(transport, auth)
    ehr.revoke_tokens()
    ehr.faults = [Fault(Status(503), TOKEN, times=1)]
    await ask(transport, auth)
    assert auth._token is not None
    secret = auth._token.value
    shown = [repr(auth), str(auth), repr(auth._source), caplog.text]
    assert not any(secret in text or "eyJ" in text for text in shown)
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(auth)


async def test_no_exception_of_a_login_shows_an_assertion(
    ehr: Sandbox, transport: Transport, auth: Authenticator
) -> None:
    ehr.app.server._clients.clear()  # type: ignore[union-attr]  # the client is no longer registered
    with pytest.raises(LoginRefused) as refused:
        await ask(transport, auth)
    text = "".join(traceback.format_exception(refused.value)) + repr(vars(refused.value))
    assert "eyJ" not in text
    assert ehr.origin not in str(refused.value)
    assert refused.value.code == "invalid_client"
