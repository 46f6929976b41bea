"""Epic, from the pod file to the records, against its skin on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ehr.errors import ConfigurationError, QuotaSpent, Unavailable
from ehr.people.identity import Ambiguous, Grade, Matched, NotFound, Person, Undetermined
from ehr.providers.adapter import CohortRef
from ehr.providers.epic import EpicAdapter
from ehr.records.care import DocumentContent
from ehr.records.patient import Attachment, DocumentReference, Observation, PatientRef, State
from ehr.sandbox import ExpireSession, Fault, Remark, Sandbox, Status, When
from ehr.sandbox.skin import Skin, skin_named
from ehr.site import ClockAndWire, Site, open_site_async
from tests.contract.wire import ANA, condition, page, said, wired
from tests.ehr.providers.epic_hospital import hospital, opened
from tests.ehr.site_folder import Folder, clients
from tests.fakes.clock import FakeClock

AMY = PatientRef("amy")
SHAW = Person(family="Shaw", given="Amy", birth_date="1987-02-20")


@pytest.fixture
def running() -> Iterator[Sandbox]:
    time = FakeClock()
    with Sandbox(hospital(), "epic", clients=clients(), clock=time.now) as made:
        yield made


@pytest.fixture
async def site(running: Sandbox, tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(running, tmp_path, FakeClock()) as made:
        yield made


def paged(size: int) -> Skin:
    skin = skin_named("epic")
    return replace(skin, paging=replace(skin.paging, default_count=size, max_count=size))


def codes(found: object) -> set[str]:
    return {issue.code for issue in found.issues}  # type: ignore[attr-defined]  # Fetched and match results


# --- who is meant ------------------------------------------------------------------------------------------


async def test_a_hit_with_a_letter_too_much_is_not_the_person(site: Site) -> None:
    """match_single_hit_with_wrong_given_rejected, for weighted searches"""
    found = await site.find(SHAW)
    assert isinstance(found, Matched)
    assert (found.ref.id, found.grade) == ("amy", Grade.B)
    found = await site.find(Person(family="Kerr", given="Bo", birth_date="1975-03-03"))
    assert isinstance(found, Ambiguous)
    assert found.grades == (Grade.C,)


async def test_a_hit_of_the_other_sex_is_not_a_doubtful_person(site: Site) -> None:
    asked = Person(family="Kerry", given="Bo", sex="female", phone="555-0101")
    assert isinstance(await site.find(asked), Ambiguous)
    assert isinstance(await site.find(replace(asked, sex="male")), NotFound)


async def test_the_given_name_is_compared_here(site: Site) -> None:
    """match_twins_not_confused"""
    found = await site.find(Person(family="Lee", given="Tom", birth_date="1990-01-01"))
    assert isinstance(found, Matched)
    assert found.ref.id == "tom"
    found = await site.find(Person(family="Lee", given="Tum", birth_date="1990-01-01"))
    assert isinstance(found, Ambiguous)


async def test_two_of_one_name_and_birth_date_are_nobody(site: Site) -> None:
    found = await site.find(Person(family="Twin", given="Ian", birth_date="1970-05-05"))
    assert isinstance(found, Ambiguous)
    assert found.count == 2


async def test_more_than_a_hundred_are_too_many_and_no_error(site: Site) -> None:
    """match_over_100_is_ambiguous_not_error"""
    found = await site.find(Person(family="Many", given="Patt", birth_date="1980-08-08"))
    assert isinstance(found, Ambiguous)
    assert "too-many-matches" in codes(found)


@pytest.mark.parametrize("mrn", ["700", "MRN|700", "urn:oid:1.2.3|700"])
async def test_a_number_is_searched_by_its_type(site: Site, running: Sandbox, mrn: str) -> None:
    """match_by_mrn_with_system_and_dob_agreement"""
    found = await site.find(Person(mrn=mrn, birth_date="1987-02-20"))
    assert isinstance(found, Matched)
    assert (found.ref.id, found.grade) == ("amy", Grade.A)
    assert running.witness.count("search", "Patient") == 1
    found = await site.find(Person(mrn=mrn, birth_date="1987-02-21"))
    assert isinstance(found, Undetermined)
    assert codes(found) == {"mrn-birth-date-conflict"}


async def test_a_number_of_another_type_is_another_number(site: Site) -> None:
    assert isinstance(await site.find(Person(mrn="EPI|700", birth_date="1987-02-20")), NotFound)
    found = await site.find(Person(mrn="EPI|E1", birth_date="1990-01-01"))
    assert isinstance(found, Matched)
    assert (found.ref.id, found.grade) == ("tom", Grade.A)
    # Without its type it stands for a medical record number, which it is not.
    assert isinstance(await site.find(Person(mrn="E1", birth_date="1990-01-01")), NotFound)


async def test_a_telephone_number_finds_and_proves_nothing(site: Site) -> None:
    known = Person(family="Shaw", given="Amy", sex="female", phone="555-0100")
    found = await site.find(known)
    assert isinstance(found, Ambiguous)
    assert found.grades == (Grade.C,)


async def test_names_and_birth_dates_go_in_the_body(site: Site, running: Sandbox) -> None:
    """match_demographics_sent_by_post_when_supported"""
    await site.find(SHAW)
    seen = [one for one in running.witness.requests if one.resource_type == "Patient"]
    assert {one.method for one in seen} == {"POST"}


async def test_matching_brings_candidates_after_the_names_and_is_verified(
    site: Site, running: Sandbox
) -> None:
    """match_operation_grade_used_but_verified"""
    await site.find(SHAW)
    assert running.witness.count("match") == 0
    found = await site.find(Person(family="Shaw", given="Zoe", birth_date="1987-02-20"))
    assert running.witness.count("match") == 1
    assert isinstance(found, NotFound)


async def test_matching_that_is_not_granted_is_no_obstacle(site: Site, running: Sandbox) -> None:
    running.faults = (Fault(Status(403, vendor_code="4118"), When(endpoint="match")),)
    nobody = Person(family="Nobody", given="At", birth_date="1999-09-09")
    assert isinstance(await site.find(nobody), NotFound)
    running.faults = (Fault(Status(403, vendor_code="4118"), When(resource_type="Patient")),)
    found = await site.find(nobody)
    assert isinstance(found, Undetermined)
    assert found.state is State.FORBIDDEN


# --- merged records ----------------------------------------------------------------------------------------


async def test_an_id_that_was_merged_stands_for_its_survivor(site: Site) -> None:
    """match_merged_record_resolves_to_survivor"""
    found = await site.find(Person(id="eve.old"))
    assert isinstance(found, Matched)
    assert (found.ref.id, found.ref.aliases) == ("eve.new", {"eve.old"})
    everything = await site.conditions(found.ref)
    assert (everything.state, {one.id for one in everything.items}) == (State.OK, {"c4", "c5"})


async def test_a_birth_date_against_the_survivor_is_a_contradiction(site: Site) -> None:
    found = await site.find(Person(id="eve.old", birth_date="1999-01-01"))
    assert isinstance(found, Undetermined)
    assert codes(found) == {"id-birth-date-conflict"}


async def test_what_is_asked_about_the_older_id_is_asked_about_the_survivor(site: Site) -> None:
    read = await site.read("patient", PatientRef("eve.old"))
    assert [one.id for one in read.require()] == ["eve.new"]
    found = await site.conditions(PatientRef("eve.old"))
    assert {one.id for one in found.require()} == {"c4", "c5"}


async def test_a_merge_into_nobody_is_no_empty_record(site: Site) -> None:
    found = await site.conditions(PatientRef("ray"))
    assert found.state is State.ERROR
    person = await site.find(Person(id="ray"))
    assert isinstance(person, Undetermined)
    assert person.state is State.ERROR


MERGED = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "fatal", "code": "processing", "details": {"coding": [{"code": "4107"}]}}],
}


@pytest.mark.parametrize(
    ("subject", "state"), [("ana", State.OK), ("new", State.OK), ("other", State.PARTIAL)]
)
async def test_entries_that_still_name_the_older_id_are_the_survivor_s(
    tmp_path: Path, subject: str, state: State
) -> None:
    async with wired(new=lambda _: said({**ANA, "id": "new"})) as ehr:
        moved = said(MERGED, "302 Found", Location=f"{ehr.base}/Patient/new")
        ehr.answers["ana"] = lambda _: moved
        ehr.answers["Condition"] = lambda asked: (
            moved if "patient=ana" in asked.target else page(condition(of=subject))
        )
        config = Folder(tmp_path / "site").write(ehr.base, provider="epic r4")
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            found = await site.conditions(PatientRef("ana"))
    assert len(found.items) == (subject != "other")
    assert found.state.complete is (state is State.OK)


async def test_a_survivor_who_is_gone_is_no_empty_record(tmp_path: Path) -> None:
    async with wired(new=lambda _: said(MERGED | {"issue": []}, "410 Gone")) as ehr:
        moved = said(MERGED, "302 Found", Location=f"{ehr.base}/Patient/new")
        ehr.answers["ana"] = lambda _: moved
        config = Folder(tmp_path / "site").write(ehr.base, provider="epic r4")
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            assert (await site.read("patient", PatientRef("ana"))).state is State.ERROR


@pytest.mark.parametrize("failing", ["ana", "new"])
async def test_an_outage_while_a_merge_is_followed_is_an_outage(tmp_path: Path, failing: str) -> None:
    """Else it would count as a contradiction, which nobody asks about again."""
    async with wired() as ehr:
        moved = said(MERGED, "302 Found", Location=f"{ehr.base}/Patient/new")
        down = said(MERGED | {"issue": []}, "503 Service Unavailable")
        ehr.answers |= {"Condition": lambda _: moved, "ana": lambda _: moved, "new": lambda _: down}
        ehr.answers[failing] = lambda _: down
        config = Folder(tmp_path / "site").write(ehr.base, provider="epic r4")
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            found = await site.conditions(PatientRef("ana"))
    assert (found.state, found.again) == (State.UNAVAILABLE, True)


# --- required categories -----------------------------------------------------------------------------------


async def test_every_category_is_asked_and_all_are_one_answer(site: Site, running: Sandbox) -> None:
    """search_required_params_always_sent"""
    found = await site.conditions(AMY)
    assert (found.state, {one.id for one in found.items}) == (State.OK, {"c1", "c2", "c3"})
    assert running.witness.count("search", "Condition") == 3
    found = await site.observations(AMY)
    assert found.state is State.OK
    assert len(found.items) == 13
    assert running.witness.count("search", "Observation") == 5


@pytest.mark.parametrize("skip", range(3))
async def test_one_failed_category_makes_the_whole_answer_incomplete(
    site: Site, running: Sandbox, skip: int
) -> None:
    running.faults = (Fault(Status(400, vendor_code="59177"), When(resource_type="Condition"), skip, 1),)
    found = await site.conditions(AMY)
    assert found.state is State.PARTIAL
    assert found.items
    running.faults = (Fault(Status(400, vendor_code="59177"), When(resource_type="Condition"), skip, 1),)
    found = await site.conditions(PatientRef("tim"))
    assert (found.state, found.items) == (State.UNAVAILABLE, ())


async def test_a_category_that_is_withheld_is_no_empty_one(site: Site, running: Sandbox) -> None:
    """search_outcome_warning_entry_is_not_data_nor_error, except that this warning says what is missing"""
    running.faults = (Fault(Remark("warning", "59204"), When(resource_type="Condition"), 0, 1),)
    found = await site.conditions(PatientRef("tim"))
    assert found.state is State.FORBIDDEN
    assert "outcome:59204" in codes(found)


async def test_silence_about_a_patient_whom_the_server_knows_is_empty(site: Site) -> None:
    found = await site.conditions(PatientRef("tim"))
    assert (found.state, codes(found)) == (State.EMPTY, {"outcome:4101"})
    found = await site.conditions(PatientRef("nobody"))
    assert (found.state, codes(found)) == (State.ERROR, {"outcome:4100"})


# --- pages -------------------------------------------------------------------------------------------------


async def test_an_expired_session_is_begun_again_once_without_doubles(tmp_path: Path) -> None:
    """page_expired_session_restarts_once"""
    time = FakeClock()
    with Sandbox(hospital(), paged(5), clients=clients(), clock=time.now) as running:
        async with opened(running, tmp_path, time) as site:
            lab = When("search", "Observation", page=2)
            running.faults = (Fault(ExpireSession(), lab, times=1),)
            found = await site.observations(AMY)
            assert (found.state, len(found.items), found.repeats) == (State.OK, 13, 0)
            assert "paging:restarted" in codes(found)
            running.faults = (Fault(ExpireSession(), lab),)
            found = await site.observations(AMY)
            assert found.state is State.PARTIAL
            assert "paging:session-expired" in codes(found)


async def test_pages_that_are_filtered_after_they_were_cut_are_read_to_the_end(tmp_path: Path) -> None:
    """page_empty_middle_page_continues"""
    time = FakeClock()
    with Sandbox(hospital(), paged(2), clients=clients(), clock=time.now) as running:
        async with opened(running, tmp_path, time) as site:
            span = [("date", "ge2009-05-31"), ("date", "le2012-01-02")]
            assert isinstance(site.adapter, EpicAdapter)
            found = await site.adapter._session.search(Observation, span, patient=AMY)
            assert {one.id for one in found.require()} == {"o10", "o11"}
            assert found.pages > 6


# --- the rest ----------------------------------------------------------------------------------------------


async def test_the_client_id_goes_along_to_the_ehr_and_not_to_the_token_endpoint(
    site: Site, running: Sandbox
) -> None:
    """auth_provider_header_present_and_only_when_allowed"""
    await site.find(SHAW)
    sent = {one.endpoint: one.headers.get("epic-client-id") for one in running.witness.requests}
    assert sent["search"] == "screener"
    assert sent.get("token") is None
    running.witness.assert_tokens_stayed_home()


async def test_drugs_come_along_with_the_prescriptions(site: Site, running: Sandbox) -> None:
    found = await site.medications(AMY)
    assert found.state is State.OK
    assert [one.concepts[0].coding[0].code for one in found.items] == ["106892"] * 3
    assert running.witness.count("search", "MedicationRequest") == 1
    assert running.witness.count("read", "Medication") == 0


async def test_drugs_that_do_not_come_along_are_read(site: Site, running: Sandbox) -> None:
    session = site.adapter._session  # type: ignore[attr-defined]
    found = await session.search("MedicationRequest", [("_include", "x")], patient=AMY)
    assert found.state is State.OK
    assert running.witness.count("read", "Medication") == 3


async def test_a_header_of_one_s_own_takes_the_login_s_place(running: Sandbox, tmp_path: Path) -> None:
    async with opened(running, tmp_path, FakeClock(), ehr="  headers: {client_id: another}\n") as site:
        await site.find(SHAW)
    sent = {one.headers.get("epic-client-id") for one in running.witness.requests if one.resource_type}
    assert sent == {"another"}


async def test_no_client_id_is_sent_where_nobody_gave_one(tmp_path: Path) -> None:
    time = FakeClock()
    with Sandbox(hospital(), "epic", login=False, clock=time.now) as running:
        async with opened(running, tmp_path, time, auth="auth: none") as site:
            assert isinstance(await site.find(SHAW), Matched)
        assert not [one for one in running.witness.requests if "epic-client-id" in one.headers]


async def test_the_scope_is_left_out_and_the_registered_rights_hold(site: Site, running: Sandbox) -> None:
    """auth_scope_omitted_when_profile_says_so"""
    await site.find(SHAW)
    assert site.adapter._parts.authenticator._source.wanted_scope is None  # type: ignore[attr-defined]
    assert site.adapter._parts.authenticator.granted is not None  # type: ignore[attr-defined]  # as the answer says


async def test_nothing_is_sorted_negated_or_asked_for_by_its_last_change(
    site: Site, running: Sandbox
) -> None:
    """search_unsupported_sort_modifier_not_sent"""
    session = site.adapter._session  # type: ignore[attr-defined]
    wishes = [("_sort", "-date"), ("status:not", "cancelled"), ("_lastUpdated", "ge2024")]
    found = await session.search("Appointment", wishes, patient=AMY)
    assert {"not-sent:_sort", "not-sent:status:not", "not-sent:_lastUpdated"} <= codes(found)
    assert found.state is State.EMPTY
    assert "outcome:4122" not in codes(found)


async def test_documents_of_the_day_that_are_used_up_are_a_quota(site: Site, running: Sandbox) -> None:
    """doc_daily_quota_state"""
    attachment = Attachment(url="Binary/b1", content_type="application/pdf")
    document = DocumentReference(content=(DocumentContent(attachment=attachment),))
    async with site.adapter.open_document(document) as content:
        assert b"".join([piece async for piece in content]) == b"%PDF"
    for status in (200, 400, 403):
        running.faults = (Fault(Status(status, vendor_code="4135"), When(resource_type="Binary")),)
        with pytest.raises(QuotaSpent, match="tomorrow"):
            async with site.adapter.open_document(document):
                pass
    running.faults = (Fault(Status(400, vendor_code="4135"), When(resource_type="DocumentReference")),)
    assert (await site.read("documents", AMY)).state is State.QUOTA


async def test_a_patient_list_is_found_by_its_identifier(site: Site) -> None:
    found = [ref.id async for ref in site.adapter.cohort(CohortRef("list", "urn:oid:1.2.840|9192"))]
    assert found == ["tom", "amy"]
    assert [ref.id async for ref in site.adapter.cohort(CohortRef("list", "l1"))] == ["tom", "amy"]
    with pytest.raises(ConfigurationError, match="no such list"):
        _ = [ref async for ref in site.adapter.cohort(CohortRef("list", "urn:oid:1.2.840|1"))]


async def test_a_patient_list_that_fails_is_no_short_cohort(site: Site, running: Sandbox) -> None:
    running.faults = (Fault(Remark("warning", "4119"), When(resource_type="List")),)
    with pytest.raises(Unavailable):
        _ = [ref async for ref in site.adapter.cohort(CohortRef("list", "urn:oid:1.2.840|9192"))]


async def test_another_fhir_version_is_told_before_anybody_is_read(running: Sandbox, tmp_path: Path) -> None:
    body = b'{"resourceType":"CapabilityStatement","fhirVersion":"3.0.2"}'
    running.faults = (Fault(Status(200, body=body), When(endpoint="metadata")),)
    with pytest.raises(ConfigurationError, match=r"serves FHIR 3\.0\.2"):
        async with opened(running, tmp_path, FakeClock()):
            pass
