"""One patient against a plan: closures that decide, and the evidence of why.

`compile_plan` gives whole outcomes; `compile_verdicts` the truths alone, from the same closures, for speed. Nothing
here reads a clock, a file or a network, and the order of records never shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from ehr.dates import BadDate, Duration, day_start, shift
from ehr.records.codes import Code, code_of
from ehr.records.elements import Coding
from ehr.records.fetched import Kind
from ehr.records.patient import PatientRecord
from federated.screening.decide import exists, fields, measurements
from federated.screening.decide.case import Case, counts, distinct
from federated.screening.decide.evidence import CriterionOutcome, Decision, Evidence, Outcome, Verdict
from federated.screening.decide.evidence_text import EvidenceMaker, evidence_maker
from federated.screening.decide.finding import Found, Run, Tools
from federated.screening.decide.laterality import SIDES, Eye, chosen_eye
from federated.screening.decide.missing_data import look_up_next
from federated.screening.decide.three_values import NO, UNKNOWN, YES, applied, at_least, every, negated
from federated.screening.decide.times import Clock, clock_of
from federated.screening.decide.times import start as start_of
from federated.screening.plan import nodes
from federated.screening.plan.trial_plan import Plan

Truth = Callable[[Case], int]
CONTACT = Duration(24, "mo")
VERDICT = MappingProxyType({NO: Verdict.FAIL, UNKNOWN: Verdict.UNKNOWN, YES: Verdict.PASS})
DECISION = MappingProxyType({NO: Decision.NOT_ELIGIBLE, UNKNOWN: Decision.UNDECIDED, YES: Decision.ELIGIBLE})


@dataclass(frozen=True, slots=True)
class CompiledLeaf:
    """A compiled leaf: where its finding lies, what makes its evidence, and whether *yes* speaks for the patient."""

    place: int
    evidence: EvidenceMaker
    speaks_for: bool


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A compiled criterion."""

    rule: nodes.Rule
    where: Truth
    applies: Truth | None
    leaves: tuple[CompiledLeaf, ...]
    applies_leaves: tuple[CompiledLeaf, ...]


class Compiler:
    """Turns the nodes of one plan into closures."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.places = 0
        self.tools = Tools({}, self.code_of)

    def code_of(self, coding: Coding) -> Code | None:
        """A coding as it is compared at this site."""
        return code_of(coding.system, coding.code, self.plan.code_systems)

    def rule(self, rule: nodes.Rule) -> CompiledRule:
        """A criterion."""
        leaves: list[CompiledLeaf] = []
        applies_leaves: list[CompiledLeaf] = []
        applies = None
        if rule.applies_if is not None:
            applies = self.node(rule.applies_if, rule.id, True, applies_leaves)
        where = self.node(rule.where, rule.id, rule.side != "exclusion", leaves)
        return CompiledRule(rule, where, applies, tuple(leaves), tuple(applies_leaves))

    def node(
        self, node: nodes.PlanNode, criterion: str, speaks_for: bool, leaves: list[CompiledLeaf]
    ) -> Truth:
        """A node; its leaves are added to ``leaves`` in tree order."""
        if isinstance(node, nodes.Not):
            inner = self.node(node.of, criterion, not speaks_for, leaves)
            return lambda case: YES - inner(case)
        if isinstance(node, nodes.All | nodes.Any | nodes.AtLeast):
            parts = [self.node(child, criterion, speaks_for, leaves) for child in node.of]
            if isinstance(node, nodes.All):
                return lambda case: min([part(case) for part in parts])
            if isinstance(node, nodes.Any):
                return lambda case: max([part(case) for part in parts])
            return _at_least(node.n, parts)
        place = self.places
        self.places += 1
        leaves.append(
            CompiledLeaf(place, evidence_maker(node, criterion, self.plan, self.code_of), speaks_for)
        )
        return _remembered(compile_leaf(node, self.tools), place)


def _at_least(n: int, parts: list[Truth]) -> Truth:
    def truth(case: Case) -> int:
        values = [part(case) for part in parts]
        return at_least(n, values.count(YES), values.count(UNKNOWN))

    return truth


def _remembered(run: Run, place: int) -> Truth:
    def truth(case: Case) -> int:
        found = case.found[place] = run(case)
        return found.truth

    return truth


def compile_leaf(leaf: nodes.PlanLeaf, tools: Tools) -> Run:
    """The closure of one leaf."""
    match leaf:
        case nodes.Exists():
            return exists.exists(leaf, tools)
        case nodes.Count():
            return exists.count(leaf, tools)
        case nodes.Every():
            return exists.each_period(leaf, tools)
        case nodes.Latest():
            return measurements.latest(leaf, tools)
        case nodes.Each():
            return measurements.each(leaf, tools)
        case nodes.Extreme():
            return measurements.extreme(leaf, tools)
        case nodes.Mean():
            return measurements.mean(leaf, tools)
        case nodes.Age():
            return fields.age(leaf)
        case nodes.Field():
            return fields.field(leaf, tools.code_of)
        case nodes.Unread():
            return fields.unread(leaf)
        case _:
            assert_never(leaf)


class Evaluator:
    """A compiled plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        compiler = Compiler(plan)
        self.rules = [compiler.rule(rule) for rule in plan.rules]
        self.acuity = None if plan.acuity is None else compile_leaf(plan.acuity, compiler.tools)
        self.places = compiler.places
        self.interval = clock_of(plan.zone)
        self.by_eye = plan.grain == "eye" or any(rule.same_eye for rule in plan.rules)
        self.quiet_since = _contact_limit(plan)

    def case(self, record: PatientRecord) -> Case:
        """A patient, ready."""
        patient = record.patient
        born = None if patient is None else self.interval(patient.birth_date)
        return Case(record, Clock(self.interval, born), self.places)

    def truths(self, case: Case) -> tuple[int, ...]:
        """What each criterion is for the decision: yes where it does not apply or is not evaluated."""
        return tuple(self._truth(rule, case) for rule in self.rules)

    @staticmethod
    def _truth(compiled: CompiledRule, case: Case) -> int:
        if not compiled.rule.enabled:
            return YES
        value = compiled.where(case)
        if compiled.rule.side == "exclusion":
            value = negated(value)
        return value if compiled.applies is None else applied(compiled.applies(case), value)

    def outcome(self, record: PatientRecord) -> Outcome:
        """The whole outcome of a patient."""
        case = self.case(record)
        if not self.by_eye:
            return replace(self._row(case), states=self._states(case), notes=self._notes(case))
        rows: dict[str, Outcome] = {}
        for eye in SIDES:
            case.eye = eye
            row = self._row(case)
            rows[eye] = replace(row, eye=eye, states=self._states(case))
        chosen = None
        if self.plan.grain == "eye":
            chosen = chosen_eye(self.plan.study_eye, rows, lambda eye: self._letters(case, eye))
        best = rows[_best(rows) if chosen is None else chosen[0]]
        return replace(best, eye=None, eyes=MappingProxyType(rows), study_eye=chosen, notes=self._notes(case))

    def _row(self, case: Case) -> Outcome:
        truths = self.truths(case)
        criteria = tuple(
            self._criterion_outcome(rule, truth, case) for rule, truth in zip(self.rules, truths, strict=True)
        )
        row = Outcome(DECISION[every(truths)], criteria)
        return (
            replace(row, lookups=look_up_next(self.plan, row)) if row.decision is Decision.UNDECIDED else row
        )

    def _criterion_outcome(self, compiled: CompiledRule, truth: int, case: Case) -> CriterionOutcome:
        rule = compiled.rule
        if not rule.enabled:
            return CriterionOutcome(rule.id, rule.side, Verdict.NOT_EVALUATED)
        verdict = VERDICT[truth]
        asked = [(leaf, case.found[leaf.place]) for leaf in compiled.applies_leaves]
        if compiled.applies is not None and compiled.applies(case) == NO:
            evidence = tuple(leaf.evidence(found, Verdict.NOT_APPLICABLE, case) for leaf, found in asked)
            return CriterionOutcome(rule.id, rule.side, Verdict.NOT_APPLICABLE, evidence)
        shown = [leaf.evidence(found, _leaf_verdict(leaf, found), case) for leaf, found in asked]
        for leaf in compiled.leaves:
            found = case.found[leaf.place]
            shown.append(leaf.evidence(found, _leaf_verdict(leaf, found), case))
        near = verdict is Verdict.FAIL and rule.near is not None and _near(shown, float(rule.near))
        return CriterionOutcome(rule.id, rule.side, verdict, tuple(shown), near)

    def _states(self, case: Case) -> MappingProxyType[str, str]:
        return MappingProxyType({kind.value: case.state(kind).name for kind in sorted(self.plan.kinds)})

    def _notes(self, case: Case) -> tuple[str, ...]:
        """``NO_RECENT_CONTACT``: nothing says that this patient died, and nobody saw them for two years."""
        patient, visits = case.record.patient, case.record.kinds.get(Kind.ENCOUNTER)
        if patient is None or patient.deceased is not None or visits is None or not visits.state.complete:
            return ()
        for visit in distinct(visits.items):
            begun = start_of(visit.when, case.clock)
            if counts(visit, case.record.ref.ids) and begun is not None and begun.hi >= self.quiet_since:
                return ()
        return ("NO_RECENT_CONTACT",)

    def _letters(self, case: Case, eye: Eye) -> float | None:
        if self.acuity is None:
            return None
        case.eye = eye
        found = self.acuity(case)
        judged = found.judged
        if found.truth != YES or judged is None or judged.low != judged.high:
            return None
        return judged.low


def _contact_limit(plan: Plan) -> int:
    try:
        return day_start(shift(plan.index_date, CONTACT, -1))
    except BadDate:
        return day_start(plan.index_date)


def _leaf_verdict(leaf: CompiledLeaf, found: Found) -> Verdict:
    return VERDICT[found.truth if leaf.speaks_for else negated(found.truth)]


def _near(evidence: list[Evidence], percent: float) -> bool:
    """Whether every number that fails does so within a share of its bound."""
    failing = [one for one in evidence if one.verdict is Verdict.FAIL]
    return bool(failing) and all(_near_one(one, percent) for one in failing)


def _near_one(one: Evidence, percent: float) -> bool:
    if one.margin is None or not isinstance(one.value, int | float):
        return False
    missed = abs(one.margin)
    bound = (
        float(one.value) + missed if one.reason in ("BELOW_MIN", "COUNT_LOW") else float(one.value) - missed
    )
    return missed <= abs(bound) * percent / 100


def _best(rows: Mapping[str, Outcome]) -> Eye:
    """The eye that comes furthest; the right one where both do."""
    rank = {Decision.ELIGIBLE: 2, Decision.UNDECIDED: 1}

    def key(eye: Eye) -> tuple[int, int]:
        row = rows[eye]
        return rank.get(row.decision, 0), -sum(one.verdict is Verdict.FAIL for one in row.criteria)

    return max(SIDES, key=key)


def compile_plan(plan: Plan) -> Callable[[PatientRecord], Outcome]:
    """A function that decides one patient, with evidence and what to look up next.

    It may be called for any number of patients, in any order; an outcome depends on the record alone.
    """
    return Evaluator(plan).outcome


def compile_verdicts(plan: Plan) -> Callable[[PatientRecord], tuple[int, ...]]:
    """A function that gives the truth of each criterion (0 fail, 1 unknown, 2 pass or neutral), in plan order.

    The same closures as `compile_plan`, without evidence. With ``grain: eye`` or ``eye: same`` it gives the truths
    of the eye that comes furthest.
    """
    evaluator = Evaluator(plan)

    def verdicts(record: PatientRecord) -> tuple[int, ...]:
        case = evaluator.case(record)
        if not evaluator.by_eye:
            return evaluator.truths(case)
        return max(_truths_of_eyes(evaluator, case), key=lambda row: (min(row), -row.count(NO)))

    return verdicts


def _truths_of_eyes(evaluator: Evaluator, case: Case) -> Iterator[tuple[int, ...]]:
    for eye in SIDES:
        case.eye = eye
        yield evaluator.truths(case)
