"""Laws of the engine, over random patients and trials (properties P1 to P13; tests 17 to 21, 34, 60, 61)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ehr.records.elements import CodeableConcept, Quantity
from ehr.records.fetched import Fetched, Kind, State, complete
from ehr.records.patient import PatientRecord
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Decision, Fact, Verdict, plain
from federated.screening.decide.missing_data import Shares, look_up_next
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.trial_plan import Plan, make_plan
from federated.screening.trial import criteria as c
from tests.federated.screening.making import (
    INDEX,
    age,
    at,
    compare,
    condition,
    done,
    encounter,
    facts,
    has,
    lab,
    observation,
    patient,
    procedure,
    record,
    rule,
    trial,
    truth,
    within,
    word,
)
from tests.oracles import completions, evidence_checker

FAST = settings(max_examples=30, deadline=None, report_multiple_bugs=False)
DAYS = [
    "2023-05-01",
    "2024-01",
    "2024",
    "2024-06-30",
    "2024-06-29T10:00:00Z",
    "2024-06-30T10:00:00+02:00",
    None,
]
LEAVES: list[Any] = [
    has(),
    has("H35.31", onset=within("6 mo")),
    has("H40.11", clinical=None),
    has(hints=("wet amd",)),
    done(),
    done(performed=within("6 mo"), elsewhere_matters=True),
    done(count=c.CountBound(">=", 2)),
    done(count=c.CountBound("<=", 1), performed=within("2 a")),
    lab(),
    lab("<= 6", window=within("6 mo")),
    lab("5..7", take="earliest"),
    lab(take="any"),
    lab("< 9", take="all"),
    lab(take="max"),
    lab("!= 7", take="max"),
    lab("<= 7", take="min"),
    lab(">= 6.4", take="mean"),
    lab(take="latest", same_day="lowest"),
    c.Encounter(window=within("12 mo"), count=c.CountBound(">=", 2), at=at()),
    c.Encounter(window=within("12 mo"), whole=True, at=at()),
    age(">= 60"),
    age("!= 64"),
    c.Sex(values=("female",), at=at()),
]


def concepts() -> st.SearchStrategy[Any]:
    return st.sampled_from(["H35.31", "H40.11", "E11.9"])


conditions = st.builds(
    lambda code, onset, clinical, verification, text: condition(
        code, onset, clinical=clinical, verification=verification,
        **({"concept": CodeableConcept(text="wet amd")} if text else {}),
    ),
    concepts(), st.sampled_from(DAYS), st.sampled_from(["active", "resolved", None]),
    st.sampled_from(["confirmed", "confirmed", "provisional", "refuted", "entered-in-error", None]), st.booleans(),
)  # fmt: skip
results = st.builds(
    lambda value, day, unit, status, comparator: observation(value, day, unit, status=status, comparator=comparator),
    st.sampled_from([5, 5.7, 6, 6.4, 7, 9, None]), st.sampled_from(DAYS),
    st.sampled_from(["%", "%", "mmol/mol", "g", None]),
    st.sampled_from(["final", "final", "preliminary", None]), st.sampled_from([None, None, "<", ">="]),
)  # fmt: skip
procedures = st.builds(
    lambda day, status: procedure(day, status=status),
    st.sampled_from(DAYS), st.sampled_from(["completed", "completed", "preparation", "unknown", None]),
)  # fmt: skip
encounters = st.builds(
    lambda start, end, status: encounter(start, end, status=status),
    st.sampled_from(DAYS), st.sampled_from([None, "2024-07-02"]), st.sampled_from(["finished", "planned", None]),
)  # fmt: skip
items = st.lists(st.one_of(conditions, results, procedures, encounters), max_size=6).map(
    lambda made: [msgspec.structs.replace(item, id=f"r{number}") for number, item in enumerate(made)]
)
people = st.builds(patient, st.sampled_from(["1960-05-05", "1964", "1964-06", "1990-01-01", None]))
states = st.dictionaries(
    st.sampled_from([Kind.CONDITION, Kind.OBSERVATION, Kind.PROCEDURE, Kind.ENCOUNTER]),
    st.sampled_from([State.PARTIAL, State.UNAVAILABLE, State.FORBIDDEN]),
    max_size=2,
)
records = st.builds(lambda made, who, broken: record(*made, person=who, states=broken), items, people, states)
nodes = st.recursive(
    st.sampled_from(LEAVES),
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(lambda of: c.AllOf(of=tuple(of))),
        st.lists(part, min_size=1, max_size=3).map(lambda of: c.AnyOf(of=tuple(of))),
        part.map(lambda of: c.NotOf(of=of)),
        st.lists(part, min_size=2, max_size=3).map(lambda of: c.AtLeastOf(n=2, of=tuple(of))),
    ),
    max_leaves=4,
)
rules = st.builds(
    lambda where, side, applies: (where, side, applies),
    nodes, st.sampled_from(["inclusion", "exclusion"]), st.one_of(st.none(), st.none(), st.sampled_from(LEAVES)),
)  # fmt: skip
plans = st.lists(rules, min_size=1, max_size=4).map(
    lambda given: make_plan(
        trial(
            *(
                rule(where, side, f"x{n}", applies_if=applies)
                for n, (where, side, applies) in enumerate(given)
            )
        ),
        facts(),
        INDEX,
    )
)


def changed(
    patient_record: PatientRecord, kind: Kind, made: Sequence[Any], state: State | None = None
) -> PatientRecord:
    fetched = patient_record.kinds[kind]
    new = (
        complete(made, fetched.fetched_at)
        if (state or fetched.state).complete
        else Fetched(tuple(made), fetched.state)
    )
    return replace(patient_record, kinds={**patient_record.kinds, kind: new})


def mapped(patient_record: PatientRecord, change: Any) -> PatientRecord:
    for kind, fetched in patient_record.kinds.items():
        if kind is not Kind.PATIENT and fetched.items:
            patient_record = changed(patient_record, kind, change(list(fetched.items)))
    return patient_record


@FAST
@given(plans, records, st.randoms(use_true_random=False))
def test_order_of_records_and_criteria_is_irrelevant(
    plan: Plan, who: PatientRecord, rng: random.Random
) -> None:
    """P3: the whole outcome is the same, byte for byte."""

    def shuffled(made: list[Any]) -> list[Any]:
        rng.shuffle(made)
        return made

    decide = compile_plan(plan)
    assert plain(decide(who)) == plain(decide(mapped(who, shuffled)))
    turned = replace(plan, rules=tuple(reversed(plan.rules)))
    assert compile_verdicts(turned)(who) == tuple(reversed(compile_verdicts(plan)(who)))
    assert compile_plan(turned)(who).decision is decide(who).decision


@FAST
@given(plans, records)
def test_records_twice_are_records_once(plan: Plan, who: PatientRecord) -> None:
    """P4."""
    decide = compile_plan(plan)
    assert plain(decide(who)) == plain(decide(mapped(who, lambda made: made + made)))


@FAST
@given(plans, records)
def test_an_older_version_of_a_record_does_not_count(plan: Plan, who: PatientRecord) -> None:
    from ehr.records.elements import Meta

    def with_old(made: list[Any]) -> list[Any]:
        new = [msgspec.structs.replace(item, meta=Meta(version_id="10")) for item in made]
        old = [
            msgspec.structs.replace(item, meta=Meta(version_id="9"), code=None)
            for item in made
            if hasattr(item, "code")
        ]
        return old + new + old

    verdicts = compile_verdicts(plan)
    assert verdicts(who) == verdicts(mapped(who, with_old))


@FAST
@given(plans, records)
def test_irrelevant_records_change_nothing(plan: Plan, who: PatientRecord) -> None:
    """P5: another code, another patient, entered in error."""
    from ehr.records.elements import Reference

    def with_noise(made: list[Any]) -> list[Any]:
        noise = []
        for n, item in enumerate(made):
            noise.append(
                msgspec.structs.replace(item, id=f"n{n}", subject=Reference(reference="Patient/other"))
            )
            if hasattr(item, "verification_status"):
                noise.append(
                    msgspec.structs.replace(item, id=f"v{n}", verification_status=word("entered-in-error"))
                )
            else:
                noise.append(msgspec.structs.replace(item, id=f"s{n}", status="entered-in-error"))
            if hasattr(item, "code"):
                other = CodeableConcept(
                    coding=(msgspec.structs.replace(word("Z99.9").coding[0], system="urn:x"),)
                )  # type: ignore[union-attr]
                noise.append(msgspec.structs.replace(item, id=f"c{n}", code=other))
        return made + noise

    verdicts = compile_verdicts(plan)
    assert verdicts(who) == verdicts(mapped(who, with_noise))


@FAST
@given(plans, records, st.sampled_from([Kind.CONDITION, Kind.OBSERVATION, Kind.PROCEDURE, Kind.ENCOUNTER]))
def test_an_outage_only_makes_unknown(plan: Plan, who: PatientRecord, kind: Kind) -> None:
    """P11: every leaf's decided truth either stays or becomes unknown; so does every tree."""
    before = compile_verdicts(plan)(who)
    gone = replace(who, kinds={**who.kinds, kind: Fetched((), State.UNAVAILABLE)})
    after = compile_verdicts(plan)(gone)
    assert all(new in (old, UNKNOWN) for old, new in zip(before, after, strict=True))
    less = replace(who, kinds={**who.kinds, kind: Fetched(who.kinds[kind].items, State.PARTIAL)})
    partial = compile_verdicts(plan)(less)
    assert all(new in (old, UNKNOWN) for old, new in zip(before, partial, strict=True))


def facts_for(item: Any, rng: random.Random) -> Any:
    """One unknown of a record replaced by a fact that is consistent with it."""
    changes: dict[str, Any] = {}
    for name in ("onset_date_time", "effective_date_time", "performed_date_time"):
        text = getattr(item, name, None)
        if hasattr(item, name) and (text is None or len(text) < 10):
            day = date(2023, 1, 1) + timedelta(days=rng.randrange(600))
            if text is None or day.isoformat().startswith(text):
                changes[name] = day.isoformat()
            else:
                changes[name] = (
                    f"{text}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}"[:10]
                    if len(text) == 4
                    else f"{text}-15"
                )
    if hasattr(item, "verification_status") and item.verification in (None, "provisional"):
        changes["verification_status"] = word(rng.choice(["confirmed", "refuted"]))
    if hasattr(item, "clinical_status") and item.clinical is None:
        changes["clinical_status"] = word(rng.choice(["active", "resolved"]))
    if hasattr(item, "status") and item.status in (None, "unknown"):
        changes["status"] = rng.choice(["final", "completed", "finished", "preparation"])
    quantity = getattr(item, "value_quantity", None)
    if type(item).__name__ == "Observation" and (quantity is None or quantity.unit in (None, "g")):
        changes["value_quantity"] = Quantity(value=Decimal(rng.randrange(3, 12)), unit="%")
        if quantity is not None and quantity.unit == "g":
            del changes["value_quantity"]
    return msgspec.structs.replace(item, **changes)


@settings(max_examples=80, deadline=None)
@given(plans, records, st.randoms(use_true_random=False))
def test_a_fact_never_flips_a_decided_outcome(plan: Plan, who: PatientRecord, rng: random.Random) -> None:
    """P1: dates, statuses, values, and a finished fetch that is consistent with what was read."""
    before = compile_verdicts(plan)(who)
    known = mapped(who, lambda made: [facts_for(item, rng) for item in made])
    assert all(old in (new, UNKNOWN) for old, new in zip(before, compile_verdicts(plan)(known), strict=True))
    extra = {Kind.CONDITION: condition(id="late"), Kind.OBSERVATION: observation(7, id="late"),
             Kind.PROCEDURE: procedure(id="late"), Kind.ENCOUNTER: encounter("2024-05-05", id="late")}  # fmt: skip
    for kind, item in extra.items():
        fetched = who.kinds[kind]
        if not fetched.state.complete:
            rest = complete((*fetched.items, *([item] if rng.random() < 0.5 else [])))
            who = replace(who, kinds={**who.kinds, kind: rest})
    assert all(old in (new, UNKNOWN) for old, new in zip(before, compile_verdicts(plan)(who), strict=True))


@FAST
@given(items, st.integers(1, 24), st.integers(0, 24))
def test_a_wider_window_never_loses_a_match(made: list[Any], months: int, more: int) -> None:
    """P6."""
    who = record(*made)
    for leaf in (lambda window: has(onset=window), lambda window: done(performed=window)):
        narrow, wide = (truth(leaf(within(f"{n} mo")), who) for n in (months, months + more))
        assert wide >= narrow


@FAST
@given(items, st.integers(4, 9), st.integers(0, 3))
def test_a_higher_bound_never_gains(made: list[Any], low: int, more: int) -> None:
    """P7."""
    who = record(*made)
    for take in ("latest", "earliest", "any", "all", "max", "min"):
        assert truth(lab(f">= {low + more}", take=take), who) <= truth(lab(f">= {low}", take=take), who)


@FAST
@given(st.lists(st.tuples(st.integers(20, 120), st.sampled_from(["2024-06-01", "2024-05"])), max_size=4),
       st.integers(20, 120), st.sampled_from(["latest", "any", "all", "min", "max", "earliest"]))  # fmt: skip
def test_the_unit_of_results_changes_nothing(
    given_results: list[tuple[int, str]], bound: int, take: str
) -> None:
    """P10: centimetres and metres."""
    from tests.federated.screening.making import codes

    leaf = lab(f">= {bound}", take=take, codes=codes("8302-2", system="loinc"), unit="cm")

    def of(unit: str, size: int) -> int:
        made = [
            observation(f"{value / size:.2f}", day, unit, code="8302-2", id=f"o{n}")
            for n, (value, day) in enumerate(given_results)
        ]
        return truth(leaf, record(*made))

    assert of("cm", 1) == of("m", 100)


FACTS = st.builds(
    completions.Fact,
    st.sampled_from([None, "2024", "2024-06", "2024-05-31", "2024-06-01", "2024-06-15", "2024-06-30",
                     "2024-07-01", "2023-12"]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([4.0, 5.0, 6.0, 7.0, None]),
)  # fmt: skip
WINDOW = (date(2024, 6, 1), date(2024, 6, 30))


def as_observation(fact: completions.Fact, number: int) -> Any:
    return observation(fact.value, fact.day, status="final" if fact.sure else None, id=f"o{number}")


TAKES = ["latest", "earliest", "any", "all", "max", "min"]


@settings(max_examples=150, deadline=None)
@example([completions.Fact("2024-06"), completions.Fact("2024-06-30")], "latest", ">= 5.5")
@example([completions.Fact(None, value=None), completions.Fact("2024-06", value=6.0)], "max", ">= 5.5")
@given(st.lists(FACTS, min_size=1, max_size=3), st.sampled_from(TAKES), st.sampled_from([">= 5.5", "<= 5.5"]))
def test_a_leaf_is_what_all_completions_say(
    given_facts: list[completions.Fact], take: Any, asked: str
) -> None:
    """P13: brute force over every way the records could have been."""
    from tests.federated.screening.making import between

    def fits(value: float) -> bool:
        return value >= 5.5 if asked[0] == ">" else value <= 5.5

    expected = completions.answer(take, given_facts, WINDOW, fits, None)
    leaf = lab(asked, take=take, window=between(*WINDOW))
    who = record(*(as_observation(fact, n) for n, fact in enumerate(given_facts)))
    assert truth(leaf, who) == expected


@settings(max_examples=80, deadline=None)
@given(st.lists(FACTS, max_size=3))
def test_presence_is_what_all_completions_say(given_facts: list[completions.Fact]) -> None:
    """P13 for a closed kind, where silence is no."""
    from tests.federated.screening.making import between

    expected = (
        completions.answer("exists", given_facts, WINDOW, lambda value: True, False) if given_facts else NO
    )
    made = [
        procedure(fact.day, status="completed" if fact.sure else None, id=f"p{n}")
        for n, fact in enumerate(given_facts)
    ]
    assert truth(done(performed=between(*WINDOW)), record(*made)) == expected


@settings(max_examples=80, deadline=None)
@given(plans, records)
def test_evidence_alone_rederives_every_outcome(plan: Plan, who: PatientRecord) -> None:
    """Test 60."""
    outcome = compile_plan(plan)(who)
    assert evidence_checker.decision(plan, outcome) == outcome.decision.value
    for one, of in zip(plan.rules, outcome.criteria, strict=True):
        expected = {0: Verdict.FAIL, 1: Verdict.UNKNOWN, 2: Verdict.PASS}[evidence_checker.criterion(one, of)]
        assert of.verdict is expected or (of.verdict is Verdict.NOT_APPLICABLE and expected is Verdict.PASS)


def answered(plan: Plan, outcome: Any, rng: random.Random) -> Any:
    """The outcome after somebody looked up everything that was listed, whatever it turned out to be."""
    wanted = {look.where for look in outcome.lookups}
    criteria = []
    for one, of in zip(plan.rules, outcome.criteria, strict=True):
        told = tuple(
            replace(part, outcome=rng.choice([Fact.YES, Fact.NO]), reason="CODE_PRESENT")
            if f"{part.criterion}:{part.path}" in wanted and part.outcome is Fact.UNKNOWN else part
            for part in of.evidence
        )  # fmt: skip
        criteria.append(replace(of, evidence=told, verdict=_verdict(one, told, of)))
    verdicts = {of.verdict for of in criteria}
    decision = (Decision.NOT_ELIGIBLE if Verdict.FAIL in verdicts
                else Decision.UNDECIDED if Verdict.UNKNOWN in verdicts else Decision.ELIGIBLE)  # fmt: skip
    new = replace(outcome, criteria=tuple(criteria), decision=decision, lookups=())
    return replace(new, lookups=look_up_next(plan, new) if decision is Decision.UNDECIDED else ())


def _verdict(one: Any, told: tuple[Any, ...], of: Any) -> Verdict:
    if of.verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_EVALUATED):
        return of.verdict  # type: ignore[no-any-return]
    values = iter(told)

    def value(part: Any) -> int:
        name = type(part).__name__
        if name == "Not":
            return 2 - value(part.of)
        if name in ("All", "Any", "AtLeast"):
            each = [value(child) for child in part.of]
            if name == "AtLeast":
                return 2 if each.count(2) >= part.n else 0 if len(each) - each.count(0) < part.n else 1
            return min(each) if name == "All" else max(each)
        return evidence_checker.TRUTH[next(values).outcome]

    applies = YES if one.applies_if is None else value(one.applies_if)
    found = value(one.where)
    found = 2 - found if one.side == "exclusion" else found
    return {0: Verdict.FAIL, 1: Verdict.UNKNOWN, 2: Verdict.PASS}[max(2 - applies, found)]


@settings(max_examples=80, deadline=None)
@given(plans, records, st.randoms(use_true_random=False))
def test_following_the_lookups_decides_every_patient(
    plan: Plan, who: PatientRecord, rng: random.Random
) -> None:
    """Test 61."""
    outcome = compile_plan(plan)(who)
    leaves = sum(len(of.evidence) for of in outcome.criteria)
    for _ in range(leaves + 1):
        if outcome.decision is not Decision.UNDECIDED:
            break
        assert 1 <= len(outcome.lookups) <= 5
        outcome = answered(plan, outcome, rng)
    assert outcome.decision is not Decision.UNDECIDED
    assert outcome.lookups == ()


@FAST
@given(plans, records)
def test_an_outcome_is_the_same_every_time(plan: Plan, who: PatientRecord) -> None:
    decide = compile_plan(plan)
    assert plain(decide(who)) == plain(compile_plan(plan)(who)) == plain(decide(who))


@FAST
@given(plans, records, st.dictionaries(st.sampled_from(["x0", "x1", "x2"]), st.integers(0, 50)))
def test_shares_change_the_order_of_lookups_only(plan: Plan, who: PatientRecord, no: dict[str, int]) -> None:
    outcome = compile_plan(plan)(who)
    assume(outcome.decision is Decision.UNDECIDED)
    ordered = look_up_next(plan, outcome, Shares(no, {"x0": 50}), most=100)
    assert {look.do + look.kind for look in ordered} == {
        look.do + look.kind for look in look_up_next(plan, outcome, most=100)
    }


def test_compare_reads_what_tests_write() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        compare("5")
