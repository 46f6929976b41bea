"""The run that nobody disturbs, in this process, with the pods in each sum that a killed run had in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from federated.errors import LinkLost
from federated.links.link import Handler
from federated.modeller.task_run import Status, TaskResult, TaskRun, begin, run
from federated.pod.services import open_pod
from federated.rounds.coordinator import STAGES
from federated.rounds.journal import Journal
from federated.task.envelope import Envelope, opened
from federated.task.spec import TaskSpec
from secure_agg import Identity
from tests.fakes.federation import seed_of

MODELLER = "modeller"


def done_sums(found: Status) -> list[Mapping[str, object]]:
    """The sums of a task that came to their end, in order."""
    return [one for one in found.rounds if one["state"] == "done"]


class Replay:
    """A link to pods in this process, each of which answers only in the sums that it was in.

    Args:
        pods: name to handler.
        sums: done sums of the run that was killed, in order.
        modeller: raw public key of whom the pods answer.
    """

    def __init__(
        self, pods: Mapping[str, Handler], sums: Sequence[Mapping[str, object]], modeller: bytes
    ) -> None:
        self._pods, self._sums = pods, sums
        self._met: list[int] = []
        self._key = {MODELLER: modeller}

    @property
    def connected(self) -> frozenset[str]:
        """All or none: weights are asked for again where they were."""
        here = len(self._met)
        weighs = here >= len(self._sums) or self._sums[here]["purpose"] == "weights"
        return frozenset(self._pods) if weighs else frozenset()

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        header = opened(request, self._key).header
        if header.kind in ("weigh", "compute", "sum"):
            seq = header.number // STAGES
            if seq not in self._met:
                self._met.append(seq)
            given = self._sums[self._met.index(seq)]
            assert (given["purpose"] == "weights") == (header.kind == "weigh") or header.kind == "sum"
            if pod not in given["survivors"]:  # type: ignore[operator]
                raise LinkLost("The pod was lost in this sum.")
        return await self._pods[pod](request)

    async def close(self) -> None:
        """Nothing is held."""


async def undisturbed(
    out: Path, twin: Path, names: tuple[str, ...], sums: Sequence[Mapping[str, object]]
) -> TaskResult:
    """The same signed task with fresh pods in this process.

    Args:
        out: folder of the run that was killed.
        twin: pods with the same keys and rows, and no state; its ``out`` gets the results.
        names: of the pods.
        sums: done sums of the run that was killed, in order.
    """
    text = _same_task(out, twin / "out")
    given = TaskRun(_no_other_task, text, Identity(seed_of(MODELLER)), twin / "out")
    pods = {name: open_pod(twin / name / "pod.yaml") for name in names}
    begun = begin(given)
    try:
        handlers = {name: pod.handle for name, pod in pods.items()}
        return await run(begun, given, Replay(handlers, sums, given.signer.public))
    finally:
        begun.journal.close()
        for pod in pods.values():
            pod.close()


def _same_task(out: Path, to: Path) -> str:
    """Let a folder hold a task that was signed and not yet offered to anybody; the task file's text."""
    before, after = Journal(out, read_only=True), Journal(to)
    try:
        for name in ("identity", "signature", "spec"):
            after.tell(name, before.told(name))
        text: str = before.told("identity")
        return text
    finally:
        before.close()
        after.close()


def _no_other_task(*_: object) -> TaskSpec:
    raise AssertionError("the undisturbed run has the task of the killed one")
