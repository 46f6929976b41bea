"""Who is this patient: grades, choice, and what is searched for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ehr.config import ProviderProfile
from ehr.errors import NotMatched
from ehr.people.matching import (
    CONFLICTS,
    Ambiguous,
    BirthDate,
    Grade,
    Matched,
    NotFound,
    Person,
    Undetermined,
    assess,
    choose,
    compare_birth_dates,
    known_date,
    record_numbers,
    search_plans,
    survivors_to_read,
)
from ehr.records.fetched import State
from ehr.records.people import Patient
from tests.ehr.people.patients import number, patient, replaced_by

AMY = Person(family="Shaw", given="Amy", birth_date="1987-02-20")


def grade(person: Person, record: Patient) -> Grade:
    return assess(person, record).grade


def test_one_record_with_name_and_birth_date_is_matched() -> None:
    """match_exact_name_dob_single"""
    result = choose(AMY, [patient()])
    assert isinstance(result, Matched)
    assert result.grade is Grade.B
    assert result.evidence == ("birth_date", "family", "given")
    assert result.flags == ()
    assert result.require().id == "p1"
    assert result.require().aliases == frozenset()


def test_the_only_hit_with_another_birth_date_is_refused() -> None:
    """match_single_hit_with_wrong_dob_rejected"""
    assert choose(AMY, [patient(birthDate="1987-02-21")]) == NotFound()


def test_the_only_hit_with_another_given_name_is_refused() -> None:
    """match_single_hit_with_wrong_given_rejected"""
    assert choose(AMY, [patient(given="Joan")]) == NotFound()


def test_the_only_hit_with_another_family_name_is_refused() -> None:
    """match_prefix_hits_filtered_locally"""
    assert choose(AMY, [patient(family="Shawson")]) == NotFound()


def test_two_records_with_one_name_and_birth_date_are_ambiguous() -> None:
    """match_two_same_name_dob_is_ambiguous"""
    result = choose(AMY, [patient("a"), patient("b")])
    assert result == Ambiguous(2, (Grade.B, Grade.B))


def test_twins_with_one_birth_date_are_told_apart_by_their_given_names() -> None:
    """match_twins_not_confused"""
    result = choose(AMY, [patient("a"), patient("b", given="Joan")])
    assert isinstance(result, Matched)
    assert result.ref.id == "a"


def test_twins_are_ambiguous_when_only_their_initial_is_known() -> None:
    result = choose(replace(AMY, given="A"), [patient("a"), patient("b", given="Anna")])
    assert result == Ambiguous(2, (Grade.B, Grade.B))


def test_a_look_alike_with_the_same_given_name_and_birth_date_makes_it_ambiguous() -> None:
    result = choose(AMY, [patient("a"), patient("b", family="Shaws")])
    assert result == Ambiguous(2, (Grade.B, Grade.C))


def test_a_namesake_born_on_another_day_is_no_rival() -> None:
    assert isinstance(choose(AMY, [patient("a"), patient("b", birthDate="1990-01-01")]), Matched)


def test_a_namesake_with_an_unknown_birth_date_is_no_twin() -> None:
    result = choose(AMY, [patient("a"), patient("b", birthDate=None)])
    assert isinstance(result, Matched)
    assert result.ref.id == "a"


def test_nobody_among_no_candidates() -> None:
    assert choose(AMY, []) == NotFound()


def test_a_record_without_an_id_is_no_candidate() -> None:
    assert choose(AMY, [patient("")]) == NotFound()


def test_the_number_with_the_birth_date_is_enough() -> None:
    """match_by_mrn_with_system_and_dob_agreement"""
    record = patient(family="Married", identifier=[number("0042", system="urn:mrn")])
    for asked in ("0042", " 0042 ", "urn:mrn|0042", "URN:MRN|0042", "|0042"):
        result = choose(Person(mrn=asked, birth_date="1987-02-20"), [record])
        assert isinstance(result, Matched), asked
        assert result.grade is Grade.A
        assert result.evidence == ("mrn", "birth_date")


@pytest.mark.parametrize("asked", ["42", "urn:other|0042", "0042x"])
def test_another_number_is_no_evidence(asked: str) -> None:
    record = patient(family="Married", identifier=[number("0042", system="urn:mrn")])
    assert choose(Person(mrn=asked, birth_date="1987-02-20"), [record]) == NotFound()


def test_the_type_of_a_number_may_stand_for_its_system() -> None:
    record = patient(identifier=[number("0042", system="urn:mrn")])
    assert grade(Person(mrn="MR|0042", birth_date="1987-02-20"), record) is Grade.A
    assert grade(Person(mrn="MR|0043", birth_date="1987-02-20"), record) is Grade.X


def test_a_number_without_a_system_fits_any_system() -> None:
    assert (
        grade(Person(mrn="urn:mrn|7", birth_date="1987-02-20"), patient(identifier=[number("7")])) is Grade.A
    )


def test_a_number_that_disagrees_with_the_birth_date_is_undetermined() -> None:
    """match_mrn_agrees_dob_conflicts_undetermined"""
    record = patient(birthDate="1950-01-01", identifier=[number("0042")])
    result = choose(replace(AMY, mrn="0042"), [record])
    assert isinstance(result, Undetermined)
    assert [issue.code for issue in result.issues] == ["mrn-birth-date-conflict"]
    with_namesake = choose(replace(AMY, mrn="0042"), [record, patient("other")])
    assert isinstance(with_namesake, Undetermined)


def test_a_number_in_two_ranges_is_settled_by_the_birth_date() -> None:
    wrong = patient("a", birthDate="1950-01-01", identifier=[number("0042")])
    right = patient("b", identifier=[number("0042")])
    result = choose(replace(AMY, mrn="0042"), [wrong, right])
    assert isinstance(result, Matched)
    assert result.ref.id == "b"


def test_an_id_that_disagrees_with_the_birth_date_is_undetermined() -> None:
    result = choose(replace(AMY, id="p1"), [patient(birthDate="1950-01-01")])
    assert isinstance(result, Undetermined)
    assert result.state is State.ERROR
    assert [issue.code for issue in result.issues] == ["id-birth-date-conflict"]
    other = patient("b", identifier=[number("7")])
    assert isinstance(
        choose(replace(AMY, id="p1", mrn="7"), [patient(birthDate="1950-01-01"), other]), Undetermined
    )


@pytest.mark.parametrize("asked", ["0042", " 0042 ", "urn:mrn|0042", "MR|0042"])
def test_a_number_alone_is_enough_where_one_patient_has_it(asked: str) -> None:
    result = choose(Person(mrn=asked), [patient(identifier=[number("0042", system="urn:mrn")])])
    assert isinstance(result, Matched)
    assert (result.grade, result.evidence) == (Grade.B, ("mrn",))


def test_a_number_alone_that_two_have_is_ambiguous() -> None:
    two = [patient("a", identifier=[number("7")]), patient("b", given="Joan", identifier=[number("7")])]
    assert choose(Person(mrn="7"), two) == Ambiguous(2, (Grade.B, Grade.B))


@pytest.mark.parametrize("weak", [{"use": "old"}, {"type": None, "use": "usual"}])
def test_a_number_alone_that_another_had_or_may_have_is_ambiguous(weak: dict[str, object]) -> None:
    other = number("7") | weak
    if weak.get("type", "") is None:
        del other["type"]
    two = [patient("a", identifier=[number("7")]), patient("b", given="Joan", identifier=[other])]
    for candidates in (two, two[::-1]):
        assert choose(Person(mrn="7"), candidates) == Ambiguous(2, (Grade.B, Grade.C))
    assert choose(Person(mrn="7"), two[1:]) == Ambiguous(1, (Grade.C,))


def test_a_number_alone_of_an_unnamed_system_is_not_that_of_the_system_asked_for() -> None:
    assert grade(Person(mrn="urn:mrn|7"), patient(identifier=[number("7")])) is Grade.C
    assert choose(Person(mrn="urn:x|7"), [patient(identifier=[number("7", system="urn:mrn")])]) == NotFound()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"family": "Shaw"}, Grade.B),
        ({"family": "Shaw", "given": "Amy"}, Grade.B),
        ({"given": "A"}, Grade.B),
        ({"sex": "female"}, Grade.B),
        ({"birth_date": "1987"}, Grade.B),
        ({"birth_date": "1900-01-01"}, Grade.B),
        ({"birth_date": "1987-02-20"}, Grade.A),
        ({"family": "Shaws"}, Grade.C),
        ({"family": "Stone"}, Grade.C),
        ({"given": "Joan"}, Grade.C),
        ({"sex": "male"}, Grade.X),
        ({"birth_date": "1987-02-21"}, Grade.X),
        ({"birth_date": "1950"}, Grade.X),
    ],
)
def test_what_is_said_beside_a_number_can_speak_against_it(said: dict[str, str], expected: Grade) -> None:
    record = patient(identifier=[number("0042")], gender="female")
    assert grade(Person(mrn="0042", **said), record) is expected


@pytest.mark.parametrize("asked", ["|", "urn:mrn|", " | ", ""])
def test_a_number_that_is_none_fits_nobody(asked: str) -> None:
    assert choose(Person(mrn=asked), [patient(identifier=[number(" ", system="urn:mrn")])]) == NotFound()


def test_a_number_alone_is_refused_by_a_stricter_policy() -> None:
    record = patient(identifier=[number("0042")])
    assert choose(Person(mrn="0042"), [record], policy=Grade.A) == Ambiguous(1, (Grade.B,))


def test_a_number_alone_does_not_hide_that_a_birth_date_conflicts() -> None:
    record = patient(identifier=[number("0042")])
    result = choose(Person(mrn="0042", birth_date="1950-01-01"), [record])
    assert isinstance(result, Undetermined)
    assert [issue.code for issue in result.issues] == ["mrn-birth-date-conflict"]


def test_a_number_alone_follows_a_merge_to_the_survivor() -> None:
    merged = patient("old", identifier=[number("7")], link=replaced_by("p1"))
    result = choose(Person(mrn="7"), [merged, patient("p1")])
    assert isinstance(result, Matched)
    assert (result.ref.id, result.evidence) == ("p1", ("mrn",))


def test_the_id_is_certain_by_itself() -> None:
    result = choose(Person(id="p1"), [patient(family=None, given=None, birthDate=None)])
    assert isinstance(result, Matched)
    assert (result.grade, result.evidence) == (Grade.A, ("id",))


def test_a_search_by_id_that_returns_another_record_is_refused() -> None:
    assert choose(Person(id="p2"), [patient("p1")]) == NotFound()


def test_ids_are_case_sensitive() -> None:
    assert choose(Person(id="eAb"), [patient("eaB")]) == NotFound()


def test_numbers_are_known_by_code_text_or_use() -> None:
    """match_mrn_extracted_by_type_code_text_or_use"""
    by_text = {"value": "2", "type": {"text": "medical record number"}}
    by_use = {"value": "3", "use": "usual"}
    other = {"value": "4", "use": "usual", "type": {"coding": [{"code": "SS"}]}}
    empty = {"type": {"coding": [{"code": "MR"}]}}
    found = lambda *ids: [n.value for n in record_numbers(patient(identifier=list(ids)))]  # noqa: E731 - short
    assert found(number("1"), by_text, by_use, other, empty) == ["1", "2"]
    assert found(by_use, other) == ["3"]
    assert found(other) == []
    assert found({"value": "5"}) == []


@pytest.mark.parametrize("mark", ["MR", "mrn", "Medical Record Number"])
def test_numbers_are_marked_by_the_usual_words(mark: str) -> None:
    for kind in ({"text": mark}, {"coding": [{"code": mark}]}):
        assert len(record_numbers(patient(identifier=[{"value": "1", "type": kind}]))) == 1


def test_every_contradiction_is_in_the_list_of_conflicts() -> None:
    found = {
        issue.code
        for person, records in (
            (replace(AMY, mrn="7"), [patient(birthDate="1950-01-01", identifier=[number("7")])]),
            (replace(AMY, id="p1"), [patient(birthDate="1950-01-01")]),
            (AMY, [patient("a", link=replaced_by("b")), patient("b", birthDate="1950-01-01")]),
            (AMY, [patient("a", link=replaced_by("gone"))]),
        )
        for issue in choose(person, records).issues
    }
    assert found == CONFLICTS


def test_old_numbers_come_after_current_ones() -> None:
    record = patient(identifier=[number("old", use="old"), number("new")])
    assert [one.value for one in record_numbers(record)] == ["new", "old"]


def test_a_vendor_may_mark_numbers_by_its_own_words() -> None:
    record = patient(identifier=[{"value": "7", "type": {"text": "EPI"}}])
    person = Person(mrn="7", birth_date="1987-02-20")
    assert choose(person, [record]) == NotFound()
    assert isinstance(choose(person, [record], mrn_types=("epi",)), Matched)


def test_a_name_with_one_letter_wrong_is_asked_back() -> None:
    for record in (patient(given="Ami"), patient(family="Show")):
        assert choose(AMY, [record]) == Ambiguous(1, (Grade.C,))


def test_two_wrong_parts_are_too_many() -> None:
    assert grade(AMY, patient(family="Show", given="Ami")) is Grade.X


def test_swapped_names_are_asked_back() -> None:
    assert grade(AMY, patient(family="Amy", given="Shaw")) is Grade.C
    assert grade(AMY, patient(family="Amy", given="Joan")) is Grade.X
    assert grade(AMY, patient(family="Joan", given="Shaw")) is Grade.X


def test_a_maiden_name_counts() -> None:
    """match_maiden_and_other_name_entries"""
    names = [{"family": "Jones", "given": ["Amy"], "use": "usual"}, {"family": "Shaw", "use": "maiden"}]
    assert grade(AMY, patient(name=names)) is Grade.B
    old = [
        {"family": "Jones", "given": ["Amy"]},
        {"family": "Shaw", "given": ["Amelia", "Amy"], "use": "old"},
    ]
    assert grade(AMY, patient(name=old)) is Grade.X
    assert grade(AMY, patient(name=[*old, {"text": "Amy Shaw"}])) is Grade.B


def test_a_missing_part_never_matches_everyone() -> None:
    """match_mononym_or_missing_part_never_wildcards"""
    assert choose(Person(family="Shaw", birth_date="1987-02-20"), [patient()]) == Ambiguous(1, (Grade.C,))
    assert choose(Person(given="Amy", birth_date="1987-02-20"), [patient()]) == Ambiguous(1, (Grade.C,))
    assert choose(Person(birth_date="1987-02-20"), [patient()]) == NotFound()
    assert choose(AMY, [patient(given=None)]) == Ambiguous(1, (Grade.C,))
    assert choose(AMY, [patient(family=None, given=None)]) == NotFound()
    assert choose(Person(), [patient()]) == NotFound()


def test_people_with_one_name_have_it_in_either_field() -> None:
    for record in (patient(family="Sukarno", given=None), patient(family=None, given="Sukarno")):
        for person in (Person(family="Sukarno"), Person(given="Sukarno")):
            asked = replace(person, birth_date="1987-02-20")
            assert grade(asked, record) is Grade.B
    assert (
        grade(Person(family="Suharto", birth_date="1987-02-20"), patient(family="Sukarno", given=None))
        is Grade.X
    )


def test_a_partial_birth_date_is_never_certain() -> None:
    """match_partial_birth_date_not_certain"""
    assert grade(AMY, patient(birthDate="1987")) is Grade.C
    assert grade(AMY, patient(birthDate="1987-02")) is Grade.C
    assert grade(replace(AMY, birth_date="1987"), patient()) is Grade.C
    assert grade(AMY, patient(birthDate="1988")) is Grade.X
    assert grade(AMY, patient(birthDate="1987-03")) is Grade.X
    assert grade(AMY, patient(birthDate="1987", given="Ami")) is Grade.X


def test_a_placeholder_birth_date_is_unknown() -> None:
    """match_sentinel_dob_is_unknown"""
    for text in ("1900-01-01", "0001-01-01", "1800-01-01", "nonsense", "", None):
        assert grade(AMY, patient(birthDate=text)) is Grade.C
    assert grade(replace(AMY, birth_date="1900-01-01"), patient(birthDate="1900-01-01")) is Grade.C


def test_birth_dates_are_compared_as_calendar_days() -> None:
    assert compare_birth_dates("1987-02-20", "1987-02-20T00:00:00") is BirthDate.EQUAL
    assert compare_birth_dates("1987-02-20", "1987-02-20T23:30:00-08:00") is BirthDate.EQUAL
    assert compare_birth_dates(" 1987-02-20 ", "1987-02-20") is BirthDate.EQUAL
    assert compare_birth_dates("1987-02-20", "1987-02-21") is BirthDate.DIFFERENT
    assert compare_birth_dates("1987-02-20", None) is BirthDate.OPEN
    assert compare_birth_dates(None, None) is BirthDate.OPEN
    assert known_date(" 1900-01-01 ") is None


def test_a_merged_record_leads_to_its_survivor() -> None:
    """match_merged_record_resolves_to_survivor"""
    merged = patient("old", active=False, link=replaced_by("new"))
    survivor = patient("new", family="Jones")
    result = choose(AMY, [merged, survivor])
    assert isinstance(result, Matched)
    assert result.ref.ids == {"old", "new"}
    assert result.patient is survivor
    assert result.grade is Grade.B
    assert survivors_to_read([merged]) == ("new",)
    assert survivors_to_read([merged, survivor]) == ()


def test_a_chain_of_merges_is_followed_to_its_end() -> None:
    records = [patient("a", link=replaced_by("b")), patient("b", link=replaced_by("c")), patient("c")]
    result = choose(AMY, records)
    assert isinstance(result, Matched)
    assert result.ref.id == "c"
    assert result.ref.aliases == {"a", "b"}


def test_a_merge_that_leads_nowhere_or_round_is_undetermined() -> None:
    lost = patient("a", link=replaced_by("gone"))
    circle = [patient("a", link=replaced_by("b")), patient("b", link=replaced_by("a"))]
    for candidates in ([lost], circle, [lost, patient("ok")]):
        result = choose(AMY, candidates)
        assert isinstance(result, Undetermined)
        assert result.issues[0].code == "merge-unresolved"
    unrelated = patient("x", given="Joan", link=replaced_by("gone"))
    assert isinstance(choose(AMY, [unrelated, patient("ok")]), Matched)


def test_a_survivor_with_another_birth_date_is_undetermined() -> None:
    result = choose(AMY, [patient("old", link=replaced_by("new")), patient("new", birthDate="1950-01-01")])
    assert isinstance(result, Undetermined)
    assert result.issues[0].code == "merge-birth-date-conflict"


def test_the_survivor_keeps_its_own_better_grade() -> None:
    merged = patient("old", family="Show", link=replaced_by("new"))
    result = choose(AMY, [merged, patient("new")])
    assert isinstance(result, Matched)
    assert result.evidence == ("birth_date", "family", "given")


def test_ids_that_a_record_replaces_are_its_aliases() -> None:
    link = [
        {"type": "replaces", "other": {"reference": "Patient/old"}},
        {"type": "seealso", "other": {"reference": "Patient/else"}},
        {"type": "replaces", "other": {"reference": "RelatedPerson/r"}},
    ]
    result = choose(AMY, [patient(link=link)])
    assert isinstance(result, Matched)
    assert result.ref.aliases == {"old"}


def test_inactive_and_deceased_are_flagged() -> None:
    """match_inactive_or_deceased_flagged"""
    flags = lambda **more: choose(AMY, [patient(**more)]).flags  # type: ignore[union-attr]  # noqa: E731 - a match
    assert flags(active=False) == ("inactive",)
    assert flags(active=True, deceasedBoolean=False) == ()
    assert flags(deceasedBoolean=True) == ("deceased",)
    assert flags(active=False, deceasedDateTime="2020-01-01") == ("inactive", "deceased")


def test_demographics_come_from_the_record_and_not_from_the_question() -> None:
    """match_result_demographics_come_from_record"""
    result = choose(replace(AMY, given="a.", family="SHAW"), [patient(given="Amy Louise")])
    assert isinstance(result, Matched)
    assert result.patient.name[0].given == ("Amy", "Louise")
    assert result.patient.name[0].family == "Shaw"


def test_the_sex_speaks_only_against_a_doubtful_match() -> None:
    person = replace(AMY, sex="male")
    assert grade(person, patient(given="Ami", gender="female")) is Grade.X
    assert grade(person, patient(given="Ami", gender="male")) is Grade.C
    assert grade(person, patient(given="Ami", gender="unknown")) is Grade.C
    assert grade(person, patient(given="Ami")) is Grade.C
    assert grade(person, patient(gender="female")) is Grade.B
    assert "sex" in assess(person, patient(gender="male")).evidence
    assert grade(replace(AMY, sex="other"), patient(given="Ami", gender="female")) is Grade.C


def test_a_stricter_policy_accepts_only_numbers() -> None:
    assert choose(AMY, [patient()], policy=Grade.A) == Ambiguous(1, (Grade.B,))
    by_number = replace(AMY, mrn="7")
    assert isinstance(choose(by_number, [patient(identifier=[number("7")])], policy=Grade.A), Matched)


@pytest.mark.parametrize("policy", [Grade.C, Grade.X])
def test_a_policy_that_accepts_guesses_is_refused(policy: Grade) -> None:
    with pytest.raises(ValueError, match="policy"):
        choose(AMY, [patient()], policy=policy)


def test_the_best_grade_wins_over_a_namesake_of_another_name() -> None:
    exact = patient("a", identifier=[number("7")])
    result = choose(replace(AMY, mrn="7"), [exact, patient("b", given="Ami")])
    assert isinstance(result, Matched)
    assert (result.ref.id, result.grade) == ("a", Grade.A)


def test_a_duplicate_beside_a_certain_number_is_ambiguous() -> None:
    result = choose(replace(AMY, mrn="7"), [patient("a", identifier=[number("7")]), patient("b")])
    assert result == Ambiguous(2, (Grade.A, Grade.B))


def test_only_a_match_can_be_required() -> None:
    for result in (Ambiguous(2), Ambiguous(None), NotFound(), Undetermined(State.UNAVAILABLE)):
        with pytest.raises(NotMatched):
            result.require()


def test_no_text_form_shows_who_it_is() -> None:
    person = Person(
        family="Canaryfam", given="Canarygiv", birth_date="1987-02-20", mrn="CANARYMRN", id="canaryid"
    )
    record = patient("canaryid", family="Canaryfam", given="Canarygiv", identifier=[number("CANARYMRN")])
    results = [
        choose(person, [record]),
        choose(person, [record, patient("b", family="Canaryfam", given="Canarygiv")]),
        choose(person, []),
        choose(person, [patient("canaryid", birthDate="1950-01-01")]),
    ]
    assert len({type(result) for result in results}) == 4
    for shown in (person, *results):
        texts = [repr(shown), str(shown)]
        if not isinstance(shown, Person):
            texts.append(shown._repr_html_())
        for text in texts:
            assert "canary" not in text.lower()
            assert "1987" not in text
            assert text


def test_notebook_tables_say_what_counts() -> None:
    html = choose(AMY, [patient(active=False)])._repr_html_()
    for word in ("Matched", "B", "birth_date, family, given", "inactive"):
        assert word in html
    assert "2 people" in Ambiguous(2, (Grade.B,))._repr_html_()
    assert "UNAVAILABLE" in Undetermined(State.UNAVAILABLE)._repr_html_()


PROFILE = ProviderProfile("x", "X")


def test_searches_are_made_in_the_order_of_the_profile() -> None:
    """match_sends_family_and_given_not_name"""
    person = replace(AMY, id="p1", mrn="urn:mrn|42")
    assert [dict(plan) for plan in search_plans(person, PROFILE)] == [
        {"_id": "p1"},
        {"identifier": "urn:mrn|42"},
        {"family": "Shaw", "given": "Amy", "birthdate": "1987-02-20"},
        {"family": "Shaw", "birthdate": "1987-02-20"},
    ]


def test_a_search_is_left_out_where_a_part_is_missing() -> None:
    assert search_plans(Person(family="Shaw"), PROFILE) == ()
    assert search_plans(replace(AMY, birth_date="1900-01-01"), PROFILE) == ()
    plans = search_plans(Person(family="Shaw", birth_date="1987"), PROFILE)
    assert [dict(plan) for plan in plans] == [{"family": "Shaw", "birthdate": "1987"}]


def test_name_is_never_sent_beside_its_parts() -> None:
    profile = replace(PROFILE, patient_search=(("name", "family"), ("name", "given"), ("name", "birthdate")))
    plans = search_plans(AMY, profile)
    assert [dict(plan) for plan in plans] == [{"name": "Shaw", "birthdate": "1987-02-20"}]


def test_the_same_search_is_not_made_twice() -> None:
    profile = replace(PROFILE, patient_search=(("family", "birthdate"), ("birthdate", "family")))
    assert len(search_plans(AMY, profile)) == 1


def test_search_values_are_escaped_and_cleaned() -> None:
    profile = replace(PROFILE, patient_search=(("family", "given"),))
    sent = lambda family, given: dict(search_plans(Person(family, given), profile)[0])  # noqa: E731 - short
    assert sent("Sh,aw|$\\", "J. Ann") == {"family": "Sh\\,aw\\|\\$\\\\", "given": "J"}
    assert sent("Shaw^Amy^Jo", None) == {"family": "Shaw", "given": "Amy"}
    assert sent(None, "Shaw^Amy") == {"family": "Shaw", "given": "Amy"}
    assert sent(" O'Brien ", "Zoë") == {"family": "O'Brien", "given": "Zoë"}


def test_the_sex_can_be_searched_for() -> None:
    profile = replace(PROFILE, patient_search=(("family", "gender"),))
    assert search_plans(replace(AMY, sex="female"), profile) == ({"family": "Shaw", "gender": "female"},)


@pytest.mark.parametrize(
    ("number", "sent"), [("7", "MRN|7"), (" 7 ", "MRN|7"), ("EPI|7", "EPI|7"), ("urn:x|7", "urn:x|7")]
)
def test_a_number_without_a_type_is_asked_for_under_the_vendor_s(number: str, sent: str) -> None:
    profile = replace(PROFILE, number_type="MRN", patient_search=(("identifier",),))
    assert search_plans(Person(mrn=number), profile) == ({"identifier": sent},)
    assert search_plans(Person(mrn=" "), profile) == ()


def test_a_telephone_number_or_an_address_is_searched_by_with_the_names() -> None:
    profile = replace(PROFILE, patient_search=(("family", "given", "gender", "telecom"),))
    asked = replace(AMY, sex="female", phone="555-0100", email="a@example.org")
    assert [plan["telecom"] for plan in search_plans(asked, profile)] == ["555-0100"]
    assert [plan["telecom"] for plan in search_plans(replace(asked, phone=None), profile)] == [
        "a@example.org"
    ]
    assert search_plans(replace(asked, sex=None), profile) == ()
