"""Patients, records and one-criterion trials for tests, in as few words as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ehr.dates import parse_duration
from ehr.records.clinical import Condition, Observation, ObservationComponent, Procedure
from ehr.records.codes import Code
from ehr.records.elements import CodeableConcept, Coding, Period, Quantity, Reference
from ehr.records.fetched import Fetched, Kind, State, complete, nothing
from ehr.records.patient import Encounter, PatientRecord, PatientRef
from ehr.records.people import Patient
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Evidence, Outcome
from federated.screening.plan.trial_plan import Plan, SiteFacts, make_plan
from federated.screening.trial import criteria as c
from federated.screening.trial import value_types

INDEX = date(2024, 6, 30)
ZONE = ZoneInfo("Europe/Berlin")
KEY = b"the key of a test site"
LOINC, SNOMED, ICD = "http://loinc.org", "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm"
ALL = [kind for kind in Kind if kind is not Kind.PRACTITIONER]
NOW = datetime(2024, 6, 30, 9, tzinfo=UTC)


def at(path: str = "where") -> value_types.At:
    return value_types.At(path)


def codes(
    *members: str, system: str = "icd10cm", hints: tuple[str, ...] = (), name: str = "dx"
) -> value_types.ValueSet:
    exact = frozenset(Code(system, code) for code in members if not code.endswith("*"))
    prefixes = frozenset(Code(system, code[:-1]) for code in members if code.endswith("*"))
    return value_types.ValueSet(name, exact, prefixes, text_hints=hints)


def concept(
    code: str | None, system: str = ICD, text: str | None = None, display: str | None = None
) -> CodeableConcept:
    coding = () if code is None else (Coding(system=system, code=code, display=display),)
    return CodeableConcept(coding=coding, text=text)


def word(code: str | None) -> CodeableConcept | None:
    return None if code is None else CodeableConcept(coding=(Coding(code=code),))


def condition(code: str | None = "H35.31", onset: str | None = "2024-01-01", **more: Any) -> Condition:
    given: dict[str, Any] = {
        "id": more.pop("id", "c1"),
        "code": more.pop("concept", concept(code)),
        "clinical_status": word(more.pop("clinical", "active")),
        "verification_status": word(more.pop("verification", "confirmed")),
        "onset_date_time": onset,
    }
    return Condition(**given, **more)


def observation(
    value: float | str | None = None, day: str | None = "2024-06-01", unit: str | None = "%", **more: Any
) -> Observation:
    comparator = more.pop("comparator", None)
    if value is not None:
        more["value_quantity"] = Quantity(value=Decimal(str(value)), unit=unit, comparator=comparator)
    code = more.pop("code", "4548-4")
    defaults = {"id": "o1", "status": "final", "code": concept(code, LOINC), "effective_date_time": day}
    return Observation(**(defaults | more))


def pressure(day: str, systolic: float | None, **more: Any) -> Observation:
    value = None if systolic is None else Quantity(value=Decimal(str(systolic)), unit="mm[Hg]")
    part = ObservationComponent(code=concept("8480-6", LOINC), value_quantity=value)
    return observation(None, day, code="85354-9", component=(part,), **more)


def procedure(day: str | None = "2024-06-01", code: str = "67028", **more: Any) -> Procedure:
    defaults = {
        "id": "p1",
        "status": "completed",
        "code": concept(code, "http://www.ama-assn.org/go/cpt"),
        "performed_date_time": day,
    }
    return Procedure(**(defaults | more))


def encounter(start: str | None, end: str | None = None, **more: Any) -> Encounter:
    defaults: dict[str, Any] = {
        "id": f"e{start}",
        "status": "finished",
        "period": Period(start=start, end=end),
    }
    return Encounter(**(defaults | more))


def patient(born: str | None = "1960-05-05", **more: Any) -> Patient:
    return Patient(**({"id": "p", "gender": "female", "birth_date": born} | more))


def record(
    *items: Any,
    person: Patient | None = None,
    states: Mapping[Kind, State] | None = None,
    read: datetime = NOW,
    **columns: str,
) -> PatientRecord:
    """A patient with these records, every kind complete but for ``states``."""
    who = person or patient()
    kinds: dict[Kind, Fetched[Any]] = {Kind.PATIENT: complete((who,), read)}
    for kind in ALL[1:]:
        mine = tuple(item for item in items if kind_of(item) is kind)
        state = (states or {}).get(kind)
        kinds[kind] = complete(mine, read) if state is None or state.complete else broken(mine, state)
    return PatientRecord(PatientRef("p"), who, kinds, columns)


def broken(items: tuple[Any, ...], state: State) -> Fetched[Any]:
    return nothing(state) if not items else Fetched(items, state)


def kind_of(item: Any) -> Kind:
    from ehr.records.patient import RESOURCES

    return next(kind for kind, types in RESOURCES.items() if type(item) in types)


def subject(identity: str) -> Reference:
    return Reference(reference=f"Patient/{identity}")


def rule(where: Any, side: str = "inclusion", name: str = "x", **more: Any) -> c.Criterion:
    return c.Criterion(id=name, side=side, text=name, source=name, where=where, **more)  # type: ignore[arg-type]


def trial(*rules: c.Criterion, **more: Any) -> c.Trial:
    return c.Trial(
        id="test-trial",
        title="t",
        version="1",
        inclusion=tuple(one for one in rules if one.side == "inclusion"),
        exclusion=tuple(one for one in rules if one.side == "exclusion"),
        **more,
    )


def facts(**more: Any) -> SiteFacts:
    return SiteFacts(more.pop("zone", ZONE), key=KEY, **more)


def plan_of(where: Any, index: date = INDEX, **more: Any) -> Plan:
    return make_plan(trial(rule(where)), facts(**more), index)


def truth(where: Any, patient_record: PatientRecord, index: date = INDEX, **more: Any) -> int:
    """What one node is for one patient: 0, 1 or 2."""
    return compile_verdicts(plan_of(where, index, **more))(patient_record)[0]


def outcome(where: Any, patient_record: PatientRecord, index: date = INDEX, **more: Any) -> Outcome:
    return compile_plan(plan_of(where, index, **more))(patient_record)


def evidence(where: Any, patient_record: PatientRecord, index: date = INDEX, **more: Any) -> Evidence:
    """The evidence of a single leaf."""
    return outcome(where, patient_record, index, **more).criteria[0].evidence[0]


def compare(text: str) -> value_types.Comparison:
    """``>= 5.7`` and ``24..73`` as comparisons."""
    if ".." in text:
        low, high = text.split("..")
        return value_types.Comparison("between", Decimal(low), Decimal(high))
    op, raw = text.split()
    value = Decimal(raw)
    if op in ("=", "!="):
        return value_types.Comparison(op, value, value)  # type: ignore[arg-type]
    if op in ("<", "<="):
        return value_types.Comparison(op, None, value, True, op == "<=")  # type: ignore[arg-type]
    return value_types.Comparison(op, value, None, op == ">=", True)  # type: ignore[arg-type]


def within(text: str) -> value_types.Window:
    return value_types.Window(
        "within", value_types.Point("index", None, parse_duration(text), -1), value_types.INDEX
    )


def between(first: date, last: date, ends: str = "[]") -> value_types.Window:
    return value_types.Window(
        "range", value_types.Point("date", first), value_types.Point("date", last), ends
    )  # type: ignore[arg-type]


def has(*members: str, **more: Any) -> c.Condition:
    return c.Condition(codes=codes(*(members or ("H35.31",)), hints=more.pop("hints", ())), at=at(), **more)


def lab(asked: str | None = ">= 5.7", take: str = "latest", **more: Any) -> c.Observation:
    given = {
        "codes": codes("4548-4", system="loinc", name="hba1c"),
        "unit": "%",
        "compare": None if asked is None else compare(asked),
        "at": at(),
    }
    return c.Observation(take=take, **(given | more))  # type: ignore[arg-type]


def done(**more: Any) -> c.Procedure:
    return c.Procedure(codes=codes("67028", system="cpt"), at=at(), **more)


def age(asked: str, **more: Any) -> c.AgeAt:
    return c.AgeAt(compare=compare(asked), at=at(), **more)


def several(items: Iterable[Any]) -> list[Any]:
    """The items with ids of their own."""
    import msgspec

    return [msgspec.structs.replace(item, id=f"r{number}") for number, item in enumerate(items)]
