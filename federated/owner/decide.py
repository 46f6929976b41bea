"""What a pod's owner allows, and whether one task is inside it. Pure: the facts come in as values.

    decide(policy, spec, facts) -> TaskDecision

Whatever is not allowed by name is refused; an empty policy runs nothing. Every name is looked up in the registry
first, so that an alias or a bare name means what it runs. The modeller is told a code and the name of the rule; the
precise reason is for the owner's log. Neither holds a key, a value or a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from federated.errors import TaskRefused, UnknownName
from federated.names import _PodResponseType as Code
from federated.owner.disclosure import Leaves, canonical, disclosure, models_named, stays
from federated.owner.policy import MINIMUM_CHANGE, PolicySection
from federated.task import registry
from federated.task.spec import TaskDocument, TaskSpec

CLOCK_SKEW = timedelta(minutes=5)
"""By how much a modeller's clock may be ahead of the pod's."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a pod knows besides the task.

    Attributes:
        pod, key: its own name and raw public key.
        modellers: names to pinned raw public keys of those whose tasks are looked at.
        peers: names to pinned raw public keys of the pods that this one agrees to add up with.
        now: aware.
        sources: names of its data sources to what kind each is, such as "tables".
        has_ehr: whether an EHR is connected.
        digests: what each document of the task really is, by name, computed in this pod; see `TaskDocument.digest`.
        nonce_used: whether another task has come under the same nonce.
        begun_today: other tasks that began today.
        cohorts: who was invited (raw keys) to this modeller's earlier tasks over the same data.
        left: predictions that are left, by model, for those that have a limit.
    """

    pod: str
    key: bytes = field(repr=False)
    now: datetime
    modellers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    peers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict)
    has_ehr: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    nonce_used: bool = False
    begun_today: int = 0
    cohorts: tuple[frozenset[bytes], ...] = field(default=(), repr=False)
    left: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a task is refused.

    Attributes:
        code: what the pod answers.
        rule: one word; it is told to the modeller.
        text: for the owner's log.
    """

    code: Code
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskDecision:
    """The decision on one task; without a reason it may run."""

    reasons: tuple[Reason, ...] = ()

    @property
    def code(self) -> Code:
        """What the pod answers: the code of the first reason."""
        return self.reasons[0].code if self.reasons else Code.ACCEPT

    @property
    def message(self) -> str:
        """What the modeller is told: no numbers of the policy, no names of this pod's data."""
        if not self.reasons:
            return self.code.sentence
        return f"{self.code.sentence} Rule: {self.reasons[0].rule}. Nothing was run."


def decide(policy: PolicySection, spec: TaskSpec, facts: Facts) -> TaskDecision:
    """Whether a task may run. Its signature is checked before, see `federated.owner.access`.

    A modeller that is not who the owner has pinned is told nothing else.
    """
    for stage in _STAGES:
        found = tuple(reason for rule in stage for reason in rule(policy, spec, facts))
        if found:
            return TaskDecision(found)
    return TaskDecision()


Found = Iterator[Reason]
Rule = Callable[[PolicySection, TaskSpec, Facts], Found]


def _no(rule: str, text: str, code: Code = Code.NO_ACCESS) -> Reason:
    return Reason(code, rule, text)


def _modeller(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    pinned = facts.modellers.get(spec.modeller.name)
    if pinned is None:
        yield _no("modeller", "No key is pinned for this modeller.", Code.UNAUTHORISED)
    elif pinned != spec.modeller.public:
        text = "The modeller's key in the task is not the one that is pinned here."
        yield _no("modeller", text, Code.INVALID_PROOF_OF_IDENTITY)


def _invitation(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    mine = [pod for pod in spec.participants if pod.name == facts.pod]
    if not mine:
        yield _no("participants", "This pod is not invited.")
    elif mine[0].public != facts.key:
        yield _no("participants", "This pod is invited under a key that is not its own.")


def _time(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    if facts.now >= datetime.fromisoformat(spec.expires):
        yield _no("expires", "The task has expired.", Code.TASK_TIMEOUT)
    if facts.now + CLOCK_SKEW < datetime.fromisoformat(spec.created):
        yield _no("created", "The task was made in the future; compare the two clocks.")
    if facts.nonce_used:
        yield _no("nonce", "Another task came under the same nonce.")
    limit = policy.budgets.tasks_per_day
    if facts.begun_today >= limit:
        yield _no("tasks_per_day", f"{facts.begun_today} tasks began today; the limit is {limit}.")


def _found(name: str, kind: str) -> str | None:
    """The canonical name of a protocol, algorithm or aggregator; None where it is none of that kind."""
    try:
        entry = registry.find(name)
    except UnknownName:
        return None
    return canonical(entry) if entry.kind == kind else None


def _allowed(names: Iterable[str]) -> set[str]:
    return {canonical(registry.find(name)) for name in names}


def _names(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    protocol = _found(spec.protocol.name, "protocol")
    if protocol is None or protocol not in _allowed(policy.protocols):
        yield _no("protocol", f"The protocol ({protocol or 'an unknown name'}) is not allowed.")
    allowed = _allowed(policy.algorithms)
    for place, unit in enumerate(spec.algorithms):
        name = _found(unit.name, "algorithm")
        if name is None or name not in allowed:
            yield _no("algorithm", f"Algorithm {place + 1} ({name or 'an unknown name'}) is not allowed.")


def _documents(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    for place, (name, document) in enumerate(sorted(spec.documents.items())):
        allowed = policy.trials if document.kind == "trial" else policy.steps
        real = _sha256(document) if document.kind == "steps" else facts.digests.get(name)
        if real is None or real != document.digest:
            yield _no(document.kind, f"Document {place + 1} is not what its digest says.")
        elif real not in allowed:
            yield _no(document.kind, f"Document {place + 1} ({document.kind}) is not allowed by its digest.")
    for unit in spec.algorithms:
        trial = unit.arguments.get("trial")
        if trial is not None and (not isinstance(trial, str) or trial not in spec.documents):
            yield _no("trial", "An algorithm names a trial that is not among the task's documents.")


def _sha256(document: TaskDocument) -> str:
    return hashlib.sha256(document.text.encode()).hexdigest()


def _models(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    for place, unit in enumerate(spec.algorithms):
        named = models_named(unit)
        if named is None:
            yield _no("model", f"Algorithm {place + 1} names its model in a form that cannot be checked.")
        elif not named and disclosure(_found(unit.name, "algorithm") or "").model:
            yield _no("model", f"Algorithm {place + 1} names no model.")
        elif not set(named) <= set(policy.models):
            yield _no("model", f"Algorithm {place + 1} names a model or file that is not allowed.")
        elif any(facts.left.get(name, 1) <= 0 for name in named):
            yield _no("inferences", f"Algorithm {place + 1}: no predictions of its model are left.")


def _aggregation(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    chosen = spec.aggregation
    if chosen is None:
        return
    name = _found(chosen.name, "aggregator")
    masked = name == "SecureAggregator"
    if name is None or masked != spec.secure:
        yield _no("aggregator", "The aggregator is an unknown name.")
    if policy.secure_aggregation == "required" and not masked:
        yield _no("secure_aggregation", "The task adds up without masks; this pod asks for SecureAggregator.")
    if masked and chosen.mode != "active":
        yield _no("mode", "The sum trusts the modeller's program to follow the protocol; this pod does not.")
    if masked and chosen.minimum_survivors < policy.minimum_survivors:
        at_least = f"this pod asks for {policy.minimum_survivors}"
        yield _no("minimum_survivors", f"A sum may be over {chosen.minimum_survivors} pods; {at_least}.")
    if chosen.weights == "rows" and chosen.maximum_weight > policy.maximum_weight:
        yield _no("maximum_weight", "The largest weight of the task is above that of this pod.")


def rounds_planned(spec: TaskSpec) -> int:
    """Rounds of federated training that a task plans, as far as its arguments say; 1 where they say nothing."""
    given = spec.protocol.arguments
    for unit in ("epochs", "steps"):
        between = given.get(f"{unit}_between_parameter_updates", 1)
        total = max((_whole(one.arguments.get(unit)) for one in spec.algorithms), default=0)
        if total:
            return -(-total // max(1, _whole(between)))
    return 1


def _whole(value: object) -> int:
    """A whole number as a component reads it, which takes "7" and 7.0 for 7."""
    try:
        return int(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0
    except (ValueError, OverflowError):
        return 0


def _rounds(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    planned = rounds_planned(spec)
    if planned > policy.maximum_rounds:
        yield _no(
            "maximum_rounds",
            f"The task plans {planned} rounds; this pod takes part in {policy.maximum_rounds}.",
        )


def _cohort(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    if spec.aggregation is None:
        return
    pods = len(spec.participants)
    if pods < policy.cohort_minimum:
        yield _no(
            "cohort_minimum", f"The task invites {pods} pods; this pod asks for {policy.cohort_minimum}."
        )
    cohort = frozenset(spec.pinned.values())
    for earlier in facts.cohorts:
        changed = len(cohort ^ earlier)
        if 0 < changed < MINIMUM_CHANGE:
            text = f"The cohort differs by {changed} pods from an earlier one of this modeller over the same data."
            yield _no("minimum_change", text)
            return


def _peers(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    if not spec.secure:
        return
    for pod in spec.participants:
        if pod.name != facts.pod and facts.peers.get(pod.name) != pod.public:
            known = (
                "under another key than the pinned one" if pod.name in facts.peers else "that is not pinned"
            )
            yield _no("peers", f"The task invites a pod {known}.")


def leaving(spec: TaskSpec) -> frozenset[Leaves]:
    """What leaves a pod when this task runs, as far as anybody can know beforehand."""
    protocol = _found(spec.protocol.name, "protocol")
    if protocol is not None and stays(protocol, spec):
        return frozenset()
    kinds: set[Leaves] = set()
    for unit in spec.algorithms:
        kinds |= disclosure(_found(unit.name, "algorithm") or "").leaves
    return frozenset(kinds)


def _leaves(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    missing = leaving(spec) - set(policy.leaves)
    if missing:
        yield _no("leaves", f"The task lets leave what may not: {', '.join(sorted(missing))}.")
    alone = spec.aggregation is None and leaving(spec) & {"counts", "updates", "metrics"}
    if alone and policy.secure_aggregation == "required":
        yield _no(
            "secure_aggregation", "The task returns this pod's own numbers; only a masked sum may leave."
        )


def _noise(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    if policy.budgets.epsilon is None or not leaving(spec):
        return
    chosen = spec.aggregation
    if chosen is None or not spec.secure or chosen.noise <= 0 or chosen.l2_clip <= 0:
        yield _no("epsilon", "This pod has a privacy budget, and the task adds no noise under a mask.")
        return
    delta = policy.budgets.delta
    if chosen.delta > delta:
        yield _no("delta", f"The task counts its privacy at a larger delta than this pod ({delta:g}).")
    if chosen.weights != "equal":
        yield _no("epsilon", "With a privacy budget every pod counts the same: a sum of rows has no noise.")


def _data(policy: PolicySection, spec: TaskSpec, facts: Facts) -> Found:
    needs = [disclosure(_found(unit.name, "algorithm") or "") for unit in spec.algorithms]
    mine = spec.participant(facts.pod).data
    if mine is not None and mine not in facts.sources:
        yield _no("data", "The task names a data source that this pod does not have.", Code.NO_DATA)
    elif mine is None and any(need.data for need in needs):
        yield _no("data", "An algorithm reads a data source; the task names none for this pod.", Code.NO_DATA)
    elif any(need.data for need in needs) and facts.sources[str(mine)] != "tables":
        text = "An algorithm reads tables; the data source is of another kind."
        yield _no("data", text, Code.INCOMPATIBLE_DATASOURCE)
    if any(need.ehr for need in needs) and not facts.has_ehr:
        yield _no("ehr", "An algorithm reads the EHR, and none is connected.", Code.MISSING_EHR_CONNECTION)


_STAGES: tuple[tuple[Rule, ...], ...] = (
    (_modeller,),
    (_invitation, _time),
    (_names, _documents, _models, _aggregation, _rounds, _cohort, _peers, _leaves, _noise),
    (_data,),
)


def check_release(policy: PolicySection, spec: TaskSpec, what: str, round_number: int = 0) -> None:
    """Refuse what is about to leave, once more, whatever the runtime believes of the task.

    Args:
        policy, spec: as for `decide`.
        what: begins with "masked", "plain" or "result".
        round_number: of the task, from 0.

    Raises:
        TaskRefused: it may not leave.
    """
    rules = (
        (round_number < policy.maximum_rounds, "maximum_rounds"),
        (not (what.startswith("plain") and policy.secure_aggregation == "required"), "secure_aggregation"),
        (what.startswith("masked") or leaving(spec) <= set(policy.leaves), "leaves"),
        (not (what.startswith("result") and spec.aggregation is not None), "secure_aggregation"),
        (what.split(" ")[0] in {"masked", "plain", "result"}, "leaves"),
    )
    for holds, rule in rules:
        if not holds:
            raise TaskRefused("NO_ACCESS", f"{Code.NO_ACCESS.sentence} Rule: {rule}. Nothing was sent.")
