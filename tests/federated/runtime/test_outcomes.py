"""What a task comes to where not all is well: too few pods, a pod that says nonsense, one that fails."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

import secure_agg
from federated.errors import PolicyRefused, TooFewPods
from federated.links.in_process import InProcess
from federated.modeller import program as modeller
from federated.rounds.journal import Journal
from federated.task.envelope import Envelope, Header, signed
from federated.task.spec import Aggregation, Deadlines, Unit, moment
from tests.federated.runtime import training_stand_in as stand_in
from tests.federated.runtime.cast import NAMES, NOW, PLAIN, SECURE, Cast, identity, make_task
from tests.federated.runtime.test_weaknesses import Overheard

QUICK = Deadlines(accept=5.0, compute=0.5, step=0.5)
EQUAL = Aggregation(name=SECURE, minimum_survivors=3)


async def test_no_masked_sum_is_opened_below_the_quorum(cast: Cast) -> None:
    spec = make_task(aggregation=EQUAL, quorum=5, deadlines=QUICK)
    with pytest.raises(TooFewPods, match="needs 5"):
        await modeller.run(cast.coordinator(spec, Overheard(cast, frozenset({"york"}))), cast.signature(spec))
    for name in NAMES:
        assert not any(record.released for record in cast.pods[name].state.journal.records)


async def test_too_few_pods_of_a_masked_round_are_an_error_of_secure_agg_too(cast: Cast) -> None:
    spec = make_task(aggregation=EQUAL, quorum=5, deadlines=QUICK)
    with pytest.raises(secure_agg.TooFewPods) as failed:
        await modeller.run(cast.coordinator(spec, Overheard(cast, frozenset({"york"}))), cast.signature(spec))
    assert isinstance(failed.value, TooFewPods)


async def test_a_task_that_too_few_pods_ended_is_gone_on_with_by_the_next_start(cast: Cast) -> None:
    journal = Journal(cast.folder / "modeller")
    spec = make_task(aggregation=EQUAL, deadlines=QUICK)
    mute = Overheard(cast, frozenset({"york", "kent"}))
    with pytest.raises(TooFewPods):
        await modeller.run(cast.coordinator(spec, mute, journal), cast.signature(spec))
    outcome = await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec))
    journal.close()
    assert [one.survivors for one in outcome.rounds] == [NAMES] * 3


async def test_the_modeller_learns_rows_only_where_they_count(cast: Cast) -> None:
    for nonce, weights in (("0" * 32, "equal"), ("1" * 32, "rows")):
        link = Overheard(cast)
        plain = Aggregation(name=PLAIN, weights=weights, minimum_survivors=3)  # type: ignore[arg-type] # one of two
        spec = make_task(aggregation=plain, nonce=nonce)
        await modeller.run(cast.coordinator(spec, link), cast.signature(spec))
        told = [header.note for _, header, _ in link.answers if header.kind == "vector"]
        assert all(("weight" in note) == (weights == "rows") for note in told)
        assert told


async def test_a_weight_above_the_task_s_is_refused_in_its_pod_also_without_masks(cast: Cast) -> None:
    link = Overheard(cast)
    plain = Aggregation(name=PLAIN, weights="rows", minimum_survivors=3, maximum_weight=45.0)
    spec = make_task(aggregation=plain)
    outcome = await modeller.run(cast.coordinator(spec, link), cast.signature(spec))
    assert outcome.rounds[0].survivors == ("bath", "hull", "kent", "leeds")
    assert not [pod for pod, header, _ in link.answers if pod == "york" and header.kind == "vector"]


async def test_one_pod_s_result_that_cannot_be_read_leaves_the_others_standing(cast: Cast) -> None:
    spec = make_task(aggregation=None, quorum=3)

    def says(name: str, body: bytes) -> Any:
        async def handle(request: Envelope) -> Envelope:
            asked = msgspec.msgpack.decode(request.head[64:], type=Header)
            header = Header(1, asked.task, name, asked.sender, asked.number, "result", {}, 0, b"")
            return signed(identity(name), header, body)

        return handle

    pods = {name: says(name, b"{not json" if name == "kent" else b'{"n": 1}') for name in NAMES}
    found = await cast.coordinator(spec, InProcess(pods)).results(NAMES)
    assert sorted(found) == ["bath", "hull", "leeds", "york"]
    assert [news.pod for news in cast.news] == ["kent"]


async def test_pods_that_failed_are_asked_for_their_result_again_by_the_next_start(cast: Cast) -> None:
    """The same request would get the same refusal for ever, also where the owner has seen to it meanwhile."""
    spec, journal = make_task(aggregation=None, quorum=5), Journal(None)
    asked: list[tuple[str, int]] = []
    mended = False

    def says(name: str) -> Any:
        known: dict[int, Envelope] = {}

        async def handle(request: Envelope) -> Envelope:
            asking = msgspec.msgpack.decode(request.head[64:], type=Header)
            asked.append((name, asking.number))
            kind, note, body = "result", {}, b'{"n": 1}'
            if name == "kent" and not mended:
                kind, note, body = "refused", {"code": "NO_DATA", "sentence": "No rows."}, b""
            header = Header(1, asking.task, name, asking.sender, asking.number, kind, note, 0, b"")
            return known.setdefault(asking.number, signed(identity(name), header, body))

        return handle

    desk = cast.coordinator(spec, InProcess({name: says(name) for name in NAMES}), journal)
    with pytest.raises(TooFewPods, match=r"4 of 5 .* kent: No rows\."):
        await desk.results(NAMES)
    mended = True
    assert sorted(await desk.results(NAMES)) == sorted(NAMES)
    assert [pod for pod, _ in asked[5:]] == ["kent"]


async def test_a_fault_in_a_pod_tells_its_place_and_never_what_it_says(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def train(self: Any, tensors: Any, amount: int, number: int) -> Any:
        if self._place.pod == "kent":
            raise KeyError("Mary Miller, 1950-01-01")
        return stand_in.Trained({name: np.zeros_like(one) + 0.1 for name, one in tensors.items()}, {})

    monkeypatch.setattr(stand_in.Halfway, "train", train)
    spec = make_task(aggregation=EQUAL)
    with caplog.at_level(logging.DEBUG):
        outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert "Mary" not in caplog.text + str(outcome) + str(cast.news)
    assert "KeyError in test_outcomes.py" in caplog.text
    assert outcome.rounds[0].lost["kent"] == "TASK_SETUP_ERROR: The pod failed; its own log says where."


class Away(InProcess):
    """Pods that have accepted and then gone; another one is there, and slow."""

    def __init__(self, cast: Cast, *away: str) -> None:
        super().__init__(cast.handlers())
        self._away, self._accepted = frozenset(away), False

    @property
    def connected(self) -> frozenset[str]:
        return super().connected - (self._away if self._accepted else frozenset())

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        if msgspec.msgpack.decode(request.head[64:], type=Header).kind != "offer":
            self._accepted = True
            if pod in self._away:
                await asyncio.Event().wait()
            if pod == "hull":
                await asyncio.sleep(0.4)
        return await super().ask(pod, request)


@pytest.mark.parametrize("name", [SECURE, PLAIN])
async def test_a_pod_that_has_gone_is_not_waited_for_to_the_deadline_once_enough_have_answered(
    cast: Cast, name: str
) -> None:
    unit = Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 1})
    spec = make_task(aggregation=Aggregation(name=name, minimum_survivors=3), algorithms=(unit,))
    desk = replace(cast.coordinator(spec, Away(cast, "kent")), away_s=0.2)
    async with asyncio.timeout(20):  # the deadline of a step is 60 s
        outcome = await modeller.run(desk, cast.signature(spec))
    assert outcome.rounds[0].survivors == ("bath", "hull", "leeds", "york")
    assert "has been away" in outcome.rounds[0].lost["kent"]


@pytest.mark.parametrize("name", [SECURE, PLAIN])
async def test_pods_that_have_gone_are_waited_for_while_they_are_needed(cast: Cast, name: str) -> None:
    spec = make_task(
        aggregation=Aggregation(name=name, minimum_survivors=3),
        deadlines=Deadlines(accept=5.0, compute=1.0, step=1.0),
    )
    away = ("kent", "leeds", "york")
    journal = Journal(None)
    desk = replace(cast.coordinator(spec, Away(cast, *away), journal), away_s=0.1)
    with pytest.raises(TooFewPods):
        await modeller.run(desk, cast.signature(spec))
    assert not [news for news in cast.news if "has been away" in news.text]


async def test_a_pod_lets_go_of_tasks_that_were_never_ended(cast: Cast) -> None:
    """Or a pod that runs for months would keep the rows of each of them in memory."""
    quick = make_task(aggregation=EQUAL, deadlines=QUICK)
    with pytest.raises(TooFewPods):
        await modeller.run(
            cast.coordinator(quick, Overheard(cast, frozenset(NAMES[1:]))), cast.signature(quick)
        )
    assert quick.hash in cast.pods["bath"]._workers
    pod = cast.pods["bath"]
    for days, kept in ((1, True), (3, False)):
        object.__setattr__(pod, "clock", lambda days=days: NOW + timedelta(days=days))
        times = [moment(NOW + timedelta(days=one)) for one in (days, days + 1)]
        later = make_task(aggregation=EQUAL, nonce=f"{days:032d}", created=times[0], expires=times[1])
        offer = cast.coordinator(later).request(
            "bath", 1, "offer", {"signature": cast.signature(later)}, later.to_bytes()
        )
        await pod.handle(offer)
        assert (quick.hash in pod._workers) == kept
    assert {one.hash: one.reason for one in pod.state.tasks()}[quick.hash] == "expired"


async def test_a_pod_that_hears_again_that_a_task_has_ended_has_nothing_to_do(cast: Cast) -> None:
    spec = make_task(aggregation=EQUAL, algorithms=(Unit(name="bitfount.FederatedModelTraining"),))
    link = Overheard(cast)
    desk = cast.coordinator(spec, link)
    await modeller.run(desk, cast.signature(spec))
    assert all(spec.hash not in pod._workers for pod in cast.pods.values())
    await modeller.finish(desk, "done")
    ends = [header.kind for _, header, _ in link.answers if header.kind == "done"]
    assert len(ends) == 2 * len(NAMES)


def refusing(name: str, code: Any, sentence: Any) -> Any:
    async def handle(request: Envelope) -> Envelope:
        asked = msgspec.msgpack.decode(request.head[64:], type=Header)
        note = {"code": code, "sentence": sentence}
        header = Header(1, asked.task, name, asked.sender, asked.number, "refused", note, 0, b"")
        return signed(identity(name), header)

    return handle


@pytest.mark.parametrize(
    ("code", "sentence", "told"),
    [
        ("NO_DATA", "\x1b]0;owned\x07 no\u202e rows\n", ("NO_DATA", " ]0;owned  no  rows ")),
        ("ACCEPT", "yes", ("NO_ACCESS", "")),
        (["NO_DATA"], "no rows", ("NO_ACCESS", "")),
        ("NO_DATA", 7, ("NO_ACCESS", "")),
    ],
)
async def test_what_a_pod_says_when_it_refuses_cannot_steer_a_terminal(
    cast: Cast, code: Any, sentence: Any, told: tuple[str, str]
) -> None:
    spec = make_task(aggregation=EQUAL)
    pods = cast.handlers() | {"kent": refusing("kent", code, sentence)}
    journal = Journal(None)
    outcome = await modeller.run(
        cast.coordinator(spec, InProcess(pods), journal), cast.signature(spec), lambda _: None
    )
    assert journal.answers()["kent"] == told
    assert outcome.rounds[0].survivors == ("bath", "hull", "leeds", "york")


async def test_pods_that_refused_are_asked_again_by_the_next_start(cast: Cast) -> None:
    """Their owners may have seen to it; nothing has run yet."""
    journal, spec = Journal(None), make_task(aggregation=EQUAL)
    no = {name: refusing(name, "UNAUTHORISED", "Nobody knows this modeller.") for name in NAMES}
    with pytest.raises(PolicyRefused, match="Every pod refused"):
        await modeller.run(cast.coordinator(spec, InProcess(no), journal), cast.signature(spec))
    assert journal.told("state") == "failed"
    outcome = await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec))
    assert outcome.rounds[0].survivors == NAMES
    assert outcome.refused == {}
