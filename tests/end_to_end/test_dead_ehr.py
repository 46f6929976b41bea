"""An EHR that does not answer is no answer about anybody, and the command says so."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

import pytest

import ehr
from ehr.site import ClockAndWire
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.screening.report.results import MatchState
from federated.screening.run import Options, screen
from tests.end_to_end.clinics import TRIAL
from tests.fakes.clock import FakeClock


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """A pod whose EHR's port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    file = tmp_path / "pod.yaml"
    assert run(["pod", "new", str(file), "-q"]) == ExitCode.DONE
    file.write_text(
        f"name: dead\nehr: {{provider: smarthealthit r4, base_url: 'http://127.0.0.1:{port}/fhir', "
        "allow_http: loopback, auth: none}\nsite: {time_zone: Europe/London, key: {file: site.key}}\n"
        "cohort: {patients: patients.csv}\n"
    )
    (tmp_path / "patients.csv").write_text("id,birth_date\ndemo-1,1951-03-09\n")
    return file


def test_nobody_of_a_dead_ehr_is_not_found(pod: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    decisions = screen(pod, TRIAL, Options(out=out), ClockAndWire(FakeClock().clock))
    assert decisions.some_unread, "what the command turns into status 3"
    assert [patient.match for patient in decisions.run.patients] == [MatchState.UNDETERMINED]
    rows = list(csv.DictReader((out / "decisions.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["decision"] for row in rows] == ["not_evaluated"]


def test_a_probe_of_a_dead_ehr_says_what_to_check(pod: Path) -> None:
    with ehr.open_site(pod, ClockAndWire(FakeClock().clock)) as site:
        report = site.probe()
    assert not report.ok
    assert any("ehr.base_url" in (check.advice or "") for check in report.checks)
