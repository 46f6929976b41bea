"""What a pod must remember over rounds and crashes, and the rules that it checks against it.

The journal is a value. Functions here take one and return the next; the caller stores it durably *before*
the message that depends on it may be sent. After a crash the pod starts from the stored journal: a round
that is listed there is never entered again, so nothing is released twice.

Threats: So et al. (AAAI 2023) and Lam et al. (ICML 2021) show that cohorts which vary little over rounds
give single contributions away; the rules on cohorts and models are the answer on the pod's side.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from secure_agg.errors import (
    BudgetRefused,
    CohortRefused,
    MalformedMessage,
    ParameterError,
    PolicyRefused,
    RoundRepeated,
)
from secure_agg.graph import certificate
from secure_agg.layout import payload_length
from secure_agg.parameters import DEFAULT_MINIMUM_SURVIVORS, HARD_MINIMUM_SURVIVORS
from secure_agg.privacy import NoisePlan, NoisyRound, epsilon, plan
from secure_agg.specification import RoundSpec

JOURNAL_VERSION = 1
JOURNAL_LIMIT = 256 * 1024 * 1024
PRIVACY_BITS = 40


class RoundRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One round that this pod has entered.

    Attributes:
        task, round: which.
        spec_hash: of its specification.
        model_hash: of the model it started from.
        cohort: fingerprints of the invited pods, sorted.
        released: whether this pod was about to hand out shares that open the sum.
        rho: what the round costs of this pod's privacy, in zCDP; 0 where no noise was added.
    """

    task: bytes
    round: int
    spec_hash: bytes
    model_hash: bytes
    cohort: tuple[bytes, ...]
    released: bool
    rho: float


class PodJournal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every round that this pod has entered, oldest first. It holds no secret."""

    version: int = JOURNAL_VERSION
    records: tuple[RoundRecord, ...] = ()

    def to_bytes(self) -> bytes:
        """For the file that the caller keeps."""
        return msgspec.msgpack.encode(self)


def read_journal(data: bytes) -> PodJournal:
    """A journal from its bytes.

    Raises:
        MalformedMessage: it is not one. A pod without a readable journal must not take part.
    """
    try:
        if len(data) > JOURNAL_LIMIT:
            raise ValueError
        journal = msgspec.msgpack.decode(data, type=PodJournal)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MalformedMessage(
            f"The journal ({len(data)} bytes) cannot be read; no round was entered."
        ) from None
    if journal.version != JOURNAL_VERSION:
        raise MalformedMessage("The journal is of another version; no round was entered.")
    return journal


@dataclass(frozen=True, slots=True)
class PodPolicy:
    """What the owner of a pod allows, whatever a modeller asks for.

    Attributes:
        minimum_survivors: fewest pods in a sum that this pod helps to open; 5, and never below 3.
        minimum_change: pods by which two cohorts of one task must differ, if they differ at all.
        maximum_rounds: rounds of one task.
        semi_honest: whether rounds that trust the server to follow the protocol are allowed.
        sparse_corrupt, sparse_dropped: fractions of a large cohort that this pod expects to work with the
            server, or be lost; a sparse graph must be private for them.
        schemas: schema hashes that are allowed; None allows every schema.
        epsilon_budget: largest epsilon of all rounds that this pod has ever entered, at the delta of
            the round; None means no limit. Rounds without noise are refused where there is a limit.
    """

    minimum_survivors: int = DEFAULT_MINIMUM_SURVIVORS
    minimum_change: int = 2
    maximum_rounds: int = 10_000
    semi_honest: bool = False
    sparse_corrupt: float = 0.05
    sparse_dropped: float = 0.05
    schemas: frozenset[bytes] | None = None
    epsilon_budget: float | None = None

    def __post_init__(self) -> None:
        if self.minimum_survivors < HARD_MINIMUM_SURVIVORS:
            raise ParameterError(
                f"minimum_survivors is {self.minimum_survivors}; a sum over fewer than "
                f"{HARD_MINIMUM_SURVIVORS} pods is never given."
            )


def admit(journal: PodJournal, spec: RoundSpec, spec_hash: bytes, policy: PodPolicy) -> PodJournal:
    """The journal with this round in it, if the pod may enter it.

    Raises:
        RoundRepeated: the round, a later one, or this model was already answered.
        CohortRefused: too small a cohort, or one too close to an earlier cohort.
        PolicyRefused: another rule of the pod forbids it.
    """
    _check_spec(spec, policy)
    cohort = tuple(sorted(member.fingerprint for member in spec.cohort))
    same_task = [record for record in journal.records if record.task == spec.task]
    _check_model(journal, spec, cohort)
    _check_order(same_task, spec, policy)
    for record in same_task:
        changed = len(set(record.cohort) ^ set(cohort))
        if 0 < changed < policy.minimum_change:
            raise CohortRefused(
                f"The cohort differs by {changed} pods from an earlier one of this task; this pod asks for "
                f"none or at least {policy.minimum_change}. Nothing was sent."
            )
    rho = _charge(journal, spec, policy)
    record = RoundRecord(spec.task, spec.round, spec_hash, spec.model_hash, cohort, released=False, rho=rho)
    return PodJournal(records=(*journal.records, record))


def noise_plan(spec: RoundSpec) -> NoisePlan | None:
    """How much noise each pod adds in a round and what that gives; None where there is none.

    Raises:
        ParameterError: the numbers of the specification give no promise.
    """
    if spec.dp.mechanism == "none":
        return None
    encoding = spec.encoding
    sizes = NoisyRound(
        minimum_survivors=spec.floor,
        colluders=spec.colluders,
        scale=encoding.scale,
        length=payload_length(spec.length, encoding.bits),
        stochastic=encoding.rounding == "stochastic" and encoding.bits != 64,
    )
    return plan(spec.dp, sizes)


def _charge(journal: PodJournal, spec: RoundSpec, policy: PodPolicy) -> float:
    """The cost of a round, if the budget covers it and everything before."""
    planned = noise_plan(spec)
    if planned is None:
        return 0.0
    spent = sum(record.rho for record in journal.records)
    if (
        policy.epsilon_budget is not None
        and epsilon(spent + planned.rho, spec.dp.delta) > policy.epsilon_budget
    ):
        raise BudgetRefused(
            f"The round would take this pod beyond its privacy budget of epsilon {policy.epsilon_budget:g} at "
            f"delta {spec.dp.delta:g}. Nothing was sent."
        )
    return planned.rho


def _check_spec(spec: RoundSpec, policy: PodPolicy) -> None:
    if spec.mode == "semi_honest" and not policy.semi_honest:
        raise PolicyRefused(
            "The round trusts the server to follow the protocol (semi-honest); this pod does not. "
            "Nothing was sent."
        )
    if spec.floor < policy.minimum_survivors:
        raise CohortRefused(
            f"The round may open a sum over {spec.floor} pods; this pod asks for at least "
            f"{policy.minimum_survivors}. Only its owner may lower that. Nothing was sent."
        )
    if spec.graph == "sparse":
        _check_graph(spec, policy)
    if policy.schemas is not None and spec.schema_hash not in policy.schemas:
        raise PolicyRefused("The model's schema is not on this pod's list. Nothing was sent.")
    if policy.epsilon_budget is not None and spec.dp.mechanism == "none":
        raise PolicyRefused("This pod has a privacy budget, and the round adds no noise. Nothing was sent.")


def _check_graph(spec: RoundSpec, policy: PodPolicy) -> None:
    pods, degree = len(spec.cohort), spec.degree
    # A pod holds a share of its own secret too; the certificate counts the neighbours' alone.
    shares = min(spec.threshold, degree)
    worth = certificate(pods, policy.sparse_corrupt, policy.sparse_dropped, degree, shares)
    if worth.privacy_bits < PRIVACY_BITS:
        raise PolicyRefused(
            f"Degree {degree} and threshold {spec.threshold} among {pods} pods give {worth.privacy_bits:.0f} bits "
            f"of privacy; this pod asks for {PRIVACY_BITS}. Nothing was sent."
        )


def _check_model(journal: PodJournal, spec: RoundSpec, cohort: tuple[bytes, ...]) -> None:
    for record in journal.records:
        if record.model_hash != spec.model_hash:
            continue
        if record.released:
            raise RoundRepeated("This pod has already answered for the same model. Nothing was sent.")
        if record.cohort != cohort:
            raise CohortRefused("The same model came before with another cohort. Nothing was sent.")


def _check_order(same_task: list[RoundRecord], spec: RoundSpec, policy: PodPolicy) -> None:
    if len(same_task) >= policy.maximum_rounds:
        raise PolicyRefused(
            f"This pod takes part in {policy.maximum_rounds} rounds of a task. Nothing was sent."
        )
    if spec.round == 0 and any(spec.previous_model_hash):
        raise RoundRepeated("Round 0 of a task names a model before it. Nothing was sent.")
    if not same_task:
        return
    last = max(same_task, key=lambda record: record.round)
    if spec.round <= last.round:
        raise RoundRepeated("This round, or a later one of its task, was already entered. Nothing was sent.")
    if spec.round == last.round + 1 and spec.previous_model_hash != last.model_hash:
        raise RoundRepeated("The round does not follow the model of the round before. Nothing was sent.")


def release(journal: PodJournal, spec_hash: bytes) -> PodJournal:
    """The journal in which the round is released; to be stored before the shares are sent.

    Raises:
        RoundRepeated: the round was released before, or never entered.
    """
    found = [record for record in journal.records if record.spec_hash == spec_hash]
    if len(found) != 1 or found[0].released:
        raise RoundRepeated("This round was released before, or never entered. Nothing was sent.")
    records = tuple(
        msgspec.structs.replace(record, released=True) if record is found[0] else record
        for record in journal.records
    )
    return PodJournal(records=records)
