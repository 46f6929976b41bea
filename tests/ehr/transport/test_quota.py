"""The day's budget of requests: by the site's calendar day, on disk, never exceeded, never forgotten (S31)."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, date
from pathlib import Path

import httpx
import pytest

from ehr.errors import ConfigurationError, QuotaSpent
from ehr.fhir.session import FhirSession
from ehr.records.fetched import State
from ehr.records.patient import Condition, PatientRef
from ehr.transport.client import Limits, Transport
from ehr.transport.quota import FILE, DailyQuota
from tests.ehr.fhir.server import PROFILE
from tests.ehr.transport.scripted import BASE, Login, Scripted, says, server
from tests.fakes.clock import FakeClock
from tests.repository.sources import ROOT

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


def taken(quota: DailyQuota, wanted: int = 10_000) -> int:
    """How many the budget gives before it ends."""
    for count in range(wanted):
        try:
            quota.take()
        except QuotaSpent:
            return count
    return wanted


@pytest.mark.parametrize("kept", [True, False])
def test_a_day_has_so_many_requests_and_the_next_day_as_many_again(tmp_path: Path, kept: bool) -> None:
    today = [MONDAY]
    quota = DailyQuota(lambda: today[0], 7, "a", tmp_path if kept else None)
    assert taken(quota) == 7
    today[0] = TUESDAY
    assert taken(quota) == 7
    quota.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_clock_that_goes_back_over_midnight_brings_no_second_budget(tmp_path: Path, kept: bool) -> None:
    today = [MONDAY]
    quota = DailyQuota(lambda: today[0], 7, "a", tmp_path if kept else None)
    given = [taken(quota)]
    for day, wanted in ((TUESDAY, 2), (MONDAY, 99), (TUESDAY, 99)):
        today[0] = day
        given.append(taken(quota, wanted))
    quota.close()
    assert given == [7, 2, 5, 0]


def test_a_clock_that_was_a_year_ahead_leaves_no_year_without_budget(tmp_path: Path) -> None:
    today = [date(2027, 3, 2)]
    quota = DailyQuota(lambda: today[0], 7, "a", tmp_path)
    assert taken(quota) == 7
    today[0] = MONDAY
    assert taken(quota) == 7
    quota.close()


def test_a_refusal_of_the_server_holds_where_the_clock_goes_back_over_midnight() -> None:
    today = [TUESDAY]
    quota = DailyQuota(lambda: today[0], empty_body=True)
    quota.refused()
    today[0] = MONDAY
    with pytest.raises(QuotaSpent):
        quota.take()
    today[0] = date(2026, 3, 4)
    quota.take()


async def test_a_count_that_cannot_be_kept_is_no_answer_about_a_patient(tmp_path: Path) -> None:
    """Nothing is sent, and what was not asked is asked when the disk is well again."""
    quota = DailyQuota(lambda: MONDAY, 100, "a", tmp_path / "gone" / FILE)
    (tmp_path / "gone").write_text("a file where a folder should be")
    data, _, answer = server([200])
    clock = FakeClock().clock
    async with Transport(BASE, inner=httpx.MockTransport(answer), clock=clock, quota=quota) as client:
        session = FhirSession(client, Login(), PROFILE, clock=clock, zone=UTC)
        found = await session.search(Condition, patient=PatientRef("p1"))
    assert (found.state, found.again, data.requests) == (State.UNAVAILABLE, True, [])
    assert [issue.code for issue in found.issues] == ["count-not-kept"]


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    for left in (10, 6, 2):
        quota = DailyQuota(lambda: MONDAY, 10, "a", tmp_path)
        assert taken(quota, 4) == min(left, 4)
        quota.close()


KILLED = """
import os, signal, sys
from datetime import date
from pathlib import Path
from ehr.transport.quota import DailyQuota
quota = DailyQuota(lambda: date(2026, 3, 2), 1000, "a", Path(sys.argv[1]))
for _ in range(37):
    quota.take()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_has_counted_what_it_sent(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert taken(DailyQuota(lambda: MONDAY, 40, "a", tmp_path)) == 3


def test_two_runs_in_one_folder_share_the_budget_and_two_ehrs_do_not(tmp_path: Path) -> None:
    one, two = (DailyQuota(lambda: MONDAY, 10, "a", tmp_path) for _ in range(2))
    other = DailyQuota(lambda: MONDAY, 10, "b", tmp_path)
    assert taken(one, 6) + taken(other, 3) + taken(two) + taken(other) == 20
    text = (tmp_path / FILE).read_text()
    assert len(text.splitlines()) == 2
    assert "a " not in [line[:2] for line in text.splitlines()]  # a digest, no address


def test_the_file_is_its_owner_s_alone_and_no_link_is_followed(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        taken(DailyQuota(lambda: MONDAY, 1, "a", tmp_path / "out"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out" / FILE).stat().st_mode) == 0o600
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / FILE).symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        DailyQuota(lambda: MONDAY, 1, "a", tmp_path / "x").take()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 39, b"\xff" * 100, b"nonsense\n"])
def test_what_makes_no_sense_in_the_file_is_left_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert taken(DailyQuota(lambda: MONDAY, 5, "a", tmp_path)) == 5
    assert taken(DailyQuota(lambda: MONDAY, 5, "a", tmp_path)) == 0


def test_the_start_of_a_run_is_counted_and_never_refused() -> None:
    quota = DailyQuota(lambda: MONDAY, 3, "a")
    for _ in range(5):
        quota.take(start=True)
    assert taken(quota) == 0


def test_what_the_server_refuses_for_today_is_not_asked_again_today() -> None:
    today = [MONDAY]
    quota = DailyQuota(lambda: today[0])
    assert isinstance(quota.refused(), QuotaSpent)
    assert taken(quota) == 0
    today[0] = TUESDAY
    assert taken(quota, 9) == 9


async def test_each_attempt_is_counted_the_login_is_not_and_a_refused_one_is_never_sent() -> None:
    clock = FakeClock()
    quota = DailyQuota(lambda: MONDAY, 4)
    data, tokens, answer = server([503, 503, 200])
    async with Transport(BASE, inner=httpx.MockTransport(answer), clock=clock.clock, quota=quota) as client:
        assert (await client.request("GET", "Patient/1", auth=Login())).status == 200
        assert (await client.request("GET", "Patient/2", auth=Login())).status == 200
        with pytest.raises(QuotaSpent, match="tomorrow"):
            await client.request("GET", "Patient/3", auth=Login())
        assert len(data.requests) == 4
        assert len(tokens.requests) == 3
        assert client.counters["failures.QuotaSpent"] == 1
        assert (await client.request("GET", "metadata")).status == 200  # the start of the next run


async def test_a_spent_budget_is_no_failure_of_the_host() -> None:
    quota = DailyQuota(lambda: MONDAY, 1)
    data, _, answer = server([200])
    limits = Limits(breaker_failures=2)
    wire = httpx.MockTransport(answer)
    async with Transport(BASE, inner=wire, clock=FakeClock().clock, quota=quota, limits=limits) as client:
        await client.request("GET", "Patient/1", auth=Login())
        for _ in range(5):
            with pytest.raises(QuotaSpent):
                await client.request("GET", "Patient/1", auth=Login())
            with pytest.raises(QuotaSpent):
                async with client.stream("GET", "Binary/1", auth=Login()):
                    pass
        assert client._exchange.rates.host(client.origin.authority).breaker.is_open is False
        assert len(data.requests) == 1


@pytest.mark.parametrize("means_quota", [True, False])
async def test_an_empty_answer_stops_everything_only_where_it_means_the_quota(means_quota: bool) -> None:
    quota = DailyQuota(lambda: MONDAY, empty_body=means_quota)
    empty = httpx.Response(200, headers={"content-type": "application/json"})
    data = Scripted([says(), empty, says()])
    _, tokens, _ = server([200])

    async def answer(request: httpx.Request) -> httpx.Response:
        return await (tokens if request.url.host == "login.example.org" else data)(request)

    wire = httpx.MockTransport(answer)
    async with Transport(BASE, inner=wire, clock=FakeClock().clock, quota=quota) as client:
        await client.request("GET", "Patient/1", auth=Login())
        for name in ("2", "3"):
            try:
                await client.request("GET", f"Patient/{name}", auth=Login())
            except Exception as error:
                assert isinstance(error, QuotaSpent) is means_quota
    assert len(data.requests) == (2 if means_quota else 3)
