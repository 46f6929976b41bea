"""The probe names each broken thing, and nothing about a patient, a place or a token."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ehr.errors import LoginRefused
from ehr.providers.probe import CLAIM_WORDS, Check, ProbeReport, _refusal
from ehr.sandbox import Body, Fault, FaultScript, NextLink, Remark, Sandbox, Status, Store, When, skin_named
from ehr.sandbox.store import store_of
from ehr.site import ClockAndWire, open_site_async
from tests.ehr.auth.login import owner_only, pem
from tests.ehr.sandbox.synthetic import patient, people, records
from tests.ehr.site_folder import Folder, clients
from tests.fakes.clock import FakeClock

CANARIES = ("Canaryson", "Núñez", "1950-02-03", "M-ana", "127.0.0.1", "eyJ", "screener")


@pytest.fixture(scope="session")
def store() -> Store:
    crowd = [patient(f"p{n}", "Canaryson", "Cat", "1970-01-01") for n in range(30)]
    return store_of([*people(), *records(), *crowd])


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def running(store: Store, time: FakeClock) -> Iterator[Sandbox]:
    small = dataclasses.replace(skin_named("smarthealthit"))
    paged = dataclasses.replace(small, paging=dataclasses.replace(small.paging, max_count=10))
    with Sandbox(store, paged, clients=clients(), clock=time.now) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


async def probe(
    folder: Folder, running: Sandbox, time: FakeClock, auth: str = "", **written: str
) -> ProbeReport:
    config = folder.write(running.base_url, auth, **written)
    return await probed(config, time)


async def probed(config: Path, time: FakeClock) -> ProbeReport:
    async with open_site_async(config, ClockAndWire(clock=time.clock)) as site:
        report = await site.probe()
    shown = f"{report} {report._repr_html_()}"
    assert [word for word in CANARIES if word in shown] == []
    return report


def results(report: ProbeReport) -> dict[str, str]:
    return {check.name: check.result for check in report.checks}


def check(report: ProbeReport, name: str) -> Check:
    (found,) = [one for one in report.checks if one.name == name]
    return found


async def test_a_good_server_passes_every_step(folder: Folder, running: Sandbox, time: FakeClock) -> None:
    report = await probe(folder, running, time)
    assert results(report) == {
        "discovery": "ok",
        "capability": "ok",
        "login": "ok",
        "clock": "ok",
        "scopes": "ok",
        "search:Patient": "ok",
        "paging": "ok",
        "validation": "ok",
    }
    assert report.ok
    assert not report.refused


async def test_a_key_that_was_not_registered_is_named(
    folder: Folder, running: Sandbox, time: FakeClock
) -> None:
    config = folder.write(running.base_url)
    owner_only(folder.path / "key.pem", pem("RS384"))
    report = await probed(config, time)
    assert report.refused
    assert check(report, "login").result == "failed"
    assert "kid is not known" in (check(report, "login").advice or "")


async def test_a_wrong_client_id_is_named(folder: Folder, running: Sandbox, time: FakeClock) -> None:
    report = await probe(folder, running, time, "auth: {backend: {client_id: somebody, keys: key.pem}}")
    assert report.refused
    assert "check auth.client_id" in (check(report, "login").advice or "")


async def test_a_wrong_audience_is_named(folder: Folder, running: Sandbox, time: FakeClock) -> None:
    with Sandbox(running.app.store, clients=clients(), clock=time.now) as other:
        # The token address of another name for the same machine: it arrives, and `aud` is not what is expected.
        alias = other.token_url.replace("127.0.0.1", "localhost")
        login = f"auth: {{backend: {{client_id: screener, keys: key.pem, token_url: '{alias}'}}}}"
        config = folder.write(other.base_url, login)
        report = await probed(config, time)
    assert report.refused
    assert "aud is not what the server expects" in (check(report, "login").advice or "")


@pytest.mark.parametrize("minutes", [10, -10])
async def test_a_wrong_clock_is_named(
    folder: Folder, running: Sandbox, time: FakeClock, minutes: int
) -> None:
    running.faults = FaultScript(clock_offset=timedelta(minutes=minutes))
    report = await probe(folder, running, time)
    assert report.refused
    assert check(report, "clock").result == "failed"
    assert "600 s" in check(report, "clock").detail
    assert check(report, "clock").advice == "Set this machine's clock."


async def test_a_missing_scope_is_named(folder: Folder, store: Store, time: FakeClock) -> None:
    narrow = clients("system/Patient.rs", "system/Condition.rs", narrows=True)
    with Sandbox(store, clients=narrow, clock=time.now) as running:
        report = await probe(folder, running, time)
    assert check(report, "scopes").result == "warning"
    assert "Observation" in check(report, "scopes").detail
    assert "Condition" not in check(report, "scopes").detail
    assert report.ok


async def test_scopes_that_are_refused_altogether_are_named(
    folder: Folder, store: Store, time: FakeClock
) -> None:
    with Sandbox(store, clients=clients("system/Patient.rs"), clock=time.now) as running:
        report = await probe(folder, running, time)
    assert report.refused
    assert "invalid_scope" in check(report, "login").detail


async def test_a_second_page_on_another_host_is_named(
    folder: Folder, running: Sandbox, time: FakeClock
) -> None:
    running.faults = [Fault(NextLink("foreign", "https://elsewhere.example"))]
    report = await probe(folder, running, time)
    assert check(report, "paging").result == "failed"
    assert "security:foreign-next-link" in check(report, "paging").detail
    assert "elsewhere" not in str(report)
    assert not report.ok
    assert not report.refused


async def test_missing_metadata_is_named(folder: Folder, running: Sandbox, time: FakeClock) -> None:
    running.faults = [Fault(Status(404), When(endpoint="metadata"))]
    report = await probe(folder, running, time)
    assert check(report, "capability").result == "warning"
    assert check(report, "login").result == "ok"


async def test_a_server_that_forbids_the_search_fails(
    folder: Folder, running: Sandbox, time: FakeClock
) -> None:
    running.faults = [Fault(Status(403), When(endpoint="search"))]
    report = await probe(folder, running, time)
    assert check(report, "search:Patient").result == "failed"
    assert "scope" in (check(report, "search:Patient").advice or "")
    assert not report.ok


async def test_a_server_that_wants_a_login_where_none_is_configured_is_named(
    folder: Folder, running: Sandbox, time: FakeClock
) -> None:
    report = await probe(folder, running, time, "auth: none")
    assert check(report, "search:Patient").result == "failed"
    assert "wants a login" in (check(report, "search:Patient").advice or "")
    assert not report.ok


async def test_a_server_that_refuses_a_search_without_criteria_is_no_failure(
    folder: Folder, running: Sandbox, time: FakeClock
) -> None:
    running.faults = [Fault(Status(400), When(endpoint="search"))]
    report = await probe(folder, running, time)
    assert check(report, "search:Patient").result == "warning"
    assert report.ok


@pytest.mark.parametrize("fault", [Body("html"), Body("truncated"), Status(503), Remark("error")])
async def test_a_server_in_trouble_gives_a_report_and_no_exception(
    folder: Folder, running: Sandbox, time: FakeClock, fault: object
) -> None:
    config = folder.write(running.base_url)
    running.faults = [Fault(fault, When(endpoint="search"))]  # type: ignore[arg-type]  # each is an action
    report = await probed(config, time)
    assert check(report, "login").result == "ok"


async def test_a_server_that_went_away_is_a_failed_connection(
    folder: Folder, running: Sandbox, time: FakeClock
) -> None:
    async with open_site_async(folder.write(running.base_url), ClockAndWire(clock=time.clock)) as site:
        running.stop()
        report = await site.probe()
    assert check(report, "connection").result == "failed"
    assert not report.refused


async def test_the_sample_is_checked_against_the_whole_of_r4(folder: Folder, time: FakeClock) -> None:
    odd = {
        **patient("odd", "Canaryson", "Cat", "1970-01-01"),
        "maritalStatus": ["an element that we never read"],
    }
    with Sandbox(store_of([*people(), odd]), clients=clients(), clock=time.now) as running:
        report = await probe(folder, running, time)
    assert check(report, "validation").result == "warning"
    assert "1 faults" in check(report, "validation").detail
    assert "$.maritalStatus" in check(report, "validation").detail
    assert report.ok  # what we read of it can be read


async def test_without_a_login_its_steps_are_skipped_and_never_passed(
    folder: Folder, store: Store, time: FakeClock
) -> None:
    with Sandbox(store, login=False) as running:
        report = await probe(folder, running, time, "auth: none")
    assert {results(report)[name] for name in ("discovery", "login")} == {"skipped"}
    assert "clock" not in results(report)
    assert results(report)["search:Patient"] == "ok"


def test_every_word_of_a_refusal_that_is_known_has_advice() -> None:
    for word, advice in CLAIM_WORDS.items():
        error = LoginRefused("no", debug_detail=f"The '{word}' was wrong for canary.")
        assert _refusal(error).advice in CLAIM_WORDS.values()
        assert "canary" not in str(_refusal(error))
        assert advice
    assert _refusal(LoginRefused("no", debug_detail="Something else entirely")).advice is None
    assert _refusal(LoginRefused("no")).advice is None
