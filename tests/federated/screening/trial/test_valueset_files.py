"""Code lists of others: what is taken, and what is refused because it is not complete."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr.records.codes import Code
from federated.screening.trial.valueset_files import (
    ValueSetFile,
    ValueSetFileError,
    as_json,
    read_valueset_file,
)

SCT = "http://snomed.info/sct"


def fhir(**parts: Any) -> bytes:
    return json.dumps({"resourceType": "ValueSet", **parts}).encode()


def expansion(contains: list[Any], **rest: Any) -> bytes:
    return fhir(
        expansion={"contains": contains, **rest}, url="http://x/vs", version="2", title="T", date="2026-01-01"
    )


def test_a_nested_expansion_gives_its_selectable_codes() -> None:
    read = read_valueset_file(
        expansion(
            [
                {"system": SCT, "code": "1", "abstract": True, "contains": [{"system": SCT, "code": "2"}]},
                {"display": "a heading", "contains": [{"contains": [{"system": SCT, "code": "3"}]}]},
                {"system": SCT, "code": "4", "inactive": True},
                {"system": "http://loinc.org", "code": "4548-4"},
            ],
            total=4,
        )
    )
    assert read.codes == (Code("loinc", "4548-4"), Code("snomed", "2"), Code("snomed", "3"))
    assert (read.url, read.version, read.title, read.date, read.left_out) == (
        "http://x/vs",
        "2",
        "T",
        "2026-01-01",
        2,
    )


def test_a_page_of_an_expansion_is_refused() -> None:
    with pytest.raises(ValueSetFileError, match="says 5 codes and holds 1"):
        read_valueset_file(expansion([{"system": SCT, "code": "1"}], total=5))


def test_an_enumerated_definition_is_taken() -> None:
    data = fhir(
        compose={
            "include": [{"system": SCT, "concept": [{"code": "1"}, {"code": "2"}]}],
            "exclude": [{"system": SCT, "concept": [{"code": "2"}]}],
        }
    )
    assert read_valueset_file(data).codes == (Code("snomed", "1"),)


@pytest.mark.parametrize(
    "block",
    [
        {"system": SCT, "filter": [{"property": "concept", "op": "is-a", "value": "1"}]},
        {"system": SCT, "concept": [{"code": "1"}], "filter": [{"property": "x"}]},
        {"valueSet": ["http://x/other"]},
        {"system": SCT},
    ],
)
def test_a_definition_by_filter_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValueSetFileError, match="expand it first"):
        read_valueset_file(fhir(compose={"include": [block]}))


def test_a_vsac_export_is_taken() -> None:
    vsac = {
        "oid": "2.16.840.1.113883.3.526.3.1496",
        "display_name": "Diabetes",
        "version": "20260101",
        "concepts": [
            {"code": "E11.9", "code_system_oid": "2.16.840.1.113883.6.90", "code_system_name": "ICD10CM"},
            {"code": "44054006", "code_system_oid": "2.16.840.1.113883.6.96"},
        ],
    }
    read = read_valueset_file(json.dumps(vsac).encode())
    assert read.codes == (Code("icd10cm", "E11.9"), Code("snomed", "44054006"))
    assert (read.title, read.version, read.url) == ("Diabetes", "20260101", "2.16.840.1.113883.3.526.3.1496")


def test_a_vsac_csv_is_taken() -> None:
    text = (
        "Value Set Name,Diabetes\nOID,2.16.840.1.113883.3.526.3.1496\nDefinition Version,20260101\n\n"
        'Code,Description,Code System,Code System Version,Code System OID\nE11.9,"Type 2, without",ICD10CM,2026,'
        "2.16.840.1.113883.6.90\n44054006,Diabetes,SNOMEDCT,2026,2.16.840.1.113883.6.96\n"
    )
    read = read_valueset_file(text.encode("utf-8-sig"))
    assert read.codes == (Code("icd10cm", "E11.9"), Code("snomed", "44054006"))
    assert (read.title, read.version) == ("Diabetes", "20260101")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"\xff\xfe", b"\x00", b"{" * 100_000, b"[" * 100_000, b"null", b"plain text",
        b"a,b\n1,2\n",
        b'{"resourceType": "ValueSet", "expansion": {"total": ' + b"9" * 10_000 + b"}}",
        expansion([]), expansion([1]), expansion([{"system": SCT, "code": 5}]), expansion([{"code": "5"}]),
        expansion([{"system": " ", "code": "5"}]), fhir(expansion={"contains": {}}), fhir(), fhir(compose=[]),
        fhir(compose={"include": ["x"]}), fhir(compose={"include": [{"system": SCT, "concept": ["x"]}]}),
        b'{"concepts": [1]}', b'{"concepts": {}}', b'{"concepts": [{"code": "1"}]}', b"Code,Code System\nx\n",
        b'Code,Code System\n"x,y\n',
    ],
)  # fmt: skip
def test_what_is_no_complete_list_is_refused(data: bytes) -> None:
    with pytest.raises(ValueSetFileError) as caught:
        read_valueset_file(data)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 200


def test_a_deep_expansion_is_refused_and_does_not_overflow() -> None:
    node: dict[str, Any] = {"system": SCT, "code": "1"}
    for _ in range(200):
        node = {"contains": [node]}
    with pytest.raises(ValueSetFileError):
        read_valueset_file(expansion([node]))


def test_our_form_reads_back_to_the_same_codes() -> None:
    codes = (Code("icd10cm", "E11.9"), Code("snomed", "1"), Code("uri:http://lab.example/x", "aB"))
    read = ValueSetFile(codes, title='A "title"', url="http://x/vs", version="2", date="2026-01-01")
    again = read_valueset_file(as_json(read, "0" * 64).encode())
    assert again == read


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_list_or_refused(data: bytes) -> None:
    with suppress(ValueSetFileError):
        assert read_valueset_file(data).codes
