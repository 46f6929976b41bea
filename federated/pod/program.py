"""One hospital's program: decides which tasks may run, runs their side, and answers the modeller's requests.

Wiring only. A pod never listens and never asks; what it may do is decided by its owner's policy, and whatever it
must remember is on the disk before it says anything that depends on it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from federated.algorithms.step_context import StepContext, parameters_of
from federated.errors import FederatedError, MessageRefused, TaskRefused
from federated.names import _PodResponseType
from federated.owner.state import AcceptedTask, PodState
from federated.pod.worker import Worker, WorkerContext, as_refusal
from federated.protocols.sides import PodSide
from federated.task import registry
from federated.task.envelope import Envelope, Header, Message, opened, refusal, signed
from federated.task.signatures import check_task_signature
from federated.task.spec import TaskSpec, moment, read_task_spec, task_hash
from federated.types import AccessCheckResult
from secure_agg import PodPolicy, PodSetup, Signer

_KEPT_AFTER = timedelta(days=1)
"""How long after its end a task can still be told its last model."""


class Owner(Protocol):
    """What the owner of a pod has decided, and what is kept of it."""

    def admit(
        self, spec: TaskSpec, data: bytes, signature: bytes, now: datetime
    ) -> tuple[AccessCheckResult, str]:
        """Whether a task may run, and a sentence for the modeller; fails closed, never raises."""
        ...

    def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
        """What the task's algorithms find in this pod.

        Raises:
            TaskRefused: a data source that it needs is not there.
        """
        ...

    def rounds(self, spec: TaskSpec) -> PodPolicy:
        """Which masked rounds of the task this pod enters."""
        ...

    def released(self, spec: TaskSpec, what: str, facts: Mapping[str, Any]) -> None:
        """Write down that something leaves, before it does.

        Raises:
            PolicyRefused, BudgetSpent: it may not.
        """
        ...

    def note(self, spec_hash: bytes, modeller: str, event: str, facts: Mapping[str, Any]) -> None:
        """Write into the owner's log what was asked and answered."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


@dataclass(frozen=True)
class Pod:
    """One pod.

    Attributes:
        name: as peers and modellers know it.
        signer: its identity.
        modellers: names to pinned raw public keys of those whose tasks are looked at.
        peers: names to pinned raw public keys of pods that it agrees to add with, itself included.
        owner: see `Owner`.
        state: what survives a crash.
        entropy: gives unpredictable bytes.
        clock: gives the time, aware.
        threads: for masking; None takes up to four.
        tell: is told in a sentence what was asked and answered, for the person who watches.
    """

    name: str
    signer: Signer = field(repr=False)
    modellers: Mapping[str, bytes] = field(repr=False)
    peers: Mapping[str, bytes] = field(repr=False)
    owner: Owner = field(repr=False)
    state: PodState = field(repr=False)
    entropy: Callable[[int], bytes] = field(default=os.urandom, repr=False)
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    threads: int | None = None
    tell: Callable[[str], None] = field(default=lambda sentence: None, repr=False)
    _workers: dict[bytes, Worker] = field(default_factory=dict, init=False, repr=False)
    _entering: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _making: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    task_ended: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    """Set when a modeller has said that a task is over, or this pod has refused one."""

    async def handle(self, envelope: Envelope) -> Envelope:
        """The answer to one request; see `federated.links.link.Handler`.

        Raises:
            MessageRefused: it is from nobody whose key is pinned; there is no answer to that.
        """
        message = opened(envelope, self.modellers)
        if message.header.recipient != self.name:
            raise MessageRefused("A message is for another pod; it was dropped.")
        try:
            if message.header.kind == "offer":
                return await self._offered(message)
            worker = await self._worker(message)
            if worker is None:
                return self._say(message.header, "done", {})
            answer = await worker.handle(message)
            if worker.ended:
                self._workers.pop(message.header.task, None)
                self.tell(f"{worker.spec.name}: the task has ended.")
                self.task_ended.set()
            return answer
        except FederatedError as error:
            refused = as_refusal(error)
            offered = message.header.kind == "offer"
            what = "A task" if offered else f"A request ({message.header.kind})"
            self.tell(f"{what} of {message.header.sender} was refused ({refused.code}): {refused}")
            if offered:
                self.task_ended.set()
            return self._say(message.header, "refused", refusal(refused))

    def close(self) -> None:
        """Overwrite secrets of open rounds, and let go of the files."""
        for worker in self._workers.values():
            worker.close()
        self.state.close()
        self.owner.close()

    async def _offered(self, message: Message) -> Envelope:
        data, signature = bytes(message.body), message.note.get("signature")
        header = message.header
        if not isinstance(signature, bytes) or task_hash(data) != header.task:
            raise TaskRefused("INVALID_PROOF_OF_IDENTITY", "The task is not the one that the message names.")
        check_task_signature(self.modellers[header.sender], signature, data)
        spec = read_task_spec(data)
        if spec.modeller.name != header.sender:
            raise TaskRefused("INVALID_PROOF_OF_IDENTITY", "The task names another modeller than its sender.")
        async with self._making:
            self._forget_expired()
            known = self.state.task(header.task)
            if known is None:
                await self._admit(spec, data, signature)
            elif known.state != "open":
                raise TaskRefused("UNAUTHORISED", "This task has ended in this pod; make a new one.")
        return self._say(header, "accepted", {"code": _PodResponseType.ACCEPT.name})

    def _forget_expired(self) -> None:
        """Let go of tasks whose modellers never said that they ended, and of the rows that they hold in memory."""
        now = self.clock()
        for task, worker in list(self._workers.items()):
            if now > datetime.fromisoformat(worker.spec.expires) + _KEPT_AFTER and not worker.busy:
                self._workers.pop(task).close()
                self.state.ended(task, "stopped", "expired")

    async def _admit(self, spec: TaskSpec, data: bytes, signature: bytes) -> None:
        now = self.clock()
        access, sentence = self.owner.admit(spec, data, signature, now)
        code = access["response_type"].name
        if access["response_type"] is not _PodResponseType.ACCEPT:
            self.owner.note(spec.hash, spec.modeller.name, "refused", {"code": code})
            raise TaskRefused(code, sentence)
        # Everything is tried before the task is accepted, so that a pod that says yes can keep it.
        worker = await asyncio.to_thread(self._made, spec, access)
        # The owner's log first: whatever a pod remembers as accepted stands there.
        self.owner.note(spec.hash, spec.modeller.name, "accepted", {"code": code})
        self.state.accept(AcceptedTask(spec.hash, data, signature, moment(now)))
        self._workers[spec.hash] = worker
        self.tell(f"{spec.name}: the task of {spec.modeller.name} was accepted.")

    async def _worker(self, message: Message) -> Worker | None:
        """The task's worker; made anew from what is on the disk where this pod was started again.

        None where a modeller says again that a task has ended: there is nothing to do.
        """
        header = message.header
        async with self._making:  # a second worker would not know of the round that the first is in
            worker = self._workers.get(header.task)
            if worker is None:
                known = self.state.task(header.task)
                if known is None:
                    raise TaskRefused("NO_ACCESS", "This pod has not accepted the task.")
                spec = read_task_spec(known.spec)
                self._check(header, spec)
                if known.state != "open":
                    if header.kind == "finish":
                        return None
                    raise TaskRefused("UNAUTHORISED", "The task has ended in this pod.")
                worker = self._workers[known.hash] = await self._made_again(spec, known)
        self._check(header, worker.spec)
        return worker

    def _check(self, header: Header, spec: TaskSpec) -> None:
        if spec.modeller.name != header.sender:
            raise TaskRefused("UNAUTHORISED", "The task is another modeller's.")
        if header.kind != "finish" and self.clock() > datetime.fromisoformat(spec.expires):
            raise TaskRefused("TASK_TIMEOUT", "The task has expired. Nothing was run.")

    async def _made_again(self, spec: TaskSpec, known: AcceptedTask) -> Worker:
        access, sentence = self.owner.admit(spec, known.spec, known.signature, self.clock())
        if access["response_type"] is not _PodResponseType.ACCEPT:
            raise TaskRefused(access["response_type"].name, sentence)
        return await asyncio.to_thread(self._made, spec, access)

    def _made(self, spec: TaskSpec, access: AccessCheckResult) -> Worker:
        # A signature is the same whenever it is made, and nobody else can make it.
        secret = hashlib.sha256(self.signer.sign(b"trialveil/pod-secret\0" + spec.hash)).digest()
        place = self.owner.workplace(spec, access, secret)
        module = registry.load(registry.resolve(spec.protocol.name, spec.protocol.arguments))
        side: PodSide = module.worker(parameters_of(module.Parameters, spec.protocol), place)
        setup = PodSetup(
            self.name,
            self.signer,
            self.peers,
            self.modellers[spec.modeller.name],
            self.owner.rounds(spec),
            self.threads,
        )

        def released(what: str, facts: Mapping[str, Any]) -> None:
            self.owner.released(spec, what, facts)
            about = f", round {facts['round']}" if facts.get("round") else ""
            self.tell(f"{spec.name}{about}: what leaves now: {what}.")

        desk = WorkerContext(self.signer, self.state, setup, self.entropy, secret, released, self._entering)
        return Worker(spec, self.name, side, desk)

    def _say(self, asked: Header, kind: str, note: Mapping[str, Any]) -> Envelope:
        header = Header(1, asked.task, self.name, asked.sender, asked.number, kind, dict(note), 0, b"")
        return signed(self.signer, header)
