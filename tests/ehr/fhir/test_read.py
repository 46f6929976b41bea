"""Reading under hostile and careless input: a record, a set-aside entry or an error, never a crash or an echo."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr.config import ProviderProfile
from ehr.errors import BadBody, ReadError
from ehr.fhir import repair, validate
from ehr.fhir.capability import read_capability
from ehr.fhir.entries import sift
from ehr.fhir.read import Leniency, counted, read_page, read_resource
from ehr.fhir.search import Query
from ehr.records.fetched import Issue
from ehr.records.patient import Condition, Observation, Patient, PatientRef
from tests.ehr.fhir.server import condition, entry

RULES = Leniency(ZoneInfo("Europe/London"))
QUERY = Query(Condition, (("patient", "p1"),), PatientRef("p1"), "GET")
PROFILE = ProviderProfile("x", "X")

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "resourceType",
        "id",
        "code",
        "coding",
        "system",
        "subject",
        "reference",
        "category",
        "onsetDateTime",
        "onsetAge",
        "value",
        "text",
        "meta",
        "versionId",
        "entry",
        "resource",
        "search",
        "mode",
        "link",
        "relation",
        "url",
        "total",
    ]
)
FHIRISH = st.recursive(
    JSON | st.sampled_from(["Condition", "Patient", "Patient/p1", "Bundle", "match", "next"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=20,
)


def page(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"resourceType": "Bundle", "entry": list(entries), **more}).encode()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_page_or_refused(body: bytes) -> None:
    try:
        read_page(body, Condition, RULES)
    except BadBody as refused:
        assert refused.reason in ("not-json", "wrong-type")


@settings(max_examples=60)
@given(FHIRISH)
def test_any_json_is_a_page_or_refused(value: Any) -> None:
    with contextlib.suppress(BadBody):
        read_page(json.dumps(value).encode(), Condition, RULES)


@settings(max_examples=30)
@given(st.dictionaries(NAMES, FHIRISH, max_size=6))
def test_any_resource_is_read_repaired_or_set_aside_beside_a_good_one(fields: dict[str, Any]) -> None:
    raw = {"resourceType": "Condition", **fields}
    content = read_page(page(entry(raw), entry(condition("good"))), Condition, RULES)
    assert len(content.entries) + len(content.quarantined) + content.skipped == 2
    found = sift(content, QUERY, PROFILE)
    assert "good" in [record.id for record in found.records]
    assert found.received <= 2


@settings(max_examples=40)
@given(FHIRISH)
def test_any_entry_leaves_the_others(strange: Any) -> None:
    content = read_page(page(strange, entry(condition("good"))), Condition, RULES)
    assert "good" in [one.resource.id for one in content.entries]


@settings(max_examples=40)
@given(FHIRISH, FHIRISH)
def test_any_total_and_links_are_read_or_refused(total: Any, links: Any) -> None:
    try:
        content = read_page(page(entry(condition()), total=total, link=links), Condition, RULES)
    except BadBody:
        return
    assert content.total is None or isinstance(content.total, int)
    assert all(isinstance(url, str) for url in content.links.values())


@settings(max_examples=40)
@given(st.dictionaries(NAMES, FHIRISH, max_size=5))
def test_repair_changes_nothing_the_second_time(fields: dict[str, Any]) -> None:
    once, _ = repair.repaired(fields, Condition, RULES.zone)
    twice, again = repair.repaired(once, Condition, RULES.zone)
    assert twice == once or "repair:empty" in [issue.code for issue in again]


@settings(max_examples=30)
@given(st.dictionaries(NAMES, FHIRISH, max_size=5))
def test_validation_never_crashes(fields: dict[str, Any]) -> None:
    assert all(path.startswith("$") for path in validate.reasons(fields))
    assert all(path.startswith("$") for path in validate.reasons({"resourceType": "Condition", **fields}))


@given(st.binary(max_size=100))
def test_any_capability_statement_is_read_or_says_nothing(body: bytes) -> None:
    assert read_capability(body).types is None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType": "CANARY", "id": "x"}',
        b'{"resourceType": "Condition", "code": "CANARY"}',
        b'{"resourceType": "Condition", "onsetAge": {"value": "CANARY"}}',
        b'{"resourceType": "Condition", "id": ["CANARY"]}',
        b'{"resourceType": "Condition", "code": {"coding": [{"code": {"CANARY": 1}}]}}',
        b'"CANARY"',
        b'{"id": "\xff"}',
        b'{"id": "CANARY',
        b'{"code":' * 3000 + b"1" + b"}" * 3000,
    ],
)
def test_a_reason_is_a_path_and_never_content(raw: bytes) -> None:
    with pytest.raises(ReadError) as caught:
        read_resource(raw, Condition, RULES)
    assert caught.value.path.startswith("$")
    assert "CANARY" not in str(caught.value) + caught.value.path + str(caught.value.__cause__)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_bad_entry_is_known_by_its_type_and_id_and_never_shown() -> None:
    content = read_page(
        page(entry(condition("canary", code="x")), entry({"id": "no-type"}), 7), Condition, RULES
    )
    assert [(one.resource_type, one.id) for one in content.quarantined] == [
        ("Condition", "canary"),
        (None, "no-type"),
        (None, None),
    ]
    assert "canary" not in repr(content) + repr(content.quarantined) + str(content.issues)


def test_the_paths_of_set_aside_entries_are_counted() -> None:
    content = read_page(page(*(entry(condition(f"c{n}", code="x")) for n in range(3))), Condition, RULES)
    assert [(issue.path, issue.count) for issue in counted(content.issues)] == [("$.code", 3)]


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 5000])
def test_deep_nesting_is_set_aside(depth: int) -> None:
    deep = b'{"extension": [' * depth + b"{}" + b"]}" * depth
    raw = b'{"resourceType": "Patient", "id": "x", "name": {}, "extension": [' + deep + b"]}"
    body = b'{"resourceType": "Bundle", "entry": [{"resource": ' + raw + b"}]}"
    try:
        content = read_page(body, Patient, RULES)
    except BadBody:
        return
    assert len(content.entries) + len(content.quarantined) == 1


def test_equal_issues_are_counted_and_others_kept_apart() -> None:
    issues = [Issue("a"), Issue("b"), Issue("a", count=2), Issue("a", path="$.x")]
    assert counted(issues) == (Issue("a", count=3), Issue("b"), Issue("a", path="$.x"))


def test_a_bundle_that_is_an_outcome_is_one_outcome() -> None:
    content = read_page(
        b'{"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}', Condition, RULES
    )
    assert [one.search.mode for one in content.entries] == ["outcome"]


@pytest.mark.parametrize("link", [{"relation": "next", "url": "x"}, "x", [{"relation": "next", "url": 7}], 7])
def test_links_that_cannot_be_read_are_no_end(link: Any) -> None:
    with pytest.raises(BadBody):
        read_page(page(entry(condition()), link=link), Condition, RULES)


@pytest.mark.parametrize("kind", ["collection", "batch-response", "", None, 7])
def test_another_kind_of_bundle_is_no_answer_to_a_search(kind: Any) -> None:
    with pytest.raises(BadBody) as caught:
        read_page(page(type=kind), Condition, RULES)
    assert caught.value.reason == "wrong-type"


def test_a_page_that_is_not_utf_8_is_refused_also_where_nobody_reads() -> None:
    with pytest.raises(BadBody):
        read_page(b'{"resourceType": "Bundle", "note": "\xff"}', Condition, RULES)
    content = read_page(page(entry(condition("ä"))).replace(b"\\u00e4", "ä".encode()), Condition, RULES)
    assert content.entries[0].resource.id == "ä"


@pytest.mark.parametrize("entries", [None, []])
def test_no_entries_are_none(entries: Any) -> None:
    body = json.dumps({"resourceType": "Bundle", "entry": entries, "total": 0}).encode()
    content = read_page(body, Condition, RULES)
    assert (content.entries, content.total) == ([], 0)


def test_repairs_are_a_closed_list() -> None:
    raw = {
        "resourceType": "Observation",
        "status": "FINAL",
        "unknown": 1,
        "category": {"text": ""},
        "valueQuantity": {"value": 7, "code": 5, "unit": ""},
        "component": [None, {"valueBoolean": True}],
        "effectiveDateTime": "2020-06-01T10:00:00.5",
        "issued": "2020-06-01T10:00:00Z",
        "code": {"coding": [{"code": True}]},
    }
    mended, issues = repair.repaired(raw, Observation, RULES.zone)
    assert mended == {
        "resourceType": "Observation",
        "status": "final",
        "category": [{}],
        "valueQuantity": {"value": 7, "code": "5"},
        "component": [{"valueBoolean": True}],
        "effectiveDateTime": "2020-06-01T10:00:00.5+01:00",
        "issued": "2020-06-01T10:00:00Z",
        "code": {"coding": [{"code": True}]},
    }
    assert {issue.code: issue.count for issue in issues} == {
        "repair:empty": 3,
        "repair:lower-case": 1,
        "repair:number-for-text": 1,
        "repair:object-for-list": 1,
        "repair:zone": 1,
    }
    assert raw["status"] == "FINAL"


@pytest.mark.parametrize("text", ["2020-02-30T10:00", "2020-06-01T10:00Z", "10:00", "2020-06-01"])
def test_only_a_time_without_a_zone_gets_one(text: str) -> None:
    mended, issues = repair.repaired({"recordedDate": text}, Condition, RULES.zone)
    assert mended == {"recordedDate": text}
    assert issues == ()


def test_validation_names_places_and_never_unknown_names() -> None:
    faults = validate.reasons(
        {"resourceType": "Patient", "birthDate": "CANARY", "CANARYNAME": 1, "name": "x"}
    )
    assert set(faults) == {"$.birthDate", "$", "$.name"}
    assert validate.reasons({"resourceType": "Patient", "id": "x"}) == ()
    assert validate.reasons({"resourceType": "CANARY"}) == ("$",)
    assert validate.reasons({"resourceType": 7}) == ("$",)


def test_cleaning_drops_what_is_empty() -> None:
    raw = {"a": "", "b": None, "c": {"d": ""}, "e": ["", {"f": None}, 0, False], "g": [], "h": [[]]}
    assert repair.cleaned(raw) == {"e": [0, False], "h": [[]]}


def test_a_patient_is_read_with_the_vendors_own_example_slips() -> None:
    raw = {
        "resourceType": "Patient",
        "id": "x",
        "identifier": [{"system": "", "value": "7", "use": "usual"}],
        "name": [{"family": "Shaw", "given": ["Amy"], "suffix": [""]}],
        "generalPractitioner": {"reference": "practitioner/d"},
    }
    content = read_page(page(entry(raw)), Patient, RULES)
    assert content.entries[0].resource.general_practitioner[0].target == ("practitioner", "d")
