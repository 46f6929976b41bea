"""A modeller or a pod that ends at any moment: the model is the same to the last byte."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from federated.aggregators.values import tensors_to_bytes
from federated.algorithms.step_context import StepContext
from federated.errors import LinkLost, TooFewPods
from federated.links.in_process import InProcess
from federated.links.link import Handler
from federated.modeller import program as modeller
from federated.protocols.sides import TaskOutcome
from federated.rounds.coordinator import STAGES
from federated.rounds.journal import Event, Journal, LoggedRound, RoundState
from federated.task.envelope import Buffer, Envelope, Header, opened, signed
from federated.task.spec import TaskSpec, Unit
from federated.types import AccessCheckResult
from tests.end_to_end.replayed_tasks import Replay
from tests.federated.runtime.cast import Cast, OpenOwner, identity, make_task, with_stand_in


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_stand_in(monkeypatch)
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", str(tmp_path / "out"))


@pytest.fixture
def casts() -> Iterator[list[Cast]]:
    made: list[Cast] = []
    yield made
    for cast in made:
        cast.close()


def task(epochs: int = 4) -> TaskSpec:
    return make_task(algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": epochs}),))


class Killing:
    """A link that ends the modeller after so many messages, or before some answer is handed over."""

    def __init__(self, cast: Cast, after: int) -> None:
        self._link, self._left = InProcess(cast.handlers()), after
        self.asked = 0
        self.due = asyncio.Event()

    @property
    def connected(self) -> frozenset[str]:
        return self._link.connected

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        self.asked += 1
        answer = await self._link.ask(pod, request)
        self._left -= 1
        if self._left <= 0:
            self.due.set()
            await asyncio.Event().wait()
        return answer

    async def close(self) -> None:
        await self._link.close()


async def run_killed(cast: Cast, spec: TaskSpec, kills: list[int]) -> TaskOutcome:
    """Run; end the modeller after so many answers each time; then let it come to its end."""
    for after in kills:
        journal = Journal(cast.folder / "modeller")
        link = Killing(cast, after)
        running = asyncio.ensure_future(
            modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec))
        )
        due = asyncio.ensure_future(link.due.wait())
        await asyncio.wait({running, due}, return_when=asyncio.FIRST_COMPLETED)
        due.cancel()
        journal.close()  # nothing more reaches the log, as after SIGKILL
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    journal = Journal(cast.folder / "modeller")
    try:
        return await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec))
    finally:
        journal.close()


@pytest.mark.parametrize("seed", range(6))
async def test_a_modeller_killed_at_any_moment_ends_with_the_same_bytes(
    tmp_path: Path, casts: list[Cast], seed: int
) -> None:
    whole, killed = Cast(tmp_path / "whole"), Cast(tmp_path / "killed")
    casts += [whole, killed]
    spec = task()
    expected = await modeller.run(whole.coordinator(spec), whole.signature(spec))
    dice = random.Random(seed)
    found = await run_killed(killed, spec, [dice.randint(1, 60) for _ in range(4)])
    assert tensors_to_bytes(found.model) == tensors_to_bytes(expected.model)
    assert [one.survivors for one in found.rounds] == [one.survivors for one in expected.rounds]
    assert [one.metrics for one in found.rounds[:1]] == [one.metrics for one in expected.rounds[:1]]
    assert len(found.rounds) == 4


async def test_a_pod_killed_in_a_round_is_a_dropout_of_it_and_joins_the_next(
    tmp_path: Path, casts: list[Cast]
) -> None:
    cast = Cast(tmp_path)
    casts.append(cast)
    spec, link = task(5), InProcess(cast.handlers())
    coordinator = cast.coordinator(spec, link)
    inner = cast.pods["kent"].handle

    async def dies_once(parcel: Envelope) -> Envelope:
        answer = await inner(parcel)
        if (
            any(one.what == "round" and one.number == 2 for one in cast.news)
            and cast.pods["kent"].handle == inner
        ):
            cast.start("kent")
        return answer

    link._pods["kent"] = lambda parcel: (
        dies_once(parcel) if cast.pods["kent"].handle == inner else cast.pods["kent"].handle(parcel)
    )
    outcome = await modeller.run(coordinator, cast.signature(spec))
    survivors = [one.survivors for one in outcome.rounds]
    assert "kent" not in survivors[1]
    assert all("kent" in one for number, one in enumerate(survivors) if number != 1)
    assert "kent" in outcome.rounds[1].lost


class Killed(BaseException):
    """The modeller is no more."""


class Dying(Journal):
    """A log whose process ends just before or just after one of its writes."""

    def __init__(self, folder: Path, write: int, *, after: bool) -> None:
        super().__init__(folder)
        self.left, self._after = write, after

    def _written(self, write: Callable[[], object]) -> None:
        self.left -= 1
        due = self.left == 0
        if due and not self._after:
            raise Killed
        write()
        if due:
            raise Killed

    def tell(self, name: str, value: Any) -> None:
        self._written(lambda: super(Dying, self).tell(name, value))

    def answer(self, pod: str, code: str, sentence: str) -> None:
        self._written(lambda: super(Dying, self).answer(pod, code, sentence))

    def begin(self, this: LoggedRound) -> None:
        self._written(lambda: super(Dying, self).begin(this))

    def end(self, seq: int, state: RoundState, outcome: Mapping[str, Any]) -> None:
        self._written(lambda: super(Dying, self).end(seq, state, outcome))

    def note(self, seq: int, event: Event) -> None:
        self._written(lambda: super(Dying, self).note(seq, event))

    def store_blob(self, name: str, *parts: Buffer) -> None:
        self._written(lambda: super(Dying, self).store_blob(name, *parts))

    def drop_blob(self, name: str) -> None:
        self._written(lambda: super(Dying, self).drop_blob(name))


THREE = ("bath", "hull", "kent")


@pytest.mark.parametrize("after", [False, True])
async def test_a_modeller_killed_at_each_of_its_writes_ends_with_the_same_bytes(
    tmp_path: Path, casts: list[Cast], after: bool
) -> None:
    """At all of them: in the weights' sum, between a masked sum and its entry, after the last round."""
    spec = make_task(
        THREE, algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 1}),)
    )
    whole = Cast(tmp_path / "whole", THREE)
    casts.append(whole)
    expected = await modeller.run(whole.coordinator(spec), whole.signature(spec))
    kept: list[TaskOutcome] = []
    for write in range(1 + after, 1000, 2):  # just before the odd ones, just after the even ones
        cast = Cast(tmp_path / f"killed-{write}", THREE)
        journal = Dying(cast.folder / "modeller", write, after=after)
        try:
            await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec), kept.append)
        except Killed:
            journal.close()
            journal = Journal(cast.folder / "modeller")
            kept.clear()
            await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec), kept.append)
            assert tensors_to_bytes(kept[-1].model) == tensors_to_bytes(expected.model), write
            assert [one.survivors for one in kept[-1].rounds] == [THREE], write
            assert [one.state for one in cast.pods["kent"].state.tasks()] == ["done"], write
        else:
            break
        finally:
            journal.close()
            cast.close()
    assert write > 30


class ComingBack(InProcess):
    """A link whose pods are away for the first looks, as they are for a modeller that was just started again."""

    looks = 0

    @property
    def connected(self) -> frozenset[str]:
        self.looks += 1
        return super().connected if self.looks > 3 else frozenset()


async def test_a_modeller_started_again_waits_for_its_pods_and_tells_them_the_end(
    tmp_path: Path, casts: list[Cast]
) -> None:
    cast = Cast(tmp_path, THREE)
    casts.append(cast)
    spec = make_task(THREE)
    journal = Dying(cast.folder / "modeller", 10**9, after=False)
    kept: list[TaskOutcome] = []

    def dies(outcome: TaskOutcome) -> None:
        raise Killed

    with pytest.raises(Killed):
        await modeller.run(cast.coordinator(spec, journal=journal), cast.signature(spec), dies)
    assert [one.state for one in cast.pods["kent"].state.tasks()] == ["open"]
    link = ComingBack(cast.handlers())
    await modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec), kept.append)
    journal.close()
    assert [one.state for one in cast.pods["kent"].state.tasks()] == ["done"]
    assert len(kept) == 1


async def test_results_that_have_come_are_not_asked_for_again(tmp_path: Path) -> None:
    cast = Cast(tmp_path, THREE)
    spec = make_task(THREE, quorum=2)

    async def answered(pod: str, request: Envelope) -> Envelope:
        header = opened(request, {"modeller": identity("modeller").public}).header
        answer = Header(1, header.task, pod, "modeller", header.number, "result", {}, 0, b"")
        return signed(identity(pod), answer, b'{"rows": 123456789012345678901234567890}')

    journal = Journal(None)
    pods: dict[str, Handler] = {pod: partial(answered, pod) for pod in THREE}
    found = await cast.coordinator(spec, InProcess(pods), journal).results(THREE)
    assert set(found) == set(THREE)
    assert await cast.coordinator(spec, InProcess({}), journal).results(THREE) == found


async def test_a_sum_that_failed_while_it_was_opened_is_not_begun_again(
    tmp_path: Path, casts: list[Cast]
) -> None:
    """Also when the program was killed after the last message of the failure and before the entry of the failure."""
    cast = Cast(tmp_path, THREE)
    casts.append(cast)
    spec, journal = make_task(THREE), DiesAtTheSecondLoss(cast.folder / "modeller")
    link = FailsToOpen(cast.handlers())
    with pytest.raises(Killed):
        await modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec))
    journal.close()
    for _ in range(2):
        journal = Journal(cast.folder / "modeller")
        link = FailsToOpen(cast.handlers())
        with pytest.raises(TooFewPods):
            await modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec))
        sums = [one for one in journal.rounds() if one.purpose == "update"]
        journal.close()
        assert [(one.state, one.outcome["released"]) for one in sums] == [("failed", True)]


class FailsToOpen(InProcess):
    """Two pods are lost when the sum of the first round is opened, after the third has opened its part."""

    def __init__(self, pods: Mapping[str, Handler]) -> None:
        super().__init__(pods)
        self._opened = asyncio.Event()

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        header = opened(request, {"modeller": identity("modeller").public}).header
        if header.number != 2 * STAGES + 5:
            return await super().ask(pod, request)
        if pod != "bath":
            await self._opened.wait()
            raise LinkLost("It is away.")
        answer = await super().ask(pod, request)
        self._opened.set()
        return answer


class DiesAtTheSecondLoss(Journal):
    """The modeller's process ends when it has noted what ends the round, and before it has noted that it ended."""

    losses = 0

    def note(self, seq: int, event: Event) -> None:
        super().note(seq, event)
        self.losses += event.kind == "lost"
        if self.losses == 2:
            raise Killed


class Restarting(InProcess):
    """A link over which one pod is killed at its n-th request: before it has seen it, or before its answer is out.

    The pod is started again and gets the request again, as over sockets.
    """

    def __init__(self, cast: Cast, pod: str, request: int, *, after: bool) -> None:
        super().__init__(cast.handlers())
        self._cast, self._pod, self._left, self._after = cast, pod, request, after
        self.due = False

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        self._left -= pod == self._pod
        if pod == self._pod and self._left == 0:
            self.due = True
            if self._after:
                await super().ask(pod, request)
            self._cast.start(pod)
        return await super().ask(pod, request)


@pytest.mark.parametrize("after", [False, True])
async def test_a_pod_killed_at_each_of_its_requests_misses_one_round_at_most(
    tmp_path: Path, casts: list[Cast], after: bool
) -> None:
    """The model is that of a run in which the same pods were in each sum and nobody was killed."""
    names = ("bath", "hull", "kent", "leeds")
    spec = make_task(
        names, algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 2}),)
    )
    expected: dict[str, bytes] = {}
    for request in range(1, 1000):
        cast, journal = Cast(tmp_path / f"{request}", names), Journal(None)
        link = Restarting(cast, "kent", request, after=after)
        found = await modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec))
        records = cast.pods["kent"].state.journal.records
        cast.close()
        if not link.due:
            break
        survivors = [one.survivors for one in found.rounds]
        assert [set(names) - set(one) for one in survivors].count({"kent"}) <= 1, request
        assert all({"bath", "hull", "leeds"} <= set(one) for one in survivors), request
        assert len({one.model_hash for one in records}) == len(records), request
        sums = [{"purpose": one.purpose, "survivors": one.outcome["survivors"]} for one in journal.rounds()]
        if str(sums) not in expected:
            fresh = Cast(tmp_path / f"fresh-{request}", names)
            replay = Replay(fresh.handlers(), sums, identity("modeller").public)
            whole = await modeller.run(fresh.coordinator(spec, replay), fresh.signature(spec))
            fresh.close()
            assert [one.survivors for one in whole.rounds] == survivors, request
            expected[str(sums)] = tensors_to_bytes(whole.model)
        assert tensors_to_bytes(found.model) == expected[str(sums)], request
    assert request > 15
    assert len(expected) > 2


async def test_a_pod_started_again_makes_one_side_of_a_task_for_requests_that_come_at_once(
    tmp_path: Path, casts: list[Cast]
) -> None:
    cast = Cast(tmp_path, THREE)
    casts.append(cast)
    spec, coordinator = make_task(THREE), cast.coordinator(make_task(THREE))
    offer = coordinator.request("kent", 1, "offer", {"signature": cast.signature(spec)}, spec.to_bytes())
    await cast.pods["kent"].handle(offer)
    made: list[str] = []

    class Counted(OpenOwner):
        def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
            made.append(self.name)
            return super().workplace(spec, access, secret)

    cast.owner = lambda name: Counted(name=name)
    pod = cast.start("kent")
    late = [coordinator.request("kent", 16 + number, "sum", {"seq": 1}) for number in (2, 3)]
    answers = await asyncio.gather(*(pod.handle(one) for one in late))
    assert made == ["kent"]
    keys = {"kent": identity("kent").public}
    assert {opened(one, keys).header.kind for one in answers} == {"refused"}
