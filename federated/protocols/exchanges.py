"""The sums of one task in their order: what each is called, what went before, and whose weights are in the total."""

from __future__ import annotations

from federated.aggregators.round_terms import Purpose, Terms, weights_hash, weights_layout
from federated.aggregators.secure_rounds import Exchange
from federated.errors import TooFewPods
from federated.protocols.sides import AddUp
from federated.rounds.coordinator import Coordinator


class Exchanges:
    """The sums of one task.

    Args:
        coordinator: the modeller's desk.
        cohort: pods that have accepted the task.
        add_up: how vectors become one.
    """

    def __init__(self, coordinator: Coordinator, cohort: tuple[str, ...], add_up: AddUp) -> None:
        self._at, self._cohort, self._add_up = coordinator, cohort, add_up

    def released(self) -> bool:
        """Whether pods may have opened a sum of the last update, which is then never repeated."""
        sums = [one for one in self._at.journal.rounds() if one.purpose != "weights"]
        return bool(sums) and bool(sums[-1].outcome.get("released"))

    def terms(self, purpose: Purpose, about: bytes = b"", total: float = 0.0) -> Terms:
        """A new exchange, or the one that was open when this program was killed.

        Args:
            purpose: what is added up.
            about: the hash of the model; empty for weights.
            total: of all weights; 0 where every pod counts the same.

        Raises:
            TooFewPods: the last one may have been opened by pods and failed; it is not repeated.
        """
        known = self._at.journal.rounds()
        for one in known:
            if one.state == "open" and one.purpose == purpose:
                before = self._previous(purpose, one.seq)
                return Terms(
                    purpose, one.seq, self._cohort, one.plan["model"], before, float(one.plan["total"])
                )
        if purpose != "weights" and self.released():
            raise TooFewPods(
                "A sum failed while pods were opening it, so it is not repeated; make a new task."
            )
        seq = 1 + max((one.seq for one in known), default=0)
        about = about or weights_hash(self._at.spec, seq)
        return Terms(purpose, seq, self._cohort, about, self._previous(purpose, seq), total)

    def _previous(self, purpose: Purpose, seq: int) -> bytes:
        before = [one for one in self._at.journal.rounds() if one.purpose == purpose and one.seq < seq]
        return bytes(before[-1].plan["model"]) if before else bytes(32)

    async def weights(self, number: int) -> tuple[float, frozenset[str] | None]:
        """What all weights sum to, and whose; by a masked sum of its own.

        It is asked for again when a pod has come back that was not in it: a weight that is not in the total could
        make the words of the ring wrap.
        """
        aggregation = self._at.spec.aggregation
        if aggregation is None or aggregation.weights == "equal" or not self._at.spec.secure:
            return 0.0, None
        known = [one for one in self._at.journal.rounds() if one.purpose == "weights" and one.state == "done"]
        if known:
            weighed = frozenset(known[-1].outcome["survivors"])
            away = set(self._cohort) - weighed
            begun = any(one.purpose == "update" and one.state == "open" for one in self._at.journal.rounds())
            if begun or not away & self._at.link.connected:
                return float(known[-1].outcome["total"]), weighed
        terms = self.terms("weights")
        combined = await self._add_up(self._at, Exchange(terms, weights_layout(self._at.spec), number))
        total = float(combined.parts["rows"])
        self._at.journal.end(terms.seq, "done", {"survivors": list(combined.survivors), "total": total})
        return total, frozenset(combined.survivors)
