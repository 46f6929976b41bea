"""The security bar, S25 to S34: servers in trouble, on real sockets; time stands still where nothing else is said."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ehr.errors import ConfigurationError, EHRError, QuotaSpent
from ehr.fhir.paging import Budget
from ehr.people.identity import Matched, Person, Undetermined
from ehr.people.people_file import Row
from ehr.providers.registry import Provider, provider
from ehr.reading.checkpoint import Checkpoint
from ehr.reading.cohort import read_one
from ehr.records.fetched import State
from ehr.records.patient import DocumentReference, Kind, PatientRef
from ehr.site import ClockAndWire, open_site_async
from ehr.sync import open_site
from ehr.transport.client import Limits, Transport
from federated.cli.exit_codes import ExitCode, exit_code_for
from tests.contract.wire import condition, in_turn, page, said, token, wired
from tests.ehr.site_folder import Folder
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import Received, misbehaving, silence
from tests.repository.sources import ROOT

ANA = PatientRef("ana")
EVERYONE = [PatientRef(f"p{number}") for number in range(50)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


def around(time: FakeClock) -> ClockAndWire:
    return ClockAndWire(clock=time.clock)


async def hangs(_: Received) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_s25_a_patient_whose_server_hangs_ends_at_their_deadline(folder: Folder) -> None:
    async with wired(Condition=hangs) as ehr:
        config = folder.write(ehr.base, ehr="  patient_seconds: 0.4\n")
        async with open_site_async(config) as site:
            people = [Person(id="ana"), Person(family="Canaryfamily", given="Ana", birth_date="1950-02-03")]
            result = await site.query(people, ["conditions", "observations"])
    for reading in result:
        assert isinstance(reading.match, Matched) and reading.record is not None
        assert reading.record.kinds[Kind.CONDITION].state is State.UNAVAILABLE
        assert reading.record.kinds[Kind.OBSERVATION].state is State.EMPTY
        assert reading.again and reading.failures == {"patient-deadline": 1}


@pytest.mark.parametrize("stage", ["smart-configuration", "token", "Condition"])
async def test_s25_every_call_has_time_outs(folder: Folder, stage: str) -> None:
    limits = Limits(connect_s=1, read_s=0.1, write_s=0.1, total_s=0.5, attempts=1)
    async with (
        misbehaving(silence) as server,
        Transport(server.base, allow_http_loopback=True, limits=limits) as client,
    ):
        with pytest.raises(EHRError):
            await client.request("GET", stage)
    for name in ("connect_s", "read_s", "write_s", "total_s"):
        assert getattr(Limits(), name) < float("inf")


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        *(
            ("GET", "Condition", 5),
            ("GET", "Patient/1", 5),
            ("HEAD", "Patient/1", 5),
            ("POST", "Patient/_search", 5),
        ),
        *(
            ("POST", "Patient/$match", 5),
            ("POST", "Patient", 1),
            ("PUT", "Patient/1", 1),
            ("DELETE", "Patient/1", 1),
        ),
        *(("GET", "$export", 1), ("GET", "Group/1/$export", 1), ("POST", "DocumentReference/$docref", 1)),
        *(("PATCH", "Patient/1", 1), ("POST", "_search/x", 1), ("POST", "$import", 1)),
    ],
)
@pytest.mark.parametrize("fault", ["closed", "503"])
async def test_s26_only_what_reads_is_sent_again(
    time: FakeClock, method: str, path: str, sent: int, fault: str
) -> None:
    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        whole = said({}, "503 Busy")
        answered = whole.partition(b"{")[0] if received.method == "HEAD" else whole
        writer.write(b"" if fault == "closed" else answered)
        writer.close()

    async with (
        misbehaving(script) as server,
        Transport(server.base, allow_http_loopback=True, clock=time.clock) as client,
    ):
        try:
            assert (await client.request(method, path, json={"x": 1})).status == 503
        except EHRError:
            assert fault == "closed"
        assert len(server.requests) == sent


@pytest.mark.parametrize(
    ("first", "times"),
    [
        (b"", 1),
        (said({}, "503 No"), 2),
        (said({}, "500 No"), 2),
        (said({}, "429 No"), 2),
        (said({"error": "invalid_client"}, "400 No"), 1),
    ],
)
async def test_s26_a_login_is_sent_again_after_5xx_and_not_after_a_refusal_or_a_broken_answer(
    folder: Folder, time: FakeClock, first: bytes, times: int
) -> None:
    """Where the connection broke after the request was sent, its assertion may have been used up."""
    async with wired(token=in_turn([first, token()])) as ehr:
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            with contextlib.suppress(EHRError):
                assert (await site.conditions(ANA)).complete is (times == 2)
        assert len(ehr.asked("token")) == times


async def test_s26_a_login_is_sent_again_where_no_connection_was_made(
    folder: Folder, time: FakeClock
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    document = said({"token_endpoint": f"http://127.0.0.1:{port}/token"})
    async with wired(**{"smart-configuration": lambda _: document}) as ehr:
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            assert (await site.conditions(ANA)).state is State.UNAVAILABLE
            assert len([wait for wait in time.slept if wait > 0]) == 4
        assert ehr.asked("Condition") == []


async def test_s27_a_401_is_answered_by_one_login_and_no_more(folder: Folder, time: FakeClock) -> None:
    async with (
        wired(Condition=lambda _: said({}, "401 No")) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        assert (await site.conditions(ANA)).state is State.FORBIDDEN
        assert (len(ehr.asked("Condition")), len(ehr.asked("token"))) == (2, 2)


PASSING = {408, 425, 429, 500, 502, 503, 504}


@pytest.mark.parametrize("status", [*PASSING, 301, 400, 403, 404, 405, 410, 412, 422, 451, 501, 505])
async def test_s27_passing_troubles_are_asked_again_and_answers_are_not(
    folder: Folder, time: FakeClock, status: int
) -> None:
    answers = in_turn([said({}, f"{status} Trouble"), page(condition())])
    async with wired(Condition=answers) as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        found = await site.conditions(ANA)
        assert len(ehr.asked("Condition")) == (2 if status in PASSING else 1)
        assert found.complete is (status in PASSING)
        assert (time.slept != []) is (status in PASSING)


async def test_s27_waits_grow_and_differ(folder: Folder) -> None:
    waits: list[list[float]] = []
    for chance in (0.0, 0.5, 0.99):
        time = FakeClock(chance=chance)
        async with (
            wired(Condition=lambda _: said({}, "500 No")) as ehr,
            open_site_async(folder.write(ehr.base), around(time)) as site,
        ):
            assert (await site.conditions(ANA)).state is State.UNAVAILABLE
        waits.append(time.slept)
    assert len({tuple(one) for one in waits}) == 3
    assert all(one == sorted(one) and len(one) == 4 for one in waits)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        *(("7", 7, 8), ("0", 0.2, 1), ("-5", 0.2, 1), ("99999999999999999999", 0.2, 60), ("1e9", 0.2, 1)),
        *(
            ("999999999", 60, 60),
            ("Sun, 01 Mar 2026 12:00:20 GMT", 19, 23),
            ("Sun, 01 Mar 1926 12:00:20 GMT", 0.2, 1),
        ),
        *(
            ("Fri, 31 Dec 9999 23:59:59 GMT", 60, 60),
            ("soon", 0.2, 1),
            ("٣", 0.2, 1),
            ("", 0.2, 1),
            ("NaN", 0.2, 1),
        ),
        *(("Sun, 99 Foo 2026 99:99:99 GMT", 0.2, 1), ("inf", 0.2, 1), ("7, 9", 0.2, 1)),
    ],
)
async def test_s28_a_wish_to_wait_is_honoured_within_reason(
    folder: Folder, time: FakeClock, asked: str, least: float, most: float
) -> None:
    raw = b"HTTP/1.1 429 Slow\r\nRetry-After: " + asked.encode() + b"\r\nContent-Length: 0\r\n\r\n"
    answers = in_turn([raw, page(condition())])
    async with wired(Condition=answers) as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        assert (await site.conditions(ANA)).state is State.OK
        assert least <= time.seconds <= most


@dataclass
class HeldClock(FakeClock):
    """Long waits end when the test says so."""

    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        if seconds > 10:
            await self.over.wait()
        await super().sleep(seconds)


async def test_s28_one_429_holds_fifty_patients_and_not_one_task(folder: Folder) -> None:
    time, started = HeldClock(), 0
    told = asyncio.Event()

    def busy(_: Received) -> bytes:
        nonlocal started
        started += 1
        if started != 20:
            return page()
        told.set()
        return said({}, "429 Slow", Retry_After="30")

    async with wired(Condition=busy) as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        reading = asyncio.gather(*(site.conditions(ref) for ref in EVERYONE))
        await told.wait()
        await asyncio.sleep(0.3)
        assert 20 <= started <= 20 + 8  # those in flight when it came may end; nobody else begins
        time.over.set()
        assert {one.state for one in await reading} == {State.EMPTY}
        assert started == 51
        assert time.seconds >= 30


async def test_s29_no_more_requests_are_in_flight_than_allowed(folder: Folder, time: FakeClock) -> None:
    now = most = 0

    async def counted(_: Received) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return page()

    async with wired(Condition=counted, Observation=counted, Appointment=counted) as ehr:
        config = folder.write(ehr.base, ehr="  rate: {concurrency: 3}\n")
        async with open_site_async(config, around(time)) as site:
            await site.query([Person(id="ana")] * 3 + [Person(id=f"p{n}") for n in range(20)], ["conditions"])
            await asyncio.gather(*(site.conditions(ref) for ref in EVERYONE))
    assert 2 <= most <= 3


async def test_s29_the_rate_holds_over_all_patients(folder: Folder, time: FakeClock) -> None:
    async with wired() as ehr:
        config = folder.write(ehr.base, ehr="  rate: {requests_per_s: 2}\n")
        async with open_site_async(config, around(time)) as site:
            await asyncio.gather(*(site.conditions(ref) for ref in EVERYONE))
        assert time.seconds >= (len(ehr.server.requests) - 2) / 2


@pytest.mark.parametrize("bears", [1, 2, 3])
async def test_s29_a_server_that_bears_few_at_a_time_is_soon_asked_no_more(
    folder: Folder, time: FakeClock, bears: int
) -> None:
    now = refused = 0
    widths: list[int] = []

    async def counted(_: Received) -> bytes:
        nonlocal now, refused
        now += 1
        over = now > bears
        widths.append(now)
        refused += over
        await asyncio.sleep(0.003)
        now -= 1
        return said({}, "429 Slow") if over else page()

    surroundings = ClockAndWire(clock=time.clock, limits=Limits(attempts=20))
    async with wired(Condition=counted) as ehr, open_site_async(folder.write(ehr.base), surroundings) as site:
        found = await asyncio.gather(*(site.conditions(PatientRef(f"p{n}")) for n in range(150)))
        assert site.adapter.counters["halvings"] >= 1
    assert {one.state for one in found} == {State.EMPTY}
    late = widths[60:]
    assert max(late) <= bears + 2 and sum(late) / len(late) <= bears + 1
    assert max(late) >= bears
    assert refused < 50


async def test_s29_each_endpoint_has_the_rate_of_its_vendor(folder: Folder, time: FakeClock) -> None:
    def slow(name: str) -> Provider:
        found = provider(name)
        rate = replace(found.profile.rate, endpoint_requests_per_s=2.0)
        return replace(found, profile=replace(found.profile, rate=rate))

    async with wired() as ehr:
        surroundings = ClockAndWire(clock=time.clock, providers=slow)
        async with open_site_async(folder.write(ehr.base), surroundings) as site:
            began = time.seconds
            await asyncio.gather(*(site.conditions(ref) for ref in EVERYONE[:11]))
            alone = time.seconds - began
            kinds = (site.conditions, site.observations)
            await asyncio.gather(*(read(ref) for ref in EVERYONE[:11] for read in kinds))
    assert alone == pytest.approx(5, abs=0.6)
    assert time.seconds - began - alone == pytest.approx(
        5.5, abs=0.6
    )  # side by side, not one after the other


async def test_s30_a_host_that_fails_is_left_alone_and_that_is_no_empty_answer(
    folder: Folder, time: FakeClock
) -> None:
    async with (
        wired(Condition=lambda _: said({}, "500 No")) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        found = [await site.conditions(ref) for ref in EVERYONE]
        assert {one.state for one in found} == {State.UNAVAILABLE}
        assert len(ehr.asked("Condition")) < len(EVERYONE)
        ehr.answers["Condition"] = lambda _: page(condition())
        time.seconds += 31
        assert (await site.conditions(ANA)).state is State.OK


async def test_s31_a_spent_quota_is_a_state_of_its_own_that_is_asked_again_tomorrow(
    folder: Folder, time: FakeClock
) -> None:
    """An empty answer as a quota, as a profile may say it; what Epic's documents say follows."""
    empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with (
        wired(Condition=lambda _: empty) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        parts: Any = site.adapter._parts  # type: ignore[attr-defined]  # of the generic adapter
        parts.session.profile = replace(parts.profile, empty_body_is_quota=True)
        reading = await read_one(site.adapter, Row(1, Person(id="ana")), [Kind.CONDITION])
    assert reading.record is not None
    assert reading.record.kinds[Kind.CONDITION].state is State.QUOTA
    assert reading.again
    assert exit_code_for(QuotaSpent("x")) is ExitCode.BUDGET_SPENT


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "403 Forbidden"])
async def test_s31_the_day_s_documents_of_epic_are_a_quota_and_nothing_else_is_lost(
    folder: Folder, time: FakeClock, status: str
) -> None:
    spent = {"severity": "fatal", "code": "throttled", "details": {"coding": [{"code": "4135"}]}}
    outcome = {"resourceType": "OperationOutcome", "issue": [spent]}
    attachment = {"attachment": {"contentType": "application/pdf", "url": "Binary/b1"}}
    document = msgspec.convert(
        {"resourceType": "DocumentReference", "content": [attachment]}, DocumentReference
    )
    async with (
        wired(DocumentReference=lambda _: said(outcome, status), b1=lambda _: said(outcome, status)) as ehr,
        open_site_async(folder.write(ehr.base, provider="epic r4"), around(time)) as site,
    ):
        kinds = [Kind.DOCUMENT, Kind.CONDITION]
        reading = await read_one(site.adapter, Row(1, Person(id="ana")), kinds)
        with pytest.raises(QuotaSpent, match="Go on tomorrow"):
            async with site.adapter.open_document(document):
                pass
        assert len(ehr.asked("b1")) == 1, "a spent quota is not asked for again at once"
    assert reading.record is not None
    states = {kind: reading.record.kinds[kind].state for kind in kinds}
    assert states == {Kind.DOCUMENT: State.QUOTA, Kind.CONDITION: State.OK}
    assert reading.again


def _numbered(target: str) -> int:
    return int(target.rpartition("page=")[2]) if "page=" in target else 1


LOOPS: dict[str, Callable[[int], str]] = {
    "itself": lambda number: "Condition?page=2",
    "two in turn": lambda number: f"Condition?page={2 + (number + 1) % 2}",
    "the first": lambda number: "Condition?page=1" if number > 1 else "Condition?page=2",
    "three": lambda number: f"Condition?page={2 + number % 3}",
    "for ever": lambda number: f"Condition?page={number + 1}",
    "for ever in another form": lambda number: f"Condition?x={'y' * number}&page={number + 1}",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("same", [True, False])
async def test_s32_pages_without_end_are_never_followed_for_ever(
    folder: Folder, time: FakeClock, loop: str, same: bool
) -> None:
    def pages(received: Received) -> bytes:
        number = _numbered(received.target)
        found = (
            () if loop.startswith("for ever") and not same else (condition("c1" if same else f"c{number}"),)
        )
        return page(*found, next=LOOPS[loop](number))

    async with wired(Condition=pages) as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        found = await site.conditions(ANA)
        assert not found.complete
        ever = loop.startswith("for ever")
        assert [issue.code for issue in found.issues] == ["paging:no-progress" if ever else "paging:loop"]
        assert len(ehr.asked("Condition")) <= (25 if ever else 5)


@pytest.mark.parametrize(
    ("budget", "code", "asked"),
    [
        (Budget(pages=3), "paging:page-limit", 3),
        (Budget(entries=5), "paging:entry-limit", 3),
        (Budget(unproductive=4), "paging:no-progress", 4),
    ],
)
async def test_s32_pages_entries_and_pages_without_progress_are_counted(
    folder: Folder, time: FakeClock, budget: Budget, code: str, asked: int
) -> None:
    def pages(received: Received) -> bytes:
        number = _numbered(received.target)
        found = () if code == "paging:no-progress" else (condition(f"a{number}"), condition(f"b{number}"))
        return page(*found, next=f"Condition?page={number + 1}")

    surroundings = ClockAndWire(clock=time.clock, budget=budget)
    async with wired(Condition=pages) as ehr, open_site_async(folder.write(ehr.base), surroundings) as site:
        found = await site.conditions(ANA)
        assert [issue.code for issue in found.issues] == [code]
        assert not found.complete
        assert len(ehr.asked("Condition")) == asked
    usual = Budget()
    assert 1 < usual.unproductive < usual.pages < usual.entries


async def test_s33_one_patient_s_failure_ends_nobody_else_s_reading(folder: Folder, time: FakeClock) -> None:
    def some(received: Received) -> bytes:
        number = int(received.target.partition("patient=p")[2].partition("&")[0] or 0)
        return {0: b"", 1: said({}, "400 No"), 2: b"\xff\xfe\r\n\r\n", 3: page({"x": 1})}.get(
            number % 5, page()
        )

    async with wired(Condition=some) as ehr:
        ehr.answers["Patient"] = lambda got: page(
            {"resourceType": "Patient", "id": got.target.partition("_id=")[2].partition("&")[0]}
        )
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            site.adapter._parts.transport._exchange.rates.limits = Limits(breaker_failures=10**6)  # type: ignore[attr-defined]  # of the generic adapter
            result = await site.query([Person(id=f"p{number}") for number in range(25)], ["conditions"])
    states = [reading.record.kinds[Kind.CONDITION].state for reading in result if reading.record is not None]
    assert [reading.row.number for reading in result] == list(range(1, 26))
    assert states.count(State.EMPTY) >= 5
    assert states.count(State.OK) == 0
    failed = [
        reading
        for reading in result
        if not reading.record or not reading.record.kinds[Kind.CONDITION].complete
    ]
    assert all(reading.failures for reading in failed)


async def test_s33_a_fault_of_ours_or_of_a_plug_in_is_one_patient_s_too(
    folder: Folder, time: FakeClock
) -> None:
    async with wired() as ehr, open_site_async(folder.write(ehr.base), around(time)) as site:
        whole = site.adapter.read

        async def faulty(kind: Kind, ref: PatientRef) -> Any:
            if ref.id == "ana":
                raise RuntimeError("Canarywords of another")
            return await whole(kind, ref)

        site.adapter.read = faulty  # type: ignore[method-assign,assignment]  # what a plug-in may do
        ehr.answers["Patient"] = lambda got: page(
            {"resourceType": "Patient", "id": got.target.partition("_id=")[2].partition("&")[0]}
        )
        result = list(await site.query([Person(id=one) for one in ("p1", "ana", "p2")], ["conditions"]))
    kinds = [one.record.kinds[Kind.CONDITION] for one in result if one.record is not None]
    assert [one.state for one in kinds] == [State.PARTIAL, State.ERROR, State.PARTIAL]
    assert result[1].failures == {"internal": 1}
    assert "Canarywords" not in str(kinds[1].issues)


HOLDER = """
import sys
from pathlib import Path
from ehr.reading.checkpoint import Checkpoint, Done
made = Checkpoint(Path(sys.argv[1]), {"trial": sys.argv[2]}, int)
made.load()
made.start({})
made.add([Done(1, "k", 1)])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("trial", ["the same", "another"])
def test_s33_two_runs_never_share_one_folder(tmp_path: Path, trial: str) -> None:
    path = tmp_path / ".screening.jsonl"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), "the same"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert other.stdin is not None and other.stdout is not None
    with other:
        assert other.stdout.readline() == b"ready\n"
        before = path.read_bytes()
        mine = Checkpoint(path, {"trial": trial}, int)
        with pytest.raises(ConfigurationError, match="another run"):
            mine.load()
        with pytest.raises(ConfigurationError, match="another run"):
            mine.start({})  # as if the other had begun between the two
        assert path.read_bytes() == before
        assert [one.name for one in tmp_path.iterdir()] == [path.name]
        other.kill()  # what it leaves is gone on with
    after = Checkpoint(path, {"trial": trial}, int)
    after.load()
    assert after.done == ({1: ("k", 1)} if trial == "the same" else {})


async def test_s34_a_cancelled_query_closes_its_connections_and_leaves_no_task(
    folder: Folder, time: FakeClock
) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def never(_: Received) -> bytes:
        asked.set()
        await over.wait()
        return page(condition("late"))

    async with wired(Condition=never) as ehr:
        async with open_site_async(folder.write(ehr.base), around(time)) as site:
            running = asyncio.create_task(
                site.query([Person(id="ana"), *[Person(id="ana")] * 9], ["conditions"])
            )
            await asked.wait()
            before = asyncio.all_tasks()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            left = [task for task in before & asyncio.all_tasks() if "/ehr/" in repr(task)]
            assert left == []
            ehr.answers["Condition"] = lambda _: page(condition())
            over.set()  # the late answer must not be taken for that to the next request
            found = await site.conditions(ANA)
            assert [one.id for one in found.require()] == ["c1"]
        for _ in range(3000):
            if ehr.server.open_connections == 0:
                break
            await asyncio.sleep(0.01)
        assert ehr.server.open_connections == 0


async def test_s34_a_loop_that_ends_with_requests_in_flight_warns_of_nothing(folder: Folder) -> None:
    asked = asyncio.Event()

    async def never(received: Received) -> bytes:
        asked.set()
        return await hangs(received)

    async with wired(Condition=never) as ehr:
        config = folder.write(ehr.base)

        def whole() -> None:
            async def work() -> None:
                async with open_site_async(config) as site:
                    waiting = asyncio.create_task(site.conditions(ANA))
                    while not asked.is_set():
                        await asyncio.sleep(0.01)
                    assert not waiting.done()  # and it is simply left

            asyncio.run(work())

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            await asyncio.to_thread(whole)
            gc.collect()
        assert [str(one.message) for one in warned if issubclass(one.category, ResourceWarning)] == []
        assert asked.is_set()


async def test_s34_the_waiting_form_can_be_left_in_the_middle(folder: Folder) -> None:
    async with wired(Condition=hangs) as ehr:
        config = folder.write(ehr.base, ehr="  patient_seconds: 0.2\n")

        def whole() -> str:
            with open_site(config) as site:
                result = site.query([Person(id="ana")], ["conditions"])
                return str([reading.again for reading in result])

        assert await asyncio.to_thread(whole) == "[True]"


async def test_s33_an_outage_of_the_patient_search_is_not_nobody(folder: Folder, time: FakeClock) -> None:
    async with (
        wired(_search=lambda _: said({}, "503 No"), Patient=lambda _: said({}, "503 No")) as ehr,
        open_site_async(folder.write(ehr.base), around(time)) as site,
    ):
        match = await site.find(Person(family="Canaryfamily", given="Ana", birth_date="1950-02-03"))
    assert isinstance(match, Undetermined) and match.state is State.UNAVAILABLE
