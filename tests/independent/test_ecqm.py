"""Two published quality measures with test patients and expected populations, as an independent truth.

The measures are two-valued: what is unknown counts as not met. So a decided criterion must equal the published
truth, and an undecided one may only stand where the measure says "not met".
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ehr.codes import system_name
from ehr.fetched import Kind, complete
from ehr.records import RESOURCES, Patient, PatientRecord, PatientRef
from federated.screening.evaluate import compile_plan
from federated.screening.evidence import Outcome, Verdict
from federated.screening.load import read_trial
from federated.screening.plan import SiteFacts, make_plan

DATA = Path(__file__).parents[3] / "shared" / "data" / "ecqm"
TEXT = (Path(__file__).parent / "ecqm" / "criteria.yaml").read_text()
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs shared/data/ecqm")

VISITS = {
    "cms122": [
        "Office Visit", "Annual Wellness Visit", "Preventive Care Services Established Office Visit, 18 and Up",
        "Preventive Care Services Initial Office Visit, 18 and Up", "Home Healthcare Services", "Nutrition Services",
        "Telephone Visits",
    ],
    "cms131": [
        "Office Visit", "Annual Wellness Visit", "Preventive Care Services Established Office Visit, 18 and Up",
        "Preventive Care Services Initial Office Visit, 18 and Up", "Home Healthcare Services",
        "Ophthalmological Services", "Telephone Visits",
    ],
}  # fmt: skip
DIRECT = {
    "to_hospice": [("snomed", "428361000124107"), ("snomed", "428371000124100")],
    "hospice_item": [("loinc", "45755-6")],
    "affirmed": [("snomed", "373066001")],
    "palliative_item": [("loinc", "71007-9")],
    "housing": [("loinc", "71802-3")],
    "nursing_home": [("snomed", "160734000")],
    "equipment_used": [("loinc", "98181-1")],
    "no_eyes": [("snomed", "15665641000119103")],
}
NUTRITION = [("cpt", code) for code in ("97802", "97803", "97804")] + [
    ("hcpcs", code) for code in ("G0270", "G0271")
]
EYES = """\
  - id: eyes
    text: No eyes
    source: Denominator exclusion.
    where: {condition: {in: no_eyes, {verified}, onset: {from: 2000-01-01, to: 2026-12-31}}}
"""
CONFIRMED = {"coding": [{"code": "confirmed"}]}
"""The measures take a condition without a verification status for verified; here that would be unknown."""

WORLD = {"observation": "closed", "allergy": "closed"}
"""Within the deck nothing is missing: what is not there did not happen."""


def value_sets(measure: str) -> dict[str, list[tuple[str, str]]]:
    found = {}
    for one in json.loads((DATA / measure / "valuesets.json").read_text())["value_sets"]:
        found[one["name"]] = [(system_name(code["system"]), code["code"]) for code in one["codes_in_deck"]]
    visits = [code for name in VISITS[measure] for code in found[name]]
    sets = {name.lower().replace(" ", "_"): codes for name, codes in found.items() if "," not in name}
    if measure == "cms122":
        visits += NUTRITION
    return sets | DIRECT | {"visits": sorted(set(visits))}


def trial_text(measure: str) -> bytes:
    lines = ["value_sets:"]
    for name, codes in value_sets(measure).items():
        rows = [f"{{system: {system}, codes: [{json.dumps(code)}]}}" for system, code in codes]
        if f" {name}," in TEXT + (EYES if measure == "cms131" else "") or f" {name}}}" in TEXT:
            lines.append(f"  {name}: {{include: [{', '.join(rows)}]}}")
    eyes = EYES if measure == "cms131" else ""
    text = (TEXT + eyes).replace("{value_sets}", "\n".join(lines)).replace("{measure}", measure)
    verified = "clinical: any, verification: [confirmed, unconfirmed, provisional, differential]"
    text = text.replace("{verified}", verified)
    return text.replace("{in_2026}", "{from: 2026-01-01, to: 2026-12-31}").encode()


def patients(measure: str) -> Iterator[PatientRecord]:
    types = {kind.__struct_config__.tag: (of, kind) for of, kinds in RESOURCES.items() for kind in kinds}
    with gzip.open(DATA / measure / "patients.ndjson.gz") as lines:
        for line in lines:
            items: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
            for entry in json.loads(line)["entry"]:
                resource = entry["resource"]
                if resource["resourceType"] in types:
                    kind, of = types[resource["resourceType"]]
                    if resource["resourceType"] == "Condition":
                        resource.setdefault("verificationStatus", CONFIRMED)
                    items[kind].append(msgspec.convert(resource, of))
            (who,) = items[Kind.PATIENT]
            assert isinstance(who, Patient)
            yield PatientRecord(
                PatientRef(who.id or ""), who, {kind: complete(made) for kind, made in items.items()}
            )


def outcomes(measure: str) -> dict[str, Outcome]:
    trial = read_trial(trial_text(measure)).require()
    decide = compile_plan(
        make_plan(trial, SiteFacts(UTC, WORLD, key=b"a key of a test site"), date(2026, 12, 31))
    )
    return {record.ref.id: decide(record) for record in patients(measure)}


def expected(measure: str) -> dict[str, dict[str, str]]:
    with (DATA / measure / "expected.csv").open() as rows:
        return {row["patient_id"]: row for row in csv.DictReader(rows)}


def met(outcome: Outcome, side: str) -> bool:
    """As the measure reads it, with two values: unknown is not met."""
    verdicts = [one.verdict for one in outcome.criteria if one.side == side]
    return all(one is Verdict.PASS for one in verdicts) if side == "inclusion" else Verdict.FAIL in verdicts


CROSSING = {
    "cms122": {
        "Hospice encounter overlaps with the MP",
        "Hospice discharge during the MP",
        "Hospice discharge to home during the MP",
        "Hospice observation is yes",
        "Palliative care survey overlaps after the MP",
        "Palliative care survey overlap before the MP",
    },
    "cms131": {
        "Hospice encounter overlaps the MP",
        "Hospice discharge to home during the MP",
        "Hospice observation value is 'yes'",
        "Patient 18yo w/ an Office Visit Encounter 1/1 of the MP, & Diabetes Condition ending 1/1 during the MP, "
        "& Hospice Encounter that ends on 1/1 after the MP.",
    },
}
"""Stays and results that cross the border of the period: the file format places a stay by its start, and a result
over a period is uncertain; the measures ask for an overlap, or for the end."""


_SURVEY = (
    "Patient 18yo w/ an Office Visit Encounter 1/1 of the MP, Diabetes Condition ending 1/1 during the MP, "
    "& a Palliative Care Observation that starts on {} of the MP During Observation Interval."
)
NO_RESULT = {"cms122": set[str](), "cms131": {_SURVEY.format("1/1"), _SURVEY.format("12/31")}}
"""Surveys that carry a ``dataAbsentReason``: the measures count that the entry is there; here a result that its own
record calls absent is unknown, and leaves the patient for a person to look at."""


@pytest.mark.parametrize("measure", ["cms122", "cms131"])
def test_populations_are_those_that_were_published(measure: str) -> None:
    found, truth = outcomes(measure), expected(measure)
    assert set(found) == set(truth)
    population = {identity for identity, row in truth.items() if row["engine_ip"] == "1"}
    assert {identity for identity, outcome in found.items() if met(outcome, "inclusion")} == population
    excluded = {identity for identity, row in truth.items() if row["raw_denex"] == "true"}
    ours = {identity for identity, outcome in found.items() if met(outcome, "exclusion")}
    assert {truth[identity]["case_name"] for identity in ours ^ excluded} == CROSSING[measure] | NO_RESULT[
        measure
    ]


@pytest.mark.parametrize("measure", ["cms122", "cms131"])
def test_a_result_across_the_border_is_unknown_and_not_absent(measure: str) -> None:
    found, truth = outcomes(measure), expected(measure)
    uncertain = {
        truth[identity]["case_name"]
        for identity, outcome in found.items()
        for one in outcome.criteria
        if one.side == "exclusion" and one.verdict is Verdict.UNKNOWN
        and any(leaf.reason == "DATE_UNCERTAIN" for leaf in one.evidence)
    }  # fmt: skip
    assert uncertain
    assert uncertain <= CROSSING[measure]
