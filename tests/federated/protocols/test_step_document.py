"""Step documents as data: every mistake with its place, and what a document says of itself."""

from __future__ import annotations

import pytest

from federated.protocols.step_document import StepDocumentErrors, explain, read_steps
from federated.protocols.steps import packaged
from federated.task import registry

GOOD = """\
steps:
  - {use: EHRPatientQueryAlgorithm, as: query, with: {kinds: [conditions]}, when: {has: ehr}}
  - use: TrialInclusionCriteriaMatchAlgorithm
    as: criteria
    from: [query]
    with: {trial: trial}
    needs: policy.counts
    when: {ran: query}
counts: {of: criteria, when: end, masked: true}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(StepDocumentErrors) as caught:
        read_steps(text, "s.yaml")
    return [f"{one.line}:{one.column} {one.code}" for one in caught.value.problems]


def test_a_good_document_is_read_whole() -> None:
    found = read_steps(GOOD)
    query, criteria = found.steps
    assert (query.label, query.arguments, query.when.has) == ("query", {"kinds": ["conditions"]}, "ehr")
    assert (criteria.inputs, criteria.needs, criteria.when.ran) == (("query",), "counts", "query")
    assert (found.counts, found.waits_for) == ("criteria", None)


def test_all_mistakes_are_reported_in_one_run() -> None:
    text = """\
steps:
  - {use: EHRPatientQueryAlgorithm, as: query, wiht: {}, with: {kindz: [conditions]}}
  - {use: EHRPatientQueryAlgoritm}
  - {use: FederatedAveraging, as: two}
  - {use: EHRPatientQueryAlgorithm, as: query, from: [qeury], needs: policy.rows, when: {has: data2}}
  - {use: EHRPatientQueryAlgorithm, as: Upper, when: {ran: nobody}, with: {get_appointments: perhaps}}
  - {as: x}
  - 3
counts: {of: criteria, when: often, masked: false}
steeps: []
"""
    assert mistakes(text) == [
        "2:48 SV103",
        "2:64 SV113",
        "3:11 SV110",
        "4:11 SV110",
        "5:41 SV114",
        "5:55 SV115",
        "5:70 SV116",
        "5:95 SV117",
        "6:41 SV114",
        "6:60 SV115",
        "6:75 SV113",
        "7:5 SV104",
        "8:5 SV106",
        "9:14 SV118",
        "9:30 SV119",
        "9:45 SV119",
        "10:1 SV103",
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", "SV106"),
        ("steps: []", "SV104"),
        ("steps: {}", "SV104"),
        ("counts: {of: x}", "SV104"),
        ("steps:\n  - {use: [a]}", "SV106"),
        ("steps:\n  - {use: EHRPatientQueryAlgorithm, with: 3}", "SV106"),
        ("steps:\n  - {use: EHRPatientQueryAlgorithm, when: always}", "SV117"),
        ("steps:\n  - {use: EHRPatientQueryAlgorithm}\ncounts: yes", "SV106"),
        ("steps:\n  - {use: EHRPatientQueryAlgorithm, as: q}\ncounts: {of: q}", "SV118"),
        ("steps: &a []", "TV101"),
    ],
)
def test_a_wrong_form_is_named(text: str, code: str) -> None:
    assert code in " ".join(mistakes(text))


def test_a_document_that_waits_says_for_what() -> None:
    found = read_steps("steps:\n  - {use: GATrialCalculationAlgorithmJade}\n  - {use: CSVReportAlgorithm}\n")
    assert [step.label for step in found.steps] == ["gatrial-calculation-algorithm-jade", "csvreport"]
    assert found.waits_for == "OCT measurements; reports for imaging trials"
    assert "waits for OCT measurements" in explain(found)


def test_explaining_mentions_every_step_condition_and_argument() -> None:
    text = explain(read_steps(GOOD))
    for words in (
        "EHRPatientQueryAlgorithm, called query",
        "results of query",
        "trial = trial",
        "only if query ran and the pod's owner lets counts leave",
        "the pod has an EHR",
        "counts of criteria are added up over the pods under a mask",
    ):
        assert words in text


def test_every_packaged_document_is_good_and_its_row_says_what_it_waits_for() -> None:
    shipped = packaged("screen_and_count")
    assert shipped is not None
    assert read_steps(shipped).waits_for is None
    for entry in registry.built_in().values():
        if entry.row.component == "federated.protocols.steps" and entry.row.variant is not None:
            data = packaged(entry.row.variant)
            assert data is None or read_steps(data).waits_for is not None
            assert entry.state == "waiting"
    for outside in ("../documents/screen_and_count", "screen_and_count.yaml", "nothing"):
        assert packaged(outside) is None
