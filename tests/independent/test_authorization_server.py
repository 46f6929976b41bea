"""Logging in at an authorization server that nobody here wrote: oidc-provider, certified and strict.

`make proof` installs the pinned server into a folder of its own and points here; everywhere else these tests skip.
Only loopback is used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from ehr.auth.keys import make_ring, read_ring, rotate_ring
from ehr.auth.signed_jwt import BackendJWT
from ehr.auth.store import SealedStore, StoredLogin
from ehr.connect.opening import ClockAndWire
from ehr.connect.person import LoginReport, log_in_at, log_out_at
from ehr.errors import ClockWrong, LoginRefused
from ehr.records.fetched import State
from ehr.records.patient import Kind, PatientRef
from ehr.site import open_site_async
from ehr.transport.settings import SYSTEM_CLOCK
from tests.ehr.auth.login import owner_only
from tests.ehr.site_folder import Folder
from tests.fakes.renewing import finished, racers
from tests.independent import authorization
from tests.independent.authorization import Running, Visitor
from tests.independent.server_run import note

MODULES = os.environ.get("TRIALVEIL_OIDC_PROVIDER")
FIGURES = Path(os.environ["TRIALVEIL_PROOF_FIGURES"]) if "TRIALVEIL_PROOF_FIGURES" in os.environ else None
SECRET = "s3cret: with%odd+signs"
KEY = b"k" * 43
LATER = 900  # past the life of an access token there
pytestmark = [
    pytest.mark.skipif(
        MODULES is None,
        reason="needs the authorization server oidc-provider (Node.js); `make proof` installs and runs it",
    ),
    pytest.mark.timeout(180),
]


@dataclass(frozen=True, slots=True)
class Stage:
    """The server and a hospital's folder."""

    server: Running
    folder: Folder

    def config(self, login: str = "client_id: my-app") -> Path:
        store = "store: {key: {file: ../elsewhere/login.key}}"
        return self.folder.write(self.server.base_url, f"auth: {{browser: {{{login}, {store}}}}}")

    def kept(self, client: str = "my-app") -> SealedStore:
        return SealedStore(self.folder.path / "login.store", KEY, f"{client} {self.server.base_url}")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    assert MODULES is not None
    (tmp_path / "elsewhere").mkdir()
    owner_only(tmp_path / "elsewhere" / "login.key", KEY)
    ring = make_ring(tmp_path / "ring")
    with authorization.running(Path(MODULES), tmp_path / "server", ring) as server:
        yield Stage(server, Folder(tmp_path / "site"))


def around(seconds: float = 0) -> ClockAndWire:
    now = SYSTEM_CLOCK.now
    return ClockAndWire(clock=replace(SYSTEM_CLOCK, now=lambda: now() + timedelta(seconds=seconds)))


async def log_in(config: Path) -> LoginReport:
    visitor = Visitor()
    report = await log_in_at(config, around(), visitor.person())
    await asyncio.to_thread(visitor.wait)
    assert "You may close this window" in visitor.pages[-1].text
    return report


async def read(config: Path, seconds: float = 0) -> State:
    async with open_site_async(config, around(seconds)) as site:
        found = await site.read(Kind.PATIENT, PatientRef("ana"))
        site.adapter._parts.authenticator.check()  # type: ignore[attr-defined]  # what the login itself ended with
        return found.state


def stored(stage: Stage) -> StoredLogin:
    found = stage.kept().read()
    assert found is not None
    return found


async def test_a_code_with_pkce_is_exchanged_and_the_grant_is_read(stage: Stage) -> None:
    config = stage.config()
    report = await log_in(config)
    assert (report.kept, report.renewable, report.one_patient) == (True, True, False)
    assert set(report.granted) == {Kind.PATIENT, Kind.CONDITION, Kind.OBSERVATION}
    assert await read(config) is State.OK
    note(
        FIGURES, "code with PKCE (S256), public client", {"granted kinds": len(report.granted), "read": True}
    )


async def test_a_confidential_client_shows_its_secret(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHR_SECRET", SECRET)
    config = stage.config("client_id: secret-app, client_secret: {env: EHR_SECRET}")
    assert (await log_in(config)).kept
    assert await read(config, LATER) is State.OK
    monkeypatch.setenv("EHR_SECRET", "another")
    with pytest.raises(LoginRefused, match="invalid_client"):
        await log_in(config)
    note(
        FIGURES,
        "client_secret_basic with signs that need escaping",
        {"taken": True, "a wrong one": "refused"},
    )


async def test_a_wrong_verifier_gets_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stage.config()
    monkeypatch.setattr("ehr.auth.browser.create_s256_code_challenge", lambda verifier: "A" * 43)
    with pytest.raises(LoginRefused, match="invalid_grant"):
        await log_in(config)
    assert not (stage.folder.path / "login.store").exists()
    note(FIGURES, "a verifier that does not fit the challenge", {"refused": True})


async def test_refresh_tokens_rotate_and_the_new_one_is_kept(stage: Stage) -> None:
    config = stage.config()
    await log_in(config)
    seen = [stored(stage)]
    for turn in (1, 2, 3):
        assert await read(config, LATER * turn) is State.OK
        seen.append(stored(stage))
    assert len({login.refresh_token for login in seen}) == 4
    assert len({login.access_token for login in seen}) == 4
    assert {login.scope for login in seen} == {seen[0].scope}
    note(FIGURES, "refresh with rotation", {"renewals": 3, "different refresh tokens": 4})


async def test_a_refresh_token_that_was_used_ends_the_login(stage: Stage) -> None:
    config = stage.config()
    await log_in(config)
    old = stored(stage)
    assert await read(config, LATER) is State.OK
    newest = stored(stage)
    stage.kept().write(old)  # as if the store had been put back from a backup
    with pytest.raises(LoginRefused, match="Log in again") as failed:
        await read(config, LATER)
    assert failed.value.code == "invalid_grant"
    assert stage.kept().read() is None
    stage.kept().write(newest)  # what came from the login is ended too
    with pytest.raises(LoginRefused, match="Log in again"):
        await read(config, LATER * 2)
    assert stage.server.events()["grant.revoked"] >= 1
    note(FIGURES, "a refresh token used twice", {"refused": True, "the newest one is ended too": True})


async def test_two_processes_make_one_refresh(stage: Stage) -> None:
    config = stage.config()
    await log_in(config)
    before = stage.server.events()["refresh_token.consumed"]
    with racers(config, LATER, 3) as started:
        assert await asyncio.to_thread(finished, started) == ["OK"] * 3
    assert stage.server.events()["refresh_token.consumed"] == before + 1
    assert stage.server.events()["grant.revoked"] == 0
    note(FIGURES, "three processes need a token at once", {"refresh requests": 1, "all read": True})


async def test_logging_out_tells_the_server(stage: Stage) -> None:
    config = stage.config()
    await log_in(config)
    kept = stored(stage)
    assert await log_out_at(config, around()) is True
    stage.kept().write(kept)
    with pytest.raises(LoginRefused, match="Log in again"):
        await read(config, LATER)
    note(FIGURES, "logging out", {"the refresh token is ended": True})


def _source(stage: Stage) -> BackendJWT:
    keys = read_ring(stage.folder.path.parent / "ring")
    return BackendJWT("pod", stage.server.token_url, keys, "user/Patient.read", SYSTEM_CLOCK.now)


def _sent(request: httpx.Request) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.send(
            client.build_request("POST", request.url, content=request.content, headers=request.headers)
        )


def test_an_assertion_is_good_once(stage: Stage) -> None:
    request = _source(stage).request()
    first, again = _sent(request), _sent(request)
    assert first.status_code == 200
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert _sent(_source(stage).request()).status_code == 200
    note(FIGURES, "private_key_jwt: an assertion sent twice", {"first": 200, "again": "401 invalid_client"})


async def test_an_expired_assertion_is_refused_and_the_clock_is_named(stage: Stage) -> None:
    config = stage.folder.write(
        stage.server.base_url,
        "auth: {backend: {client_id: pod, keys: ../ring, scope: user/Patient.read}}",
    )
    assert await read(config) is State.OK
    with pytest.raises(ClockWrong, match="behind the server's"):
        await read(config, -3600)
    note(FIGURES, "private_key_jwt: an expired assertion", {"refused": True, "said": "clock behind"})


async def test_a_key_that_is_not_registered_is_refused(stage: Stage) -> None:
    ring = stage.folder.path.parent / "ring"
    config = stage.folder.write(
        stage.server.base_url,
        "auth: {backend: {client_id: pod, keys: ../ring, scope: user/Patient.read}}",
    )
    rotate_ring(ring)
    assert await read(config) is State.OK  # published, and the old one still signs
    rotate_ring(ring)
    with pytest.raises(LoginRefused, match="invalid_client"):
        await read(config)  # the server never got the new JWKS
    note(FIGURES, "private_key_jwt: a key that the server does not know", {"refused": True})
