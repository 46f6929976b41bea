"""One task in one pod: takes the modeller's requests, in order, and answers each of them once.

The same request may come again, because a connection broke or the modeller was started again: it gets the same
answer, and nothing is done twice. An older or another request under a known number is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import msgspec

from federated.aggregators.secure_pod import Given, MaskedRound
from federated.aggregators.terms import Purpose, weights_layout
from federated.aggregators.values import Layout, pack
from federated.coordinator import refusal
from federated.envelope import Answered, Header, Message, signed
from federated.errors import FederatedError, InvalidArgument, PolicyRefused, TaskRefused
from federated.links.link import Buffer, Parcel
from federated.pod_state import PodState
from federated.protocols.sides import PodSide
from federated.task_spec import TaskSpec
from secure_agg import PodSetup, Signer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
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
        desk: see `Desk`.
    """

    def __init__(self, spec: TaskSpec, pod: str, side: PodSide, desk: Desk) -> None:
        self._spec, self._pod, self._side, self._desk = spec, pod, side, desk
        self._last = 0
        self._last_head = b""
        self._answer: asyncio.Future[Parcel] | None = None
        self._round: MaskedRound | None = None
        self._seq = 0
        self._turn = asyncio.Lock()

    async def handle(self, message: Message) -> Parcel:
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

    async def _answered(self, message: Message) -> Parcel:
        number = message.header.number
        try:
            async with self._turn:
                return await self._handlers[message.header.kind](self, message)
        except PolicyRefused as error:
            code = error if isinstance(error, TaskRefused) else TaskRefused("NO_ACCESS", str(error))
            return self._refused(number, code)
        except FederatedError as error:
            return self._refused(number, TaskRefused("TASK_SETUP_ERROR", str(error)))
        except Exception as error:  # whatever it is, nothing of it may leave the pod
            logger.exception("A request of a task failed in this pod.")
            kind = type(error).__name__
            return self._refused(
                number, TaskRefused("TASK_SETUP_ERROR", f"The pod failed ({kind}); its own log says why.")
            )

    def _refused(self, number: int, error: TaskRefused) -> Parcel:
        return self._say(number, "refused", refusal(error))

    def _say(
        self,
        number: int,
        kind: Answered,
        note: Mapping[str, Any],
        body: Buffer = b"",
        *,
        sealed: bool = False,
    ) -> Parcel:
        header = Header(
            1, self._spec.hash, self._pod, self._spec.modeller.name, number, kind, dict(note), 0, b"", sealed
        )
        return signed(self._desk.signer, header, body)

    async def _begin(self, message: Message) -> Parcel:
        """Compute, enter the masked round, and give its first message; or the vector itself where masks are off."""
        purpose = _purpose(message)
        layout, given = await self._given(purpose, message)
        if message.header.number != self._last:
            raise TaskRefused(
                "TASK_TIMEOUT", "The modeller went on before this pod had computed. Nothing was sent."
            )
        clip = 1.0 if self._spec.aggregation is None else self._spec.aggregation.clip
        facts = {"purpose": purpose, "numbers": layout.length, "round": message.note.get("round", 0)}
        if not self._spec.secure:
            return await self._plain(message.header.number, layout, given, clip, facts)
        self._end_round()
        self._round = MaskedRound(self._spec, self._desk.setup, self._desk.entropy)
        self._seq = int(message.note["seq"])
        invitation = bytes(message.note["invitation"])
        async with self._desk.entering:
            self._desk.released(f"masked {purpose}", facts)
            journal, store = self._desk.state.journal, self._desk.state.store
            advert, _ = await asyncio.to_thread(
                self._round.begin, invitation, purpose, layout, given, journal, store
            )
        return self._say(message.header.number, "sum", {}, advert)

    async def _given(self, purpose: Purpose, message: Message) -> tuple[Layout, Given]:
        if purpose == "weights":
            return weights_layout(self._spec), Given({"rows": int(self._side.weight)})
        layout = self._side.layout()
        if (layout.kind == "counts") != (purpose == "counts"):
            raise TaskRefused(
                "TASK_SETUP_ERROR", "The request is for another kind of result than the task gives."
            )
        values = await self._side.give(message.note, message.body)
        return layout, Given(values, self._side.weight, self._rounding(message))

    def _rounding(self, message: Message) -> bytes:
        """The seed of this pod's rounding: of its key, the task and the round, and of nothing else."""
        number = int(message.note.get("round", 0))
        return hashlib.sha256(b"trialveil/rounding" + self._desk.secret + number.to_bytes(8, "big")).digest()

    async def _plain(
        self, number: int, layout: Layout, given: Given, clip: float, facts: Mapping[str, Any]
    ) -> Parcel:
        from federated.aggregators.mean import checked

        try:
            vector = checked(await asyncio.to_thread(pack, layout, given.values, clip), layout, self._spec)
        except InvalidArgument as error:
            raise TaskRefused("INCOMPATIBLE_DATASOURCE", str(error)) from None
        self._desk.released(f"plain {facts['purpose']}", facts)
        return self._say(number, "vector", {"weight": given.weight}, vector.data.cast("B"))

    async def _sum(self, message: Message) -> Parcel:
        if self._round is None or int(message.note.get("seq", 0)) != self._seq:
            raise TaskRefused("TASK_TIMEOUT", "This pod is no longer in the round; it was started again.")
        answer, upload = await asyncio.to_thread(self._round.step, message.body, self._desk.state.store)
        return self._say(message.header.number, "sum", {}, answer, sealed=upload)

    async def _result(self, message: Message) -> Parcel:
        found = await self._side.result(message.note)
        body = msgspec.json.encode(found, order="deterministic")
        self._desk.released("result", {"bytes": len(body)})
        return self._say(message.header.number, "result", {}, body)

    async def _finish(self, message: Message) -> Parcel:
        self._end_round()
        await self._side.finish(message.note, message.body)
        reason = message.note.get("reason")
        self._desk.state.ended(self._spec.hash, "done", str(reason)[:80] if isinstance(reason, str) else "")
        return self._say(message.header.number, "done", {})

    def _end_round(self) -> None:
        if self._round is not None:
            self._round.close()
        self._round = None

    def close(self) -> None:
        """Overwrite what is secret of an open round."""
        self._end_round()

    _handlers: Mapping[str, Callable[[Worker, Message], Awaitable[Parcel]]] = {
        "weigh": _begin,
        "compute": _begin,
        "sum": _sum,
        "result": _result,
        "finish": _finish,
    }


def _purpose(message: Message) -> Purpose:
    purpose: Any = message.note.get("purpose")
    if purpose not in get_args(Purpose) or (purpose == "weights") != (message.header.kind == "weigh"):
        raise TaskRefused("TASK_SETUP_ERROR", "A request does not say what is to be added up.")
    return cast(Purpose, purpose)
