"""A modeller or a pod that ends at any moment: the model is the same to the last byte."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from federated import modeller
from federated.aggregators.values import tensors_to_bytes
from federated.journal import Journal
from federated.links.in_process import InProcess
from federated.links.link import Parcel
from federated.protocols.sides import Outcome
from federated.task_spec import TaskSpec, Unit
from tests.federated.runtime.cast import Cast, make_task, with_stand_in


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

    async def ask(self, pod: str, request: Parcel) -> Parcel:
        self.asked += 1
        answer = await self._link.ask(pod, request)
        self._left -= 1
        if self._left <= 0:
            self.due.set()
            await asyncio.Event().wait()
        return answer

    async def close(self) -> None:
        await self._link.close()


async def run_killed(cast: Cast, spec: TaskSpec, kills: list[int]) -> Outcome:
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

    async def dies_once(parcel: Parcel) -> Parcel:
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
