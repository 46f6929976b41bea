"""The modeller's rounds of training: begun, added up, stored, and taken up again after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from federated.aggregators.round_terms import aggregation_of
from federated.aggregators.secure_rounds import Combined, Exchange
from federated.aggregators.values import (
    model_hash,
    moved,
    reals_layout,
    tensors_from_bytes,
    tensors_to_bytes,
    without_metrics,
)
from federated.errors import ConfigurationError, TooFewPods
from federated.models.interface import Model
from federated.protocols.early_stopping import EarlyStopping
from federated.protocols.exchanges import Exchanges
from federated.protocols.sides import AddUp, RoundOutcome, TaskOutcome
from federated.rounds.coordinator import Coordinator, News
from federated.rounds.journal import LoggedRound
from federated.task.envelope import Buffer, body_digest

ATTEMPTS = 3
"""How often a round is begun anew after too few pods answered, while nobody has released anything of it."""


@dataclass(slots=True)
class _Training:
    """What is known after the rounds so far."""

    tensors: dict[str, NDArray[Any]]
    body: Buffer = field(repr=False)
    rounds: list[RoundOutcome] = field(default_factory=list)
    best: tuple[int, dict[str, NDArray[Any]]] | None = None
    without_gain: int = 0
    stands_still: bool = False


class TrainingRounds:
    """All rounds of one task.

    Args:
        coordinator: the modeller's desk.
        cohort: pods that have accepted the task.
        add_up: how updates become one.
        model: the initial model, the same for everybody.
        metrics: name to bound, of what travels with the updates.
        stop: when to stop early; None for never.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        cohort: tuple[str, ...],
        add_up: AddUp,
        model: Model,
        metrics: Mapping[str, float],
        stop: EarlyStopping | None,
    ) -> None:
        self._at, self._add_up, self._stop = coordinator, add_up, stop
        self._exchanges = Exchanges(coordinator, cohort, add_up)
        self._like = model.tensors()
        self._layout = reals_layout(self._like, metrics)
        self._so_far = _Training(dict(self._like), tensors_to_bytes(self._like))

    async def run(self, amounts: Sequence[int]) -> TaskOutcome:
        """From the first round, or from where this program was killed.

        Args:
            amounts: training of each round, in the model's unit.

        Raises:
            TooFewPods: a round has no sum, and cannot be begun anew.
        """
        self._restore()
        found = self._so_far
        while len(found.rounds) < len(amounts) and self._reason() is None:
            number = len(found.rounds) + 1
            self._at.on_progress(News("round", number, len(amounts), "", f"round {number} of {len(amounts)}"))
            self._take(number, await self._attempts(number, amounts[number - 1]))
        return TaskOutcome(self._reason() or "done", tuple(found.rounds), found.tensors, found.best)

    def _reason(self) -> str | None:
        found, stop = self._so_far, self._stop
        if stop is not None and found.without_gain >= stop.patience:
            return "early stop"
        # The pods answer once for a model; a model that no longer moves needs no further round.
        return "converged" if found.stands_still else None

    async def _attempts(self, number: int, amount: int) -> Combined:
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._attempt(number, amount)
            except TooFewPods as error:
                if self._exchanges.released():
                    raise
                self._at.on_progress(News("round", number, 0, "", f"{error} The round is begun again."))
        return await self._attempt(number, amount)

    async def _attempt(self, number: int, amount: int) -> Combined:
        total, weighed = await self._exchanges.weights(number)
        body = self._so_far.body
        terms = self._exchanges.terms(
            "update", model_hash(self._at.spec.hash, self._layout.hash, body), total
        )
        clip = aggregation_of(self._at.spec).clip
        exchange = Exchange(terms, self._layout, number, {"amount": amount}, body, clip, weighed)
        return await self._add_up(self._at, exchange)

    def _take(self, number: int, combined: Combined) -> None:
        """Go on from the mean; the model is on the disk before the round counts as done."""
        update, metrics = without_metrics(combined.parts)
        body, tensors = moved(self._so_far.tensors, update)
        outcome: dict[str, Any] = {
            "survivors": list(combined.survivors),
            "weight": combined.weight,
            "metrics": metrics,
            "lost": dict(combined.lost),
            "report": dict(combined.report),
        }
        outcome["still"] = body_digest(self._so_far.body) == body_digest(body)
        outcome["model"] = body_digest(body)
        self._at.journal.store_blob(f"model-{number}.bin", body)
        self._at.journal.end(max(one.seq for one in self._at.journal.rounds()), "done", outcome)
        self._count(number, outcome, tensors, body)
        self._at.watch(number, tensors)
        if number > 1 and (self._so_far.best is None or self._so_far.best[0] != number - 1):
            self._at.journal.drop_blob(f"model-{number - 1}.bin")

    def _count(
        self, number: int, outcome: Mapping[str, Any], tensors: dict[str, NDArray[Any]], body: Buffer
    ) -> None:
        found, stop = self._so_far, self._stop
        metrics = dict(outcome["metrics"])
        if stop is not None:
            gained = stop.gained(metrics, [one.metrics for one in found.rounds])
            found.without_gain = 0 if gained else found.without_gain + 1
            if gained:
                found.best = (number, tensors)
        found.rounds.append(
            RoundOutcome(
                number,
                tuple(outcome["survivors"]),
                float(outcome["weight"]),
                metrics,
                outcome["lost"],
                outcome["report"],
            )
        )
        found.stands_still = bool(outcome["still"])
        found.tensors, found.body = tensors, body

    def _restore(self) -> None:
        """Take up the rounds that were done before this program was killed.

        Raises:
            ConfigurationError: the last model, or the best one, is no longer what was stored.
        """
        gone: set[int] = set()
        for one in self._at.journal.rounds():
            if one.purpose != "update" or one.state != "done":
                continue
            # Only the last model and the best one are kept; of the others the metrics are enough.
            data = self._stored(one)
            if data is None:
                gone.add(one.number)
            tensors = self._so_far.tensors if data is None else tensors_from_bytes(data, self._like)
            self._count(one.number, one.outcome, tensors, data or b"")
        found = self._so_far
        needed = {one.number for one in found.rounds[-1:]} | ({found.best[0]} if found.best else set())
        for number in sorted(gone & needed):
            raise ConfigurationError(
                f"the folder of the task no longer holds the model of round {number} as it was stored, so the task "
                "cannot go on; bring the file back, or make a new task in another folder."
            )

    def _stored(self, one: LoggedRound) -> Buffer | None:
        data, expected = self._at.journal.blob(f"model-{one.number}.bin"), one.outcome.get("model")
        if data is not None and expected is not None and body_digest(data) != expected:
            return None
        return data
