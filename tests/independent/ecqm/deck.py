"""The published decks as trial files with value sets, and their patients as records."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ehr.records.fetched import Kind, complete
from ehr.records.patient import RESOURCES, PatientRecord, PatientRef
from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.evidence import CriterionOutcome, Outcome
from federated.screening.plan.trial_plan import DEFAULTS, SiteFacts, make_plan
from federated.screening.trial.load import load_trial

HERE = Path(__file__).parent
DATA = HERE.parents[2].parent / "shared" / "data" / "ecqm"
DAY = date(2026, 12, 31)
CLOSED = {kind: "closed" for kind in DEFAULTS if kind not in ("birth_date", "column")}
"""The measures take silence for *no*, everywhere."""


def require() -> None:
    """Skip where the decks are not beside this checkout."""
    if not DATA.is_dir():
        pytest.skip("the measure decks (shared/data/ecqm) are not beside this checkout")


def table(measure: str, name: str) -> dict[str, dict[str, str]]:
    """A CSV of a deck, by patient id."""
    with (DATA / measure / name).open(encoding="utf-8", newline="") as file:
        return {row["patient_id"]: row for row in csv.DictReader(file)}


def bundles(measure: str, *, verified: bool) -> Iterator[dict[str, Any]]:
    """The patients' Bundles.

    Args:
        measure: which deck.
        verified: True writes the measures' own rule into the data: a condition without a verification status
            is taken as confirmed. Without it such a condition can only be *unknown* to us.
    """
    with gzip.open(DATA / measure / "patients.ndjson.gz") as lines:
        for line in lines:
            bundle = json.loads(line)
            for entry in bundle["entry"] if verified else ():
                resource = entry["resource"]
                if resource["resourceType"] == "Condition" and "verificationStatus" not in resource:
                    resource["verificationStatus"] = {"coding": [{"code": "confirmed"}]}
            yield bundle


def write_trial(measure: str, name: str, folder: Path) -> Path:
    """A trial file beside the value sets of a deck, in a folder of its own."""
    shutil.copy(HERE / "blocks.yaml", folder / "blocks.yaml")
    trial = folder / f"{name}.yaml"
    shutil.copy(HERE / f"{name}.yaml", trial)
    (folder / "valuesets").mkdir(exist_ok=True)
    for found in json.loads((DATA / measure / "valuesets.json").read_text(encoding="utf-8"))["value_sets"]:
        contains = [{"system": code["system"], "code": code["code"]} for code in found["codes_in_deck"]]
        document = {
            "resourceType": "ValueSet",
            "status": "active",
            "url": found["url"],
            "version": found["version"],
            "expansion": {"total": len(contains), "contains": contains},
        }
        slug = re.sub(r"[^a-z0-9]+", "_", found["name"].lower()).strip("_")
        (folder / "valuesets" / f"{slug}.json").write_text(json.dumps(document), encoding="utf-8")
    return trial


_KINDS = {resource: kind for kind, resources in RESOURCES.items() for resource in resources}


def records(measure: str, *, verified: bool) -> dict[str, PatientRecord]:
    """The deck's patients, every kind read completely."""
    now = datetime(2027, 1, 15, tzinfo=UTC)
    decoders = {
        name.__struct_config__.tag: (kind, msgspec.json.Decoder(name)) for name, kind in _KINDS.items()
    }
    found = {}
    for bundle in bundles(measure, verified=verified):
        by_kind: dict[Kind, list[Any]] = defaultdict(list)
        for entry in bundle["entry"]:
            known = decoders.get(entry["resource"]["resourceType"])
            if known is not None:
                by_kind[known[0]].append(known[1].decode(json.dumps(entry["resource"])))
        (patient,) = by_kind[Kind.PATIENT]
        fetched = {kind: complete(tuple(by_kind[kind]), now) for kind in Kind}
        found[patient.id] = PatientRecord(PatientRef(patient.id), patient, fetched)
    return found


@dataclass(frozen=True, slots=True)
class Screened:
    """Outcomes by patient id."""

    outcomes: Mapping[str, Outcome]

    def criterion(self, patient: str, name: str) -> CriterionOutcome:
        """One criterion of one patient."""
        (found,) = [one for one in self.outcomes[patient].criteria if one.id == name]
        return found


def screened(trial: Path, people: Mapping[str, PatientRecord], world: Mapping[str, str]) -> Screened:
    """Decide for every patient of a deck, as of the last day of the period."""
    facts = SiteFacts(ZoneInfo("UTC"), world=world, key=b"a key of a test site")
    decide = compile_plan(make_plan(load_trial(trial), facts, DAY))
    return Screened({name: decide(record) for name, record in people.items()})
