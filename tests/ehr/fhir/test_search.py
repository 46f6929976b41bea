"""What is sent for a search, and what its answer is worth."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ehr.errors import ConfigurationError, LoginRefused, Unavailable
from ehr.fhir.capability import Capability
from ehr.records.fetched import Kind, Severity, State
from ehr.records.patient import Condition, Encounter, Observation, Patient, PatientRef
from tests.ehr.fhir.server import PROFILE, Server, answer, bundle, condition, entry, opened, outcome

P1 = PatientRef("p1")


def codes(fetched: Any) -> list[str]:
    return [issue.code for issue in fetched.issues]


async def test_a_patient_without_conditions_is_empty_and_complete() -> None:
    server = Server({"Condition": bundle()})
    async with opened(server) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, found.pages, found.fetched_at is not None) == (State.EMPTY, 1, True)
    assert server.asked == ["Condition?patient=p1&_count=100"]


@pytest.mark.parametrize(
    ("reply", "state", "code"),
    [
        (answer({}, 400), State.ERROR, "http-400"),
        (answer({}, 422), State.ERROR, "http-422"),
        (answer({}, 302), State.ERROR, "http-302"),
        (answer({}, 401), State.FORBIDDEN, "http-401"),
        (answer({}, 403), State.FORBIDDEN, "http-403"),
        (answer({}, 404), State.UNSUPPORTED, "http-404"),
        (answer({}, 405), State.UNSUPPORTED, "http-405"),
        (answer({}, 501), State.UNSUPPORTED, "http-501"),
        (answer({}, 410), State.ERROR, "http-410"),
        (answer({}, 408), State.UNAVAILABLE, "http-408"),
        (answer({}, 429), State.UNAVAILABLE, "http-429"),
        (answer({}, 500), State.UNAVAILABLE, "http-500"),
        (answer({}, 503), State.UNAVAILABLE, "http-503"),
        (httpx.ConnectError("x"), State.UNAVAILABLE, "connection-failed"),
        (httpx.ReadTimeout("x"), State.UNAVAILABLE, "timed-out"),
        (answer("<html>"), State.UNAVAILABLE, "body-html"),
        (answer(""), State.UNAVAILABLE, "body-empty"),
        (answer("{"), State.ERROR, "body-not-json"),
        (answer("[]"), State.ERROR, "body-not-json"),
        (answer({"resourceType": "Patient"}), State.ERROR, "body-wrong-type"),
        (answer("[" * 100_000 + "]" * 100_000), State.ERROR, "body-too-large"),
    ],
)
async def test_a_failure_is_never_empty(reply: Any, state: State, code: str) -> None:
    """rel_errors_never_cached_never_empty, for the search"""
    async with opened(Server({"Condition": reply})) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, found.items, found.pages, found.fetched_at) == (state, (), 0, None)
    assert codes(found) == [code]
    with pytest.raises(Unavailable):
        found.require()


async def test_an_empty_200_is_a_spent_quota_where_the_vendor_says_so() -> None:
    async with opened(Server({"Condition": answer("")}), change={"empty_body_is_quota": True}) as session:
        assert (await session.search(Condition, patient=P1)).state is State.QUOTA


class _Login(httpx.Auth):
    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def allows(self, type_name: str) -> bool:
        return type_name in self.allowed

    async def async_auth_flow(self, request: httpx.Request) -> Any:
        yield request


class _Refused(httpx.Auth):
    async def async_auth_flow(self, request: httpx.Request) -> Any:
        raise LoginRefused("refused", code="invalid_grant")
        yield request


async def test_a_refused_login_is_forbidden() -> None:
    async with opened(Server({}), auth=_Refused()) as session:
        found = await session.search(Condition, patient=P1)
        assert (found.state, codes(found)) == (State.FORBIDDEN, ["login-refused"])
        assert (await session.read(Patient, "p1")).state is State.FORBIDDEN


async def test_a_type_outside_the_granted_scopes_is_forbidden_without_a_request() -> None:
    """auth_granted_scope_narrower_marks_forbidden, for the search"""
    server = Server({"Condition": bundle(condition())})
    async with opened(server, auth=_Login("Condition")) as session:
        assert (await session.search(Encounter, patient=P1)).state is State.FORBIDDEN
        assert (await session.read(Encounter, "x")).state is State.FORBIDDEN
        assert server.requests == []
        assert (await session.search(Condition, patient=P1)).state is State.OK
    async with opened(server, allowed=lambda name: name != "Condition") as session:
        assert (await session.search(Condition, patient=P1)).state is State.FORBIDDEN


async def test_a_type_that_nobody_offers_is_unsupported_and_not_empty() -> None:
    """caps_absent_type_is_unsupported_not_empty"""
    server = Server({})
    async with opened(server, change={"search_parameters": {}}) as session:
        assert (await session.search(Kind.ALLERGY, patient=P1)).state is State.UNSUPPORTED
        assert (await session.read("Practitioner", "x")).state is State.UNSUPPORTED
    known = Capability(types=frozenset({"Patient"}))
    async with opened(server, capability=known) as session:
        assert session.capability_known
        assert (await session.search(Condition, patient=P1)).state is State.UNSUPPORTED
    assert server.requests == []


async def test_a_kind_is_read_over_all_types_that_the_server_has() -> None:
    drugs = {"medicationCodeableConcept": {"text": "x"}, "subject": {"reference": "Patient/p1"}}
    request = {"resourceType": "MedicationRequest", "id": "r", **drugs}
    statement = {"resourceType": "MedicationStatement", "id": "s", **drugs}
    server = Server({"MedicationRequest": bundle(request), "MedicationStatement": bundle(statement)})
    async with opened(server) as session:
        both = await session.search(Kind.MEDICATION, patient=P1)
        assert (both.state, [one.id for one in both.items]) == (State.OK, ["r", "s"])
    only = {"search_parameters": {"MedicationRequest": frozenset({"patient"})}}
    async with opened(server, change=only) as session:
        assert (await session.search(Kind.MEDICATION, patient=P1)).state is State.OK
    server = Server({"MedicationRequest": bundle(request), "MedicationStatement": answer({}, 500)})
    async with opened(server) as session:
        assert (await session.search(Kind.MEDICATION, patient=P1)).state is State.PARTIAL


FAN_OUT = {"Condition": ("category", ("problem-list-item", "encounter-diagnosis"))}


async def test_each_category_is_asked_where_the_vendor_wants_one() -> None:
    """search_required_params_always_sent"""
    both = condition("both")

    def by_category(request: httpx.Request) -> httpx.Response:
        return bundle(condition(request.url.params["category"]), both)

    server = Server({"Condition": by_category})
    async with opened(server, change={"fan_out": FAN_OUT}) as session:
        found = await session.search(Condition, patient=P1)
        assert sorted(str(one.id) for one in found.items) == [
            "both",
            "encounter-diagnosis",
            "problem-list-item",
        ]
        assert (found.state, found.received, found.repeats, found.pages) == (State.OK, 4, 1, 2)
        await session.search(Condition, {"category": "health-concern"}, patient=P1)
    sent = sorted(server.params(index)["category"] for index in range(3))
    assert sent == ["encounter-diagnosis", "health-concern", "problem-list-item"]


async def test_one_failed_category_makes_the_whole_answer_incomplete() -> None:
    def one_fails(request: httpx.Request) -> httpx.Response:
        failed = request.url.params["category"] == "encounter-diagnosis"
        return answer({}, 500) if failed else bundle(condition())

    async with opened(Server({"Condition": one_fails}), change={"fan_out": FAN_OUT}) as session:
        assert (await session.search(Condition, patient=P1)).state is State.PARTIAL
    async with opened(Server({"Condition": answer({}, 500)}), change={"fan_out": FAN_OUT}) as session:
        assert (await session.search(Condition, patient=P1)).state is State.UNAVAILABLE


async def test_entries_that_stayed_with_a_merged_record_are_read_too() -> None:
    def of_each(request: httpx.Request) -> httpx.Response:
        who = request.url.params["patient"]
        return bundle(condition(f"of-{who}", f"Patient/{who}"), condition("moved", "Patient/p1"))

    merged = PatientRef("p1", frozenset({"old", "p1"}))
    async with opened(Server({"Condition": of_each})) as session:
        found = await session.search(Condition, patient=merged)
    assert (found.state, sorted(str(one.id) for one in found.items)) == (
        State.OK,
        ["moved", "of-old", "of-p1"],
    )

    def old_fails(request: httpx.Request) -> httpx.Response:
        return answer({}, 500) if request.url.params["patient"] == "old" else bundle()

    async with opened(Server({"Condition": old_fails})) as session:
        assert (await session.search(Condition, patient=merged)).state is State.UNAVAILABLE


async def test_what_a_server_does_not_understand_is_not_sent_but_named() -> None:
    """search_unsupported_sort_modifier_not_sent, search_filters_reapplied_locally"""
    server = Server({"Condition": bundle(condition())})
    asked = {
        "_sort": "-date",
        "code:not": "x",
        "clinical-status": "active",
        "code": ["a", "b"],
        "date": "ge2020",
    }
    async with opened(server) as session:
        found = await session.search(Condition, asked, patient=P1)
        assert server.asked[-1] == "Condition?patient=p1&code=a&code=b&date=ge2020&_count=100"
        assert codes(found) == ["not-sent:_sort", "not-sent:code:not", "not-sent:clinical-status"]
        assert {issue.severity for issue in found.issues} == {Severity.INFORMATION}
    async with opened(server, change={"sort": True, "not_modifier": True}) as session:
        found = await session.search(Condition, list({"_sort": "-date", "code:not": "x"}.items()), patient=P1)
        assert server.asked[-1] == "Condition?patient=p1&_sort=-date&code%3Anot=x&_count=100"
        assert codes(found) == []
    async with opened(server, change={"not_modifier": True}) as session:
        found = await session.search(Condition, {"status:not": "x", "code:exact": "x"}, patient=P1)
        assert codes(found) == ["not-sent:status:not", "not-sent:code:exact"]


async def test_a_search_that_nothing_narrows_is_not_sent() -> None:
    server = Server({"Condition": bundle(condition()), "Patient": bundle()})
    narrow = {"search_parameters": {"Condition": frozenset({"code"}), "Patient": frozenset({"birthdate"})}}
    async with opened(server, change=narrow) as session:
        found = await session.search(Condition, {"code": "x"}, patient=P1)
        assert (found.state, codes(found)) == (State.UNSUPPORTED, ["nothing-narrows-the-search"])
        assert (await session.search(Patient, {"family": "Shaw"})).state is State.UNSUPPORTED
        assert (await session.search(Patient, patient=P1)).state is State.UNSUPPORTED
    assert server.requests == []


async def test_the_patient_goes_by_the_parameter_that_the_type_has() -> None:
    server = Server({}, default=bundle())
    subject = {"search_parameters": {"Condition": frozenset({"subject"}), "Patient": frozenset({"_id"})}}
    async with opened(server, change=subject) as session:
        await session.search(Condition, patient=P1)
        await session.search(Patient, patient=P1)
    assert server.asked == ["Condition?subject=p1&_count=100", "Patient?_id=p1&_count=100"]


async def test_names_and_birth_dates_go_in_the_body_where_the_server_can() -> None:
    """match_demographics_sent_by_post_when_supported"""
    who = {"family": "Canary", "birthdate": "1987-02-20"}
    server = Server({}, default=bundle())
    async with opened(server, change={"post_search": True}) as session:
        await session.search(Patient, who)
        assert server.requests[0].method == "POST"
        assert server.asked[0] == "Patient/_search"
        assert server.params() == {**who, "_count": "100"}
        await session.search(Condition, {"code": "x"}, patient=P1)
        assert server.requests[1].method == "GET"
        await session.search(Patient, {"_id": "x"})
        assert server.requests[2].method == "GET"
    async with opened(server) as session:
        await session.search(Patient, who)
        assert server.requests[3].method == "GET"


SELF = "https://ehr.example/api/r4/Condition"


async def test_other_patients_entries_are_dropped_and_counted() -> None:
    """search_ignored_patient_param_detected_by_self_link_and_subject, subject_other_patient_dropped_and_reported"""
    everyone = bundle(
        condition("a"), condition("b", "Patient/p2"), condition("c", "Patient/p3"), condition("d", None)
    )
    async with opened(Server({"Condition": everyone})) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, [one.id for one in found.items], found.received) == (State.PARTIAL, ["a"], 4)
    issues = {issue.code: (issue.count, issue.severity) for issue in found.issues}
    assert issues["security:other-patient"] == (2, Severity.SECURITY)
    assert issues["no-patient-reference"] == (1, Severity.ERROR)
    async with opened(Server({"Condition": bundle(condition("b", "Patient/p2"))})) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, found.items) == (State.PARTIAL, ())


@pytest.mark.parametrize(
    "who",
    [
        "Patient/p1",
        "patient/p1",
        "PATIENT/p1",
        "https://ehr.example/api/r4/Patient/p1",
        "Patient/p1/_history/3",
        "https://other.example/Patient/p1",
        "Patient/old",
    ],
)
async def test_the_patient_may_be_written_in_many_ways(who: str) -> None:
    """pract_reference_case_insensitive_and_latest, for patients"""
    merged = PatientRef("p1", frozenset({"old"}))
    async with opened(
        Server({"Condition": bundle(condition("a"), condition("b", who), condition("c"))})
    ) as session:
        found = await session.search(Condition, patient=merged)
    assert (found.state, [one.id for one in found.items]) == (State.OK, ["a", "b", "c"])


@pytest.mark.parametrize(
    "who", ["Patient/P1", "Patient/p11", "Group/p1", "p1", "#p1", "urn:uuid:1", "Patient/", ""]
)
async def test_what_is_not_the_patient_is_not_taken_for_it(who: str) -> None:
    async with opened(Server({"Condition": bundle(condition("a"), condition("b", who))})) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, [one.id for one in found.items]) == (State.PARTIAL, ["a"])


async def test_a_uuid_reference_is_resolved_inside_the_page() -> None:
    page = lambda who: bundle(  # noqa: E731 - short
        condition("a", "urn:uuid:1"),
        entry({"resourceType": "Patient", "id": who}, "include", fullUrl="urn:uuid:1"),
    )
    async with opened(Server({"Condition": page("p1")})) as session:
        assert (await session.search(Condition, patient=P1)).state is State.OK
    async with opened(Server({"Condition": page("p2")})) as session:
        found = await session.search(Condition, patient=P1)
        assert (found.state, codes(found)) == (State.PARTIAL, ["security:other-patient"])


async def test_a_patient_search_that_returns_another_id_is_noticed() -> None:
    """An ``_id`` search can also find a chart number."""
    async with opened(Server({"Patient": bundle({"resourceType": "Patient", "id": "other"})})) as session:
        found = await session.search(Patient, patient=P1)
    assert (found.state, found.items, codes(found)) == (State.PARTIAL, (), ["security:other-patient"])


@pytest.mark.parametrize("applied", ["?_count=100", "", "?code=x"])
async def test_a_self_link_without_the_patient_says_that_it_was_ignored(applied: str) -> None:
    answers = {"Condition": bundle(condition(), self_=SELF + applied)}
    async with opened(Server(answers)) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, len(found.items)) == (State.PARTIAL, 1)
    assert "security:patient-parameter-ignored" in codes(found)
    async with opened(Server({"Condition": bundle(self_=SELF + applied)})) as session:
        assert (await session.search(Condition, patient=P1)).state is State.ERROR


async def test_the_patient_may_be_ignored_under_either_name() -> None:
    subject = {"search_parameters": {"Condition": frozenset({"subject"})}}
    answers = {"Condition": bundle(condition(), self_=SELF + "?_count=100")}
    async with opened(Server(answers), change=subject) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, codes(found)) == (State.PARTIAL, ["security:patient-parameter-ignored"])


@pytest.mark.parametrize(
    "applied", ["?patient=p1", "?subject=Patient%2Fp1", "?patient:Patient=p1&_count=5", "?_getpages=abc"]
)
async def test_a_self_link_that_names_the_patient_or_a_stored_search_is_fine(applied: str) -> None:
    async with opened(Server({"Condition": bundle(condition(), self_=SELF + applied)})) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, codes(found)) == (State.OK, [])


async def test_another_ignored_parameter_is_named_and_harmless() -> None:
    answers = {"Condition": bundle(condition(), self_=SELF + "?patient=p1")}
    async with opened(Server(answers)) as session:
        found = await session.search(Condition, {"code": "x"}, patient=P1)
    assert (found.state, codes(found)) == (State.OK, ["parameter-ignored"])


async def test_after_a_post_a_self_link_without_query_says_nothing() -> None:
    answers = {"Patient/_search": bundle({"resourceType": "Patient", "id": "x"}, self_=SELF)}
    async with opened(Server(answers), change={"post_search": True}) as session:
        assert codes(await session.search(Patient, {"family": "Shaw"})) == []


@pytest.mark.parametrize("severity", ["information", "warning"])
async def test_a_warning_is_neither_data_nor_an_error(severity: str) -> None:
    """search_outcome_warning_entry_is_not_data_nor_error"""
    warning = entry(outcome(severity, "informational"), "outcome")
    for page, state in [(bundle(condition(), warning), State.OK), (bundle(warning), State.EMPTY)]:
        async with opened(Server({"Condition": page})) as session:
            found = await session.search(Condition, patient=P1)
        assert (found.state, found.received) == (state, len(found.items))
        assert codes(found) == ["outcome:informational"]


@pytest.mark.parametrize("severity", ["error", "fatal", "Error"])
@pytest.mark.parametrize("mode", ["outcome", "match", None])
async def test_an_error_entry_makes_a_part_or_a_failure(severity: str, mode: str | None) -> None:
    """search_outcome_error_entry_makes_partial"""
    bad = entry(outcome(severity, "processing"), mode)
    for page, state in [(bundle(condition(), bad), State.PARTIAL), (bundle(bad), State.ERROR)]:
        async with opened(Server({"Condition": page})) as session:
            found = await session.search(Condition, patient=P1)
        assert (found.state, codes(found)) == (state, ["outcome:processing"])


@pytest.mark.parametrize(
    ("vendor", "meaning", "severity", "with_items", "without"),
    [
        ("4101", "EMPTY", "warning", State.OK, State.EMPTY),
        ("4101", "EMPTY", "error", State.OK, State.EMPTY),
        ("4119", "PARTIAL", "warning", State.PARTIAL, State.PARTIAL),
        ("4122", "OK", "warning", State.OK, State.EMPTY),
        ("4118", "FORBIDDEN", "error", State.PARTIAL, State.FORBIDDEN),
        ("4130", "RESTRICTED", "warning", State.PARTIAL, State.RESTRICTED),
        ("4135", "QUOTA", "fatal", State.PARTIAL, State.QUOTA),
    ],
)
async def test_a_vendors_code_means_what_its_profile_says(
    vendor: str, meaning: str, severity: str, with_items: State, without: State
) -> None:
    told = entry(outcome(severity, "processing", vendor), "outcome")
    change = {"outcome_states": {vendor: meaning}}
    for page, state in [(bundle(condition(), told), with_items), (bundle(told), without)]:
        async with opened(Server({"Condition": page}), change=change) as session:
            found = await session.search(Condition, patient=P1)
        assert (found.state, codes(found)) == (state, [f"outcome:{vendor}"])


async def test_a_vendors_code_says_more_than_the_status() -> None:
    for vendor, meaning, state in [("4130", "RESTRICTED", State.RESTRICTED), ("4101", "EMPTY", State.EMPTY)]:
        refused = answer(outcome("fatal", "processing", vendor), 400)
        async with opened(
            Server({"Condition": refused}), change={"outcome_states": {vendor: meaning}}
        ) as session:
            found = await session.search(Condition, patient=P1)
        assert (found.state, codes(found)) == (state, [f"outcome:{vendor}"])


async def test_a_servers_words_never_come_through() -> None:
    told = outcome("warning", "CANARYCODE", "CANARYVENDOR", "CANARY")
    async with opened(Server({"Condition": bundle(condition(), entry(told, "outcome"))})) as session:
        found = await session.search(Condition, patient=P1)
    assert codes(found) == ["outcome:other"]
    assert "CANARY" not in repr(found) + str(found.issues)


async def test_included_resources_are_no_matches() -> None:
    """search_include_entries_not_counted_as_matches"""
    page = bundle(
        condition("a"),
        entry({"resourceType": "Practitioner", "id": "d"}, "include"),
        entry(condition("linked"), "include"),
        entry({"resourceType": "Provenance", "id": "x"}, "include"),
        entry({"resourceType": "Patient", "id": "p1"}, "match"),
    )
    async with opened(Server({"Condition": page})) as session:
        found = await session.search(Condition, patient=P1)
    assert (found.state, [one.id for one in found.items], found.received) == (State.OK, ["a"], 1)
    assert codes(found) == ["unexpected-type"]


async def test_entries_without_a_mode_are_matches() -> None:
    async with opened(Server({"Condition": bundle(entry(condition(), None))})) as session:
        assert (await session.search(Condition, patient=P1)).state is State.OK


async def test_a_capability_statement_narrows_what_is_asked() -> None:
    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "software": {"name": "X"},
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": "Condition",
                        "interaction": [{"code": "search-type"}],
                        "searchParam": [{"name": "code"}],
                    },
                    {"type": "Observation"},
                    {"type": "Encounter", "interaction": [{"code": "create"}]},
                ],
            },
            {"mode": "client", "resource": [{"type": "Patient"}]},
        ],
    }
    server = Server({"metadata": answer(statement)}, default=bundle())
    async with opened(server) as session:
        assert not session.capability_known
        found = await session.load_capability()
        assert (found.fhir_version, found.software, found.types) == (
            "4.0.1",
            "X",
            {"Condition", "Observation"},
        )
        assert session.capability_known
        assert [session.offers(n) for n in ("Condition", "Observation", "Encounter", "Patient")] == [
            True,
            True,
            False,
            False,
        ]
        assert session.understands("Condition") == {"_id", "patient", "code"}
        assert session.understands("Observation") == PROFILE.search_parameters["Observation"]
    async with opened(server, change={"trust": "server"}) as session:
        await session.load_capability()
        assert session.understands("Condition") == {"_id", "code"}
        assert not session.offers("Patient")
    async with opened(server, change={"trust": "profile"}) as session:
        await session.load_capability()
        assert session.offers("Patient")
        assert session.understands("Condition") == PROFILE.search_parameters["Condition"]


@pytest.mark.parametrize(
    "reply", [answer({}, 404), answer("<html>"), answer({"resourceType": "Patient"}), answer("[1")]
)
async def test_without_a_capability_statement_the_profile_decides(reply: httpx.Response) -> None:
    async with opened(Server({"metadata": reply})) as session:
        assert (await session.load_capability()).types is None
        assert not session.capability_known
        assert session.offers("Condition")


async def test_a_server_that_claims_more_than_the_profile_changes_nothing() -> None:
    """caps_server_claims_more_than_profile_is_safe"""
    more = Capability(
        types=frozenset({"Condition", "Claim"}), parameters={"Condition": frozenset({"patient", "bogus"})}
    )
    async with opened(Server({}), capability=more) as session:
        assert not session.offers("Claim")
        assert "bogus" not in session.understands("Condition")


async def test_a_sample_reads_the_first_pages_only() -> None:
    def page(n: int) -> httpx.Response:
        return bundle({"resourceType": "Patient", "id": f"p{n}"}, next=f"Patient?page={n + 1}")

    server = Server({f"Patient?page={n}": page(n) for n in range(2, 5)} | {"Patient": page(1)})
    async with opened(server) as session:
        found = await session.sample("Patient", pages=2)
        assert (found.state, len(found.items), found.pages) == (State.PARTIAL, 2, 2)
    assert server.asked == ["Patient?_count=100", "Patient?page=2"]
    async with opened(Server({"Patient": bundle({"resourceType": "Patient", "id": "x"})})) as session:
        assert (await session.sample("Patient", pages=2)).state is State.OK
    async with opened(Server({}), allowed=lambda name: False) as session:
        assert (await session.sample("Patient")).state is State.FORBIDDEN


async def test_touch_logs_in_and_says_when_it_is_refused() -> None:
    server = Server({"metadata": answer({"resourceType": "CapabilityStatement"})})
    async with opened(server) as session:
        await session.touch()
    assert server.asked == ["metadata"]
    async with opened(server, auth=_Refused()) as session:
        with pytest.raises(LoginRefused):
            await session.touch()


async def test_a_resource_is_read_by_its_id() -> None:
    server = Server(
        {
            "Condition/e.A-1": answer(condition("e.A-1")),
            "Condition/bad": answer(condition("bad", code="text")),
            "Condition/gone": answer({}, 410),
            "Condition/none": answer(outcome("error", "not-found"), 404),
            "Condition/proxy": answer("nothing here", 404),
            "Condition/other": answer(condition("another")),
            "Condition/down": httpx.ConnectError("x"),
        }
    )
    async with opened(server) as session:
        states = {
            one: (await session.read(Condition, one))
            for one in ("e.A-1", "bad", "gone", "none", "proxy", "other", "down")
        }
        assert {one: fetched.state for one, fetched in states.items()} == {
            "e.A-1": State.OK,
            "bad": State.ERROR,
            "gone": State.EMPTY,
            "none": State.EMPTY,
            "proxy": State.UNSUPPORTED,
            "other": State.ERROR,
            "down": State.UNAVAILABLE,
        }
        assert states["e.A-1"].items[0].id == "e.A-1"
        assert states["e.A-1"].fetched_at is not None
        count = len(server.requests)
        for bad in ("", "..", ".", "a/b", "a?b", "a#b", "ä", "a b", "%2e"):
            assert (await session.read("Condition", bad)).state is State.ERROR
        assert len(server.requests) == count


async def test_a_session_shows_nothing_but_its_provider() -> None:
    async with opened(Server({})) as session:
        assert repr(session) == "<FhirSession test>"


async def test_observations_by_name_are_observations() -> None:
    reading = {"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p1"}}
    async with opened(Server({"Observation": bundle(reading)})) as session:
        found = await session.search("Observation", patient=P1)
    assert isinstance(found.items[0], Observation)


def test_a_configuration_error_is_ours() -> None:
    assert issubclass(ConfigurationError, ValueError)
