"""The modeller's desk: asks pods, checks their answers, waits no longer than it must.

Everything is a request and its answer. A request has a number that grows, and the same number always goes with the
same bytes, also after the modeller was killed and started again; so a pod that has answered it answers it again, and
a pod that never got it loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from federated.errors import LinkLost, MessageRefused, TooFewPods
from federated.links.link import Link
from federated.models.interface import Tensors
from federated.names import _PodResponseType
from federated.rounds.journal import Journal
from federated.task.envelope import Asked, Buffer, Envelope, Header, Message, opened, signed
from federated.task.spec import TaskSpec
from secure_agg import Signer

STAGES = 16
"""Numbers of requests that one exchange may take."""
RESULT_SEQ = 1
"""Where in the order of exchanges the pods' own results are asked for; such a task has no other."""
END_SEQ = 1 << 40
"""Behind all exchanges."""
RETURN_S = 65.0
"""How long a modeller that was started again waits for its pods at most: they dial at least once in a minute."""
RETURN_AT_LEAST_S = 5.0
"""And at least: for a pod's first wait, and its greeting."""
_REFUSALS = frozenset(_PodResponseType.__members__) - {_PodResponseType.ACCEPT.name}
_LOOK_S = 0.05  # a link tells who is there, not when somebody comes


@dataclass(frozen=True, slots=True)
class News:
    """What a person who watches may want to know.

    Attributes:
        what: "offer", "round", "step", "pod" or "end".
        number: of the training round; 0 for none.
        of: how many rounds there are; 0 for unknown.
        pod: which pod it is about; "" for all.
        text: in words; no value of a pod, ever.
    """

    what: str
    number: int = 0
    of: int = 0
    pod: str = ""
    text: str = ""


OnProgress = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A pod's answer, or why there is none.

    Attributes:
        pod: who was asked.
        message: the verified answer; None where there is none.
        code: why not: a `_PodResponseType` name or "LOST".
        sentence: the same in words.
    """

    pod: str
    message: Message | None
    code: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Coordinator:
    """One task on the modeller's side.

    Attributes:
        spec: the task.
        signer: the modeller's identity.
        link: how pods are reached.
        journal: what survives this process.
        on_progress: hears what happens.
        clock: seconds that do not go back.
        watch: is given the number of each training round and the model after it.
        away_s: how long a pod may be away in a round once enough others have answered; one that lives dials every
            minute.
    """

    spec: TaskSpec
    signer: Signer = field(repr=False)
    link: Link = field(repr=False)
    journal: Journal = field(repr=False)
    on_progress: OnProgress = field(default=lambda news: None, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    watch: Callable[[int, Tensors], None] = field(default=lambda number, model: None, repr=False)
    away_s: float = RETURN_S

    def request(
        self, pod: str, number: int, kind: Asked, note: Mapping[str, Any], body: Buffer = b""
    ) -> Envelope:
        """A signed request."""
        header = Header(1, self.spec.hash, self.spec.modeller.name, pod, number, kind, dict(note), 0, b"")
        return signed(self.signer, header, body)

    async def ask(self, pod: str, request: Envelope, number: int, *, upload: bool = False) -> Answer:
        """One pod's answer to one request; never raises for what a pod does."""
        try:
            envelope = await self.link.ask(pod, request)
            message = opened(envelope, {pod: self.spec.pinned[pod]}, sealed_allowed=upload)
            header = message.header
            if (header.task, header.sender, header.recipient) != (
                self.spec.hash,
                pod,
                self.spec.modeller.name,
            ):
                raise MessageRefused("An answer belongs to another task or pod; it was dropped.")
            if header.number != number:
                raise MessageRefused("An answer has the number of another request; it was dropped.")
        except LinkLost as lost:
            return Answer(pod, None, "LOST", str(lost))
        except MessageRefused as refused:
            return Answer(pod, None, "TASK_SETUP_ERROR", str(refused))
        if header.kind == "refused":
            return Answer(pod, None, *_reason(message.note))
        return Answer(pod, message)

    async def ask_who_is_there(
        self, asked: tuple[str, Envelope, int], enough: Callable[[], bool], *, upload: bool = False
    ) -> Answer:
        """The same, but nobody waits to the deadline for a pod that has gone while enough others have answered."""
        both = [
            asyncio.ensure_future(one)
            for one in (self.ask(*asked, upload=upload), self._gone(asked[0], enough))
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return next(one.result() for one in both if one.done())
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _gone(self, pod: str, enough: Callable[[], bool]) -> Answer:
        seen = self.clock()
        while self.clock() - seen < self.away_s or not enough():
            await asyncio.sleep(min(1.0, self.away_s / 8))
            seen = self.clock() if pod in self.link.connected else seen
        return Answer(pod, None, "LOST", f"The pod has been away for {self.away_s:g} s.")

    async def results(self, cohort: tuple[str, ...]) -> dict[str, Any]:
        """What each pod returns by itself, from those that answer in time.

        Raises:
            TooFewPods: fewer than the quorum; the next start asks the others again.
        """
        kept = self.journal.told("results")
        if kept is not None:
            return dict(read_json(kept))
        tries, so_far = self.journal.told("results so far", (0, b"{}"))
        found, missing = dict(read_json(so_far)), dict[str, str]()
        # A pod that has failed gives the same answer to the same request for ever, so a new try is a new one.
        number = RESULT_SEQ * STAGES + tries
        requests = {pod: self.request(pod, number, "result", {}) for pod in cohort if pod not in found}
        async for answer in self.ask_all(requests, number, self.spec.deadlines.compute):
            try:
                found[answer.pod] = _result(answer)
            except MessageRefused as why:
                missing[answer.pod] = str(why)
                self.on_progress(News("pod", 0, 0, answer.pod, str(why)))
        found = dict(sorted(found.items()))
        body = msgspec.json.encode(found)
        if len(found) < self.spec.quorum:
            self.journal.tell("results so far", (tries + 1, body))
            raise TooFewPods(
                f"{len(found)} of {len(cohort)} pods returned a result; the task needs {self.spec.quorum}."
                + "".join(f" {pod}: {why}" for pod, why in sorted(missing.items()))
            )
        self.journal.tell("results", body)
        return found

    async def come_back(self, pods: Iterable[str]) -> None:
        """Wait a while for pods that lost this program when it was killed, so that none misses a round by that.

        A pod waits up to twice as long before it dials again as it has been alone so far (see
        `federated.links.dial.Backoff`); who has not come by then was away before, and is asked when it comes.
        """
        pods, wait_s = frozenset(pods), min(RETURN_S, 2 * self.journal.quiet_s + RETURN_AT_LEAST_S)
        until = self.clock() + wait_s
        away = pods - self.link.connected
        if away:
            words = f"waiting up to {wait_s:.0f} s for {len(away)} pods to come back"
            self.on_progress(News("step", 0, 0, "", words))
        while away and self.clock() < until:
            await asyncio.sleep(_LOOK_S)
            away = pods - self.link.connected

    async def ask_all(
        self,
        requests: Mapping[str, Envelope],
        number: int,
        seconds: float,
        enough: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator[Answer]:
        """Answers as they come, until all are there or the time is up; all pods are asked at once."""
        asked = {
            pod: self.ask_who_is_there((pod, envelope, number), enough) for pod, envelope in requests.items()
        }
        async with asking(asked) as tasks:
            async for answer in arriving(tasks, self.clock() + seconds, self.clock):
                yield answer


@contextlib.asynccontextmanager
async def asking(asked: Mapping[str, Awaitable[Answer]]) -> AsyncIterator[set[asyncio.Task[Answer]]]:
    """All of them at once; what has not ended at the end is cancelled."""
    tasks = {asyncio.ensure_future(one) for one in asked.values()}
    try:
        yield tasks
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def arriving(
    tasks: set[asyncio.Task[Answer]], until: float, clock: Callable[[], float]
) -> AsyncIterator[Answer]:
    """Answers in the order in which they come, until ``until``."""
    waiting = set(tasks)
    while waiting:
        left = until - clock()
        if left <= 0:
            return
        done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return
        for task in sorted(done, key=lambda task: task.result().pod):
            yield task.result()


def _result(answer: Answer) -> Any:
    if answer.message is None:
        raise MessageRefused(answer.sentence or answer.code)
    return read_json(answer.message.body)


def _reason(note: Mapping[str, Any]) -> tuple[str, str]:
    """Code and words of a pod's refusal; its words are shown on a terminal, so nothing in them may steer one."""
    code, sentence = note.get("code"), note.get("sentence")
    if not isinstance(code, str) or code not in _REFUSALS or not isinstance(sentence, str):
        return _PodResponseType.NO_ACCESS.name, ""
    return code, "".join(one if one.isprintable() else " " for one in sentence[:500])


def read_json(body: Buffer) -> Any:
    """A pod's own result.

    Raises:
        MessageRefused: it is no JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MessageRefused("A result is no JSON; it was dropped.") from None
