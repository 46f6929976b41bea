"""The security bar, S31 and S33 for whole runs: killed, out of budget, and gone on with, by the command itself."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ehr.site import ClockAndWire
from ehr.transport.client import Limits
from federated.screening.report import write
from federated.screening.report.files import OutputError
from federated.screening.report.results import MatchState
from federated.screening.run import CHECKPOINT, Decisions, Options, screen, screen_async
from tests.contract.wire import Wire, page, said, wired
from tests.ehr.site_folder import Folder
from tests.end_to_end.clinics import TRIAL, clinic_ehr, make_pod, patients, ring_in
from tests.end_to_end.killed_runs import killed_runs
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import Received, answer

FILES = ("decisions.csv", "decisions.json", "summary.json", "report.html")
DAY = 86_400


@pytest.mark.timeout(600)  # five starts of a whole program, on a machine that may be busy
def test_s33_a_run_killed_again_and_again_asks_nobody_twice_and_ends_the_same(tmp_path: Path) -> None:
    """Forty patients, four kills (``SIGKILL``) at moments drawn from a seed; `make proof` takes 1,000 and twenty."""
    seen = killed_runs(tmp_path, patients=40, kills=4, seed=7, apart=False)
    assert seen.faults == []
    assert len(seen.kills) == 4
    assert len({kill.stored for kill in seen.kills}) >= 3


@dataclass
class Stage:
    """A trial whose ``index_date`` is the run's own, and a clock that is moved by days."""

    folder: Path
    time: FakeClock = field(default_factory=FakeClock)

    @property
    def trial(self) -> Path:
        path = self.folder / "trial.yaml"
        path.write_text(TRIAL.read_text().replace("index_date: 2026-06-01", "index_date: run"))
        return path

    @property
    def around(self) -> ClockAndWire:
        return ClockAndWire(clock=self.time.clock)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def test_s31_a_spent_budget_stops_the_run_and_the_same_command_goes_on_tomorrow(stage: Stage) -> None:
    budget, out = 30, stage.folder / "out"
    ring = ring_in(stage.folder)
    with clinic_ehr("north", ring, clock=stage.time.now) as ehr:
        people = patients("north", range(1, 13))
        pod = make_pod(stage.folder, ehr.base_url, people)
        whole = screen(pod.config, stage.trial, Options(out=stage.folder / "whole"), stage.around)
        assert not whole.quota_spent
        pod = make_pod(stage.folder, ehr.base_url, people, extra=f"  rate: {{daily_requests: {budget}}}\n")

        def day() -> tuple[Decisions, int]:
            before = len(ehr.witness.requests)
            found = screen(pod.config, stage.trial, Options(out=out), stage.around)
            logins = ehr.witness.count("token")
            made = len(ehr.witness.requests) - before
            return found, made - (1 if logins else 0)

        days: list[int] = []
        while True:
            found, made = day()
            days.append(made)
            assert made <= budget + 1  # the login is not counted
            if not found.some_unread:
                break
            assert found.quota_spent
            again, more = day()  # a restart on the same day forgets nothing
            assert again.quota_spent
            assert more <= 3, "discovery, metadata and login alone"
            assert (out / CHECKPOINT).exists()
            stage.time.seconds += DAY
            assert len(days) < 10
    assert len(days) >= 3
    assert (out / "decisions.csv").read_bytes() == (stage.folder / "whole" / "decisions.csv").read_bytes()
    assert found.summary["index_date"] == "2026-03-01"
    assert found.summary["criteria"] == whole.summary["criteria"]
    # Evidence read on a later day than the index date says so, and nothing else differs.
    assert _notes_apart(out) == _notes_apart(stage.folder / "whole")
    assert not (out / CHECKPOINT).exists()


def _notes_apart(folder: Path) -> str:
    return re.sub(r'"AS_OF_FETCH",?', "", (folder / "decisions.json").read_text())


def test_s31_the_day_of_the_budget_is_the_site_s(stage: Stage) -> None:
    """23:30 in London on the 1st is another day than 00:30, though both are one day in UTC-12 and beyond."""
    ring = ring_in(stage.folder)
    with clinic_ehr("north", ring, clock=stage.time.now) as ehr:
        people = patients("north", range(1, 4))
        pod = make_pod(stage.folder, ehr.base_url, people, extra="  rate: {daily_requests: 5}\n")
        pod.config.write_text(pod.config.read_text().replace("Europe/London", "Pacific/Kiritimati"))
        out = Options(out=stage.folder / "out")
        # It is 12:00 UTC: the 2nd at 02:00 in Kiritimati, where the next day begins at 10:00 UTC.
        assert screen(pod.config, stage.trial, out, stage.around).quota_spent
        before = ehr.witness.count("search")
        for hours, moved in ((21, False), (23, True)):
            stage.time.seconds = hours * 3600
            screen(pod.config, stage.trial, out, stage.around)
            assert (ehr.witness.count("search") > before) is moved


async def test_s31_a_server_that_says_enough_for_today_is_asked_nothing_more(stage: Stage) -> None:
    empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    asked = 0

    def some(_: Received) -> bytes:
        nonlocal asked
        asked += 1
        return page() if asked <= 3 else empty

    async with wired(Condition=some, Patient=_anybody) as ehr:
        config = Folder(stage.folder / "site").write(ehr.base, ehr="  rate: {concurrency: 1}\n")
        (stage.folder / "site" / "patients.csv").write_text("id\n" + "".join(f"p{n}\n" for n in range(30)))
        config.write_text(config.read_text() + "cohort: {patients: patients.csv}\n")
        surroundings = ClockAndWire(clock=stage.time.clock, providers=_with_quota_sign)
        found = await screen_async(config, stage.trial, Options(out=stage.folder / "out"), surroundings)
        assert found.quota_spent and found.some_unread
        assert asked == 4
        sent = len(ehr.server.requests)
        assert sent < 60
        states = [patient.fetched.get("condition") for patient in found.run.patients]
        assert states[:4] == ["EMPTY", "EMPTY", "EMPTY", "QUOTA"]
        assert {patient.match for patient in found.run.patients[4:]} == {MatchState.UNDETERMINED}


def _with_quota_sign(name: str) -> Any:
    from dataclasses import replace

    from ehr.providers.registry import provider

    found = provider(name)
    return replace(found, profile=replace(found.profile, empty_body_is_quota=True))


def _anybody(received: Received) -> bytes:
    wanted = parse_qs(urlsplit(received.target).query).get("_id", [""])[0]
    return page({"resourceType": "Patient", "id": wanted, "birthDate": "1950-02-03"})


def _group(*members: str) -> bytes:
    entities = [{"entity": {"reference": f"Patient/{member}"}} for member in members]
    return said({"resourceType": "Group", "id": "g1", "type": "person", "actual": True, "member": entities})


def _of(wire: Wire, kind: str) -> list[str]:
    targets = [parse_qs(urlsplit(one.target).query) for one in wire.asked(kind)]
    return [target["patient"][0] for target in targets if "patient" in target]


async def test_s33_who_is_in_the_cohort_and_in_which_order_is_fixed_with_the_first_start(
    stage: Stage,
) -> None:
    down = {"p2", "p4"}

    def conditions(received: Received) -> bytes:
        of = parse_qs(urlsplit(received.target).query)["patient"][0]
        return said({}, "503 No") if of in down else page()

    async with wired(
        Condition=conditions, Patient=_anybody, g1=lambda _: _group("p1", "p2", "p3", "p4")
    ) as ehr:
        config = Folder(stage.folder / "site").write(ehr.base, more="cohort: {group: g1}\n")
        options = Options(out=stage.folder / "out")
        first = await screen_async(config, stage.trial, options, stage.around)
        assert first.some_unread
        stage.time.seconds += 3 * DAY
        down.clear()
        ehr.answers["g1"] = lambda _: _group("p9", "p4", "p1", "p2")
        ehr.server.requests.clear()
        second = await screen_async(config, stage.trial, options, stage.around)
        assert not second.some_unread
        assert sorted(set(_of(ehr, "Condition"))) == ["p2", "p4"]
        assert ehr.asked("g1") == []
        refs = [[patient.ref for patient in one.run.patients] for one in (first, second)]
        assert refs[0] == refs[1]
        assert second.run.index_date == first.run.index_date == "2026-03-01"
        ehr.server.requests.clear()
        stage.time.seconds += DAY
        third = await screen_async(
            config, stage.trial, options, stage.around
        )  # a new run, for it was complete
        assert third.run.index_date == "2026-03-05"
        assert sorted(set(_of(ehr, "Condition"))) == ["p1", "p2", "p4", "p9"]


@pytest.mark.parametrize("fresh", [False, True])
async def test_s33_a_run_can_be_begun_anew_where_an_earlier_one_stopped(stage: Stage, fresh: bool) -> None:
    answer = [said({}, "503 No")]
    async with wired(Condition=lambda _: answer[0], Patient=_anybody, g1=lambda _: _group("p1")) as ehr:
        config = Folder(stage.folder / "site").write(ehr.base, more="cohort: {group: g1}\n")
        said_of: list[str] = []
        out = stage.folder / "out"
        await screen_async(config, stage.trial, Options(out=out), stage.around)
        stage.time.seconds += DAY
        answer[0] = page()
        options = Options(out=out, fresh=fresh, say=said_of.append)
        found = await screen_async(config, stage.trial, options, stage.around)
        assert found.run.index_date == ("2026-03-02" if fresh else "2026-03-01")
        assert any("Going on" in one and "2026-03-01" in one for one in said_of) is not fresh


def test_s33_a_kill_between_two_files_costs_no_request_and_leaves_no_part(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = ring_in(stage.folder)
    out = stage.folder / "out"
    with clinic_ehr("north", ring, clock=stage.time.now) as ehr:
        pod = make_pod(stage.folder, ehr.base_url, patients("north", range(1, 6)))
        screen(pod.config, stage.trial, Options(out=stage.folder / "whole"), stage.around)

        def dies(run: Any, folder: Path, order: Sequence[str] | None = None) -> None:
            (folder / ".writing-half").write_text("half")  # what a kill leaves
            raise OutputError("decisions.json", errno.EIO)

        with monkeypatch.context() as patched:
            patched.setattr(write, "write_site", dies)
            with pytest.raises(OutputError):
                screen(pod.config, stage.trial, Options(out=out), stage.around)
        ehr.witness.forget()
        stage.time.seconds += DAY
        screen(pod.config, stage.trial, Options(out=out), stage.around)
        assert ehr.witness.count("search") == ehr.witness.count("match") == 0
    assert bytes_of(out) == bytes_of(stage.folder / "whole")
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "run.json"])


def _raw(status: str, body: bytes = b"", kind: str = "application/fhir+json") -> bytes:
    return answer(body, status=status, kind=kind)


OTHERS = {"resourceType": "Condition", "id": "x", "subject": {"reference": "Patient/eve"}}
NO = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
FAILURES: dict[str, bytes] = {
    "connection-failed": b"",
    "protocol-violation": b"not HTTP at all\r\n\r\n",
    "http-400": _raw("400 No", b"{}"),
    "http-503": _raw("503 No", b"{}"),
    "http-429": _raw("429 No", b"{}"),
    "outcome:processing": page(NO),
    "body-empty": _raw("200 OK"),
    "body-html": _raw("200 OK", b"<html>", "text/html"),
    "body-not-json": _raw("200 OK", b'{"resourceType": "Bundle", '),
    "body-wrong-type": _raw("200 OK", b'{"resourceType": "Patient", "id": "x"}'),
    "paging:loop": page(next="Condition?patient=p10&_count=200"),
    "quarantined": page({"resourceType": "Condition", "id": 7, "subject": 7}),
    "security:other-patient": page(OTHERS),
    "security:foreign-next-link": page(next="http://evil.example/r4/Condition"),
}


async def test_s33_each_class_of_failure_is_counted_by_its_name(stage: Stage) -> None:
    """One patient for each, in one run; what went well is not among them."""
    names = list(FAILURES)

    def conditions(received: Received) -> bytes:
        number = int(parse_qs(urlsplit(received.target).query)["patient"][0][1:])
        name = names[number] if number < len(names) else ""
        return FAILURES.get(name, page())

    async with wired(Condition=conditions, Patient=_anybody) as ehr:
        config = Folder(stage.folder / "site").write(ehr.base, more="cohort: {patients: patients.csv}\n")
        people = "".join(f"p{number}\n" for number in range(len(names) + 3))
        (stage.folder / "site" / "patients.csv").write_text(f"id\n{people}")
        limits = Limits(breaker_failures=10**6)
        surroundings = ClockAndWire(clock=stage.time.clock, limits=limits)
        found = await screen_async(config, stage.trial, Options(out=stage.folder / "out"), surroundings)
    counted = found.summary["failures"]
    assert counted == dict.fromkeys(names, 1)
    report = (stage.folder / "out" / "report.html").read_text()
    assert all(f"{name}: 1" in report for name in counted)
