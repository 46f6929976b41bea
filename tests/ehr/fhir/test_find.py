"""Finding a person through searches: all pages, failures, merges, vendors' ways of saying no."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from ehr.fhir.find import find_patient
from ehr.people.matching import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
from ehr.records.fetched import State
from tests.ehr.fhir.server import Server, answer, bundle, entry, opened, outcome

AMY = Person(family="Shaw", given="Amy", birth_date="1987-02-20")
FULL = "Patient?family=Shaw&given=Amy&birthdate=1987-02-20&_count=100"
LOOSE = "Patient?family=Shaw&birthdate=1987-02-20&_count=100"


def patient(record_id: str, family: str = "Shaw", given: str = "Amy", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": record_id,
        "name": [{"family": family, "given": [given]}],
        "birthDate": "1987-02-20",
        **more,
    }


async def find(answers: dict[str, Any], person: Person = AMY, **options: Any) -> tuple[MatchResult, Server]:
    server = Server(answers, default=options.pop("default", bundle()))
    async with opened(server, **options) as session:
        return await find_patient(session, person), server


async def test_the_first_search_that_settles_it_is_the_last() -> None:
    """match_sends_family_and_given_not_name"""
    result, server = await find({FULL: bundle(patient("p1"))})
    assert isinstance(result, Matched)
    assert result.ref.id == "p1"
    assert server.asked == [FULL]


async def test_a_wider_search_follows_where_the_first_finds_nobody() -> None:
    result, server = await find({LOOSE: bundle(patient("p1", given="A"))})
    assert isinstance(result, Matched)
    assert server.asked == [FULL, LOOSE]


async def test_a_candidate_on_the_second_page_is_found() -> None:
    """match_candidate_on_second_page_found"""
    pages = {
        FULL: bundle(patient("x", "Shawson"), next="Patient?page=2"),
        "Patient?page=2": bundle(patient("p1")),
    }
    result, _ = await find(pages)
    assert isinstance(result, Matched)
    assert result.ref.id == "p1"


async def test_a_namesake_on_the_second_page_makes_it_ambiguous() -> None:
    pages = {FULL: bundle(patient("p1"), next="Patient?page=2"), "Patient?page=2": bundle(patient("p2"))}
    result, server = await find(pages)
    assert isinstance(result, Ambiguous)
    assert result.count == 2
    assert len(server.asked) == 2


async def test_prefix_hits_are_no_match() -> None:
    """match_prefix_hits_filtered_locally"""
    result, server = await find(
        {FULL: bundle(patient("x", "Shawson")), LOOSE: bundle(patient("x", "Shawson"))}
    )
    assert isinstance(result, NotFound)
    assert server.asked == [FULL, LOOSE]


async def test_no_result_is_not_found_also_as_a_warning() -> None:
    """match_zero_is_notfound_including_4101_warning"""
    warned = bundle(entry(outcome("warning", "processing", "4101"), "outcome"), total=0)
    for change in ({}, {"outcome_states": {"4101": "EMPTY"}}):
        result, _ = await find({}, default=warned, change=change)
        assert isinstance(result, NotFound)


@pytest.mark.parametrize(
    "reply",
    [
        answer(outcome("fatal", "too-costly", "4127"), 400),
        answer(outcome("fatal", "too-costly", "4127")),
        bundle(entry(outcome("fatal", "too-costly", "4127"), "outcome")),
    ],
)
async def test_too_many_people_is_ambiguous_and_no_error(reply: httpx.Response) -> None:
    """match_over_100_is_ambiguous_not_error"""
    change = {"outcome_states": {"4127": "AMBIGUOUS"}}
    result, _ = await find({}, default=reply, change=change)
    assert isinstance(result, Ambiguous)
    assert result.count is None
    result, _ = await find({FULL: reply, LOOSE: bundle(patient("p1"))}, change=change)
    assert isinstance(result, Matched)


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (answer({}, 503), State.UNAVAILABLE),
        (httpx.ConnectError("x"), State.UNAVAILABLE),
        (answer({}, 403), State.FORBIDDEN),
        (answer({}, 400), State.ERROR),
        (answer({}, 404), State.UNSUPPORTED),
        (answer("<html>"), State.UNAVAILABLE),
    ],
)
async def test_a_failed_search_leaves_it_undetermined(failure: Any, state: State) -> None:
    """match_server_failure_is_undetermined"""
    result, _ = await find({}, default=failure)
    assert isinstance(result, Undetermined)
    assert result.state is state
    assert result.issues


async def test_an_outage_ends_the_searching() -> None:
    _, server = await find({}, default=answer({}, 403))
    assert server.asked == [FULL]


async def test_a_refused_search_is_made_up_for_by_another() -> None:
    by_number = "Patient?identifier=7&_count=100"
    person = Person(family="Shaw", given="Amy", birth_date="1987-02-20", mrn="7")
    result, _ = await find({by_number: answer({}, 400), FULL: bundle(patient("p1"))}, person)
    assert isinstance(result, Matched)
    result, _ = await find({by_number: answer({}, 400)}, person)
    assert isinstance(result, Undetermined)
    assert result.state is State.ERROR


async def test_one_certain_hit_of_a_broken_search_is_not_certain() -> None:
    """page_failure_midway_is_partial_not_ok, for patients"""
    broken = {FULL: bundle(patient("p1"), next="Patient?page=2"), "Patient?page=2": answer({}, 400)}
    result, _ = await find(broken)
    assert isinstance(result, Undetermined)
    assert result.state is State.PARTIAL


async def test_an_unreadable_candidate_could_be_the_twin() -> None:
    bad = {"resourceType": "Patient", "id": "p2", "name": "Amy Shaw"}
    result, _ = await find({FULL: bundle(patient("p1"), bad), LOOSE: bundle(patient("p1"), bad)})
    assert isinstance(result, Undetermined)
    assert result.state is State.PARTIAL


async def test_the_id_is_certain_even_beside_something_unreadable() -> None:
    bad = {"resourceType": "Patient", "id": "p2", "name": "Amy Shaw"}
    result, _ = await find({"Patient?_id=p1&_count=100": bundle(patient("p1"), bad)}, Person(id="p1"))
    assert isinstance(result, Matched)
    assert result.grade is Grade.A


async def test_a_merged_record_is_followed_to_its_survivor() -> None:
    """match_merged_record_resolves_to_survivor"""
    link = [{"type": "replaced-by", "other": {"reference": "Patient/new"}}]
    merged = patient("old", active=False, link=link)
    answers = {FULL: bundle(merged), "Patient/new": answer(patient("new", "Jones"))}
    result, server = await find(answers)
    assert isinstance(result, Matched)
    assert (result.ref.id, result.ref.aliases) == ("new", {"old"})
    assert server.asked == [FULL, "Patient/new"]
    result, _ = await find({FULL: bundle(merged), "Patient/new": answer({}, 500)})
    assert isinstance(result, Undetermined)


async def test_an_endless_chain_of_merges_ends() -> None:
    def following(request: httpx.Request) -> httpx.Response:
        number = int(request.url.path.rpartition("/")[2])
        link = [{"type": "replaced-by", "other": {"reference": f"Patient/{number + 1}"}}]
        return answer(patient(str(number), link=link))

    first = patient("0", link=[{"type": "replaced-by", "other": {"reference": "Patient/1"}}])
    result, server = await find({FULL: bundle(first)}, default=following)
    assert isinstance(result, Undetermined)
    assert len(server.asked) < 10


async def test_a_person_without_anything_to_search_by_is_undetermined() -> None:
    for person in (Person(), Person(family="Shaw"), Person(given="Amy", birth_date="1900-01-01")):
        result, server = await find({}, person)
        assert isinstance(result, Undetermined)
        assert result.state is State.UNSUPPORTED
        assert server.asked == []


async def test_searches_that_the_server_does_not_know_are_left_out() -> None:
    narrow = {"search_parameters": {"Patient": frozenset({"family", "birthdate"})}}
    result, server = await find({LOOSE: bundle(patient("p1"))}, change=narrow)
    assert isinstance(result, Matched)
    assert server.asked == [LOOSE]


async def test_a_policy_of_numbers_only_is_kept() -> None:
    server = Server({}, default=bundle(patient("p1")))
    async with opened(server) as session:
        result = await find_patient(session, AMY, policy=Grade.A)
    assert isinstance(result, Ambiguous)
    assert result.grades == (Grade.B,)


async def test_the_numbers_of_the_profile_are_looked_for() -> None:
    identifier = [{"value": "7", "type": {"text": "EPI"}}]
    person = Person(birth_date="1987-02-20", mrn="7")
    answers = {"Patient?identifier=7&_count=100": bundle(patient("p1", identifier=identifier))}
    assert isinstance((await find(answers, person))[0], Ambiguous | NotFound)
    result, _ = await find(answers, person, change={"mrn_types": ("EPI",)})
    assert isinstance(result, Matched)


async def test_what_was_noticed_on_the_way_is_told() -> None:
    repaired = patient("p1", generalPractitioner={"reference": "Practitioner/d"})
    result, _ = await find({FULL: bundle(repaired)})
    assert isinstance(result, Matched)
    assert [issue.code for issue in result.issues] == ["repair:object-for-list"]


MATCH = {"change": {"match_operation": True}}


def _graded(raw: dict[str, Any], grade: str) -> dict[str, Any]:
    extension = [{"url": "http://hl7.org/fhir/StructureDefinition/match-grade", "valueCode": grade}]
    return {"resource": raw, "search": {"mode": "match", "score": 1.0, "extension": extension}}


async def test_the_servers_own_matching_brings_candidates_that_are_verified() -> None:
    """match_operation_grade_used_but_verified"""
    person = Person(family="Shaw", given="Amy Jo", birth_date="1987-02-20", mrn="urn:mrn|7", sex="female")
    answers = {"Patient/$match": bundle(_graded(patient("p1"), "probable"))}
    result, server = await find(answers, person, **MATCH)
    assert isinstance(result, Matched)
    assert server.asked == ["Patient?identifier=urn%3Amrn%7C7&_count=100", "Patient/$match"]
    sent = json.loads(server.requests[1].content)["parameter"]
    assert sent[0]["resource"] == {
        "resourceType": "Patient",
        "name": [{"family": "Shaw", "given": ["Amy", "Jo"]}],
        "birthDate": "1987-02-20",
        "gender": "female",
        "identifier": [{"system": "urn:mrn", "value": "7"}],
    }
    wrong = {"Patient/$match": bundle(_graded(patient("x", "Jones"), "certain"))}
    result, server = await find(wrong, **MATCH)
    assert isinstance(result, NotFound)
    assert server.asked == ["Patient/$match", FULL, LOOSE]


async def test_a_person_with_a_birth_date_alone_is_sent_as_such() -> None:
    server = Server({"Patient/$match": bundle(patient("x"))})
    async with opened(server, **MATCH) as session:
        assert isinstance(await find_patient(session, Person(birth_date="1987-02-20")), NotFound)
    sent = json.loads(server.requests[0].content)["parameter"][0]["resource"]
    assert sent == {"resourceType": "Patient", "birthDate": "1987-02-20"}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer({}, 404), NotFound),
        (answer({}, 403), NotFound),  # vendors grant it apart; the searches by name are complete without it
        (answer({}, 400), Undetermined),
        (answer({}, 503), Undetermined),
        (answer("{"), Undetermined),
        (bundle(patient("p1"), next="Patient?page=2"), Undetermined),
        (bundle(patient("p1"), patient("p2")), Ambiguous),
    ],
)
async def test_a_failed_matching_operation_is_like_a_failed_search(reply: httpx.Response, kind: type) -> None:
    result, _ = await find({"Patient/$match": reply}, **MATCH)
    assert isinstance(result, kind)


async def test_a_profile_puts_the_servers_matching_after_the_names() -> None:
    sets = (("_id",), ("family", "given", "birthdate"), ("$match",), ("family", "birthdate"))
    last = {"change": {"match_operation": True, "patient_search": sets}}
    result, server = await find({FULL: bundle(patient("p1"))}, **last)
    assert isinstance(result, Matched)
    assert server.asked == [FULL]
    result, server = await find({"Patient/$match": bundle(_graded(patient("p1"), "possible"))}, **last)
    assert isinstance(result, Matched)
    assert server.asked == [FULL, "Patient/$match"]
    # A namesake whom only one of the two knows counts.
    both = {FULL: bundle(patient("p1", given="Amyx")), "Patient/$match": bundle(patient("p2"), patient("p3"))}
    result, _ = await find(both, **last)
    assert isinstance(result, Ambiguous)
    result, server = await find({}, Person(), **last)
    assert isinstance(result, Undetermined)
    assert server.asked == []


async def test_an_operation_that_is_not_there_finds_out_nothing() -> None:
    result, _ = await find({"Patient/$match": answer({}, 404)}, Person(family="Shaw"), **MATCH)
    assert isinstance(result, Undetermined)
    assert result.state is State.UNSUPPORTED


async def test_matching_needs_the_patient_scope() -> None:
    async with opened(Server({}), allowed=lambda name: False, **MATCH) as session:
        assert (await session.match(AMY)).state is State.FORBIDDEN
    async with opened(Server({})) as session:
        assert (await session.match(AMY)).state is State.UNSUPPORTED


async def test_an_outage_while_a_merge_is_followed_is_no_contradiction() -> None:
    merged = patient("p1", link=[{"type": "replaced-by", "other": {"reference": "Patient/p2"}}])
    result, _ = await find({FULL: bundle(merged), "Patient/p2": httpx.Response(503)})
    assert isinstance(result, Undetermined)
    assert result.state is State.UNAVAILABLE  # and so is asked again; a contradiction never is
    assert "merge-unresolved" not in {issue.code for issue in result.issues}


async def test_a_search_that_an_outage_cut_is_an_outage() -> None:
    pages = {
        FULL: bundle(patient("x", "Shawson"), next="Patient?page=2"),
        "Patient?page=2": httpx.Response(503),
    }
    result, _ = await find(pages)
    assert isinstance(result, Undetermined)
    assert result.state is State.UNAVAILABLE
