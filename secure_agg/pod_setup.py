"""What a pod brings to a round, and what it does at each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from secure_agg.journal import PodJournal, PodPolicy
from secure_agg.keys import Signer
from secure_agg.messages import Data


@dataclass(frozen=True, slots=True)
class PodSetup:
    """What a pod brings to every round.

    Attributes:
        name: this pod.
        signer: its long-term identity.
        pinned: every pod it agrees to add with, itself included: name to raw Ed25519 public key.
        modeller: raw Ed25519 public key that signs specifications.
        policy: what the owner of this pod allows.
        threads: threads for masking; None takes up to four.
        memory_bytes: what an update, its words and the buffers may take together; None sets no limit.
    """

    name: str
    signer: Signer
    pinned: Mapping[str, bytes] = field(repr=False)
    modeller: bytes = field(repr=False)
    policy: PodPolicy = field(default_factory=PodPolicy)
    threads: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a pod adds to the sum.

    Attributes:
        values: shape ``(length,)``, the update (local minus global).
        weight: above 0; 1 where every pod counts the same.
        model_hash: SHA-256 of the model that the update was made from, 32 bytes.
        schema_hash: SHA-256 over its names, shapes and types, 32 bytes.
        tensors: (name, coordinates) in order, so that a refusal can name the tensor.
        graph_nonce: for a sparse graph, the 32 bytes that this pod committed to.
        rounding_seed: 32 secret bytes for stochastic rounding; empty takes fresh ones. A pod that must give the
            same words for the same round after a crash derives them from its key, the task and the round; they
            must never serve for two different updates.
    """

    values: NDArray[Any] = field(repr=False)
    model_hash: bytes = field(repr=False)
    schema_hash: bytes = field(repr=False)
    weight: float = field(default=1.0, repr=False)
    tensors: tuple[tuple[str, int], ...] = ()
    graph_nonce: bytes = field(default=b"", repr=False)
    rounding_seed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """What a pod does next: perhaps store its journal, then send its messages.

    Attributes:
        journal: to be stored durably before anything is sent; None where nothing has changed.
    """

    journal: PodJournal | None
    _messages: tuple[Data, ...] = field(repr=False)

    def send_after(self, store: Callable[[PodJournal], None]) -> tuple[Data, ...]:
        """The messages, after ``store`` has kept the journal (and has not raised)."""
        if self.journal is not None:
            store(self.journal)
        return self._messages
