"""The modeller's side of one masked sum: drives the server machine, and can go on after it was killed.

What a pod sends is stored once the machine has taken it, before anything follows from it; what the machine refuses is
not. The uploads are not stored one by one: when all are there, their (still masked) sum is. A restart replays what is
stored, comes to the same state with the same messages, and asks the pods for what is missing; they answer a repeated
request with the same bytes. If the sum was not yet complete, the pods send their uploads again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import secure_agg
from federated.aggregators.round_terms import Terms, aggregation_of, round_spec
from federated.aggregators.values import Layout, unpack
from federated.errors import TooFewPods
from federated.rounds.coordinator import STAGES, Answer, Coordinator, News, arriving, asking
from federated.rounds.journal import Event, LoggedRound
from federated.task.envelope import Buffer
from secure_agg import (
    MalformedMessage,
    MaskedSum,
    ProtocolError,
    RoundResult,
    SecureAggError,
    Server,
    ServerState,
)
from secure_agg.server import Outgoing

LANE_BYTES = 32
_LARGE = 1 << 16
"""Vectors longer than this are added up in a thread, so that other answers are taken meanwhile."""

_STAGE = {
    ServerState.ADVERTS: 1,
    ServerState.SHARES: 2,
    ServerState.UPLOADS: 3,
    ServerState.CONFIRMATIONS: 4,
    ServerState.REVEALS: 5,
}
_WORDS = {
    ServerState.ADVERTS: "computing",
    ServerState.SHARES: "sharing secrets",
    ServerState.UPLOADS: "sending masked updates",
    ServerState.CONFIRMATIONS: "confirming who is in the sum",
    ServerState.REVEALS: "opening the sum",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is to be added up.

    Attributes:
        terms: purpose, place, cohort, model.
        layout: what the vector means.
        number: training round, from 1; 0 for none.
        note: what the pods are told besides.
        body: the model that they begin with; may be large and is the same for all.
        clip: of the task.
        asked: pods that may take part; None for the whole cohort.
    """

    terms: Terms
    layout: Layout
    number: int = 0
    note: Mapping[str, Any] = field(default_factory=dict)
    body: Buffer = field(default=b"", repr=False)
    clip: float = 1.0
    asked: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Combined:
    """What a sum came to.

    Attributes:
        parts: the layout's names to weighted means, or for counts to exact sums.
        survivors: pods that are in it, sorted.
        weight: the sum of their weights; how many they are where all count the same.
        lost: pods that are not in it, and why.
        report: the round in numbers, see `secure_agg.RoundReport`.
    """

    parts: Mapping[str, NDArray[Any]] = field(repr=False)
    survivors: tuple[str, ...]
    weight: float
    lost: Mapping[str, str]
    report: Mapping[str, Any] = field(repr=False)


class TooFewAnswered(TooFewPods, secure_agg.TooFewPods):
    """Fewer pods answered in a masked round than the task needs: a `secure_agg.TooFewPods` too.

    Args:
        message: our sentence.
        parts: as `secure_agg.TooFewPods` has them: where the round ended, and how many pods answered.
    """

    def __init__(self, message: str, parts: tuple[str, int, int, int]) -> None:
        Exception.__init__(self, message)
        self.parts = parts


async def add_up(coordinator: Coordinator, exchange: Exchange) -> Combined:
    """Run one masked sum to its end, or go on with one that was open when this program was killed.

    Raises:
        TooFewPods: there is no sum.
    """
    return await _Run(coordinator, exchange).run()


def log_begin(coordinator: Coordinator, exchange: Exchange, total: float) -> None:
    """Log a round before anybody is asked, unless an earlier start has."""
    terms, journal = exchange.terms, coordinator.journal
    if all(known.seq != terms.seq for known in journal.rounds()):
        plan = {"cohort": list(terms.cohort), "model": terms.model_hash, "total": total}
        journal.begin(LoggedRound(terms.seq, terms.purpose, exchange.number, coordinator.clock(), plan))


class _Run:
    def __init__(self, coordinator: Coordinator, exchange: Exchange) -> None:
        self._at, self._exchange = coordinator, exchange
        self._seq = exchange.terms.seq
        spec = round_spec(coordinator.spec, exchange.layout, exchange.terms, exchange.number)
        self._floor = spec.floor
        self._server = Server(spec, coordinator.signer, coordinator.spec.pinned)
        self._lost: dict[str, str] = {}
        self._mail: tuple[Outgoing, ...] = ()
        self._opening = False
        # The round has a clock of its own, which stands still while this program is down.
        self._zero = coordinator.clock()

    def _now(self) -> float:
        return self._at.clock() - self._zero

    async def run(self) -> Combined:
        try:
            await self._resume()
            while self._server.result is None:
                await self._stage()
        except SecureAggError as error:
            self._at.journal.end(self._seq, "failed", {"reason": str(error), "released": self._opening})
            sentence = f"{error} (round {self._exchange.number or 1}: {self._why()})"
            if isinstance(error, secure_agg.TooFewPods):
                raise TooFewAnswered(sentence, error.parts) from None
            raise TooFewPods(sentence) from None
        return self._combined(self._server.result)

    async def _resume(self) -> None:
        events = self._at.journal.events(self._seq)
        log_begin(self._at, self._exchange, self._exchange.terms.total_weight)
        self._mail = self._server.start(0.0)
        for event in events:
            if event.kind == "lost":
                self._lost[event.pod] = event.data.decode()
            # An older log may hold a message that the machine refused; the entry that its pod is lost follows it.
            try:
                await self._take(event)
            except ProtocolError:
                if self._server.state is ServerState.ABORTED:
                    raise
        if events:
            self._zero = self._at.clock() - events[-1].at

    async def _stage(self) -> None:
        """Ask everybody who is waited for, and take answers until the machine goes on."""
        state = self._server.state
        self._opening = self._opening or state is ServerState.REVEALS
        number = self._seq * STAGES + _STAGE[state]
        waiting = self._server.waiting_for
        self._tell(f"{_WORDS[state]}: {len(waiting)} pods")
        upload = state is ServerState.UPLOADS
        asked = {
            out.to: (out.to, self._request(out, number, state), number)
            for out in self._mail
            if out.to in waiting
        }
        may = set(asked) if self._exchange.asked is None else set(self._exchange.asked)
        for pod in sorted(set(asked) - may):
            if await self._answered(
                Answer(pod, None, "NOT_WEIGHED", "its weight is not in the total"), state
            ):
                return
        ask = self._at.ask_who_is_there
        async with asking(
            {pod: ask(asked[pod], self._enough, upload=upload) for pod in asked if pod in may}
        ) as tasks:
            until = self._server.deadline + self._zero
            async for answer in arriving(tasks, until, self._at.clock):
                if await self._answered(answer, state):
                    return
        await self._take(self._stored(Event("late", "", self._server.deadline), state))

    def _enough(self) -> bool:
        """Whether this step has what it needs without the pods that it still waits for."""
        missing = self._server.waiting_for | set(self._lost)
        return sum(out.to not in missing for out in self._mail) >= self._floor

    def _request(self, out: Outgoing, number: int, state: ServerState) -> Any:
        exchange = self._exchange
        if state is not ServerState.ADVERTS:
            return self._at.request(out.to, number, "sum", {"seq": self._seq}, out.data)
        purpose = exchange.terms.purpose
        note = {**exchange.note, "seq": self._seq, "purpose": purpose, "invitation": out.data}
        note["round"] = exchange.number
        return self._at.request(
            out.to, number, "weigh" if purpose == "weights" else "compute", note, exchange.body
        )

    async def _answered(self, answer: Answer, state: ServerState) -> bool:
        """Take one answer; True when the machine has gone on."""
        if answer.message is not None:
            event = Event("message", answer.pod, self._now(), _kept(answer.message.body, state))
            try:
                await self._take(event)
            except ProtocolError as refused:
                if self._server.state is ServerState.ABORTED:
                    raise
                answer = Answer(answer.pod, None, "REFUSED", str(refused))
            else:
                self._stored(event, state)
        if answer.message is None:
            self._note_loss(answer)
            why = self._lost[answer.pod].encode()
            await self._take(self._stored(Event("lost", answer.pod, self._now(), why), state))
        return self._server.state is not state

    def _note_loss(self, answer: Answer) -> None:
        self._lost[answer.pod] = f"{answer.code}: {answer.sentence}"
        self._tell(answer.sentence or answer.code, answer.pod)

    def _stored(self, event: Event, state: ServerState) -> Event:
        # Of the uploads only their sum is stored, once it is complete.
        if state is not ServerState.UPLOADS:
            self._at.journal.note(self._seq, event)
        return event

    async def _take(self, event: Event) -> None:
        before = self._server.state
        self._opening = self._opening or before is ServerState.REVEALS
        large = self._exchange.layout.length > _LARGE and event.kind in ("message", "late")
        sent = await asyncio.to_thread(self._taken, event) if large else self._taken(event)
        if self._server.state is not before:
            self._mail = sent
            if before is ServerState.UPLOADS and event.kind != "sum":
                self._keep_sum()

    def _taken(self, event: Event) -> tuple[Outgoing, ...]:
        if event.kind == "message":
            return self._server.receive(event.data, event.at)
        if event.kind == "lost":
            return self._server.give_up(event.pod, event.at)
        if event.kind == "late":
            return self._server.tick(event.at)
        return self._server.take_sum(self._stored_sum(event), event.at)

    def _keep_sum(self) -> None:
        total = self._server.masked_sum()
        if total is None or not self._at.journal.durable:
            return
        self._at.journal.store_blob(self._blob, total.lane.data.cast("B"), total.words.data.cast("B"))
        names = "\n".join(total.survivors).encode()
        self._at.journal.note(self._seq, Event("sum", "", self._now(), names))

    @property
    def _blob(self) -> str:
        return f"round-{self._seq}.sum"

    def _stored_sum(self, event: Event) -> MaskedSum:
        data = self._at.journal.blob(self._blob) or b""
        if len(data) <= LANE_BYTES:
            raise MalformedMessage("The stored sum of this round is gone; the pods are asked for it again.")
        lane = np.frombuffer(data[:LANE_BYTES], "<u8").copy()
        bits = 64 if self._exchange.layout.kind == "counts" else aggregation_of(self._at.spec).bits
        words = np.frombuffer(data, f"<u{bits // 8}", offset=LANE_BYTES).copy()
        return MaskedSum(words, lane, event.data.decode().split("\n"))

    def _combined(self, result: RoundResult) -> Combined:
        exchange = self._exchange
        vector = result.total if exchange.layout.kind == "counts" else result.mean
        if vector is None:
            raise TooFewPods("A sum of counts is not exact; there is no sum.")
        report = asdict(result.report)
        return Combined(
            unpack(exchange.layout, vector, exchange.clip),
            result.survivors,
            result.weight,
            dict(self._lost),
            report,
        )

    def _why(self) -> str:
        if not self._lost:
            return "pods did not answer in time"
        return "; ".join(f"{pod}: {why}" for pod, why in sorted(self._lost.items()))

    def _tell(self, text: str, pod: str = "") -> None:
        what = "pod" if pod else "step"
        self._at.on_progress(News(what, self._exchange.number, 0, pod, text))


def _kept(body: Buffer, state: ServerState) -> Any:
    """Bytes for the log; the upload itself, which is not logged, is not copied."""
    return memoryview(body) if state is ServerState.UPLOADS else bytes(body)
