"""One screening run on the independent server and the same run on our own sandbox, compared row by row."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr.auth.keys import Algorithm, KeyRing, make_ring
from ehr.sandbox.data import load
from federated.screening.run import Decisions, Options, screen_async
from tests.end_to_end.clinics import CLIENT as SANDBOX_CLIENT
from tests.end_to_end.clinics import clinic_ehr, make_pod
from tests.independent import sekmet

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "fixtures" / "synthea"
TRIAL = ROOT / "examples" / "trials" / "cardiometabolic-synthea.yaml"
INDEX_DATE = "2026-01-01"
"""The last day of the fixture's simulated time."""

Verdicts = Mapping[int, tuple[str, Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Ran:
    """A run: decision and verdicts by row, and the states in which kinds were fetched."""

    verdicts: Verdicts
    states: Counter[str]

    @property
    def decisions(self) -> Counter[str]:
        """How many rows were decided how."""
        return Counter(decision for decision, _ in self.verdicts.values())


def ran(decisions: Decisions) -> Ran:
    """What can be compared between servers: ids differ, rows do not."""
    verdicts: dict[int, tuple[str, Mapping[str, str]]] = {}
    states: Counter[str] = Counter()
    for patient in decisions.run.patients:
        criteria = () if patient.outcome is None else patient.outcome.criteria
        verdicts[patient.input_row] = (
            patient.decision.value,
            {one.id: one.verdict.value for one in criteria},
        )
        states.update(patient.fetched.values())
    return Ran(verdicts, states)


def people() -> str:
    """The fixture's patients: by record number and birth date, every other one by name and birth date."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["mrn", "family", "given", "birth_date"])
    patients = [one for one in sekmet.resources(FIXTURE) if one["resourceType"] == "Patient"]
    for number, patient in enumerate(patients):
        name = patient["name"][0]
        mrn = next(
            identifier["value"]
            for identifier in patient["identifier"]
            if identifier["type"]["coding"][0]["code"] == "MR"
        )
        by_name = ["", name["family"], " ".join(name["given"])]
        writer.writerow([*(by_name if number % 2 else [mrn, "", ""]), patient["birthDate"]])
    return text.getvalue()


def trial(folder: Path) -> Path:
    """The example trial, as of the fixture's last day."""
    path = folder / "trial.yaml"
    text = TRIAL.read_text(encoding="utf-8").replace("index_date: 2020-05-06", f"index_date: {INDEX_DATE}")
    path.write_text(text, encoding="utf-8")
    return path


def screened(folder: Path, base_url: str, client: str, trial_file: Path) -> Ran:
    """Screen the fixture's patients at a server; the pod's key ring lies in the folder already."""
    pod = make_pod(folder, base_url, people())
    text = pod.config.read_text(encoding="utf-8")
    pod.config.write_text(
        text.replace(f"client_id: {SANDBOX_CLIENT}", f"client_id: {client}"), encoding="utf-8"
    )
    return ran(asyncio.run(screen_async(pod.config, trial_file, Options())))


def ring(folder: Path, algorithm: Algorithm) -> KeyRing:
    """A fresh key ring in a pod's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return make_ring(folder / "keys", algorithm)


def on_sandbox(folder: Path, trial_file: Path) -> Ran:
    """The run that the independent one is compared with."""
    keys = ring(folder, "ES384")
    with clinic_ehr(load(FIXTURE), keys) as ehr:
        return screened(folder, ehr.base_url, SANDBOX_CLIENT, trial_file)


def differences(one: Ran, other: Ran) -> dict[int, Any]:
    """Rows that differ."""
    return {
        row: (one.verdicts[row], other.verdicts.get(row))
        for row in one.verdicts
        if one.verdicts[row] != other.verdicts.get(row)
    }


def note(path: Path | None, name: str, figures: Mapping[str, Any]) -> None:
    """Leave figures for the page that `make proof` writes."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": name, **figures}) + "\n")
