"""Renewing a person's login: kept before it is used, once for all, ended where the server ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr.auth.authenticator import Authenticator
from ehr.auth.client_proof import Client
from ehr.auth.renewal import BrowserLogin
from ehr.auth.store import InMemory, Keeper, SealedStore, StoredLogin
from ehr.auth.turns import turn
from ehr.errors import LoginNotKept, LoginRefused, TransportError
from ehr.sandbox import Fault, RegisteredApp, Sandbox, Status, Store, When
from ehr.sandbox.apps import CODE_LIFE_S
from ehr.transport.client import Transport
from tests.fakes.clock import FakeClock

APP = "my-app"
TOKEN = When(endpoint="token")
LIFE_S = 3600


@pytest.fixture
def ehr(store: Store, time: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(store, apps={APP: RegisteredApp()}, clock=time.now) as running:
        yield running


def login_at(ehr: Sandbox, time: FakeClock) -> StoredLogin:
    """A login as the sandbox gives it."""
    door = ehr.app.login_routes
    assert door is not None
    import base64
    import hashlib

    from ehr.sandbox.apps import Consent

    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    consent = Consent(APP, "http://127.0.0.1:1/callback", challenge, ("user/*.rs", "offline_access"), None)
    form = {
        "grant_type": "authorization_code",
        "client_id": APP,
        "code": door.apps.code_for(consent),
        "redirect_uri": consent.redirect_uri,
        "code_verifier": verifier,
    }
    given, _ = door.apps.issue(form, "", ehr.token_url)
    return StoredLogin(
        ehr.token_url,
        given["access_token"],
        time.now().timestamp(),
        LIFE_S,
        given["scope"],
        given["refresh_token"],
    )


def source(ehr: Sandbox, keeper: Keeper, time: FakeClock) -> BrowserLogin:
    return BrowserLogin(Client(APP, time.now), ehr.token_url, keeper, time.now, 300)


def login(ehr: Sandbox, keeper: Keeper, transport: Transport, time: FakeClock) -> Authenticator:
    made = source(ehr, keeper, time)
    return Authenticator(made, monotonic=transport.clock.monotonic, turn=keeper.turn)


async def status(transport: Transport, auth: Authenticator, what: str = "Patient/ana") -> int:
    return (await transport.request("GET", what, auth=auth)).status


async def test_a_kept_token_is_used_while_it_is_good(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    keeper = InMemory(login_at(ehr, time))
    for _ in range(3):
        assert await status(transport, login(ehr, keeper, transport, time)) == 200
    assert ehr.witness.count("token") == 0


@pytest.mark.parametrize(("seconds", "renewals"), [(LIFE_S - 61, 0), (LIFE_S - 60, 1), (LIFE_S * 30, 1)])
async def test_a_kept_token_is_renewed_a_minute_before_it_ends(
    ehr: Sandbox, transport: Transport, time: FakeClock, seconds: float, renewals: int
) -> None:
    keeper = InMemory(login_at(ehr, time))
    time.seconds += seconds
    assert await status(transport, login(ehr, keeper, transport, time)) == 200
    assert ehr.witness.count("token") == renewals


async def test_a_run_goes_on_for_days_with_one_login(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    keeper = InMemory(login_at(ehr, time))
    auth = login(ehr, keeper, transport, time)
    seen = set()
    for _ in range(50):
        assert await status(transport, auth) == 200
        assert keeper.login is not None
        seen.add(keeper.login.refresh_token)
        time.seconds += LIFE_S
    assert len(seen) == 50  # rotated each time, and never an old one used
    assert ehr.witness.count("token") == 49


async def test_a_renewed_login_is_kept_before_its_token_is_sent(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    order: list[str] = []

    class Noting(InMemory):
        __slots__ = ()

        def write(self, login: StoredLogin | None) -> None:
            order.append(
                f"kept after {ehr.witness.count('read')} reads, {ehr.witness.count('token')} renewals"
            )
            super().write(login)

    keeper = Noting(login_at(ehr, time))
    time.seconds += LIFE_S
    assert await status(transport, login(ehr, keeper, transport, time)) == 200
    assert order == ["kept after 0 reads, 1 renewals"]


async def test_a_login_that_could_not_be_kept_is_kept_later_and_not_asked_for_again(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    class Full(InMemory):
        __slots__ = ()
        full = True

        def write(self, login: StoredLogin | None) -> None:
            if type(self).full:
                raise LoginNotKept("the disk is full")
            super().write(login)

    keeper = Full(login_at(ehr, time))
    before = keeper.login
    auth = login(ehr, keeper, transport, time)
    time.seconds += LIFE_S
    for _ in range(2):
        with pytest.raises(LoginNotKept):
            await status(transport, auth)
        with pytest.raises(LoginNotKept):
            auth.check()  # what was asked meanwhile says nothing about a patient
    assert keeper.login is before
    assert ehr.witness.count("read") == 0
    Full.full = False
    assert await status(transport, auth) == 200
    auth.check()
    assert ehr.witness.count("token") == 1


async def test_a_hundred_requests_and_a_storm_of_401_renew_once(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    keeper = InMemory(login_at(ehr, time))
    auth = login(ehr, keeper, transport, time)
    time.seconds += LIFE_S
    assert set(await asyncio.gather(*(status(transport, auth) for _ in range(100)))) == {200}
    assert ehr.witness.count("token") == 1
    ehr.revoke_tokens()
    assert set(await asyncio.gather(*(status(transport, auth) for _ in range(100)))) == {200}
    assert ehr.witness.count("token") == 2


async def test_a_kept_token_that_was_revoked_is_renewed_once(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    keeper = InMemory(login_at(ehr, time))
    ehr.revoke_tokens()
    assert await status(transport, login(ehr, keeper, transport, time)) == 200
    assert ehr.witness.count("token") == 1


async def test_an_ended_login_needs_a_person_and_is_asked_for_once(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    keeper = InMemory(login_at(ehr, time))
    auth = login(ehr, keeper, transport, time)
    ehr.end_logins()
    found = await asyncio.gather(*(status(transport, auth) for _ in range(20)), return_exceptions=True)
    assert {type(one) for one in found} == {LoginRefused}
    assert all("Log in again" in str(one) for one in found)
    assert ehr.witness.count("token") == 1
    assert keeper.login is None


async def test_a_reused_refresh_token_ends_the_login_at_the_sandbox(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    """What a client that loses a rotated token would run into; ours keeps it first."""
    old = login_at(ehr, time)
    time.seconds += LIFE_S
    keeper = InMemory(old)
    assert await status(transport, login(ehr, keeper, transport, time)) == 200
    newest = keeper.login
    with pytest.raises(LoginRefused):
        await status(transport, login(ehr, InMemory(old), transport, time))
    with pytest.raises(LoginRefused):
        await status(transport, login(ehr, InMemory(newest), transport, time))


@pytest.mark.parametrize(("fault", "asked"), [(503, 3), (429, 3), (500, 1), (502, 1), (504, 1)])
async def test_a_refresh_token_is_sent_again_only_when_it_was_certainly_not_taken(
    ehr: Sandbox, transport: Transport, time: FakeClock, fault: int, asked: int
) -> None:
    keeper = InMemory(login_at(ehr, time))
    auth = login(ehr, keeper, transport, time)
    time.seconds += LIFE_S
    ehr.faults = [Fault(Status(fault), TOKEN, times=2)]
    if asked == 1:
        with pytest.raises(TransportError):
            await status(transport, auth)
    else:
        assert await status(transport, auth) == 200
    assert ehr.witness.count("token") == asked


async def test_a_login_without_a_refresh_token_ends_with_its_token(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    from dataclasses import replace

    keeper = InMemory(replace(login_at(ehr, time), refresh_token=None))
    time.seconds += LIFE_S - 1
    assert await status(transport, login(ehr, keeper, transport, time)) == 200
    time.seconds += 1
    with pytest.raises(LoginRefused, match="gave no refresh token"):
        await status(transport, login(ehr, keeper, transport, time))
    assert ehr.witness.count("token") == 0


async def test_a_login_is_renewed_only_where_it_was_made(
    ehr: Sandbox, transport: Transport, time: FakeClock
) -> None:
    from dataclasses import replace

    keeper = InMemory(replace(login_at(ehr, time), token_url="https://elsewhere.example/token"))
    time.seconds += LIFE_S
    with pytest.raises(LoginRefused, match="token endpoint is another one"):
        await status(transport, login(ehr, keeper, transport, time))
    assert ehr.witness.count("token") == 0


async def test_a_cancelled_renewal_passes_the_turn_on(
    ehr: Sandbox, transport: Transport, time: FakeClock, tmp_path: Path
) -> None:
    from ehr.sandbox import Hang

    store = SealedStore(tmp_path / "login.store", b"k" * 43, "one")
    store.write(login_at(ehr, time))
    time.seconds += LIFE_S
    ehr.faults = [Fault(Hang(), TOKEN, times=1)]
    first = asyncio.create_task(status(transport, login(ehr, store, transport, time)))
    while not ehr.witness.count("token"):
        await asyncio.sleep(0.01)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    ehr.release()
    async with turn(tmp_path / "login.store.lock", 1):
        pass  # nobody holds it


async def test_who_waits_too_long_for_another_process_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    async with turn(lock):
        with pytest.raises(LoginNotKept, match="does not let go"):
            async with turn(lock, 0.1):
                pass
    async with turn(lock, 0.1):
        pass


async def test_a_file_system_without_locks_is_said_and_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error would make each patient a fault of this program."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "canary")

    monkeypatch.setattr("ehr.auth.turns.fcntl.flock", refused)
    with pytest.raises(LoginNotKept, match="cannot be locked") as failed:
        async with turn(tmp_path / "lock"):
            pass
    assert "canary" not in str(failed.value)


async def test_two_sites_in_one_process_take_turns_too(
    ehr: Sandbox, transport: Transport, time: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "login.store"
    SealedStore(path, b"k" * 43, "one").write(login_at(ehr, time))
    time.seconds += LIFE_S
    sites = [login(ehr, SealedStore(path, b"k" * 43, "one"), transport, time) for _ in range(3)]
    found = await asyncio.gather(*(status(transport, auth) for auth in sites for _ in range(5)))
    assert set(found) == {200}
    assert ehr.witness.count("token") == 1


def test_a_code_lives_for_a_minute() -> None:
    assert CODE_LIFE_S == 60
