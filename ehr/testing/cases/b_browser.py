"""B. OAuth and tokens: a person who logs in with a browser, and what is kept of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import stat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ehr.auth.keys import write_owner_only
from ehr.connect.person import log_in_at
from ehr.errors import AuthError, ConfigurationError, LoginRefused
from ehr.records.fetched import State
from ehr.testing import capabilities as needs
from ehr.testing.browser import ConsentingPerson
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect, raises
from ehr.testing.server import APP_ID, Received
from ehr.testing.synthetic import ANA, condition

_STORE = "logins/login.store"
_STATE_CHARACTERS = 21  # 122 bits in letters of six


def browser_of(context: CaseContext, **more: Any) -> ConsentingPerson:
    """A browser at this EHR, and somebody in it."""
    context.people(condition("c1"))
    return ConsentingPerson(lambda: context.wire(), **more)


def auth(**more: Any) -> dict[str, Any]:
    """The section ``auth:`` of a login with a browser."""
    return {"browser": {"client_id": APP_ID} | more}


def kept(context: CaseContext, key: bytes = b"k" * 43) -> dict[str, Any]:
    """The same with a store, whose key lies elsewhere."""
    folder = context.folder / hashlib.sha256(key).hexdigest()[:8]
    for one in (folder, context.folder / "logins"):
        one.mkdir(mode=0o700, exist_ok=True)
    file = folder / "store.key"
    if not file.exists():
        write_owner_only(file, key)
    return auth(store={"file": str(context.folder / _STORE), "key": {"file": str(file)}})


async def logged_in(context: CaseContext, browser: ConsentingPerson) -> Path:
    """Log in, and keep it; the store's file."""
    around = context.around(person=browser.person)
    await log_in_at(context.pod_file(auth=kept(context)), around, browser.person)
    return context.folder / _STORE


@case(24, needs=needs.browser_login)
async def auth_pkce_s256_and_aud_sent(context: CaseContext) -> None:
    """A login asks for a code with PKCE S256 and names the FHIR base; the verifier fits, and is never used twice."""
    browser = browser_of(context)
    for _ in range(2):
        equal(
            (await context.conditions(browser.person, auth=auth())).state,
            State.OK,
            "state after a login with a browser",
        )
    for asked, login in zip(browser.asked, context.ehr.logins(), strict=True):
        equal((asked["response_type"], asked["code_challenge_method"]), ("code", "S256"), "kind of login")
        equal(asked["aud"].rstrip("/"), context.ehr.base_url, "aud")
        digest = hashlib.sha256(login.form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        equal(asked["code_challenge"], challenge, "challenge of the verifier that was sent")
        expect(
            asked["redirect_uri"].startswith("http://127.0.0.1:"),
            "the answer is not listened for on loopback",
        )
        expect(len(asked["state"]) >= _STATE_CHARACTERS, "state is short")
        expect(not {"code_verifier", "client_secret"} & set(asked), "a secret is in the address")
    for name in ("state", "code_challenge"):
        equal(len({asked[name] for asked in browser.asked}), 2, f"different {name} of two logins")


@case(25, needs=needs.browser_login)
async def auth_state_mismatch_or_reuse_rejected(context: CaseContext) -> None:
    """An answer with another state, without one, or of an earlier login is refused before a code is used."""
    browser = browser_of(context)
    async with context.open(browser.person, auth=auth()):
        pass
    equal(browser.statuses, [200], "what the browser was told")
    earlier = dict(parse_qsl(urlsplit(browser.answers[0]).query))
    wrong: tuple[Any, ...] = (
        lambda said: said | {"state": "x" * 43},
        lambda said: {name: value for name, value in said.items() if name != "state"},
        lambda said: earlier,
    )
    before = len(context.ehr.logins())
    for number, change in enumerate(wrong):
        browser.change = change
        with raises(LoginRefused, f"wrong state {number + 1}"):
            async with context.open(browser.person, auth=auth()):
                pass
    equal(len(context.ehr.logins()) - before, 0, "token requests after an answer that does not belong")


@case(26, needs=needs.browser_login)
async def auth_ehr_launch_unknown_iss_refused_before_contact(context: CaseContext) -> None:
    """A login that names another issuer than this EHR's is refused before anybody is asked for a token."""
    browser = browser_of(context)
    for iss in (context.elsewhere.origin, f"{context.ehr.origin}.elsewhere.example", "", "not an address"):
        browser.change = lambda said, iss=iss: said | {"iss": iss}  # type: ignore[misc]  # bound now
        with raises(LoginRefused, "an answer of another issuer"):
            async with context.open(browser.person, auth=auth()):
                pass
    equal(len(context.ehr.logins()), 0, "token requests after an answer of another issuer")
    context.nothing_went_elsewhere()


@case(30, level="should", on=("socket",), needs=needs.browser_login)
async def auth_cross_process_refresh_serialised(context: CaseContext) -> None:
    """Programs that share a login renew it one after the other: the refresh token is used once."""
    await logged_in(context, browser_of(context))
    context.clock.seconds += 7200
    before = len(context.ehr.logins())

    async def used() -> State:
        async with context.open(
            auth=kept(context)
        ) as site:  # opens the store's file anew, as another program does
            return (await site.conditions(ANA)).state

    states = await asyncio.gather(*(used() for _ in range(3)))
    equal(set(states), {State.OK}, "states")
    equal(len(context.ehr.logins()) - before, 1, "renewals")


@case(31, needs=needs.browser_login)
async def auth_rotated_refresh_token_persisted_before_use(context: CaseContext) -> None:
    """A rotated refresh token is kept before the access token beside it is used, so that a crash loses no login."""
    file = await logged_in(context, browser_of(context))
    copies: list[bytes] = []

    def crashes(received: Received) -> None:
        copies.append(file.read_bytes())

    context.ehr.says("Condition", crashes)
    for _ in range(2):
        context.clock.seconds += 7200
        equal((await context.conditions(auth=kept(context))).state, State.OK, "state after a renewal")
        write_owner_only(file, copies[-1])  # what was there when the new token was first used
    used = [login.form["refresh_token"] for login in context.ehr.logins() if "refresh_token" in login.form]
    equal((len(used), len(set(used))), (2, 2), "renewals, and different refresh tokens")


@case(37, on=("mocks",), needs=needs.browser_login)
async def auth_token_store_permissions_and_encryption(context: CaseContext) -> None:
    """A kept login is its owner's alone, sealed under a key that lies elsewhere, and useless without it."""
    browser = browser_of(context)
    await context.conditions(browser.person, auth=auth())
    expect(not (context.folder / _STORE).exists(), "a login was kept without a key")
    file = await logged_in(context, browser)
    equal(stat.S_IMODE(file.stat().st_mode), 0o600, "mode of the file")
    context.clock.seconds += 7200
    equal((await context.conditions(auth=kept(context))).state, State.OK, "state after a renewal")
    content = file.read_bytes()
    tokens = {one.headers.get("authorization", "").rpartition(" ")[2] for one in context.ehr.data()} - {""}
    tokens |= {login.form["refresh_token"] for login in context.ehr.logins() if "refresh_token" in login.form}
    expect(len(tokens) >= 3, "fewer tokens were seen than expected")
    expect(not any(token.encode() in content for token in tokens), "a token can be read in the file")
    with raises((AuthError, ConfigurationError), "another key"):
        await context.conditions(auth=kept(context, b"another key, of the same kind and length"))
    beside = file.parent / "beside.key"
    write_owner_only(beside, b"k" * 43)
    with raises(ConfigurationError, "a key beside the store"):
        near = auth(store={"file": str(file), "key": {"file": str(beside)}})
        async with context.open(auth=near):
            pass
    spoilt = bytearray(content)
    spoilt[-1] ^= 1
    write_owner_only(file, bytes(spoilt))
    with raises((AuthError, ConfigurationError), "a file that was changed"):
        await context.conditions(auth=kept(context))
