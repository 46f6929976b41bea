"""Codes with their systems."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.records.codes import ALIASES, PREFIX_TREES, URIS, Code, code_of, normal_code, system_name


@pytest.mark.parametrize(("name", "uri"), URIS.items())
def test_every_canonical_address_has_its_short_name(name: str, uri: str) -> None:
    for spelling in (uri, uri.upper(), f" {uri} ", f"{uri}/"):
        assert system_name(spelling) == name


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_every_alias_leads_to_a_short_name(alias: str, name: str) -> None:
    assert name in URIS
    assert system_name(alias) == name
    if alias[0].isdigit():
        assert system_name(f"urn:oid:{alias}") == name


def test_an_unknown_system_is_kept_as_it_is() -> None:
    assert system_name("http://example.org/Own") == "uri:http://example.org/Own"
    for nothing in (None, "", "  "):
        assert system_name(nothing) == ""


def test_a_vendor_reads_icd_10_as_the_american_one_only_by_its_own_profile() -> None:
    """cond_all_codings_kept_and_system_aliases_normalised"""
    vendor = {"http://hl7.org/fhir/sid/icd-10": URIS["icd10cm"], "10": URIS["icd10cm"], "cpt4": URIS["cpt"]}
    assert system_name("http://hl7.org/fhir/sid/icd-10") == "icd10"
    assert system_name("http://hl7.org/fhir/sid/ICD-10", vendor) == "icd10cm"
    assert system_name("10") == "uri:10"
    assert code_of("10", "h353112", vendor) == Code("icd10cm", "H35.3112")
    assert code_of("CPT4", "67028", vendor) == Code("cpt", "67028")


@pytest.mark.parametrize(
    ("system", "code", "normal"),
    [
        ("icd10cm", "h35.3112", "H35.3112"),
        ("icd10cm", "H353112", "H35.3112"),
        ("icd10cm", "H35.", "H35"),
        ("icd10cm", "H35", "H35"),
        ("icd10cm", "H3", "H3"),
        ("icd10cm", "h353", "H35.3"),
        ("icd9cm", "36252", "362.52"),
        ("icd10", " h36.0 ", "H36.0"),
        ("loinc", "8302-2", "8302-2"),
        ("atc", "s01la", "S01LA"),
        ("uri:http://example.org", " aB ", "aB"),
        ("", "aB", "aB"),
    ],
)
def test_one_code_has_one_spelling(system: str, code: str, normal: str) -> None:
    assert normal_code(system, code) == normal


def test_no_code_is_none() -> None:
    for code in (None, "", "  "):
        assert code_of("http://loinc.org", code) is None


def test_a_code_without_a_system_has_none() -> None:
    assert code_of(None, "x") == Code("", "x")


def test_prefix_trees_are_known_systems() -> None:
    assert URIS.keys() >= PREFIX_TREES
    assert "snomed" not in PREFIX_TREES


@given(st.sampled_from([*URIS, "", "uri:x"]), st.text(max_size=12))
def test_normalising_twice_changes_nothing(system: str, code: str) -> None:
    once = normal_code(system, code)
    assert normal_code(system, once) == once
