"""The security bar, S1 to S9: tokens, logins and keys, on real sockets (``docs/security-bar.md``)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest

from ehr.auth.authenticator import Authenticator
from ehr.auth.external import ExternalCallable
from ehr.auth.keys import make_ring, read_key, rotate_ring
from ehr.errors import AuthError, ClockWrong, ConfigurationError, LoginRefused, TokenResponseMalformed
from ehr.files.settings import Auth
from ehr.people.identity import Person
from ehr.records.fetched import State
from ehr.records.patient import PatientRef
from ehr.site import ClockAndWire, open_site_async
from ehr.transport.client import Transport
from federated.cli.exit_codes import ExitCode, exit_code_for
from tests.contract.wire import TOKEN, in_turn, page, said, token, wired
from tests.ehr.auth.login import owner_only, pem, source
from tests.ehr.site_folder import Folder
from tests.fakes.clock import START, FakeClock
from tests.fakes.misbehaving_server import Received, answer

KINDS = ["conditions", "observations", "appointments", "medications"]
REFUSED = said({"error": "invalid_client"}, "401 Unauthorized")
UNAUTHORIZED = said({}, "401 Unauthorized", Location="http://127.0.0.1:9/elsewhere")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


def around(time: FakeClock) -> ClockAndWire:
    return ClockAndWire(clock=time.clock)


async def test_s01_no_token_is_written_anywhere(
    folder: Folder, time: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    async with wired() as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        await site.query([Person(id="ana")], KINDS)
        assert any(f"Bearer {TOKEN}" == one.header("authorization") for one in ehr.server.requests)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert [path.name for path in files if TOKEN.encode() in path.read_bytes()] == []
        assert TOKEN not in str(os.environ)


def test_s01_only_a_persons_login_can_be_kept() -> None:
    """A pod that logs in by itself logs in again; no setting can ask for its tokens to be kept."""
    for part in ("backend", "external", "none"):
        section = Auth.model_fields[part].annotation
        names = set().union(*(getattr(kind, "model_fields", {}) for kind in section.__args__))  # type: ignore[union-attr]  # X | None
        assert not {name for name in names if "store" in name or "cache" in name}


async def test_s02_fifty_patients_share_one_login_and_a_storm_of_401_one_more(
    folder: Folder, time: FakeClock
) -> None:
    logins = 0

    def login(_: Received) -> bytes:
        nonlocal logins
        logins += 1
        if logins == 2:
            renewed.set()
        return token(f"{TOKEN}-{logins}")

    valid = f"Bearer {TOKEN}-1"
    renewed = asyncio.Event()

    async def late() -> bytes:
        await renewed.wait()
        return UNAUTHORIZED

    def data(received: Received) -> bytes | asyncio.Future[bytes]:
        if received.header("authorization") == valid:
            return page()
        # One answer to the old token comes when the new one is there already.
        return asyncio.ensure_future(late()) if "patient=p7&" in received.target else UNAUTHORIZED

    async with (
        wired(token=login, Condition=data) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        refs = [PatientRef(f"p{number}") for number in range(50)]
        await asyncio.gather(*(site.conditions(ref) for ref in refs))
        assert logins == 1
        valid = f"Bearer {TOKEN}-2"  # all that was given so far is revoked
        found = await asyncio.gather(*(site.conditions(ref) for ref in refs))
        found.append(await site.conditions(refs[0]))
        assert logins == 2
        assert {one.state for one in found} == {State.EMPTY}


async def test_s02_a_login_that_is_cancelled_lets_the_next_one_log_in(
    folder: Folder, time: FakeClock
) -> None:
    begun, times = asyncio.Event(), 0

    async def first_hangs() -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    def login(_: Received) -> bytes | asyncio.Future[bytes]:
        nonlocal times
        times += 1
        return token() if times > 1 else asyncio.ensure_future(first_hangs())

    async with wired(token=login) as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        waiting = [asyncio.create_task(site.conditions(PatientRef("ana"))) for _ in range(5)]
        await begun.wait()
        waiting[0].cancel()  # holds the login
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert [one.state for one in found[1:] if not isinstance(one, BaseException)] == [State.OK] * 4
        assert times == 2


@pytest.mark.parametrize(("said_life", "life"), [(3600, 3600), (None, 300)])
async def test_s03_a_token_is_renewed_by_a_clock_that_never_jumps(
    said_life: float | None, life: float
) -> None:
    seconds, wall = 0.0, START

    def bearer_of(flow_answers: list[bytes]) -> httpx.Response:
        return httpx.Response(200, content=flow_answers[0].partition(b"\r\n\r\n")[2])

    login = Authenticator(source("https://ehr.example/token", now=lambda: wall), monotonic=lambda: seconds)

    async def used() -> int:
        flow = login.async_auth_flow(httpx.Request("GET", "https://ehr.example/Patient/1"))
        step = await anext(flow)
        if step.method == "POST":
            step = await flow.asend(bearer_of([token(expires_in=said_life)]))
        assert step.headers["authorization"] == f"Bearer {TOKEN}"
        await flow.aclose()
        return login.logins

    assert await used() == 1
    for days in (-400, 400):
        wall = START + timedelta(days=days)
        assert await used() == 1
    early = max(60.0, life / 10)
    seconds = life - early - 1
    assert await used() == 1
    seconds = life - early
    assert await used() == 2


def claims(request: Received) -> dict[str, object]:
    assertion = parse_qs(request.body.decode())["client_assertion"][0].split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(assertion + "=="))
    return found


async def test_s04_s05_each_attempt_has_an_assertion_of_its_own_for_this_endpoint_and_minute(
    folder: Folder, time: FakeClock
) -> None:
    broken = answer(b"{}", status="503 Service Unavailable")
    login = in_turn([broken, broken, token()])
    async with wired(token=login) as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        await site.conditions(PatientRef("ana"))
        made = [claims(request) for request in ehr.asked("token")]
        assert len(made) == 3
        assert len({one["jti"] for one in made}) == 3
        assert {one["aud"] for one in made} == {f"{ehr.base}/token"}
        for one in made:
            issued, expires = float(str(one["iat"])), float(str(one["exp"]))
            assert issued <= START.timestamp() + time.seconds - 29
            assert expires - (START.timestamp() + time.seconds) <= 270
            assert expires - issued <= 300


@pytest.mark.parametrize("off_s", [-61, 61, 3600, -86_400])
async def test_s04_a_clock_that_is_wrong_is_named(folder: Folder, time: FakeClock, off_s: int) -> None:
    date = (START + timedelta(seconds=off_s)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    refused = said({"error": "invalid_client"}, "401 Unauthorized", Date=date)
    async with (
        wired(token=lambda _: refused) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        with pytest.raises(ClockWrong, match="clock is"):
            await site.conditions(PatientRef("ana"))


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client"])
async def test_s06_a_refusal_is_asked_for_once_by_fifty_patients_and_comes_as_itself(
    folder: Folder, time: FakeClock, error: str
) -> None:
    refused = said({"error": error, "error_description": "Canarywords"}, "400 Bad Request")
    async with wired(token=lambda _: refused) as ehr:
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            with pytest.raises(LoginRefused) as failed:
                await site.query([Person(id=f"p{number}") for number in range(50)], KINDS)
        assert len(ehr.asked("token")) == 1
    assert exit_code_for(failed.value) is ExitCode.LOGIN_REFUSED
    assert "Canarywords" not in str(failed.value) + repr(failed.value)


@pytest.mark.parametrize("kinds", [["medications"], KINDS])
async def test_s06_a_login_that_ends_in_the_middle_of_a_fan_out_is_no_group_of_errors(
    folder: Folder, time: FakeClock, kinds: list[str]
) -> None:
    """The first token works for the patient and is then revoked; the next login is refused."""
    types = ("Condition", "Observation", "Appointment", "MedicationRequest", "MedicationStatement")
    async with (
        wired(token=in_turn([token(), REFUSED]), **dict.fromkeys(types, lambda _: UNAUTHORIZED)) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        with pytest.raises(LoginRefused) as failed:
            await site.query([Person(id="ana")] * 3 + [Person(family="Canaryfamily", given="Ana")], kinds)
        assert type(failed.value) is LoginRefused
        assert len(ehr.asked("token")) == 2
        assert not [task for task in asyncio.all_tasks() if "/ehr/cohort" in repr(task)]


@pytest.mark.parametrize("made", ["RS-1024", "P-256", "public", "locked", "symmetric", "none", "readable"])
def test_s07_weak_foreign_and_readable_keys_are_refused(tmp_path: Path, made: str) -> None:
    makers: dict[str, Callable[[], bytes]] = {
        "RS-1024": lambda: pem("RS-1024"),
        "P-256": lambda: pem("P-256"),
        "public": lambda: pem("ES384", public=True),
        "locked": lambda: pem("ES384", password=b"Canary"),
        "symmetric": lambda: b'{"kty": "oct", "k": "Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5", "alg": "HS256"}',
        "none": lambda: b'{"kty": "none", "alg": "none"}',
        "readable": lambda: pem("ES384"),
    }
    path = owner_only(tmp_path / "key", makers[made]())
    if made == "readable":
        path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="key file"):
        read_key(path)


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_s07_keys_are_made_for_their_owner_alone_whatever_the_umask(tmp_path: Path, algorithm: str) -> None:
    old = os.umask(0)
    try:
        make_ring(tmp_path / "ring", "ES384" if algorithm == "ES384" else "RS384")
        rotate_ring(tmp_path / "ring")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ring").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "ring").stat().st_mode) == 0o700


def test_s07_a_link_planted_where_a_key_goes_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "ring.json").symlink_to(outside)
    with pytest.raises(ConfigurationError):
        make_ring(tmp_path / "ring")
    outside.unlink()  # now the link leads nowhere
    make_ring(tmp_path / "ring")
    assert not outside.exists()
    assert not (tmp_path / "ring" / "ring.json").is_symlink()


@pytest.mark.parametrize(
    "value", ["", "two words", "line\r\nX-Evil: 1", "tab\t", "é", "\x00", "x" * 200_000, None, 7, ["t"], {}]
)
async def test_s08_a_token_that_is_no_token_is_never_sent(
    folder: Folder, time: FakeClock, value: object
) -> None:
    login = said({"access_token": value, "token_type": "bearer"})
    async with wired(token=lambda _: login) as ehr:
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            with pytest.raises(TokenResponseMalformed):
                await site.conditions(PatientRef("ana"))
        assert not [one for one in ehr.server.requests if one.header("authorization")]


def _opaque(payload: dict[str, object]) -> str:
    part = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{part}."


@pytest.mark.parametrize(
    "opaque",
    [
        _opaque({"exp": 1, "scope": "none"}),  # expired long ago, if it were read
        _opaque({"exp": "x" * 100}),
        "....",
        "%%%not.base64.at-all",
    ],
)
async def test_s09_a_token_is_sent_as_it_came_and_never_looked_into(
    folder: Folder, time: FakeClock, opaque: str
) -> None:
    async with wired(token=lambda _: token(opaque)) as ehr:
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            found = [await site.conditions(PatientRef("ana")) for _ in range(3)]
        assert {one.state for one in found} == {State.OK}
        assert {one.header("authorization") for one in ehr.asked("Condition")} == {f"Bearer {opaque}"}
        assert len(ehr.asked("token")) == 1


async def test_s08_a_callable_that_fails_does_not_tell_its_words() -> None:
    def leaking() -> tuple[str, float | None]:
        raise RuntimeError(f"could not refresh {TOKEN}")

    async with wired() as ehr, Transport(ehr.base, allow_http_loopback=True) as client:
        login = Authenticator(ExternalCallable(leaking), monotonic=lambda: 0.0)
        with pytest.raises(AuthError) as failed:
            await client.request("GET", "Patient/ana", auth=login)
        assert TOKEN not in str(failed.value) + repr(failed.value) + repr(login)
        assert failed.value.__suppress_context__
        assert ehr.server.requests == []
