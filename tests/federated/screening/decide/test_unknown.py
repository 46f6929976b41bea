"""Where unknown comes from, and that nothing else becomes unknown (tests 24 to 33)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from ehr.records.care import (
    AllergyIntolerance,
    DocumentReference,
    Immunization,
    MedicationRequest,
    ServiceRequest,
)
from ehr.records.elements import CodeableConcept, Quantity, Reference
from ehr.records.fetched import Kind, State
from federated.errors import InvalidArgument
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.trial_plan import SiteFacts, make_plan
from federated.screening.trial import criteria as c
from tests.federated.screening.making import (
    INDEX,
    KEY,
    SNOMED,
    ZONE,
    at,
    between,
    codes,
    concept,
    condition,
    done,
    encounter,
    evidence,
    facts,
    has,
    lab,
    observation,
    outcome,
    patient,
    procedure,
    record,
    rule,
    trial,
    truth,
    within,
    word,
)

BROKEN = [state for state in State if not state.complete]
REASONS = {
    State.PARTIAL: "SOURCE_PARTIAL",
    State.UNSUPPORTED: "SOURCE_UNSUPPORTED",
    State.FORBIDDEN: "SOURCE_FORBIDDEN",
    State.RESTRICTED: "SOURCE_FORBIDDEN",
    State.QUOTA: "SOURCE_UNAVAILABLE",
    State.UNAVAILABLE: "SOURCE_UNAVAILABLE",
    State.ERROR: "SOURCE_UNAVAILABLE",
}
SEEN = c.Encounter(window=within("12 mo"), count=c.CountBound(">=", 2), at=at())
LEAVES = {Kind.CONDITION: has(), Kind.PROCEDURE: done(), Kind.OBSERVATION: lab(), Kind.ENCOUNTER: SEEN}


@pytest.mark.parametrize("state", BROKEN)
@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("side", ["inclusion", "exclusion"])
def test_an_outage_never_excludes_and_never_admits(kind: Kind, state: State, side: str) -> None:
    from federated.screening.decide.evaluate import compile_plan

    plan = make_plan(trial(rule(LEAVES[kind], side)), facts(), INDEX)
    found = compile_plan(plan)(record(states={kind: state}))
    assert found.decision.value == "undecided"
    one = found.criteria[0].evidence[0]
    assert (one.reason, one.outcome.value, one.source_state) == (REASONS[state], "unknown", state.name)
    assert found.states[kind.value] == state.name


def test_a_kind_that_was_not_fetched_is_unavailable() -> None:
    from ehr.records.patient import PatientRecord, PatientRef

    empty = PatientRecord(PatientRef("p"), patient())
    assert truth(has(), empty) == UNKNOWN
    assert evidence(has(), empty).reason == "SOURCE_UNAVAILABLE"


def test_a_patient_who_was_not_found_has_no_age() -> None:
    from ehr.records.fetched import complete, nothing
    from ehr.records.patient import PatientRecord, PatientRef
    from tests.federated.screening.making import age

    def reason(kinds: dict[Kind, object]) -> str:
        return evidence(age(">= 18"), PatientRecord(PatientRef("p"), None, kinds)).reason  # type: ignore[arg-type]

    assert reason({}) == "SOURCE_UNAVAILABLE"
    assert reason({Kind.PATIENT: complete(())}) == "PATIENT_NOT_FOUND"
    assert reason({Kind.PATIENT: nothing(State.FORBIDDEN)}) == "SOURCE_FORBIDDEN"


def test_partial_data_proves_presence_not_absence() -> None:
    partial = {Kind.CONDITION: State.PARTIAL, Kind.ENCOUNTER: State.PARTIAL}
    assert truth(has(), record(condition(), states=partial)) == YES
    assert truth(has(), record(condition("H40.11"), states=partial)) == UNKNOWN
    visits = [encounter("2024-05-01"), encounter("2024-04-01")]
    assert truth(SEEN, record(*visits, states=partial)) == YES
    assert truth(SEEN, record(visits[0], states=partial)) == UNKNOWN
    at_most = c.Encounter(window=within("12 mo"), count=c.CountBound("<=", 1), at=at())
    assert truth(at_most, record(*visits, states=partial)) == NO
    assert truth(at_most, record(visits[0], states=partial)) == UNKNOWN
    assert truth(at_most, record(visits[0])) == YES


def test_no_lab_is_unknown_and_not_a_failure() -> None:
    for take in ("latest", "earliest", "any", "all", "min", "max", "mean"):
        one = evidence(lab(take=take), record())
        assert (one.outcome.value, one.reason) == ("unknown", "NOT_RECORDED"), take
    assert "a missing test is not a normal test" in evidence(lab(window=within("24 mo")), record()).text


def test_closed_world_needs_declaration_and_completeness() -> None:
    vaccine = c.Immunization(codes=codes("140", system="cvx"), at=at())
    assert truth(vaccine, record()) == UNKNOWN
    assert truth(vaccine, record(), world={"immunization": "closed"}) == NO
    broken = record(states={Kind.IMMUNIZATION: State.UNAVAILABLE})
    assert truth(vaccine, broken, world={"immunizations": "closed"}) == UNKNOWN
    assert truth(has(), record()) == NO
    assert truth(has(), record(), world={"condition": "open"}) == UNKNOWN
    assert truth(has(), record(), world={"condition": "recorded"}) == UNKNOWN


def test_a_trial_cannot_close_what_the_site_left_open() -> None:
    vaccine = c.Immunization(codes=codes("140", system="cvx"), at=at())
    wanted = trial(rule(vaccine), assume_complete=frozenset({"immunization"}))
    alone = make_plan(wanted, facts(), INDEX)
    agreed = make_plan(wanted, facts(assume_complete=frozenset({"immunization"})), INDEX)
    assert (alone.world["immunization"], agreed.world["immunization"]) == ("recorded", "closed")
    assert alone.digest != agreed.digest


def test_a_leaf_may_open_its_kind() -> None:
    open_leaf = done(elsewhere_matters=True)
    assert (truth(done(), record()), truth(open_leaf, record())) == (NO, UNKNOWN)
    assert evidence(open_leaf, record()).world == "open"


def test_an_unknown_world_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="none of"):
        make_plan(trial(rule(has())), facts(world={"condition": "shut"}), INDEX)
    with pytest.raises(InvalidArgument, match="kind that is not known"):
        make_plan(trial(rule(has())), facts(world={"conditons": "closed"}), INDEX)


def test_a_short_key_is_refused_and_a_key_is_not_shown() -> None:
    with pytest.raises(InvalidArgument, match="4 bytes"):
        SiteFacts(ZONE, key=b"four")
    assert "key of a test" not in repr(facts())
    assert repr(KEY) not in repr(make_plan(trial(rule(has())), facts(), INDEX))


@pytest.mark.parametrize("verification", ["refuted", "entered-in-error"])
def test_refuted_and_entered_in_error_never_count(verification: str) -> None:
    for leaf in (has(), has(verification=("confirmed", verification)), has(clinical=None)):
        assert truth(leaf, record(condition(verification=verification))) == NO
    assert (
        truth(done(status=("completed", "entered-in-error")), record(procedure(status="entered-in-error")))
        == NO
    )
    assert truth(lab(), record(observation(9, status="entered-in-error"))) == UNKNOWN
    allergy = AllergyIntolerance(
        id="a",
        code=concept("91936005", SNOMED),
        clinical_status=word("active"),
        verification_status=word(verification),
    )
    leaf = c.Allergy(codes=codes("91936005", system="snomed"), at=at())
    assert truth(leaf, record(allergy), world={"allergy": "closed"}) == NO


@pytest.mark.parametrize("verification", ["provisional", "unconfirmed", "differential", None])
def test_provisional_is_unknown(verification: str | None) -> None:
    one = evidence(has(), record(condition(verification=verification)))
    assert (one.outcome.value, one.reason, one.records[0].match) == ("unknown", "NOT_CONFIRMED", "possible")


@pytest.mark.parametrize(
    ("clinical", "expected"),
    [("active", YES), ("recurrence", YES), ("relapse", YES), ("inactive", NO), ("resolved", NO), ("remission", NO),
     (None, UNKNOWN)],
)  # fmt: skip
def test_clinical_status_decides_what_is_current(clinical: str | None, expected: int) -> None:
    assert truth(has(), record(condition(clinical=clinical))) == expected
    assert truth(has(clinical=None), record(condition(clinical=clinical))) == YES


def test_a_status_word_of_fhir_for_not_knowing_is_unknown() -> None:
    assert truth(done(), record(procedure(status="unknown"))) == UNKNOWN
    assert truth(done(), record(procedure(status=None))) == UNKNOWN
    assert truth(done(), record(procedure(status="preparation"))) == NO


def test_a_text_hint_gives_unknown_never_yes() -> None:
    leaf = has(hints=("wet amd",))
    only_text = condition(concept=CodeableConcept(text="Wet AMD, left"))
    assert truth(leaf, record(only_text)) == UNKNOWN
    assert evidence(leaf, record(only_text)).reason == "CODE_NOT_MAPPED"
    assert truth(has(), record(only_text)) == NO
    assert truth(leaf, record(condition(concept=CodeableConcept(text="sweet amde")))) == NO
    local = condition(concept=concept("X1", "urn:local", display="wet amd"))
    assert truth(leaf, record(local)) == UNKNOWN
    other_code = condition(concept=concept("H40.11", display="not wet amd"))
    assert truth(leaf, record(other_code)) == NO
    hinted_and_real = [only_text, condition(id="c2")]
    assert truth(leaf, record(*hinted_and_real)) == YES


def test_a_drug_that_is_only_a_reference_may_be_anything() -> None:
    leaf = c.Medication(codes=codes("106892", system="rxnorm"), status=("active",), at=at())
    pointing = MedicationRequest(
        id="m", status="active", medication_reference=Reference(reference="Medication/1")
    )
    assert truth(leaf, record(pointing)) == UNKNOWN
    assert evidence(leaf, record(pointing)).reason == "CODE_NOT_MAPPED"
    assert truth(leaf, record()) == NO


def test_what_is_not_to_be_done_is_not_an_order() -> None:
    rx = "http://www.nlm.nih.gov/research/umls/rxnorm"
    drug = MedicationRequest(
        id="m", status="active", medication_codeable_concept=concept("106892", rx), intent="order"
    )
    leaf = c.Medication(
        codes=codes("106892", system="rxnorm"), status=("active",), intent=("order",), at=at()
    )
    assert truth(leaf, record(drug)) == YES
    import msgspec

    assert truth(leaf, record(msgspec.structs.replace(drug, do_not_perform=True))) == NO
    assert truth(leaf, record(msgspec.structs.replace(drug, intent="plan"))) == NO
    assert truth(leaf, record(msgspec.structs.replace(drug, intent=None))) == UNKNOWN
    statement_only = c.Medication(
        codes=codes("106892", system="rxnorm"), status=("active",), sources=("statement",), at=at()
    )
    assert truth(statement_only, record(drug)) == NO
    order = ServiceRequest(
        id="s", status="active", code=concept("306206005", SNOMED), authored_on="2024-06-01"
    )
    wanted = c.Order(codes=codes("306206005", system="snomed"), at=at())
    assert truth(wanted, record(order)) == YES
    assert truth(wanted, record(msgspec.structs.replace(order, do_not_perform=True))) == NO


def test_family_history_never_counts() -> None:
    inherited = condition(category=(concept("family-history", "urn:x"),))
    assert truth(has(), record(inherited)) == NO
    assert truth(has(), record(condition(category=(concept("problem-list-item", "urn:x"),)))) == YES


def test_the_coded_statement_of_no_allergy_closes_the_list() -> None:
    leaf = c.Allergy(codes=codes("91936005", system="snomed"), at=at())

    def said(**more: object) -> AllergyIntolerance:
        given = {"id": "n", "code": concept("716186003", SNOMED), "verification_status": word("confirmed")}
        return AllergyIntolerance(**(given | more))  # type: ignore[arg-type]

    assert truth(leaf, record()) == UNKNOWN
    assert truth(leaf, record(said())) == NO
    assert truth(leaf, record(said(verification_status=word("refuted")))) == UNKNOWN
    assert truth(leaf, record(said(clinical_status=word("resolved")))) == UNKNOWN
    assert truth(leaf, record(said(), states={Kind.ALLERGY: State.PARTIAL})) == UNKNOWN
    assert truth(leaf, record(said(patient=Reference(reference="Patient/other")))) == UNKNOWN


def test_latest_is_unknown_when_labs_are_incomplete() -> None:
    good = observation(9)
    assert truth(lab(), record(good)) == YES
    one = evidence(lab(), record(good, states={Kind.OBSERVATION: State.PARTIAL}))
    assert (one.outcome.value, one.reason, one.value) == ("unknown", "SOURCE_PARTIAL", 9.0)


def test_any_and_max_are_proved_by_one_value_even_if_incomplete() -> None:
    partial = record(observation(9), states={Kind.OBSERVATION: State.PARTIAL})
    assert truth(lab(take="any"), partial) == YES
    assert truth(lab(take="max"), partial) == YES
    assert truth(lab("<= 9", take="max"), partial) == UNKNOWN
    assert truth(lab("<= 8", take="max"), partial) == NO
    assert truth(lab(take="all"), partial) == UNKNOWN
    assert truth(lab("<= 8", take="all"), partial) == NO
    assert truth(lab(take="min"), partial) == UNKNOWN
    assert truth(lab(take="mean"), partial) == UNKNOWN


def test_one_recorded_value_is_all_there_is() -> None:
    one = record(observation(5.0))
    assert truth(lab(take="any"), one) == NO
    assert truth(lab(take="any"), one, world={"observation": "open"}) == UNKNOWN
    assert truth(lab("<= 6", take="all"), one, world={"observation": "open"}) == UNKNOWN
    assert truth(lab("<= 6", take="all"), one) == YES
    assert truth(lab("<= 6", take="max"), one, world={"observation": "open"}) == UNKNOWN


def test_two_values_of_one_day_that_disagree_are_unknown() -> None:
    pair = [observation(5, id="a"), observation(6, id="b")]
    one = evidence(lab(), record(*pair))
    assert (one.outcome.value, one.reason, one.value_low, one.value_high) == (
        "unknown",
        "LATEST_AMBIGUOUS",
        5.0,
        6.0,
    )
    assert truth(lab(">= 5"), record(*pair)) == YES
    assert truth(lab(same_day="lowest"), record(*pair)) == NO
    assert truth(lab(same_day="highest"), record(*pair)) == YES
    timed = [
        observation(5, "2024-06-01T08:00:00+02:00", id="a"),
        observation(6, "2024-06-01T09:00:00+02:00", id="b"),
    ]
    assert truth(lab(), record(*timed)) == YES
    assert truth(lab(same_day="lowest"), record(*timed)) == NO
    assert truth(lab(take="earliest"), record(*timed)) == NO


def test_a_stale_value_is_unknown_and_a_window_makes_it_not_count() -> None:
    from ehr.dates import parse_duration

    stale = lab(stale_after=parse_duration("6 mo"))
    assert truth(stale, record(observation(9, "2023-12-30"))) == YES
    one = evidence(stale, record(observation(9, "2023-12-29")))
    assert (one.outcome.value, one.reason) == ("unknown", "STALE")
    assert evidence(stale, record(observation(9, "2023-12"))).reason == "DATE_UNCERTAIN"
    assert evidence(lab(window=within("6 mo")), record(observation(9, "2023-12-29"))).reason == "NOT_RECORDED"


def test_silence_before_care_is_unknown_only_where_the_site_says_since_when() -> None:
    leaf = done(performed=within("24 mo"))
    assert truth(leaf, record()) == NO
    one = evidence(leaf, record(), care_since=date(2023, 1, 1))
    assert (one.outcome.value, one.reason) == ("unknown", "BEFORE_CARE")
    assert truth(leaf, record(), care_since=date(2022, 6, 30)) == NO
    assert truth(leaf, record(procedure()), care_since=date(2023, 1, 1)) == YES


def test_every_needs_each_period() -> None:
    regular = c.Encounter(every=c.EveryPeriod(*_every()), at=at())
    four = [encounter(day) for day in ("2024-06-30", "2023-06-30", "2023-06-29", "2022-06-30")]
    assert truth(regular, record(*four)) == YES
    assert truth(regular, record(*four[:3])) == NO
    one = evidence(regular, record(*four[:3]))
    assert (one.reason, one.value, one.threshold) == ("COUNT_LOW", 1.0, ">= 2 in each of 2 periods")
    assert truth(regular, record(*four[:3], states={Kind.ENCOUNTER: State.PARTIAL})) == UNKNOWN


def _every() -> tuple[object, int, object]:
    from ehr.dates import parse_duration

    return parse_duration("12 mo"), 2, parse_duration("24 mo")


def test_a_measurement_of_an_image_is_not_measured() -> None:
    from tests.federated.screening.making import compare

    leaf = c.Measurement(metric="total_ga_area", compare=compare(">= 2.5"), unit="mm2", eye="any", at=at())
    one = evidence(leaf, record())
    assert (one.outcome.value, one.reason) == ("unknown", "NOT_MEASURED")


def test_documents_and_vaccines_are_read_by_type_and_date() -> None:
    document = DocumentReference(
        id="d", status="current", type=concept("11488-4", "http://loinc.org"), date="2024-06-01"
    )
    leaf = c.Document(codes=codes("11488-4", system="loinc"), window=within("2 mo"), at=at())
    assert truth(leaf, record(document)) == YES
    dose = Immunization(id="i", status="completed", vaccine_code=concept("140", "http://hl7.org/fhir/sid/cvx"),
                        occurrence_date_time="2024-01-01")  # fmt: skip
    vaccine = c.Immunization(codes=codes("140", system="cvx"), window=within("2 mo"), at=at())
    assert truth(vaccine, record(dose), world={"immunization": "closed"}) == NO
    assert evidence(vaccine, record(dose), world={"immunization": "closed"}).reason == "DATE_OUTSIDE"


def test_a_patient_without_visits_for_two_years_is_noted() -> None:
    assert outcome(has(), record()).notes == ("NO_RECENT_CONTACT",)
    assert outcome(has(), record(encounter("2022-06-30"))).notes == ()
    assert outcome(has(), record(encounter("2022-06-29"))).notes == ("NO_RECENT_CONTACT",)
    assert outcome(has(), record(states={Kind.ENCOUNTER: State.ERROR})).notes == ()


def test_a_visit_grain_is_refused() -> None:
    from federated.screening.plan.trial_plan import PlanRefused

    with pytest.raises(PlanRefused, match="grain: visit"):
        make_plan(trial(rule(has()), grain="visit"), facts(), INDEX)


def test_another_patients_record_does_not_count() -> None:
    assert truth(has(), record(condition(subject=Reference(reference="Patient/other")))) == NO
    assert truth(has(), record(condition(subject=Reference(reference="Patient/p")))) == YES
    assert truth(has(), record(condition(subject=Reference(reference="urn:uuid:1")))) == YES


def test_columns_are_read_as_written() -> None:
    from tests.federated.screening.making import compare

    texts = c.Column(name="arm", texts=("A", "B"), at=at())
    assert [truth(texts, record(arm=cell)) for cell in ("A", "C", " ")] == [YES, NO, UNKNOWN]
    assert evidence(texts, record()).reason == "MISSING_COLUMN"
    number = c.Column(name="iop", compare=compare("<= 21"), dtype="number", unit="mm[Hg]", at=at())
    assert [truth(number, record(iop=cell)) for cell in ("21", "21.5", "high")] == [YES, NO, UNKNOWN]
    assert truth(texts, record(arm=""), world={"column": "closed"}) == NO


def test_sex_is_read_by_which_and_not_guessed() -> None:
    from ehr.records.elements import Extension

    women = c.Sex(values=("female",), at=at())
    assert [truth(women, record(person=patient(gender=word_))) for word_ in ("female", "male", "unknown", None)] == [
        YES, NO, UNKNOWN, UNKNOWN,
    ]  # fmt: skip
    born = patient(extension=(Extension(url="http://x/us-core-birthsex", value_code="M"),))
    assert truth(c.Sex(values=("male",), which="birth", at=at()), record(person=born)) == YES


def test_clinical_status_is_taken_back_to_a_past_index_date_by_the_abatement() -> None:
    ended_later = condition(clinical="resolved", abatement_date_time="2024-08-01")
    assert truth(has(), record(ended_later)) == YES
    assert truth(has(), record(condition(clinical="resolved", abatement_date_time="2024-06-30"))) == NO
    assert truth(has(), record(condition(clinical="resolved", abatement_date_time="2024-06"))) == NO
    assert truth(has(), record(condition(clinical="resolved", abatement_date_time="2024"))) == UNKNOWN
    assert truth(has(), record(condition(clinical="active", abatement_date_time="2024-01-01"))) == UNKNOWN
    past = date(2024, 1, 31)
    assert evidence(has(), record(condition()), past).notes == ("AS_OF_FETCH",)
    assert evidence(has(), record(condition())).notes == ()


def test_active_windows_reach_from_onset_to_abatement() -> None:
    window = between(date(2020, 1, 1), date(2020, 12, 31))
    leaf = has(clinical=None, active=window)

    def of(onset: str | None, ended: str | None = None, clinical: str = "active") -> int:
        return truth(leaf, record(condition(onset=onset, abatement_date_time=ended, clinical=clinical)))

    assert of("2019-05-01") == YES
    assert of("2020-12-31") == YES
    assert of("2021-01-01") == NO
    assert of("2019-05-01", "2019-12-31", "resolved") == NO
    assert of("2019-05-01", "2020-01-01", "resolved") == YES
    assert of("2019-05-01", None, "resolved") == UNKNOWN
    assert of("2020-05-01", None, "resolved") == YES
    assert of(None, "2020-06-01", "resolved") == UNKNOWN
    assert of("2020") == YES
    assert of("2019-05-01", "2019", "resolved") == NO


def test_onset_may_be_an_age() -> None:
    leaf = has(onset=between(date(1999, 1, 1), date(2001, 12, 31)))
    old = condition(onset=None, onset_age=Quantity(value=Decimal(40), code="a"))
    assert truth(leaf, record(old)) == YES
    assert truth(has(onset=within("12 mo")), record(old)) == NO
    assert truth(has(onset=between(date(2000, 6, 1), date(2001, 12, 31))), record(old)) == UNKNOWN
