"""Value sets: membership, patterns, files; ICD-10-CM against the published tree."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr.records.codes import Code, code_of
from federated.screening.trial.criteria import ValueSet
from federated.screening.trial.valuesets import published
from tests.federated.screening.trial_texts import HEAD, errors, files, read

FHIR = (
    '{"resourceType": "ValueSet", "url": "http://x.example/vs", "version": "3", "date": "2026-01-01", "expansion": '
    '{"contains": [{"system": "http://snomed.info/sct", "code": "22298006"}]}}'
)


def file(body: str) -> str:
    criteria = "  - {id: x, text: t, source: s, where: {condition: {in: a}}}\n"
    return f"{HEAD}value_sets:\n  a: {body}\ninclusion:\n{criteria}"


def value_set(body: str, **held: str) -> ValueSet:
    return read(file(body), files(**held)).require().value_sets["a"]


def icd(code: str) -> Code:
    return Code("icd10cm", code)


def test_dots_and_case_are_one_spelling() -> None:
    found = value_set("{include: [{system: icd10cm, codes: [h35.3112, H353113, 'e11*', 'H35.*']}]}")
    assert found.codes == {icd("H35.3112"), icd("H35.3113")}
    assert found.prefixes == {icd("E11"), icd("H35")}


def test_systems_have_aliases_and_addresses() -> None:
    body = (
        "{include: [{system: 'http://snomed.info/sct', codes: [1]}, {system: 'urn:oid:2.16.840.1.113883.6.1', "
        "codes: [x]}, {system: 'uri:http://lab.example', codes: [aB]}]}"
    )
    found = value_set(body)
    assert found.codes == {Code("snomed", "1"), Code("loinc", "X"), Code("uri:http://lab.example", "aB")}


def test_a_code_of_another_system_is_no_member() -> None:
    found = value_set("{include: [{system: icd10cm, codes: ['E11*']}]}")
    assert found.has(icd("E11.9"))
    assert not found.has(Code("icd10", "E11.9"))
    assert not found.has(Code("", "E11.9"))


def test_members_are_includes_without_excludes() -> None:
    found = value_set(
        "{include: [{system: icd10cm, codes: ['H35.31*', H35.3210]}], "
        "exclude: [{system: icd10cm, codes: ['H35.319*', H35.3111, H35.3210]}]}"
    )
    assert found.has(icd("H35.3112"))
    assert not found.has(icd("H35.3111"))
    assert not found.has(icd("H35.3190"))
    assert not found.has(icd("H35.3210"))
    assert not found.has(icd("H35.32"))


def test_a_prefix_does_not_match_across_the_dot() -> None:
    found = value_set("{include: [{system: icd10cm, codes: ['H35.3*']}]}")
    assert not found.has(icd("H3513"))
    assert found.has(icd("H35.3"))


def test_the_digest_is_over_members_only() -> None:
    one = value_set("{title: A, include: [{system: icd10cm, codes: [E11.9, I10]}]}")
    other = value_set(
        "{title: B, include: [{system: icd10cm, codes: [i10]}, {system: icd10cm, codes: [E119]}]}"
    )
    assert one.digest == other.digest
    assert one.digest != value_set("{include: [{system: icd10cm, codes: [E11.9]}]}").digest


def test_hints_are_words_in_lower_case() -> None:
    found = value_set("{include: [{system: cvx, codes: ['1']}], text_hints: ['Dry  AMD', dry amd]}")
    assert found.text_hints == ("dry amd",)


def test_an_imported_file_keeps_where_it_came_from() -> None:
    sha = hashlib.sha256(FHIR.encode()).hexdigest()
    found = value_set(f"{{from: vs.json, sha256: {sha}}}", vs__json=FHIR)
    assert found.codes == {Code("snomed", "22298006")}
    assert dict(found.origin) == {
        "url": "http://x.example/vs",
        "version": "3",
        "date": "2026-01-01",
        "sha256": sha,
    }


def test_a_file_without_a_digest_warns_with_the_digest_to_write() -> None:
    checked = read(file("{from: vs.json}"), files(vs__json=FHIR))
    (problem,) = checked.problems
    assert problem.severity == "warning"
    assert hashlib.sha256(FHIR.encode()).hexdigest() in problem.message


def test_an_imported_file_with_unknown_codes_warns_once() -> None:
    codes = ", ".join(
        f'{{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "{c}"}}' for c in ("E11.9", "E11.X", "Q0")
    )
    held = f'{{"resourceType": "ValueSet", "expansion": {{"contains": [{codes}]}}}}'
    (problem,) = [
        p for p in read(file("{from: vs.json}"), files(vs__json=held)).problems if p.code == "TV124"
    ]
    assert problem.message.startswith("2 of its codes")


def test_a_star_is_refused_for_snomed() -> None:
    for system in ("snomed", "loinc", "rxnorm", "cpt", "hcpcs", "ndc", "cvx", "'uri:x'"):
        body = f"{{include: [{{system: {system}, codes: ['12*']}}]}}"
        assert [problem.code for problem in errors(read(file(body)))] == ["TV122"]
    for system in ("icd10cm", "icd10", "icd9cm", "atc"):
        assert not errors(read(file(f"{{include: [{{system: {system}, codes: ['E11*']}}]}}")))


def test_the_shipped_list_is_the_published_one() -> None:
    oracle = pytest.importorskip("simple_icd_10_cm")
    codes = {c for c in oracle.get_all_codes(with_dots=True) if not (oracle.is_chapter(c) or "-" in c)}
    assert set(published().codes) == codes
    assert list(published().codes) == sorted(codes)


@pytest.mark.parametrize(
    "category", ["E11", "E11.3", "H35.31", "H34.81", "I63", "O09", "Z33", "S52.5", "T36", "C50.01"]
)
def test_prefix_expansion_equals_the_published_tree(category: str) -> None:
    oracle = pytest.importorskip("simple_icd_10_cm")
    found = value_set(f"{{include: [{{system: icd10cm, codes: ['{category}*']}}]}}")
    expanded = {code for code in published().codes if found.has(icd(code))}
    assert expanded == {category, *oracle.get_descendants(category)}


EYES = {
    "H35.3112": "r", "H35.3122": "l", "H35.3132": "b", "H35.3192": "u", "E11.3211": "r", "E11.3213": "b",
    "E11.9": "", "H66.003": "",
}  # fmt: skip


def test_the_eye_of_a_code_is_read_from_its_title() -> None:
    listed = published()
    assert {code: listed.eyes[listed.codes.index(code)] for code in EYES} == EYES


_CODE = st.sampled_from(["A", "AB", "ABC", "ABCD", "ABCE", "ABCDE", "B", "BA"])


@given(st.sets(_CODE), st.sets(_CODE), st.sets(_CODE), st.sets(_CODE))
@settings(max_examples=100, deadline=None)
def test_membership_equals_the_union_without_the_union(
    codes: set[str], stars: set[str], no: set[str], no_stars: set[str]
) -> None:
    def block(key: str, plain: set[str], star: set[str]) -> str:
        listed = ", ".join([f'"{c}"' for c in sorted(plain)] + [f'"{c}*"' for c in sorted(star)])
        return f"{key}: [{{system: atc, codes: [{listed}]}}]"

    checked = read(file(f"{{{block('include', codes, stars)}, {block('exclude', no, no_stars)}}}"))

    def member(code: str) -> bool:
        inside = code in codes or any(code.startswith(s) for s in stars)
        return inside and code not in no and not any(code.startswith(s) for s in no_stars)

    every = ["A", "AB", "ABC", "ABCD", "ABCE", "ABCDE", "ABCDEF", "B", "BA", "BAX", "C"]
    if checked.trial is None:
        assert {problem.code for problem in errors(checked)} == {"TV125"}
        assert not any(member(code) for code in sorted(codes))
        return
    found = checked.trial.value_sets["a"]
    for text in every:
        code = code_of("http://www.whocc.no/atc", text)
        assert code is not None
        assert found.has(code) == member(text)
