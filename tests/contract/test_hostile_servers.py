"""Servers that lie, over real sockets with a login: what is found is right, or says that it is not everything.

Another origin listens with the same data and no login; it must hear nothing, and the witness of both must not see a
token anywhere but at home.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ehr.records.fetched import Fetched, State
from ehr.records.patient import PatientRef
from ehr.sandbox.faults import (
    Action,
    Alien,
    Body,
    Duplicate,
    Fault,
    LostPage,
    NextLink,
    Oversize,
    Remark,
    Reset,
    RevokeToken,
    Status,
    Trickle,
    When,
)
from ehr.sandbox.server import Sandbox
from ehr.sandbox.skin import skin_named
from ehr.sandbox.store import Store
from ehr.sandbox.witness import RequestTarget, TokenLeaked, Witness
from ehr.site import ClockAndWire, open_site_async
from ehr.transport.client import SYSTEM_CLOCK, Clock, Limits
from federated.screening.report.results import MatchState, Run
from federated.screening.run import Options, screen_async
from tests.contract.wire import condition, page, wired
from tests.ehr.sandbox.synthetic import observation, small_store
from tests.ehr.site_folder import Folder, clients
from tests.fakes.clock import FakeClock
from tests.fakes.crowd import crowd
from tests.fakes.misbehaving_server import Received

ANA = PatientRef("ana")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stage:
    """The EHR, whose pages hold two entries, and another server on another port of the same machine."""

    ehr: Sandbox
    evil: Sandbox
    witness: Witness


@contextmanager
def standing(store: Store, page_size: int) -> Iterator[Stage]:
    """Both servers, with one witness, for as long as the block runs."""
    ways = skin_named("smarthealthit")
    small = replace(ways, paging=replace(ways.paging, max_count=page_size, default_count=page_size))
    with Sandbox(store, small, clients=clients()) as ehr, Sandbox(store, small) as evil:
        evil.witness = ehr.witness
        yield Stage(ehr, evil, ehr.witness)


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    store = small_store()
    store.add(observation("of-bea", "bea", "2024-01-01"))
    with standing(store, 2) as both:
        yield both


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    module_stage.witness.forget()
    yield module_stage
    module_stage.ehr.faults = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A fault on the third of four pages, and what must come of it: state, items, severe issues."""

    action: Action
    state: State
    items: int
    code: str | None = None
    times: int | None = None


ELSEWHERE = "http://127.0.0.1:{evil}"
CASES: dict[str, Case] = {
    "a relative next": Case(NextLink("relative"), State.OK, 7),
    "a foreign next": Case(NextLink("foreign", ELSEWHERE), State.PARTIAL, 6, "security:foreign-next-link"),
    "a next that repeats itself": Case(NextLink("loop"), State.PARTIAL, 6, "paging:loop"),
    "a next that begins again": Case(NextLink("first"), State.PARTIAL, 6, "paging:loop"),
    "no next where there is more": Case(NextLink("none"), State.PARTIAL, 6, "fewer-than-total"),
    "a redirect with headers": Case(Status(302, location=ELSEWHERE), State.PARTIAL, 4, "http-302"),
    "a redirect that keeps the method": Case(Status(307, location=ELSEWHERE), State.PARTIAL, 4, "http-307"),
    "a bomb": Case(Oversize(64 * MIB, packed=True), State.PARTIAL, 4, "body-too-large"),
    "too much": Case(Oversize(21 * MIB), State.PARTIAL, 4, "body-too-large"),
    "a lost page": Case(LostPage(), State.PARTIAL, 5, "fewer-than-total"),
    "another patient": Case(Alien(), State.PARTIAL, 7, "security:other-patient"),
    "a page for people": Case(Body("html"), State.PARTIAL, 4, "body-html"),
    "nothing at all": Case(Body("empty"), State.PARTIAL, 4, "body-empty"),
    "another type": Case(Body("wrong-type"), State.PARTIAL, 4, "body-wrong-type"),
    "truncated JSON": Case(Body("truncated"), State.PARTIAL, 4, "body-not-json"),
    "deep JSON": Case(Body("deep"), State.PARTIAL, 4),
    "bytes that are no text": Case(Body("not-utf8"), State.PARTIAL, 4, "body-not-json"),
    "a broken connection": Case(Reset(after_bytes=200), State.PARTIAL, 4),
    "a slow trickle": Case(Trickle(1, 0.05), State.PARTIAL, 4, "timed-out"),
    "an informing outcome": Case(Remark("information"), State.OK, 7),
    "a warning outcome": Case(Remark("warning"), State.OK, 7),
    "an error outcome": Case(Remark("error"), State.PARTIAL, 7, "outcome:processing"),
    "a fatal outcome": Case(Remark("fatal"), State.PARTIAL, 7, "outcome:processing"),
    "the same entry twice": Case(Duplicate(), State.OK, 7),
    "401 once": Case(RevokeToken(), State.OK, 7, times=1),
    "401 once and for all tokens": Case(RevokeToken(every=True), State.OK, 7, times=1),
    "503 once": Case(Status(503, retry_after=1), State.OK, 7, times=1),
    "429 twice": Case(Status(429, retry_after=1), State.OK, 7, times=2),
}


def aimed(action: Action, evil: Sandbox) -> Action:
    """The action with the other server's address in it."""
    port = str(urlsplit(evil.base_url).port)
    if isinstance(action, NextLink):
        return replace(action, url=action.url.format(evil=port))
    if isinstance(action, Status) and action.location:
        return replace(action, location=f"{action.location.format(evil=port)}/fhir/Observation?patient=ana")
    return action


@pytest.mark.parametrize("name", CASES)
async def test_what_a_hostile_server_says_is_right_or_known_to_be_incomplete(
    stage: Stage, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    when = When(resource_type="Observation", page=3)
    stage.ehr.faults = (Fault(aimed(case.action, stage.evil), when, times=case.times),)
    slow = Limits(total_s=3, attempts=1) if isinstance(case.action, Trickle) else Limits()
    around = ClockAndWire(clock=_waiting_less(), limits=slow)
    config = Folder(tmp_path / "site").write(stage.ehr.base_url)
    async with open_site_async(config, around) as site:
        found = await site.observations(ANA)
    assert (found.state, len(found.items)) == (case.state, case.items)
    assert len({one.id for one in found.items}) == case.items
    if case.code is not None:
        assert case.code in {issue.code for issue in found.issues}
    if case.action == Duplicate():
        assert found.repeats == 1
    stage.witness.assert_tokens_stayed_home()
    assert [seen for seen in stage.witness.requests if seen.origin != _origin(stage.ehr)] == []


def _waiting_less() -> Clock:
    """The system's time of day, which the sandbox's tokens live by; waits are over at once."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return replace(SYSTEM_CLOCK, sleep=sleep)


def _origin(ehr: Sandbox) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(ehr.base_url))


async def test_the_witness_would_notice(stage: Stage) -> None:
    """A token that another server hears is found: the other checks are not blind."""
    stage.witness.note_issued("a-token-of-the-ehr-that-leaks", "x", _origin(stage.ehr))
    headers = [(b"authorization", b"Bearer a-token-of-the-ehr-that-leaks")]
    stage.witness.note_request(_origin(stage.evil), "GET", RequestTarget("search"), headers, "")
    with pytest.raises(TokenLeaked):
        stage.witness.assert_tokens_stayed_home()


POPULATION = [condition(f"c{number}", of) for number, of in enumerate(("eve", "ana", "bob", "ana", "kim"))]
SELVES = {
    "a self link that tells": ("Condition?_count=200", State.PARTIAL),
    "a self link that lies": ("Condition?patient=ana&_count=200", State.PARTIAL),
    "no self link": (None, State.PARTIAL),
}


@pytest.mark.parametrize("link", SELVES)
@pytest.mark.parametrize("hers", [True, False])
async def test_an_ignored_parameter_brings_nobody_else_s_records(
    tmp_path: Path, link: str, hers: bool
) -> None:
    """The whole population for an answer: each entry is looked at, and the self link compared."""
    url, state = SELVES[link]
    entries = [one for one in POPULATION if hers or one["subject"] != {"reference": "Patient/ana"}]
    answer = page(*entries) if url is None else page(*entries, self=url)
    async with wired(Condition=lambda _: answer) as ehr:
        config = Folder(tmp_path / "site").write(ehr.base)
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            found: Fetched[Any] = await site.conditions(ANA)
    assert [one.id for one in found.items] == (["c1", "c3"] if hers else [])
    assert found.state is (state if hers else found.state)
    assert not found.complete
    others = next(issue for issue in found.issues if issue.code == "security:other-patient")
    assert others.count == 3
    told = "security:patient-parameter-ignored" in {issue.code for issue in found.issues}
    assert told is (link == "a self link that tells")


@pytest.mark.parametrize("empty", [True, False])
async def test_pages_without_end_end(tmp_path: Path, empty: bool) -> None:
    """Endless pages, with new entries or without any."""

    def endless(received: Received) -> bytes:
        number = int(parse_qs(urlsplit(received.target).query).get("page", ["1"])[0])
        found = () if empty else (condition(f"c{number}"),)
        return page(*found, next=f"Condition?patient=ana&page={number + 1}")

    async with wired(Condition=endless) as ehr:
        config = Folder(tmp_path / "site").write(ehr.base)
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            found = await site.conditions(ANA)
        asked = len(ehr.asked("Condition"))
    codes = {issue.code for issue in found.issues}
    if empty:
        assert (found.state, asked, codes) == (State.ERROR, 20, {"paging:no-progress"})
    else:
        assert (found.state, asked, codes) == (State.PARTIAL, 1000, {"paging:page-limit"})


TRIAL = """
trialveil: 1
id: silence
title: Silence decides here
version: "1.0"
nct: none
status: final
provenance: Invented for tests.
index_date: 2026-06-01
value_sets:
  wet_amd: {title: Wet AMD, include: [{system: icd10cm, codes: ["H35.32*"]}]}
  injection: {title: Injection, include: [{system: cpt, codes: ["67028"]}]}
inclusion:
  - {id: age, text: Adult, source: "18 or older.", where: {age: {is: ">= 18", unit: a}}}
exclusion:
  - {id: wet, text: Wet AMD, source: "None.", where: {condition: {in: wet_amd, clinical: any}}}
  - {id: treated, text: Treated, source: "None.", where: {procedure: {in: injection, performed: {within: 60 mo}}}}
"""


async def test_whatever_the_server_does_no_decision_is_wrong(tmp_path: Path) -> None:
    """Every fault at once, one for each of many patients: decided as without it, or left undecided."""
    cases = [case for case in CASES.values() if not isinstance(case.action, Trickle)]  # that takes its time
    people = crowd(len(cases) + 7, seed=11)
    (tmp_path / "trial.yaml").write_text(TRIAL)
    limits = Limits(attempts=2, breaker_failures=10**6)
    around = ClockAndWire(clock=_waiting_less(), limits=limits)
    with standing(people.store, 3) as stage:
        more = "  world: {condition: closed, procedure: closed}\ncohort: {patients: patients.csv}\n"
        config = Folder(tmp_path / "site").write(stage.ehr.base_url, more=more)
        (tmp_path / "site" / "patients.csv").write_text(people.csv)

        async def run() -> Run:
            return (await screen_async(config, tmp_path / "trial.yaml", Options(), around)).run

        undisturbed = await run()
        targets = [one for one in dict.fromkeys(people.rows) if one]
        stage.ehr.faults = tuple(
            Fault(
                aimed(case.action, stage.evil),
                When(resource_type=("Condition", "Procedure")[number % 2], patient=of, page=1),
                times=case.times,
            )
            for number, (of, case) in enumerate(zip(targets, cases, strict=False))
        )
        disturbed = await run()
        stage.witness.assert_tokens_stayed_home()
        assert [seen for seen in stage.witness.requests if seen.origin != _origin(stage.ehr)] == []
    pairs = list(zip(undisturbed.patients, disturbed.patients, strict=True))
    for whole, hurt in pairs:
        assert hurt.input_row == whole.input_row
        # Tokens of all are revoked twice, so a bystander's search may be refused twice: a row without a person.
        assert hurt.ref == whole.ref or hurt.match is MatchState.UNDETERMINED
        assert hurt.decision in (whole.decision, "undecided", "not_evaluated")
    hurt_ones = sum(hurt.decision != whole.decision for whole, hurt in pairs)
    assert 6 <= hurt_ones <= len(targets)
    assert sum(whole.decision == "eligible" for whole, _ in pairs) > 10
    assert len(disturbed.work.failures) >= 5
