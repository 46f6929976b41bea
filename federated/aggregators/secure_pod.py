"""A pod's side of one masked sum: the machine of `secure_agg`, with what the pod must remember stored first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federated.aggregators.round_terms import (
    COHORT_LIMIT,
    PodRequest,
    Terms,
    aggregation_of,
    check_round,
    schema_of,
)
from federated.aggregators.values import Layout, pack
from federated.errors import BudgetSpent, InvalidArgument, PolicyRefused, TaskRefused
from federated.task.envelope import Buffer
from federated.task.spec import TaskSpec
from secure_agg import (
    BudgetRefused,
    Client,
    Contribution,
    InputRefused,
    PodJournal,
    PodSetup,
    PodState,
    RangeError,
    RoundSpec,
    SecureAggError,
    Step,
    read_spec,
)
from secure_agg import PolicyRefused as RoundPolicyRefused
from secure_agg.messages import INVITATION, Invitation, decode

logger = logging.getLogger(__name__)

Store = Callable[[PodJournal], None]


@dataclass(frozen=True, slots=True)
class Given:
    """What a pod gives to a sum.

    Attributes:
        values: the layout's names to arrays or numbers.
        weight: by how much they count; 1 where every pod counts the same.
        rounding_seed: 32 secret bytes, the same whenever this pod rounds this round.
    """

    values: Mapping[str, Any] = field(repr=False)
    weight: float = field(default=1.0, repr=False)
    rounding_seed: bytes = field(default=b"", repr=False)


def read_invitation(data: bytes) -> RoundSpec:
    """The round that an invitation is to; its signature is checked when the round is entered.

    Raises:
        TaskRefused: it cannot be read.
    """
    try:
        return read_spec(decode(data, INVITATION, Invitation, COHORT_LIMIT).spec)
    except SecureAggError:
        raise TaskRefused("TASK_SETUP_ERROR", "An invitation to a round cannot be read.") from None


class MaskedRound:
    """One pod in one masked sum.

    Args:
        task: signed and accepted.
        setup: who this pod is, and whom it trusts.
        entropy: gives unpredictable bytes.
        clock: seconds that do not go back.
    """

    def __init__(
        self,
        task: TaskSpec,
        setup: PodSetup,
        entropy: Callable[[int], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._task, self._setup, self._entropy, self._clock = task, setup, entropy, clock
        self._client: Client | None = None
        self._schema = b""

    def agreed(self, invitation: bytes, asked: PodRequest, layout: Layout) -> Terms:
        """What the round is, where it is the task's own; nothing need be computed for one that is not.

        Args:
            invitation: as the modeller sent it.
            asked: what the request is for.
            layout: of what this pod adds.

        Raises:
            TaskRefused: the round differs from what the task and the request say.
        """
        self._schema = schema_of(layout, asked.number)
        return check_round(self._task, layout, asked, read_invitation(invitation))

    def begin(
        self,
        invitation: bytes,
        terms: Terms,
        layout: Layout,
        given: Given,
        journal: PodJournal,
        store: Store,
    ) -> bytes | memoryview:
        """Enter the round with an update, or refuse it before anything was sent.

        Args:
            invitation: as the modeller sent it.
            terms: what `agreed` has found.
            layout, given: what this pod adds.
            journal: all rounds that this pod has entered.
            store: keeps the next journal on the disk before the answer may be sent.

        Raises:
            TaskRefused, PolicyRefused, BudgetSpent: with the reason, in words that hold no value.
        """
        try:
            contribution = self._contribution(layout, terms, given)
            self._client = Client(self._setup, journal, self._entropy)
            step = self._client.start(invitation, contribution, self._clock())
        except (SecureAggError, InvalidArgument) as error:
            raise refused(error) from None
        return _only(step, store)

    def _contribution(self, layout: Layout, terms: Terms, given: Given) -> Contribution:
        return Contribution(
            pack(layout, given.values, aggregation_of(self._task).clip),
            terms.model_hash,
            self._schema,
            given.weight if terms.total_weight else 1.0,
            tensors=layout.tensors,
            rounding_seed=given.rounding_seed,
        )

    def step(
        self, data: Buffer, store: Store, opening: Callable[[tuple[str, ...]], None]
    ) -> tuple[bytes | memoryview, bool]:
        """The answer to the modeller's next message, and whether it is the masked upload.

        Args:
            data: the message.
            store: as for `begin`.
            opening: is told who is in the sum before this pod helps to open it; may refuse.

        Raises:
            TaskRefused: the round is over for this pod.
            PolicyRefused: as ``opening``; nothing was sent, and the round is over.
        """
        if self._client is None:
            raise TaskRefused("TASK_SETUP_ERROR", "No round was entered.")
        try:
            step = self._client.receive(memoryview(data), self._clock())
            if self._client.opened:
                opening(self._client.opened)
            message = _only(step, store)
        except SecureAggError as error:
            raise refused(error) from None
        return message, self._client.state is PodState.UPLOADED

    def close(self) -> None:
        """Overwrite the secrets of the round."""
        if self._client is not None:
            self._client.close()


def _only(step: Step, store: Store) -> bytes | memoryview:
    (message,) = step.send_after(store)
    return message


class RoundRefused(TaskRefused, RoundPolicyRefused):
    """This pod's own rules forbid the masked round, and nothing was sent: a `secure_agg.PolicyRefused` too."""


class RoundTooDear(BudgetSpent, BudgetRefused):
    """The privacy budget of this pod does not allow the masked round: a `secure_agg.BudgetRefused` too."""


def refused(error: SecureAggError | InvalidArgument) -> PolicyRefused | BudgetSpent:
    """An error of a round as a pod says it; its words name parts and sizes, never values."""
    if isinstance(error, BudgetRefused):
        return RoundTooDear(str(error))
    if isinstance(error, RangeError):
        # Its words say how large the largest number is: that is for the pod's owner.
        logger.warning("A masked sum was refused in this pod: %s", error)
        return TaskRefused(
            "INCOMPATIBLE_DATASOURCE", "A number lies beyond the clip of the task. Nothing was sent."
        )
    if isinstance(error, RoundPolicyRefused):
        return RoundRefused("NO_ACCESS", str(error))
    wrong_input = isinstance(error, InputRefused | InvalidArgument)
    return TaskRefused("INCOMPATIBLE_DATASOURCE" if wrong_input else "TASK_SETUP_ERROR", str(error))
