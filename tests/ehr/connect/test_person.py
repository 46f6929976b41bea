"""A person logs in with a browser: against the sandbox, on real sockets, with a store on disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr.connect.opening import ClockAndWire
from ehr.connect.person import LoginReport, log_in_at, log_out_at
from ehr.errors import ConfigurationError, LoginNotKept, LoginRefused
from ehr.people.identity import Person
from ehr.records.fetched import State
from ehr.records.patient import Kind, PatientRef
from ehr.sandbox import Fault, RegisteredApp, Sandbox, Status, Store, When
from ehr.sandbox.authorize import Answers
from ehr.site import open_site_async
from tests.ehr.auth.door import Browser
from tests.ehr.auth.login import owner_only, pem
from tests.ehr.sandbox.synthetic import small_store
from tests.ehr.site_folder import Folder
from tests.fakes.clock import FakeClock

APP = "my-app"
STORE = "store: {file: login.store, key: {file: ../elsewhere/login.key}}"
KEY = b"k" * 43


@pytest.fixture(scope="module")
def store() -> Store:
    return small_store()


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "elsewhere").mkdir()
    owner_only(tmp_path / "elsewhere" / "login.key", KEY)
    return Folder(tmp_path / "site")


@contextlib.contextmanager
def sandbox(
    store: Store, time: FakeClock, app: RegisteredApp | None = None, answers: Answers = "auto"
) -> Iterator[Sandbox]:
    with Sandbox(store, apps={APP: app or RegisteredApp()}, answers=answers, clock=time.now) as ehr:
        yield ehr
        ehr.witness.assert_tokens_stayed_home()


def config(folder: Folder, ehr: Sandbox, more: str = STORE) -> Path:
    joint = ", " if more else ""
    return folder.write(ehr.base_url, f"auth: {{browser: {{client_id: {APP}{joint}{more}}}}}")


def around(time: FakeClock, browser: Browser | None = None) -> ClockAndWire:
    return ClockAndWire(clock=time.clock, person=None if browser is None else browser.person())


async def log_in(path: Path, time: FakeClock, browser: Browser | None = None) -> LoginReport:
    browser = browser or Browser()
    report = await log_in_at(path, around(time), browser.person())
    await asyncio.to_thread(browser.wait)
    return report


async def test_a_login_is_kept_and_used_by_the_next_command(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr)
        browser = Browser()
        report = await log_in(path, time, browser)
        assert (report.kept, report.renewable, report.one_patient, report.missing) == (True, True, False, ())
        assert Kind.CONDITION in report.granted
        assert "You may close this window" in browser.pages[-1].text
        assert browser.pages[-1].status == 200
        for _ in range(2):
            async with open_site_async(path, around(time)) as site:
                found = await site.query([Person(id="ana")], ["conditions"])
                assert found.readings[0].record is not None
        assert ehr.witness.count("token") == 1


async def test_the_address_asks_for_a_code_with_pkce_for_this_fhir_base(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with sandbox(store, time) as ehr:
        browsers = [Browser(), Browser()]
        for browser in browsers:
            await log_in(config(folder, ehr), time, browser)
        said, again = (browser.said() for browser in browsers)
        assert said["response_type"] == "code"
        assert said["aud"] == ehr.base_url
        assert said["code_challenge_method"] == "S256"
        assert len(said["code_challenge"]) == 43
        assert len(said["state"]) >= 22  # base64url characters of 128 bits; SMART asks for 122
        assert said["redirect_uri"].startswith("http://127.0.0.1:")
        assert said["redirect_uri"].endswith("/callback")
        for name in ("state", "code_challenge"):
            assert said[name] != again[name]
        assert "user/Condition.read" in said["scope"].split()
        assert "offline_access" in said["scope"].split()
        assert not {"code_verifier", "client_secret"} & set(said)


def _without(name: str) -> Any:
    return lambda said: {key: value for key, value in said.items() if key != name}


BAD_ANSWERS: dict[str, tuple[Any, str]] = {
    "another state": (lambda said: {**said, "state": "x" * 43}, "does not belong"),
    "no state": (_without("state"), "does not belong"),
    "another issuer": (lambda said: {**said, "iss": "https://evil.example"}, "authorization server"),
    "no issuer": (_without("iss"), "authorization server"),
    "no code": (_without("code"), "no code"),
    "another code": (lambda said: {**said, "code": "guess"}, "refused the login"),
    "a code that is none": (lambda said: {**said, "code": "a\r\nb"}, "no code"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
async def test_an_answer_that_is_not_to_be_trusted_gives_no_login(
    store: Store, folder: Folder, time: FakeClock, case: str
) -> None:
    change, words = BAD_ANSWERS[case]
    with sandbox(store, time) as ehr:
        path = config(folder, ehr)
        with pytest.raises(LoginRefused, match=words) as failed:
            await log_in(path, time, Browser(change))
        assert "guess" not in str(failed.value)
        assert not (folder.path / "login.store").exists()


async def test_a_person_who_says_no_is_believed(store: Store, folder: Folder, time: FakeClock) -> None:
    with sandbox(store, time, answers="deny") as ehr:
        browser = Browser()
        with pytest.raises(LoginRefused, match="access was not given") as failed:
            await log_in(config(folder, ehr), time, browser)
        assert failed.value.code == "access_denied"
        await asyncio.to_thread(browser.wait)
        assert "did not succeed" in browser.pages[-1].text
        assert ehr.witness.count("token") == 0


async def test_nobody_who_finishes_in_time_is_said(store: Store, folder: Folder, time: FakeClock) -> None:
    with sandbox(store, time) as ehr:
        person = Browser().person(wait_s=0.05)
        from dataclasses import replace

        with pytest.raises(LoginRefused, match="within 0 s"):
            await log_in_at(config(folder, ehr), around(time), replace(person, show=lambda address: None))


async def test_what_was_not_granted_is_named_and_forbidden_and_never_empty(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    narrow = RegisteredApp(scopes=("user/Patient.rs", "user/Condition.rs", "offline_access"))
    with sandbox(store, time, narrow) as ehr:
        path = config(folder, ehr)
        report = await log_in(path, time)
        assert set(report.granted) == {Kind.PATIENT, Kind.CONDITION}
        assert dict(report.missing)[Kind.MEDICATION] == ("MedicationRequest", "MedicationStatement")
        async with open_site_async(path, around(time)) as site:
            assert (await site.conditions(PatientRef("ana"))).complete
            assert (await site.observations(PatientRef("ana"))).state is State.FORBIDDEN
        assert ehr.witness.count("search", "Observation") == 0


async def test_a_login_for_one_patient_reaches_nobody_else(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr, f"context: patient, {STORE}")
        browser = Browser()
        report = await log_in(path, time, browser)
        assert report.one_patient
        assert browser.said()["scope"].split()[0] == "launch/patient"
        async with open_site_async(path, around(time)) as site:
            found = await site.read(Kind.PATIENT, PatientRef("ana"))
            other = await site.read(Kind.PATIENT, PatientRef("bob"))
        assert {found.state, other.state} == {State.OK, State.EMPTY}


async def test_without_a_store_a_login_ends_with_the_command(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr, "")
        browser = Browser()
        report = await log_in(path, time, browser)
        assert not report.kept
        assert "online_access" in browser.said()["scope"].split()
        async with open_site_async(path, around(time)) as site:
            with pytest.raises(LoginRefused, match="nobody is logged in"):
                await site.query([Person(id="ana")], ["conditions"])
        async with open_site_async(path, around(time, Browser())) as site:  # a person is there
            assert (await site.conditions(PatientRef("ana"))).complete
        assert not list(folder.path.glob("*.store*"))


async def test_logging_out_forgets_the_login(store: Store, folder: Folder, time: FakeClock) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr)
        assert await log_out_at(path, around(time)) is None
        await log_in(path, time)
        assert await log_out_at(path, around(time)) is not None
        async with open_site_async(path, around(time)) as site:
            with pytest.raises(LoginRefused, match="nobody is logged in"):
                await site.query([Person(id="ana")], ["conditions"])


async def test_logging_out_works_where_the_ehr_does_not(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr)
        await log_in(path, time)
    assert await log_out_at(path, around(time)) is False
    assert await log_out_at(path, around(time)) is None


async def test_a_person_logs_in_at_epic_in_the_same_way(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with Sandbox(store, "epic", apps={APP: RegisteredApp()}, clock=time.now) as ehr:
        path = config(folder, ehr)
        text = path.read_text().replace("smarthealthit r4", "epic r4")
        path.write_text(text.replace("  allow_http", f"  headers: {{client_id: {APP}}}\n  allow_http"))
        assert (await log_in(path, time)).kept
        async with open_site_async(path, around(time)) as site:
            assert (await site.read(Kind.PATIENT, PatientRef("ana"))).state is State.OK
        ehr.witness.assert_tokens_stayed_home()


@pytest.mark.parametrize("place", ["header", "form"])
async def test_a_confidential_application_shows_its_secret(
    store: Store, folder: Folder, time: FakeClock, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EHR_SECRET", "s3cret: with%odd+signs")
    if place == "form":
        monkeypatch.setattr("ehr.connect.person.secret_place", lambda methods: "form")
    with sandbox(store, time, RegisteredApp(secret="s3cret: with%odd+signs")) as ehr:
        path = config(folder, ehr, f"client_secret: {{env: EHR_SECRET}}, {STORE}")
        assert (await log_in(path, time)).kept
        monkeypatch.setenv("EHR_SECRET", "wrong")
        with pytest.raises(LoginRefused, match="refused the client"):
            await log_in(path, time)


async def test_an_application_may_sign_assertions_instead(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    from ehr.auth.keys import KeyRing
    from tests.ehr.auth.login import key

    with sandbox(store, time, RegisteredApp(jwks=KeyRing((key(),)).jwks())) as ehr:
        path = config(folder, ehr, f"keys: key.pem, {STORE}")
        assert (folder.path / "key.pem").read_bytes() == pem("ES384")
        assert (await log_in(path, time)).kept
        time.seconds += 4000
        async with open_site_async(path, around(time)) as site:
            assert (await site.conditions(PatientRef("ana"))).complete
        assert ehr.witness.count("token") == 2


async def test_a_busy_token_endpoint_is_asked_again_and_a_broken_one_is_not(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    token = When(endpoint="token")
    with sandbox(store, time) as ehr:
        path = config(folder, ehr)
        ehr.faults = [Fault(Status(503), token, times=2)]
        assert (await log_in(path, time)).kept
        assert ehr.witness.count("token") == 3
        ehr.faults = [Fault(Status(500), token)]  # it may have read the code: that is good for one use
        with pytest.raises(Exception, match="no token and no reason"):
            await log_in(path, time)
        assert ehr.witness.count("token") == 4


async def test_a_key_beside_the_store_is_refused(store: Store, folder: Folder, time: FakeClock) -> None:
    with sandbox(store, time) as ehr:
        folder.path.mkdir()
        (folder.path / "keys").mkdir()
        for name in ("login.key", "keys/login.key"):
            owner_only(folder.path / name, KEY)
            path = config(folder, ehr, f"store: {{key: {{file: {name}}}}}")
            with pytest.raises(ConfigurationError, match="in the store's folder"):
                await log_in(path, time)


async def test_another_key_does_not_open_the_store(store: Store, folder: Folder, time: FakeClock) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr)
        await log_in(path, time)
        owner_only(folder.path.parent / "elsewhere" / "login.key", b"q" * 43)
        with pytest.raises(LoginNotKept, match="does not open"):
            async with open_site_async(path, around(time)):
                pass


async def test_a_passphrase_is_asked_for_twice_and_then_once(
    store: Store, folder: Folder, time: FakeClock
) -> None:
    with sandbox(store, time) as ehr:
        path = config(folder, ehr, "store: {key: {passphrase: ask}}")
        browser = Browser()
        await log_in(path, time, browser)
        assert len(browser.questions) == 2
        later = Browser()
        async with open_site_async(path, around(time, later)) as site:
            assert (await site.conditions(PatientRef("ana"))).complete
        assert (len(later.questions), later.addresses) == (1, [])
        with pytest.raises(ConfigurationError, match="nobody is there"):
            async with open_site_async(path, around(time)):
                pass
        with pytest.raises(LoginNotKept, match="does not open"):
            async with open_site_async(path, around(time, Browser(passphrase="something else entirely"))):
                pass
