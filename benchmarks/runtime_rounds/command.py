"""Times rounds over links against the bare masking of the same vectors."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.link_exchange.measure import measure
from benchmarks.runtime_rounds.prepared import update_of
from federated.algorithms.step_context import StepContext
from federated.links.in_process import InProcess
from federated.links.link import Link
from federated.links.sockets import Modeller, dial, listen
from federated.modeller import program as modeller
from federated.names import _PodResponseType
from federated.owner.state import PodState
from federated.pod.program import Pod
from federated.rounds.coordinator import Coordinator, News
from federated.rounds.journal import Journal
from federated.task import registry
from federated.task.signatures import sign_task
from federated.task.spec import FORMAT, Aggregation, Participant, TaskSpec, Unit, moment
from federated.types import AccessCheckResult, ProtocolContext
from secure_agg import Identity, Parameters, PodPolicy
from secure_agg.simulation import Cast, RoundToRun, make_cohort, run_round

DEFAULT = ((3, 10_000), (10, 10_000), (3, 1_000_000), (3, 10_000_000))
FULL = (*DEFAULT, (20, 10_000), (10, 1_000_000), (20, 1_000_000), (10, 10_000_000))
TINY = ((3, 1_000),)
CLIP = 4.0
EXCHANGED = (10_000, 10_000_000)
WORD_BYTES = 4
TASK = b"a benchmark's nonce".hex()[:32]


@dataclass
class Owner:
    """Allows everything: policy is not what is measured."""

    name: str
    folder: Path

    def admit(
        self, spec: TaskSpec, data: bytes, signature: bytes, now: datetime
    ) -> tuple[AccessCheckResult, str]:
        return {"response_type": _PodResponseType.ACCEPT, "limits": None}, ""

    def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
        return StepContext(self.name, spec, ProtocolContext(), secret, folder=self.folder)

    def rounds(self, spec: TaskSpec) -> PodPolicy:
        return PodPolicy(minimum_survivors=3)

    def released(self, spec: TaskSpec, what: str, facts: Mapping[str, Any]) -> None:
        return None

    def note(self, spec_hash: bytes, modeller: str, event: str, facts: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        return None


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Lets the training of tasks be the prepared one."""
    real = registry.resolve

    def resolve(name: str, arguments: Mapping[str, object] | None = None) -> registry.Row:
        ours = name.endswith("FederatedModelTraining")
        return registry.Row("benchmarks.runtime_rounds.prepared") if ours else real(name, arguments)

    registry.resolve = resolve
    try:
        yield
    finally:
        registry.resolve = real


def names_of(pods: int) -> tuple[str, ...]:
    return tuple(f"pod-{number:03d}" for number in range(pods))


@dataclass(frozen=True)
class Seconds:
    """Wall seconds, and CPU seconds of all threads."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        """A moment, for `since`."""
        return cls(time.perf_counter(), time.process_time())

    def since(self) -> Seconds:
        """What has passed."""
        now = Seconds.now()
        return Seconds(now.wall - self.wall, now.cpu - self.cpu)


@dataclass
class Timed:
    """Rounds, and the bare masking that ran before each: a load that comes and goes falls on both."""

    rounds: list[Seconds] = field(default_factory=list)
    bare: list[Seconds] = field(default_factory=list)

    def over_bare(self, kind: str) -> float:
        """Median of each round over the bare masking before it, less 1; the first pair warms up."""
        pairs = list(zip(self.rounds, self.bare, strict=True))[1:]
        return statistics.median(getattr(ours, kind) / getattr(bare, kind) for ours, bare in pairs) - 1


def parameters_of(size: int) -> Parameters:
    """As the task below has them."""
    return Parameters(length=size, clip=CLIP, minimum_survivors=3, on_clip="error")


def bare(names: tuple[str, ...], size: int) -> Any:
    """The mean by one round of `secure_agg` alone: every role, in this process."""
    parameters, updates = parameters_of(size), {name: update_of(name, size) for name in names}
    cohort = make_cohort(list(updates), parameters, os.urandom)
    this = RoundToRun(parameters, cohort, Cast(threads=1))
    return run_round(this, updates, dict.fromkeys(updates, 1.0), {}).mean


def check(found: Any, names: tuple[str, ...], times: int) -> None:
    """No time is shown of a wrong result.

    Rounding moves each pod's number by less than one step of the ring, so the mean by less than one a round; the
    model is float32 and at most ``times`` large.
    """
    right = sum(update_of(name, len(found)).astype(np.float64) for name in names) * (times / len(names))
    step = 1 / parameters_of(len(found)).encoding(len(names), "equal", 1.0).scale
    if not np.allclose(found, right, rtol=0, atol=times * (step + times * 2.0**-24)):
        raise AssertionError("a mean is not the mean of the updates; no time is shown")


def rounds(pods: int, size: int, repetitions: int, kind: str) -> Timed:
    """Rounds of the runtime over one kind of link, and bare masking in turn."""
    with patched(), tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_rounds(names_of(pods), size, repetitions, kind, Path(folder)))


async def _rounds(names: tuple[str, ...], size: int, repetitions: int, kind: str, folder: Path) -> Timed:
    own, keys = Identity(os.urandom(32)), {name: Identity(os.urandom(32)) for name in names}
    now = datetime.now(UTC)
    spec = TaskSpec(
        format=FORMAT,
        name="benchmark",
        nonce=TASK,
        created=moment(now),
        expires=moment(now + timedelta(hours=2)),
        modeller=Participant(name="modeller", key=own.public.hex()),
        participants=tuple(Participant(name=name, key=key.public.hex()) for name, key in keys.items()),
        protocol=Unit(name="bitfount.FederatedAveraging", arguments={"auto_eval": False}),
        algorithms=(
            Unit(name="bitfount.FederatedModelTraining", arguments={"size": size, "steps": repetitions + 1}),
        ),
        aggregation=Aggregation(name="bitfount.SecureAggregator", minimum_survivors=3, clip=CLIP),
        quorum=3,
    )
    pinned = spec.pinned
    pods = {
        name: Pod(
            name,
            key,
            {"modeller": own.public},
            pinned,
            Owner(name, folder / name),
            PodState(folder / name),
            threads=1,
        )
        for name, key in keys.items()
    }
    found, began = Timed(), [Seconds.now()]

    def tell(news: News) -> None:
        if news.what == "round":
            gc.collect()
            began[0] = Seconds.now()
            mean = bare(names, size)
            found.bare.append(began[0].since())
            check(mean, names, 1)
            began[0] = Seconds.now()

    def watch(number: int, model: Mapping[str, Any]) -> None:
        found.rounds.append(began[0].since())
        check(model["weights"], names, number)

    async with _linked(kind, own, keys, pods) as link:
        coordinator = Coordinator(spec, own, link, Journal(None), tell, watch=watch)
        await modeller.run(coordinator, sign_task(own, spec.to_bytes()))
    for pod in pods.values():
        pod.close()
    return found


@contextlib.asynccontextmanager
async def _linked(kind: str, own: Identity, keys: Mapping[str, Identity], pods: Mapping[str, Pod]) -> Any:
    if kind == "in process":
        yield InProcess({name: pod.handle for name, pod in pods.items()})
        return
    hub: Link = await listen(own, {name: key.public for name, key in keys.items()})
    place = Modeller(*hub.address, own.public)  # type: ignore[attr-defined] # a Hub
    dialling = [
        asyncio.ensure_future(dial(place, keys[name], name, pod.handle)) for name, pod in pods.items()
    ]
    try:
        yield hub
    finally:
        for one in dialling:
            one.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        await hub.close()


def row(pods: int, size: int, repetitions: int, kind: str) -> dict[str, Any]:
    """One line of the table."""
    found = rounds(pods, size, repetitions, kind)
    return {
        "link": kind,
        "pods": pods,
        "parameters": size,
        "seconds_per_round": statistics.median(one.wall for one in found.rounds[1:]),
        "masking_seconds": statistics.median(one.wall for one in found.bare[1:]),
        "overhead": found.over_bare("wall"),
        "cpu_overhead": found.over_bare("cpu"),
    }


def document(
    sizes: tuple[tuple[int, int], ...], repetitions: int, exchanged: tuple[int, ...] = EXCHANGED
) -> dict[str, Any]:
    """All lines; ``exchanged`` are the parameters of the single exchanges over sockets."""
    found = []
    for pods, size in sizes:
        for kind in ("in process", "sockets"):
            found.append(row(pods, size, repetitions, kind))
        update_of.cache_clear()
    exchanges = [
        {
            "parameters": parameters,
            "milliseconds": one.seconds * 1e3,
            "times_a_bare_tls_copy": one.seconds / one.bare_seconds,
        }
        for parameters, one in zip(
            exchanged, measure(tuple(size * WORD_BYTES for size in exchanged)), strict=True
        )
    ]
    machine = {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count() or 0}
    return {
        "schema": "trialveil/runtime-benchmark/1",
        "machine": machine,
        "rows": found,
        "exchanges": exchanges,
    }


def main(description: str) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="all sizes, more repetitions")
    size.add_argument("--tiny", action="store_true", help="see that it runs; its times say nothing")
    chosen = parser.parse_args()
    if chosen.tiny:
        found = document(TINY, 2, (1_000,))
    else:
        found = document(FULL if chosen.full else DEFAULT, 7 if chosen.full else 5)
    if chosen.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    sys.stdout.write("link         pods  parameters   a round  bare masking  overhead  of CPU\n")
    for one in found["rows"]:
        sys.stdout.write(
            f"{one['link']:<11}{one['pods']:>6}{one['parameters']:>12,}{one['seconds_per_round']:>9.3f}s"
            f"{one['masking_seconds']:>13.3f}s{one['overhead']:>10.0%}{one['cpu_overhead']:>8.0%}\n"
        )
    for one in found["exchanges"]:
        sys.stdout.write(
            f"one exchange over sockets, {one['parameters']:,} parameters: {one['milliseconds']:.1f} ms, "
            f"{one['times_a_bare_tls_copy']:.2f} times a bare TLS copy\n"
        )
