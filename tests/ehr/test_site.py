"""A site opened from its pod file, against the sandbox on real sockets."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import pydoc
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_overloads, get_type_hints

import pytest

from ehr.auth.authenticator import Authenticator
from ehr.errors import (
    AuthError,
    ClockWrong,
    ConfigurationError,
    ConnectionFailed,
    LoginRefused,
    Unavailable,
)
from ehr.people.identity import Matched, NotFound, Person, Undetermined
from ehr.providers.adapter import EHRAdapter
from ehr.records.patient import RESOURCES, Kind, PatientRef, State
from ehr.sandbox import TLS, Fault, FaultScript, Sandbox, Status, Store, When
from ehr.sandbox.store import store_of
from ehr.site import ClockAndWire, KindsByName, Site, open_site_async
from ehr.sync import LoopThread, SyncSite, open_site
from ehr.transport.client import SYSTEM_CLOCK
from tests.ehr.auth.login import owner_only, pem
from tests.ehr.sandbox.synthetic import people, records, small_store
from tests.ehr.site_folder import Folder, clients
from tests.fakes.clock import FakeClock
from tests.fakes.throwaway_ca import throwaway_ca

ANA = Person(family="Núñez", given="Ana María", birth_date="1950-02-03")
KINDS = ["conditions", "appointments"]


@pytest.fixture(scope="session")
def store() -> Store:
    return small_store()


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def around(time: FakeClock) -> ClockAndWire:
    return ClockAndWire(clock=time.clock)


@pytest.fixture
def running(store: Store, time: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(store, clients=clients(), clock=time.now) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


# --- logging in --------------------------------------------------------------------------------------------


async def test_backend_services_from_discovery_to_conditions(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    async with open_site_async(folder.write(running.base_url), around) as site:
        match = await site.find(ANA)
        found = await site.conditions(match.require())
        assert isinstance(match, Matched)
        assert {record.id for record in found.require()} == {"c1", "c2", "c3"}
    running.witness.assert_tokens_stayed_home()
    assert running.witness.count("discovery") == 1
    assert running.witness.count("token") == 1


TOKENS: list[str] = []


def token_from_elsewhere() -> tuple[str, float]:
    """What a site's own callable would do."""
    return TOKENS[-1], 600.0


async def test_an_external_callable_brings_the_token(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    async with open_site_async(folder.write(running.base_url), around) as site:
        await site.find(ANA)
        login: Authenticator = site.adapter._parts.authenticator  # type: ignore[attr-defined]  # of the generic adapter
        assert login._token is not None
        TOKENS.append(login._token.value)
    running.witness.forget()
    config = folder.write(
        running.base_url, f"auth: {{external: {{callable: '{__name__}:token_from_elsewhere'}}}}"
    )
    async with open_site_async(config, around) as site:
        assert isinstance(await site.find(ANA), Matched)
    assert running.witness.count("token") == running.witness.count("discovery") == 0


@pytest.mark.parametrize("auth", ["auth: none", "auth: {none: {}}"])
async def test_an_open_server_needs_no_login(store: Store, folder: Folder, auth: str) -> None:
    with Sandbox(store, login=False) as running:
        async with open_site_async(folder.write(running.base_url, auth)) as site:
            assert isinstance(await site.find(ANA), Matched)
        assert all(seen.tokens == () for seen in running.witness.requests)


async def test_a_private_authority_makes_tls_work_and_its_absence_does_not(
    store: Store, folder: Folder, tmp_path: Path
) -> None:
    authority = throwaway_ca(tmp_path)
    pair = authority.issue("server")
    with Sandbox(store, clients=clients(), tls=TLS(pair, pair)) as running:
        config = folder.write(running.base_url, ehr=f"  ca_file: {authority.ca_file}\n")
        async with open_site_async(config) as site:
            assert isinstance(await site.find(ANA), Matched)
        with pytest.raises(ConnectionFailed, match="certificate"):
            async with open_site_async(folder.write(running.base_url)):
                pass
    assert "allow_http" not in config.read_text()


async def test_only_the_scopes_of_what_can_be_read_are_asked_for(
    store: Store, folder: Folder, time: FakeClock, around: ClockAndWire
) -> None:
    with Sandbox(
        store, clients=clients("system/Patient.rs", "system/Group.rs", narrows=True), clock=time.now
    ) as running:
        config = folder.write(running.base_url, more="cohort: {group: g1}\n")
        async with open_site_async(config, around) as site:
            rows = await site.rows()
            assert [row.person for row in rows] == [Person(id="ana")]
            found = await site.conditions(PatientRef("ana"))
            assert found.state is State.FORBIDDEN
        assert running.witness.count("search", "Condition") == 0  # nothing is sent that was not granted


# --- what is wrong is told before anything is asked --------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("smarthealthit r4", "nobody r4"), "provider is not known"),
        (("smarthealthit r4", "nextgen enterprise"), "not part of this release"),
        (("  allow_http: loopback\n", "\n"), "base URL is http"),
        (("keys: key.pem", "keys: none.pem"), "no key ring there"),
        (("keys: key.pem", "keys: site.key"), "not an RSA or P-384 private key"),
        (("file: site.key", "file: none.key"), "site.key: there is no such file"),
        (("file: site.key", "env: NO_SUCH_VARIABLE"), "environment variable of site.key holds 0 bytes"),
        (("site:\n", "  headers: {client_idd: x}\nsite:\n"), "ehr.headers: a setting that"),
    ],
)
async def test_a_wrong_setting_is_told_before_anything_is_asked(
    running: Sandbox, folder: Folder, change: tuple[str, str], words: str
) -> None:
    config = folder.write(running.base_url)
    text = config.read_text()
    assert change[0] in text
    config.write_text(text.replace(*change))
    with pytest.raises(ConfigurationError, match=words) as refused:
        async with open_site_async(config):
            pass
    assert str(folder.path) not in str(refused.value)
    assert running.origin not in str(refused.value)
    assert running.witness.requests == ()


@pytest.mark.parametrize(
    ("callable_", "words"),
    [
        ("no_such_module_x:f", "ModuleNotFoundError"),
        ("os:no_such_thing", "AttributeError"),
        ("os:sep", "is not callable"),
    ],
)
async def test_a_callable_that_cannot_be_used_is_told(folder: Folder, callable_: str, words: str) -> None:
    config = folder.write("https://ehr.example/r4", f"auth: {{external: {{callable: '{callable_}'}}}}")
    with pytest.raises(ConfigurationError, match=words):
        async with open_site_async(config):
            pass


@pytest.mark.parametrize(
    ("content", "mode", "words"), [(b"short", 0o600, "holds 5 bytes"), (b"s" * 40, 0o644, "chmod 600")]
)
async def test_a_site_key_is_long_and_its_owner_s_alone(
    folder: Folder, content: bytes, mode: int, words: str
) -> None:
    config = folder.write("https://ehr.example/r4")
    owner_only(folder.path / "site.key", content).chmod(mode)
    with pytest.raises(ConfigurationError, match=words):
        async with open_site_async(config):
            pass


async def test_a_site_key_may_stand_in_the_environment(
    running: Sandbox, folder: Folder, around: ClockAndWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORTH_KEY", "e" * 40)
    config = folder.write(running.base_url)
    config.write_text(config.read_text().replace("file: site.key", "env: NORTH_KEY"))
    async with open_site_async(config, around) as site:
        assert site.key == b"e" * 40
        assert "eeee" not in repr(site)


async def test_a_key_the_server_does_not_know_is_a_refused_login(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    config = folder.write(running.base_url)
    owner_only(folder.path / "key.pem", pem("RS384"))
    async with open_site_async(config, around) as site:
        with pytest.raises(LoginRefused, match="not registered"):
            await site.find(ANA)
        with pytest.raises(LoginRefused):
            await site.query([ANA, ANA], KINDS)
    assert running.witness.count("token") == 1


async def test_a_wrong_clock_ends_the_query_with_its_cause(
    running: Sandbox, folder: Folder, around: ClockAndWire, time: FakeClock
) -> None:
    async with open_site_async(folder.write(running.base_url), around) as site:
        running.faults = FaultScript(clock_offset=timedelta(minutes=10))
        with pytest.raises(ClockWrong):
            await site.query([ANA], KINDS)


# --- reading -----------------------------------------------------------------------------------------------


async def test_an_outage_is_unavailable_and_never_an_empty_record(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    async with open_site_async(folder.write(running.base_url), around) as site:
        ref = (await site.find(ANA)).require()
        running.faults = [Fault(Status(503), When(resource_type="Condition"))]
        found = await site.conditions(ref)
        assert found.state is State.UNAVAILABLE
        with pytest.raises(Unavailable):
            found.require()
        (row,) = (await site.query([ANA], KINDS)).table(SYSTEM_CLOCK.now())
        assert row["ICD10"] is None
        assert row["Condition Status"] == "UNAVAILABLE"
        running.faults = [Fault(Status(503), When(resource_type="Patient"))]
        assert isinstance(await site.find(ANA), Undetermined)


async def test_every_kind_can_be_read_by_name(running: Sandbox, folder: Folder, around: ClockAndWire) -> None:
    async with open_site_async(folder.write(running.base_url), around) as site:
        ref = PatientRef("ana")
        states = {kind: (await site.read(kind, ref)).state for kind in Kind}
        assert {states[Kind.CONDITION], states[Kind.PATIENT], states[Kind.PRACTITIONER]} <= {
            State.OK,
            State.EMPTY,
        }
        assert all(state.complete for state in states.values()), states
        with pytest.raises(ValueError, match="kind is not known"):
            await site.read("diagnoses", ref)


async def test_a_patients_file_or_a_list_says_whom_to_read(
    store: Store, folder: Folder, around: ClockAndWire, time: FakeClock
) -> None:
    entries = [
        {"item": {"reference": "Patient/bea"}},
        {"item": {"reference": "Patient/ana"}},
        {"item": {"reference": "Patient/bea"}},
    ]
    bad = {"resourceType": "Group", "id": "g2", "member": [{"entity": {"reference": "Practitioner/doc"}}]}
    held = [
        *people(),
        *records(),
        bad,
        {"resourceType": "List", "id": "l1", "status": "current", "mode": "working", "entry": entries},
    ]
    with Sandbox(store_of(held), clients=clients(), clock=time.now) as running:
        async with open_site_async(
            folder.write(running.base_url, more="cohort: {list: l1}\n"), around
        ) as site:
            assert [row.person for row in await site.rows()] == [Person(id="bea"), Person(id="ana")]
            assert len(await site.rows(folder.path / "patients.csv")) == 2
        async with open_site_async(
            folder.write(running.base_url, more="cohort: {patients: patients.csv}\n"), around
        ) as site:
            assert len(await site.rows()) == 2
        async with open_site_async(
            folder.write(running.base_url, more="cohort: {group: g2}\n"), around
        ) as site:
            with pytest.raises(Unavailable, match="not a patient"):
                await site.rows()
        async with open_site_async(
            folder.write(running.base_url, more="cohort: {group: nobody}\n"), around
        ) as site:
            with pytest.raises(ConfigurationError, match="no such group"):
                await site.rows()
        async with open_site_async(folder.write(running.base_url), around) as site:
            with pytest.raises(ConfigurationError, match="there is no cohort"):
                await site.rows()


async def test_a_query_reads_each_person_and_keeps_their_order(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    asked = [
        Person(id="bea"),
        ANA,
        Person(family="Nobody", given="At", birth_date="1999-09-09"),
        Person(id="bea"),
    ]
    async with open_site_async(folder.write(running.base_url), around) as site:
        result = await site.query(asked, KINDS)
        words = [type(reading.match) for reading in result]
        assert words == [Matched, Matched, NotFound, Matched]
        table = result.table(around.clock.now())
        assert [row["ICD10"] for row in table] == [["I10"], ["H35.3131", "I10", "E11.9"], None, ["I10"]]
        assert table[1]["Next Appointment Date"] == "2026-06-10"
        assert running.witness.count("search", "Condition") == 2


async def test_the_site_s_own_limits_never_exceed_the_provider_s(folder: Folder, running: Sandbox) -> None:
    for asked, kept in ((2, 2), (60, 8)):
        config = folder.write(
            running.base_url, ehr=f"  rate: {{concurrency: {asked}}}\n  patient_seconds: 7\n"
        )
        async with open_site_async(config) as site:
            bounds = site.bounds()
            assert (bounds.patients, bounds.patient_s) == (kept, 7)
            transport = site.adapter._parts.transport  # type: ignore[attr-defined]  # of the generic adapter
            assert transport.limits.concurrency == kept


# --- without async -----------------------------------------------------------------------------------------


def _plain(table: list[dict[str, Any]]) -> list[str]:
    return [repr(sorted(row.items())) for row in table]


def test_the_synchronous_form_gives_the_same(running: Sandbox, folder: Folder, around: ClockAndWire) -> None:
    config = folder.write(running.base_url, more="cohort: {patients: patients.csv}\n")

    async def in_async() -> tuple[Any, ...]:
        async with open_site_async(config, around) as site:
            ref = (await site.find(ANA)).require()
            result = await site.query([ANA], KINDS)
            return ref, await site.conditions(ref), result.table(around.clock.now()), await site.rows()

    with open_site(config, around) as site:
        ref = site.find(ANA).require()
        table = site.query([ANA], KINDS).table(around.clock.now())
        in_sync = (ref, site.conditions(ref), table, site.rows())
    expected = asyncio.run(in_async())
    assert in_sync[0] == expected[0]
    assert in_sync[1].items == expected[1].items
    assert _plain(in_sync[2]) == _plain(expected[2])
    assert in_sync[3] == expected[3]


def test_both_forms_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(m).parameters) for name, m in methods if not name.startswith("_")
        }

    waited = {name: p for name, p in public(Site).items() if inspect.iscoroutinefunction(getattr(Site, name))}
    assert public(SyncSite) == waited


async def test_the_synchronous_form_works_inside_a_running_loop(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    with open_site(folder.write(running.base_url), around) as site:
        assert isinstance(site.find(ANA), Matched)


def test_closing_leaves_nothing_open(running: Sandbox, folder: Folder, around: ClockAndWire) -> None:
    before = threading.active_count()
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_site(folder.write(running.base_url), around) as site:
            site.query([ANA], KINDS)
        gc.collect()
    assert threading.active_count() == before
    if files:
        assert (
            len(os.listdir("/proc/self/fd")) <= files + 2
        )  # the sandbox may hold a connection's end a little longer
    with pytest.raises(ConfigurationError, match="is closed"):
        site.find(ANA)


def test_a_site_that_cannot_be_opened_leaves_nothing_open(folder: Folder) -> None:
    before = threading.active_count()
    with pytest.raises(ConfigurationError), open_site(folder.path / "none.yaml"):
        pass
    assert threading.active_count() == before


def test_an_error_inside_the_block_closes_the_site_and_comes_out(running: Sandbox, folder: Folder) -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), open_site(folder.write(running.base_url)):
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_closing_a_loop_cancels_what_still_runs() -> None:
    loop, ended = LoopThread(), []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def begin() -> None:
        begin.task = asyncio.create_task(forever())  # type: ignore[attr-defined]  # kept from being collected
        await asyncio.sleep(0)

    loop.run(begin())
    loop.close()
    loop.close()
    assert ended == [True]


def test_ctrl_c_cancels_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, begun, ended = LoopThread(), threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupted(future: Future[None], timeout: float | None = None) -> None:
        begun.wait(5)
        raise KeyboardInterrupt  # as from a person at the keyboard, who cannot be as punctual

    with monkeypatch.context() as patch:
        patch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.run(forever())
    assert ended.wait(5)
    loop.close()


def test_errors_come_through_as_they_are(running: Sandbox, folder: Folder, around: ClockAndWire) -> None:
    config = folder.write(running.base_url)
    owner_only(folder.path / "key.pem", pem("RS384"))
    with open_site(config, around) as site, pytest.raises(AuthError):
        site.find(ANA)


def test_no_text_form_of_a_site_shows_where_or_who(
    running: Sandbox, folder: Folder, around: ClockAndWire
) -> None:
    with open_site(folder.write(running.base_url), around) as site:
        text = f"{site!r} {site._repr_html_()} {site._site!r} {site._site.adapter!r}"
        assert text.count("smarthealthit r4") == 4
        assert "127.0.0.1" not in text


# --- kinds by name -----------------------------------------------------------------------------------------


def records_of(fetched: object) -> set[object]:
    """What a ``Fetched[...]`` holds, as the type checker is told."""
    (held,) = get_args(fetched)
    return set(get_args(held)) or {held}


def test_each_kind_has_a_method_with_the_types_of_its_records() -> None:
    named = {name: one for name, one in vars(KindsByName).items() if hasattr(one, "kind")}
    assert {one.kind for one in named.values()} == set(Kind) - {Kind.PATIENT}
    for name, one in named.items():
        assert Kind.parse(name) is one.kind
        assert records_of(one.__orig_class__) == set(RESOURCES[one.kind])


def test_an_adapter_promises_the_types_of_each_kind() -> None:
    hints = [get_type_hints(one) for one in get_overloads(EHRAdapter.read)]
    promised = {get_args(one["kind"])[0]: records_of(one["return"]) for one in hints[:-1]}
    assert promised == {kind: set(types) for kind, types in RESOURCES.items()}
    assert (hints[-1]["kind"], records_of(hints[-1]["return"])) == (Kind, {Any})


@pytest.mark.parametrize("form", [Site, SyncSite])
def test_the_help_of_a_kind_says_what_comes(form: type[KindsByName]) -> None:
    said = pydoc.render_doc(form.medications, renderer=pydoc.plaintext)
    assert "medications(self: 'Any', ref: 'PatientRef')" in said
    assert "Drug requests and statements: a `Fetched` of MedicationRequest and MedicationStatement" in said
    assert "medications" in pydoc.render_doc(form, renderer=pydoc.plaintext)
