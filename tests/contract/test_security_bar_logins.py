"""The security bar, S1, S2, S8 and S15, for logins of people: real sockets, real files, real processes."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ehr.auth.browser import GrantFlow, Launch, OneGrant
from ehr.auth.client_proof import Client
from ehr.auth.revocation import Revocation
from ehr.auth.store import InMemory, SealedStore, StoredLogin
from ehr.auth.tokens import Granted, Token
from ehr.connect.opening import ClockAndWire
from ehr.connect.person import log_in_at
from ehr.errors import ConfigurationError, EHRError, LoginNotKept, LoginRefused
from ehr.records.patient import PatientRef
from ehr.sandbox import Fault, Hang, RegisteredApp, Sandbox, Store, When
from ehr.site import open_site_async
from ehr.transport.settings import SYSTEM_CLOCK
from tests.ehr.auth.door import Browser, Change
from tests.ehr.auth.login import owner_only
from tests.ehr.auth.test_browser import launch
from tests.ehr.sandbox.synthetic import small_store
from tests.ehr.site_folder import Folder
from tests.fakes.renewing import finished, racers

APP, KEY = "my-app", b"k" * 43
SECRET = "Canarysecret-of-the-app"
LATER_S = 4000  # past the life of an access token


@pytest.fixture(scope="module")
def store() -> Store:
    return small_store()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "elsewhere").mkdir()
    owner_only(tmp_path / "elsewhere" / "login.key", KEY)
    return Folder(tmp_path / "site")


@contextmanager
def sandbox(store: Store, app: RegisteredApp | None = None) -> Iterator[Sandbox]:
    with Sandbox(store, apps={APP: app or RegisteredApp()}) as ehr:
        yield ehr
        ehr.witness.assert_tokens_stayed_home()


def config(folder: Folder, ehr: Sandbox, more: str = "", key: str = "file: ../elsewhere/login.key") -> Path:
    kept = f", store: {{key: {{{key}}}}}" if key else ""
    return folder.write(ehr.base_url, f"auth: {{browser: {{client_id: {APP}{more}{kept}}}}}")


def ahead(seconds: float = 0) -> ClockAndWire:
    from datetime import timedelta

    now = SYSTEM_CLOCK.now
    return ClockAndWire(clock=replace(SYSTEM_CLOCK, now=lambda: now() + timedelta(seconds=seconds)))


async def log_in(path: Path, change: Change = lambda said: said) -> Browser:
    browser = Browser(change)
    try:
        await log_in_at(path, ahead(), browser.person())
    finally:
        await asyncio.to_thread(browser.wait)
    return browser


def kept(folder: Folder, ehr: Sandbox) -> StoredLogin:
    found = SealedStore(folder.path / "login.store", KEY, f"{APP} {ehr.base_url}").read()
    assert found is not None
    return found


async def test_s01_a_kept_login_is_sealed_and_its_owners_alone(store: Store, folder: Folder) -> None:
    old = os.umask(0)
    try:
        with sandbox(store) as ehr:
            path = config(folder, ehr)
            await log_in(path)
            login = kept(folder, ehr)
            files = {file.name: file for file in folder.path.glob("login.store*")}
            assert set(files) == {"login.store", "login.store.lock"}
            assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
            for secret in (login.access_token, login.refresh_token or "?", APP, "user/", ehr.base_url):
                assert secret.encode() not in files["login.store"].read_bytes()
            owner_only(folder.path.parent / "elsewhere" / "login.key", b"q" * 43)
            with pytest.raises(LoginNotKept, match="does not open"):
                async with open_site_async(path, ahead()):
                    pass
    finally:
        os.umask(old)


@pytest.mark.parametrize("place", ["login.key", "keys/login.key", "link.key"])
async def test_s01_a_key_never_lies_beside_its_store(store: Store, folder: Folder, place: str) -> None:
    (folder.path / "keys").mkdir(parents=True)
    for name in ("login.key", "keys/login.key"):
        owner_only(folder.path / name, KEY)
    (folder.path.parent / "elsewhere" / "link.key").symlink_to(folder.path / "login.key")
    with sandbox(store) as ehr:
        where = f"../elsewhere/{place}" if place == "link.key" else place
        with pytest.raises(ConfigurationError, match="in the store's folder"):
            await log_in(config(folder, ehr, key=f"file: {where}"))
        assert ehr.witness.count("token") == 0
    assert not list(folder.path.glob("login.store*"))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("env: NO_SUCH_VARIABLE", "holds 0 bytes"),
        ("env: SHORT", "at least 32"),
        ("file: ../elsewhere/open.key", "others than its owner"),
        ("file: ../elsewhere/none.key", "no such file"),
    ],
)
async def test_s01_a_weak_or_readable_key_makes_no_store(
    store: Store, folder: Folder, key: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "Canaryshort")
    owner_only(folder.path.parent / "elsewhere" / "open.key", KEY).chmod(0o644)
    with sandbox(store) as ehr:
        with pytest.raises(ConfigurationError, match=words) as failed:
            await log_in(config(folder, ehr, key=key))
        assert "Canary" not in str(failed.value)
    assert not list(folder.path.glob("login.store*"))


async def test_s01_without_a_store_a_login_is_written_nowhere(
    store: Store, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with sandbox(store) as ehr:
        path = config(folder, ehr, key="")
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        await log_in(path)
        async with open_site_async(path, replace(ahead(), person=Browser().person())) as site:
            assert (await site.conditions(PatientRef("ana"))).complete
        assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("planted", ["changed", "link", "foreign"])
async def test_s01_a_store_that_was_tampered_with_ends_the_command_before_the_ehr_sees_a_token(
    store: Store, folder: Folder, planted: str, tmp_path: Path
) -> None:
    with sandbox(store) as ehr:
        path = config(folder, ehr)
        await log_in(path)
        file = folder.path / "login.store"
        good = file.read_bytes()
        if planted == "changed":
            file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        elif planted == "foreign":
            file.write_bytes(b"{}")
        else:
            (tmp_path / "outside").write_bytes(good)
            (tmp_path / "outside").chmod(0o600)
            file.unlink()
            file.symlink_to(tmp_path / "outside")
        before = ehr.witness.count()
        with pytest.raises(LoginNotKept):
            async with open_site_async(path, ahead()):
                pass
        seen = ehr.witness.requests[before:]
        assert {one.endpoint for one in seen} <= {"discovery"}
        assert not any(one.tokens for one in seen)


async def test_s02_processes_that_need_a_token_at_once_make_one_renewal(store: Store, folder: Folder) -> None:
    with sandbox(store) as ehr:
        path = config(folder, ehr)
        await log_in(path)
        before = ehr.witness.count("token")
        with racers(path, LATER_S, 2) as started:
            assert await asyncio.to_thread(finished, started) == ["OK", "OK"]
        assert ehr.witness.count("token") == before + 1


async def test_s02_a_renewed_login_is_on_disk_before_its_token_is_used(store: Store, folder: Folder) -> None:
    """Killed in the middle of the first request with the new token, nothing is lost."""
    with sandbox(store) as ehr:
        path = config(folder, ehr)
        await log_in(path)
        old = kept(folder, ehr)
        ehr.faults = [Fault(Hang(), When(endpoint="read"))]
        with racers(path, LATER_S, 1) as (process,):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            while not ehr.witness.count("read"):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        ehr.faults = []
        ehr.release()
        new = kept(folder, ehr)
        (used,) = {mark for one in ehr.witness.requests if one.endpoint == "read" for mark in one.tokens}
        assert ehr.witness.mark(new.access_token) == used
        assert new.refresh_token != old.refresh_token
        async with open_site_async(path, ahead(2 * LATER_S)) as site:
            assert (await site.conditions(PatientRef("ana"))).complete


async def test_s08_no_code_verifier_secret_or_token_comes_out_of_a_login(
    store: Store, folder: Folder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("APP_SECRET", SECRET)
    verifiers: list[str] = []
    made = Launch.address

    def noting(self: Launch) -> str:
        verifiers.append(self.verifier)
        return made(self)

    monkeypatch.setattr(Launch, "address", noting)
    said: list[str] = []
    browsers: list[Browser] = []
    changes: list[Change] = [
        lambda answer: answer,
        lambda answer: {**answer, "code": answer["code"] + "x"},
        lambda answer: {**answer, "state": answer["state"] + "x"},
        lambda answer: {**answer, "iss": "https://evil.example"},
    ]
    with sandbox(store, RegisteredApp(secret=SECRET)) as ehr:
        path = config(folder, ehr, ", client_secret: {env: APP_SECRET}")
        for change in changes:
            browser = Browser(change)
            browsers.append(browser)
            try:
                said.append(repr(await log_in_at(path, ahead(), browser.person())))
            except EHRError as error:
                said += [str(error), repr(error), "".join(traceback.format_exception(error))]
            await asyncio.to_thread(browser.wait)
        login = kept(folder, ehr)
    codes = [dict(parse_qsl(urlsplit(b.pages[0].headers["location"]).query))["code"] for b in browsers]
    said += [record.getMessage() for record in caplog.records] + [repr(vars(r)) for r in caplog.records]
    pages = [page.text for browser in browsers for page in browser.pages]
    assert len(verifiers) == len(codes) == len(changes)
    for secret in (*codes, *verifiers, SECRET, login.access_token, login.refresh_token or "?"):
        assert not [text for text in (*said, *pages) if secret in text]


LOGIN = StoredLogin("https://e.example/t", "t", 0.0, 60.0, "user/*.rs", "r")
CLIENT = Client(APP, lambda: datetime.now(UTC), secret=SECRET)
FLOW = GrantFlow(CLIENT, "https://e.example/t", {"code": "c"}, 60)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LOGIN,
        lambda: InMemory(LOGIN),
        lambda: SealedStore(Path("login.store"), KEY, APP),
        lambda: CLIENT,
        lambda: FLOW,
        lambda: OneGrant(FLOW),
        lambda: Revocation(CLIENT, "https://e.example/r", LOGIN),
        lambda: Granted(Token("t", 60), "r"),
        launch,
    ],
)
def test_s08_what_belongs_to_a_login_is_silent_and_never_pickled(make: Callable[[], Any]) -> None:
    made = make()
    assert repr(made) == f"<{type(made).__name__}>"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(made, protocol)


@pytest.mark.parametrize("said", ["https://evil.example", "", None])
async def test_s15_an_answer_of_another_issuer_is_refused_before_its_code_is_sent_anywhere(
    store: Store, folder: Folder, said: str | None
) -> None:
    def elsewhere(answer: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in answer.items() if name != "iss"}
        return kept if said is None else {**kept, "iss": said}

    with sandbox(store) as ehr:
        with pytest.raises(LoginRefused, match="iss"):
            await log_in(config(folder, ehr), elsewhere)
        assert ehr.witness.count("token") == 0
        other = config(folder, ehr, ", issuer: https://another.example")
        with pytest.raises(LoginRefused, match="iss"):
            await log_in(other)
        assert ehr.witness.count("token") == 0


async def test_s15_a_login_is_renewed_only_at_the_endpoint_that_gave_it(store: Store, folder: Folder) -> None:
    with sandbox(store) as ehr, sandbox(store) as other:
        other.witness = ehr.witness
        await log_in(config(folder, ehr))
        moved = config(folder, ehr, f", token_url: {other.token_url}")
        before = ehr.witness.count("token")
        async with open_site_async(moved, ahead(LATER_S)) as site:
            with pytest.raises(LoginRefused, match="token endpoint is another one"):
                await site.conditions(PatientRef("ana"))
        assert ehr.witness.count("token") == before
        assert not any(one.origin == other.origin for one in ehr.witness.requests)
