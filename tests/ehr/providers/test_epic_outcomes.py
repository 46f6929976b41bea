"""Epic's outcome codes: what each means as an error, among the entries of a searchset, and on a read."""

from __future__ import annotations

import pytest

from ehr.fhir.session import FhirSession
from ehr.providers.registry import shipped_profile
from ehr.records.fetched import Fetched, State
from ehr.records.patient import AllergyIntolerance, Patient, PatientRef
from tests.ehr.fhir.server import Server, answer, bundle, entry, opened, outcome

EPIC = shipped_profile("epic r4")
AMY = PatientRef("p1")
PATH = "AllergyIntolerance?patient=p1&_count=100"
HELD = {"resourceType": "AllergyIntolerance", "id": "a1", "patient": {"reference": "Patient/p1"}}

BAD_REQUEST = ("4100", "4102", "4104", "4110", "4111", "4112", "4115", "59100", "59101", "59102", "59105", "59108",
               "59109", "59111", "59159")  # fmt: skip
TABLE = {
    "4101": ("warning", State.EMPTY),
    "4117": ("warning", State.EMPTY),
    "4119": ("warning", State.PARTIAL),
    "4122": ("warning", State.EMPTY),
    **dict.fromkeys(BAD_REQUEST, ("fatal", State.ERROR)),
    "4103": ("fatal", State.ERROR),
    "4107": ("fatal", State.ERROR),
    "4118": ("fatal", State.FORBIDDEN),
    "4127": ("fatal", State.ERROR),
    "4130": ("fatal", State.RESTRICTED),
    "4131": ("fatal", State.RESTRICTED),
    "4134": ("information", State.RESTRICTED),
    "4135": ("fatal", State.QUOTA),
    "59133": ("information", State.ERROR),
    "59144": ("fatal", State.ERROR),
    "59177": ("fatal", State.UNAVAILABLE),
    "59204": ("warning", State.FORBIDDEN),
}
"""Severity as Epic lists it, and the state of a search that brought nothing else."""


async def searched(answers: dict[str, object]) -> Fetched[AllergyIntolerance]:
    async with opened(Server(answers), EPIC) as session:  # type: ignore[arg-type]  # answers of any kind
        found: Fetched[AllergyIntolerance] = await session.search(AllergyIntolerance, patient=AMY)
        return found


def test_every_code_of_the_profile_is_tried_here() -> None:
    assert set(EPIC.outcome_states) == {*TABLE, "4113"}


@pytest.mark.parametrize("code", TABLE)
async def test_a_code_beside_nothing_is_its_state(code: str) -> None:
    severity, state = TABLE[code]
    found = await searched({PATH: bundle(entry(outcome(severity, "processing", code), "outcome"))})
    assert (found.state, found.items) == (state, ())
    assert f"outcome:{code}" in {issue.code for issue in found.issues}


@pytest.mark.parametrize("code", TABLE)
async def test_a_code_beside_records_never_hides_them_and_never_makes_them_all(code: str) -> None:
    severity, state = TABLE[code]
    found = await searched({PATH: bundle(HELD, entry(outcome(severity, "processing", code), "outcome"))})
    assert [one.id for one in found.items] == ["a1"]
    assert found.state is (State.OK if state is State.EMPTY else State.PARTIAL)


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("code", TABLE)
async def test_a_code_says_more_than_the_status(code: str, status: int) -> None:
    _, state = TABLE[code]
    found = await searched({PATH: answer(outcome("fatal", "processing", code), status)})
    if code == "4101":
        assert found.state is State.EMPTY
    elif state is State.EMPTY:  # a remark beside a refusal is not its reason
        assert not found.complete
    else:
        assert found.state is state
    assert not found.items


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        (("4101", "4118"), State.FORBIDDEN),
        (("4118", "4101"), State.FORBIDDEN),
        (("4101", "4119"), State.PARTIAL),
        (("4122", "4101"), State.EMPTY),
        (("4101", "59134"), State.ERROR),  # a code that is not known may be the reason
        (("4117", "4122"), State.ERROR),
    ],
)
async def test_no_results_beside_something_graver_is_no_empty_record(
    codes: tuple[str, ...], state: State
) -> None:
    both = {
        "resourceType": "OperationOutcome",
        "issue": [outcome("fatal", "processing", c)["issue"][0] for c in codes],
    }
    found = await searched({PATH: answer(both, 400)})
    assert (found.state, found.items) == (state, ())
    mild = [outcome("warning", "processing", code)["issue"][0] for code in codes]
    found = await searched({PATH: bundle(entry({**both, "issue": mild}, "outcome"))})
    assert found.state.complete is (state in (State.EMPTY, State.ERROR)), (
        "warnings that are not known count for nothing"
    )


@pytest.mark.parametrize(("code", "status"), [("4103", 410), ("4103", 400), ("59144", 404), ("59144", 400)])
async def test_what_is_gone_is_absent_on_a_read_and_no_answer_to_a_search(code: str, status: int) -> None:
    gone = answer(outcome("fatal", "deleted", code), status)
    async with opened(Server({"Patient/p1": gone, PATH: gone}), EPIC) as session:
        assert (await session.read(Patient, "p1")).state is State.EMPTY
        assert (await session.search(AllergyIntolerance, patient=AMY)).state is State.ERROR


async def test_a_restricted_patient_is_restricted_on_a_read() -> None:
    locked = answer(outcome("fatal", "forbidden", "4131"), 403)
    async with opened(Server({"Patient/p1": locked}), EPIC) as session:
        assert (await session.read(Patient, "p1")).state is State.RESTRICTED


SECOND = "AllergyIntolerance?page=2"


@pytest.mark.parametrize("status", [200, 400, 410])
async def test_an_expired_session_begins_again_wherever_it_is_said(status: int) -> None:
    expired = outcome("fatal", "expired", "4113")
    over = bundle(entry(expired, "outcome")) if status == 200 else answer(expired, status)
    second = {**HELD, "id": "a2"}
    found = await searched({PATH: bundle(HELD, next=SECOND), SECOND: [over, bundle(second)]})
    assert (found.state, [one.id for one in found.items], found.repeats) == (State.OK, ["a1", "a2"], 0)
    found = await searched({PATH: bundle(HELD, next=SECOND), SECOND: over})
    assert (found.state, [one.id for one in found.items]) == (State.PARTIAL, ["a1"])


async def test_an_expired_session_on_the_first_page_is_no_complete_answer() -> None:
    over = bundle(entry(outcome("fatal", "expired", "4113"), "outcome"))
    found = await searched({PATH: [over, bundle(HELD)]})
    assert found.state is State.OK
    found = await searched({PATH: over})
    assert found.state is State.UNAVAILABLE


async def test_the_older_record_s_silence_after_a_merge_is_not_a_failure() -> None:
    moved = answer(outcome("fatal", "processing", "4107"), 302)
    after = PatientRef("p1", frozenset({"old"}))

    async def both(session: FhirSession) -> Fetched[AllergyIntolerance]:
        found: Fetched[AllergyIntolerance] = await session.search(AllergyIntolerance, patient=after)
        return found

    old = "AllergyIntolerance?patient=old&_count=100"
    async with opened(Server({PATH: bundle(HELD), old: moved}), EPIC) as session:
        assert (await both(session)).state is State.OK
    async with opened(Server({PATH: bundle(HELD), old: answer({}, 500)}), EPIC) as session:
        assert (await both(session)).state is State.PARTIAL
    async with opened(Server({PATH: moved, old: bundle()}), EPIC) as session:
        assert (await both(session)).state is State.ERROR, "the survivor itself was merged: nothing was read"
