"""The modeller's program: offers a task to the pods, runs its rounds, keeps what came out. Wiring only.

Everything that follows from an answer is in the journal first; so the same call on the same journal goes on where a
killed program stopped, down to the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from federated.algorithms.step_context import parameters_of
from federated.errors import ConfigurationError, FederatedError, PolicyRefused, TooFewPods
from federated.names import _PodResponseType
from federated.protocols.sides import AddUp, TaskOutcome
from federated.rounds.coordinator import END_SEQ, STAGES, Coordinator, News
from federated.task import registry
from federated.task.envelope import Buffer, forget_last_body

ACCEPT = _PodResponseType.ACCEPT.name


async def run(
    coordinator: Coordinator, signature: bytes, keep: Callable[[TaskOutcome], object] = lambda outcome: None
) -> TaskOutcome:
    """Run a task to its end.

    Args:
        coordinator: the task, its pods, its journal.
        signature: the modeller's, over the task's canonical bytes.
        keep: writes what came out; is called again where this program is killed before all pods were told.

    Raises:
        PolicyRefused: every pod that answered has refused the task.
        TooFewPods: fewer pods than the quorum have accepted, or a round has no sum.
        TaskRefused: the task does not fit its own protocol.
    """
    try:
        cohort = await _offered(coordinator, signature)
        outcome = await _run_protocol(coordinator, cohort)
    except ConfigurationError:
        raise  # the log cannot be written, or is not what it was: what stands in it is resumed later
    except FederatedError as error:
        coordinator.journal.tell("reason", str(error))
        coordinator.journal.tell("state", "failed")
        # Pods keep the task open where a later start can go on with it.
        if any(
            one.outcome.get("released") for one in coordinator.journal.rounds() if one.purpose != "weights"
        ):
            await finish(coordinator, "stopped")
        raise
    finally:
        forget_last_body()
    refused = {pod: text for pod, (code, text) in coordinator.journal.answers().items() if code != ACCEPT}
    outcome = replace(outcome, refused=refused)
    # The results are on the disk before a pod forgets the task, and the task is done when the pods know it.
    keep(outcome)
    await finish(coordinator, outcome.reason, _model_bytes(outcome), len(outcome.rounds))
    coordinator.journal.tell("reason", outcome.reason)
    coordinator.journal.tell("state", "done")
    return outcome


async def _run_protocol(coordinator: Coordinator, cohort: tuple[str, ...]) -> TaskOutcome:
    spec = coordinator.spec
    protocol = registry.load(registry.resolve(spec.protocol.name, spec.protocol.arguments))
    outcome: TaskOutcome = await protocol.modeller(
        parameters_of(protocol.Parameters, spec.protocol), coordinator, cohort, adding_up(coordinator)
    )
    return outcome


def adding_up(coordinator: Coordinator) -> AddUp:
    """How the task's vectors become one."""
    aggregation = coordinator.spec.aggregation
    if aggregation is None:

        async def nothing(*_: Any) -> Any:
            raise PolicyRefused("The task names no aggregator, and its protocol adds up results.")

        return nothing
    module = registry.load(registry.resolve(aggregation.name))
    found: AddUp = module.modeller
    return found


async def _offered(coordinator: Coordinator, signature: bytes) -> tuple[str, ...]:
    """The pods that take part, fixed at the first start; a pod that did not answer in time is not among them."""
    fixed = coordinator.journal.told("cohort")
    if fixed is not None:
        await coordinator.come_back(fixed)
        return tuple(fixed)
    spec, journal = coordinator.spec, coordinator.journal
    body, note = spec.to_bytes(), {"signature": signature}
    known = journal.answers()
    requests = {
        pod: coordinator.request(pod, 1, "offer", note, body)
        for pod in spec.names
        if known.get(pod, ("",))[0] != ACCEPT  # an owner may have changed a refusal's reason since
    }
    coordinator.on_progress(News("offer", 0, 0, "", f"offered to {len(requests)} pods"))
    async for answer in coordinator.ask_all(requests, 1, spec.deadlines.accept):
        if answer.message is None and answer.code == "LOST":
            continue
        code = ACCEPT if answer.message is not None else answer.code
        journal.answer(answer.pod, code, answer.sentence)
        coordinator.on_progress(News("pod", 0, 0, answer.pod, answer.sentence or "accepted"))
    return _fixed(coordinator)


def _fixed(coordinator: Coordinator) -> tuple[str, ...]:
    spec, answers = coordinator.spec, coordinator.journal.answers()
    accepted = tuple(sorted(pod for pod, (code, _) in answers.items() if code == ACCEPT))
    if answers and not accepted and len(answers) == len(spec.names):
        sentences = sorted({text for _, text in answers.values()})
        raise PolicyRefused(f"Every pod refused the task: {' '.join(sentences)}")
    least = max(spec.quorum, spec.cohort_minimum)
    if len(accepted) < least:
        raise TooFewPods(
            f"{len(accepted)} of {len(spec.names)} pods accepted the task; it needs {least}. Nothing was run."
            + _reasons(answers)
        )
    coordinator.journal.tell("cohort", list(accepted))
    return accepted


def _reasons(answers: Mapping[str, tuple[str, str]]) -> str:
    refused = [f" {pod}: {text}" for pod, (code, text) in sorted(answers.items()) if code != ACCEPT and text]
    return "".join(refused)


def _model_bytes(outcome: TaskOutcome) -> Buffer:
    from federated.aggregators.values import tensors_to_bytes

    return tensors_to_bytes(outcome.model) if outcome.model else b""


async def finish(coordinator: Coordinator, reason: str, model: Buffer = b"", rounds: int = 0) -> None:
    """Tell the pods that can be reached that the task has ended; those that are away see it when it expires."""
    cohort = coordinator.journal.told("cohort", [])
    number = END_SEQ * STAGES
    note = {"reason": reason, "rounds": rounds}
    here = [pod for pod in cohort if pod in coordinator.link.connected]
    requests = {pod: coordinator.request(pod, number, "finish", note, model) for pod in here}
    async for answer in coordinator.ask_all(requests, number, coordinator.spec.deadlines.step):
        if answer.message is None:
            coordinator.on_progress(News("pod", 0, 0, answer.pod, answer.sentence or answer.code))
    coordinator.on_progress(News("end", rounds, rounds, "", reason))
    await asyncio.sleep(0)
