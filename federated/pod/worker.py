"""One task in one pod: takes the modeller's requests, in order, and answers each of them once.

The same request may come again, because a connection broke or the modeller was started again: it gets the same
answer, and nothing is done twice. An older or another request under a known number is refused.

A round that this pod's own rows do not allow (training that runs away, a number beyond the clip, a weight above the
total) is the last of the task for it. A modeller that could go on would learn from one refusal after the other how
large the rows are: each round brings a model of its choice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import msgspec

from ehr.errors import EHRError
from federated.aggregators.mean import checked
from federated.aggregators.round_terms import PodRequest, Purpose, aggregation_of, weights_layout
from federated.aggregators.secure_pod import Given, MaskedRound
from federated.aggregators.values import Layout, pack
from federated.errors import (
    CheckFailed,
    ConfigurationError,
    FederatedError,
    InvalidArgument,
    MissingExtra,
    NameWaits,
    PolicyRefused,
    TaskRefused,
)
from federated.owner.state import PodState
from federated.protocols.sides import PodSide
from federated.task.envelope import Answered, Buffer, Envelope, Header, Message, refusal, signed
from federated.task.spec import Aggregation, TaskSpec
from secure_agg import PodSetup, Signer

logger = logging.getLogger(__name__)

OF_ROWS = "INCOMPATIBLE_DATASOURCE"
"""The code of a refusal whose reason are this pod's own rows."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker needs of its pod.

    Attributes:
        signer: the pod's identity.
        state: what survives a crash.
        setup: how this pod takes part in masked rounds.
        entropy: gives unpredictable bytes.
        secret: 32 bytes of this pod for this task, the same at every start.
        released: is told what leaves: kind and size in numbers, for the owner's log and ledgers; may refuse.
        entering: held while a masked round is entered, so that two tasks do not spend one budget twice.
    """

    signer: Signer = field(repr=False)
    state: PodState = field(repr=False)
    setup: PodSetup = field(repr=False)
    entropy: Callable[[int], bytes] = field(repr=False)
    secret: bytes = field(repr=False)
    released: Callable[[str, Mapping[str, Any]], None] = field(repr=False)
    entering: asyncio.Lock = field(repr=False)


class Worker:
    """One task in one pod.

    Args:
        spec: signed and accepted.
        pod: this pod's name.
        side: the protocol's side in this pod.
        desk: see `WorkerContext`.

    Attributes:
        spec: the same.
        ended: whether the modeller has said that the task is over.
    """

    def __init__(self, spec: TaskSpec, pod: str, side: PodSide, desk: WorkerContext) -> None:
        self.spec, self.ended, self._stopped, self._brought = spec, False, False, False
        self._pod, self._side, self._desk = pod, side, desk
        self._last = 0
        self._last_head = b""
        self._answer: asyncio.Future[Envelope] | None = None
        self._round: MaskedRound | None = None
        self._seq = 0
        self._turn = asyncio.Lock()
        # Of rounds without masks; of masked ones the journal knows.
        self._models: dict[int, bytes] = {}
        self._counts: Mapping[str, int] = {}

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._answer is not None and not self._answer.done()

    async def handle(self, message: Message) -> Envelope:
        """The answer to a verified request of this task; for a repeated one the same bytes again."""
        number = message.header.number
        if number == self._last and self._answer is not None and message.head == self._last_head:
            return await asyncio.shield(self._answer)
        if number <= self._last:
            return self._refused(
                number, TaskRefused("TASK_SETUP_ERROR", "A request came late, or under a used number.")
            )
        self._last, self._last_head = number, message.head
        self._answer = asyncio.ensure_future(self._answered(message))
        return await asyncio.shield(self._answer)

    async def _answered(self, message: Message) -> Envelope:
        number = message.header.number
        try:
            async with self._turn:
                if self._stopped and message.header.kind != "finish":
                    raise TaskRefused("UNAUTHORISED", "The task has ended in this pod.")
                return await self._handlers[message.header.kind](self, message)
        except FederatedError as error:
            return self._refused(number, as_refusal(error))
        except EHRError as error:
            logger.error("The EHR could not be read for a task (%s).", _where(error))
            return self._refused(
                number, TaskRefused("DATASOURCE_INACCESSIBLE", "The pod's EHR could not be read.")
            )
        except Exception as error:  # noqa: BLE001 # whatever it is, nothing of it may leave the pod
            logger.error("A request of a task failed in this pod (%s).", _where(error))
            return self._refused(
                number, TaskRefused("TASK_SETUP_ERROR", "The pod failed; its own log says where.")
            )

    def _refused(self, number: int, error: TaskRefused) -> Envelope:
        return self._say(number, "refused", refusal(error))

    def _say(
        self,
        number: int,
        kind: Answered,
        note: Mapping[str, Any],
        body: Buffer = b"",
        *,
        sealed: bool = False,
    ) -> Envelope:
        header = Header(
            1, self.spec.hash, self._pod, self.spec.modeller.name, number, kind, dict(note), 0, b"", sealed
        )
        return signed(self._desk.signer, header, body)

    async def _begin(self, message: Message) -> Envelope:
        """Compute, enter the masked round, and give its first message; or the vector itself where masks are off."""
        model = message.header.digest if message.header.size else b""
        asked = PodRequest(_purpose(message), int(message.note.get("round", 0)), model)
        self._brought = bool(model)
        aggregation, layout = aggregation_of(self.spec), self._layout(asked)
        invitation = bytes(message.note["invitation"]) if self.spec.secure else b""
        entered = MaskedRound(self.spec, self._desk.setup, self._desk.entropy)
        terms = entered.agreed(invitation, asked, layout) if self.spec.secure else None
        if terms is None and self._models.setdefault(asked.number, model) != model:
            raise TaskRefused("NO_ACCESS", "This pod has answered for another model in this round.")
        try:
            given = await self._given(asked, message)
        except TaskRefused as error:
            raise self._stop(error) from None
        if message.header.number != self._last:
            raise TaskRefused(
                "TASK_TIMEOUT", "The modeller went on before this pod had computed. Nothing was sent."
            )
        facts = {"purpose": asked.purpose, "numbers": layout.length, "round": asked.number}
        if terms is None:
            return await self._plain(message.header.number, layout, given, aggregation, facts)
        self.close()
        self._round, self._seq = entered, int(message.note["seq"])
        self._counts = given.values if asked.purpose == "counts" else {}
        async with self._desk.entering:
            self._desk.released(f"masked {asked.purpose}", facts)
            journal, store = self._desk.state.journal, self._desk.state.store
            try:
                advert = await asyncio.to_thread(
                    entered.begin, invitation, terms, layout, given, journal, store
                )
            except TaskRefused as error:
                raise (self._stop(error) if error.code == OF_ROWS else error) from None
        return self._say(message.header.number, "sum", {}, advert)

    def _stop(self, error: TaskRefused) -> TaskRefused:
        """End the task in this pod, where its own rows are the reason; gives the error back.

        Where the modeller brings nothing into a round, asking again tells nothing new, and may go well.
        """
        if self._brought and error.code in (OF_ROWS, "TASK_SETUP_ERROR", "NO_DATA"):
            self._stopped = True
            self._desk.state.ended(self.spec.hash, "stopped", error.code)
        return error

    def _layout(self, asked: PodRequest) -> Layout:
        if asked.purpose == "weights":
            return weights_layout(self.spec)
        layout = self._side.layout()
        if (layout.kind == "counts") != (asked.purpose == "counts"):
            raise TaskRefused(
                "TASK_SETUP_ERROR", "The request is for another kind of result than the task gives."
            )
        return layout

    async def _given(self, asked: PodRequest, message: Message) -> Given:
        if asked.purpose == "weights":
            return Given({"rows": int(self._side.weight)})
        values = await self._side.give(message.note, message.body)
        return Given(values, self._side.weight, self._rounding(asked.number))

    def _rounding(self, number: int) -> bytes:
        """The seed of this pod's rounding: of its key, the task and the round, and of nothing else."""
        return hashlib.sha256(b"trialveil/rounding" + self._desk.secret + number.to_bytes(8, "big")).digest()

    async def _plain(
        self, number: int, layout: Layout, given: Given, chosen: Aggregation, facts: Mapping[str, Any]
    ) -> Envelope:
        # Only where rows count does the modeller learn how many there are.
        by_rows = chosen.weights == "rows"
        if by_rows and not 0 < given.weight <= chosen.maximum_weight:
            raise self._stop(TaskRefused(OF_ROWS, "This pod's weight is above the task's. Nothing was sent."))
        try:
            packed = await asyncio.to_thread(pack, layout, given.values, chosen.clip)
            vector = checked(packed, layout, self.spec)
        except InvalidArgument as error:
            raise self._stop(TaskRefused(OF_ROWS, str(error))) from None
        self._desk.released(f"plain {facts['purpose']}", facts)
        return self._say(number, "vector", {"weight": given.weight} if by_rows else {}, vector.data.cast("B"))

    async def _sum(self, message: Message) -> Envelope:
        if self._round is None or int(message.note.get("seq", 0)) != self._seq:
            raise TaskRefused("TASK_TIMEOUT", "This pod is no longer in the round; it was started again.")
        step, store = self._round.step, self._desk.state.store
        answer, upload = await asyncio.to_thread(step, message.body, store, self._opening)
        return self._say(message.header.number, "sum", {}, answer, sealed=upload)

    def _opening(self, pods: tuple[str, ...]) -> None:
        """Before this pod helps to open a sum of counts: who is in it, and what this pod's part is."""
        if self._counts:
            facts = {"pods": len(pods), "names": pods, "counts": self._counts}
            self._desk.released("masked sum opened", facts)

    async def _result(self, message: Message) -> Envelope:
        if self.spec.aggregation is not None:
            raise TaskRefused(
                "NO_ACCESS", "The task adds up; this pod returns nothing of its own. Nothing was sent."
            )
        found = await self._side.result(message.note)
        body = msgspec.json.encode(found, order="deterministic")
        self._desk.released("result", {"bytes": len(body)})
        return self._say(message.header.number, "result", {}, body)

    async def _finish(self, message: Message) -> Envelope:
        self.close()
        await self._side.finish(message.note, message.body)
        reason = message.note.get("reason")
        if not self._stopped:
            self._desk.state.ended(
                self.spec.hash, "done", str(reason)[:80] if isinstance(reason, str) else ""
            )
        self.ended = True
        return self._say(message.header.number, "done", {})

    def close(self) -> None:
        """Overwrite what is secret of an open round."""
        if self._round is not None:
            self._round.close()
        self._round = None

    _handlers: Mapping[str, Callable[[Worker, Message], Awaitable[Envelope]]] = {
        "weigh": _begin,
        "compute": _begin,
        "sum": _sum,
        "result": _result,
        "finish": _finish,
    }


def as_refusal(error: FederatedError) -> TaskRefused:
    """An error of ours as the modeller is told it: what is wrong with the pod's own files is for its owner."""
    if isinstance(error, TaskRefused):
        return error
    if isinstance(error, PolicyRefused):
        return TaskRefused("NO_ACCESS", str(error))
    of_task = isinstance(error, NameWaits | MissingExtra)
    if isinstance(error, ConfigurationError | CheckFailed) and not of_task:
        logger.error("A task was refused: %s", error)
        return TaskRefused(
            "TASK_SETUP_ERROR", "The pod's own files or settings cannot be used; its log says why."
        )
    return TaskRefused("TASK_SETUP_ERROR", str(error))


def _where(error: BaseException) -> str:
    """Kind and place of an error; not its message, which may hold patient data."""
    places = traceback.extract_tb(error.__traceback__)
    if not places:
        return type(error).__name__
    file = places[-1].filename.replace("\\", "/").rpartition("/")[2]
    return f"{type(error).__name__} in {file}:{places[-1].lineno}"


def _purpose(message: Message) -> Purpose:
    purpose: Any = message.note.get("purpose")
    if purpose not in get_args(Purpose) or (purpose == "weights") != (message.header.kind == "weigh"):
        raise TaskRefused("TASK_SETUP_ERROR", "A request does not say what is to be added up.")
    return cast(Purpose, purpose)
