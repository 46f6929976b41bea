"""`trialveil screen`, `demo`, `pod` and `ehr` as a user types them, against running EHRs."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ehr.files.problems import Problems
from ehr.files.yaml_nodes import Table, plain, read_yaml
from ehr.reading.cohort import Reading
from ehr.sandbox.faults import Fault, Hang, Status, When
from ehr.sandbox.server import Sandbox
from ehr.site import Site
from federated import screen
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.screening import run as local
from federated.screening.report.files import OutputError
from tests.end_to_end.clinics import TRIAL, Pod, clinic_ehr, make_pod, patients, ring_in, truth
from tests.repository.sources import ROOT

SENDING = (
    "owner",
    "task",
    "rounds",
    "aggregators",
    "algorithms",
    "links",
    "pod",
    "modeller",
    "counts",
    "store",
)
"""Rooms of `federated` that no screening at one site has a use for."""
FILES = ("decisions.csv", "decisions.json", "summary.json", "run.json", "report.html")


@dataclass(frozen=True, slots=True)
class Stage:
    ehr: Sandbox
    pod: Pod

    def screen(self, out: Path, *more: str) -> int:
        return run(
            ["screen", "--config", str(self.pod.config), "--trial", str(TRIAL), "--out", str(out), *more]
        )


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("pod")
    with clinic_ehr("north", ring_in(folder)) as ehr:
        yield Stage(ehr, make_pod(folder, ehr.base_url, patients("north", range(1, 13))))


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    yield module_stage
    module_stage.ehr.faults = ()


def test_a_screening_writes_its_files_and_says_where(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.screen(tmp_path / "out") == ExitCode.DONE
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "eligible" in said


_LOADED = """
import sys
from federated.cli.frame import run
assert run(sys.argv[1:]) == 0
print(*(name for name in sys.modules if name.partition(".")[0] in {"ehr", "secure_agg", "federated"}))
"""


def test_a_whole_run_loads_nothing_that_sends(stage: Stage, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LOADED, "-q", "screen", "--config", str(stage.pod.config)]
    command += ["--trial", str(TRIAL), "--out", str(tmp_path / "out")]
    seen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ours = seen.stdout.splitlines()[-1].split()
    sending = ("secure_agg", *(f"federated.{room}" for room in SENDING))
    assert [name for name in ours if name.startswith(sending)] == []
    assert "federated.screening.report.write" in ours
    assert len(ours) <= 155, len(ours)


def test_json_is_one_document_and_nothing_else(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.screen(tmp_path / "out", "--json") == ExitCode.DONE
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert printed["counts"]["input"] == 12
    assert next(iter(printed)) == "schema"


def test_two_runs_write_the_same_bytes_but_for_run_json(stage: Stage, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert stage.screen(tmp_path / name) == ExitCode.DONE
    for file in FILES:
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert (one == two) or file == "run.json"


def test_no_name_birth_date_or_mrn_in_any_default_output(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage.screen(tmp_path / "out") == ExitCode.DONE
    captured = capsys.readouterr()
    everything = captured.out + captured.err
    everything += "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir())
    for row in csv.DictReader(patients("north", range(1, 13)).splitlines()):
        for column in ("mrn", "family", "birth_date"):
            if row[column] and len(row[column]) > 4:
                assert row[column] not in everything, f"{column} of a patient is in the output"


def test_contacts_are_written_only_when_asked_for_and_for_nobody_else(stage: Stage, tmp_path: Path) -> None:
    assert stage.screen(tmp_path / "out", "--with-identifiers") == ExitCode.DONE
    contacts = tmp_path / "out" / "contacts.csv"
    assert contacts.stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(contacts.read_text(encoding="utf-8").splitlines()))
    expected = {
        number
        for number, found in truth("north")["rows"].items()
        if int(number) <= 12 and found["decision"] in ("eligible", "undecided")
    }
    named = {row["input_row"] for row in rows if row["family"] or row["given"]}
    assert named == expected


def test_contacts_that_could_not_be_read_are_said(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nobody(*arguments: object) -> AsyncIterator[Reading]:
        for reading in ():
            yield reading

    screened = local._screened

    async def then_out(site: Site, *rest: Any) -> Any:
        run = await screened(site, *rest)
        monkeypatch.setattr(site, "readings", nobody)
        return run

    monkeypatch.setattr(local, "_screened", then_out)
    assert stage.screen(tmp_path / "out", "--with-identifiers") == ExitCode.DONE
    assert "could not be read again" in capsys.readouterr().err


def test_an_outage_ends_with_3_and_the_same_command_asks_anew(stage: Stage, tmp_path: Path) -> None:
    stage.ehr.faults = (Fault(Status(403), When(resource_type="Procedure")),)
    assert stage.screen(tmp_path / "a") == ExitCode.DONE  # forbidden is an answer; nothing to be tried again
    stage.ehr.faults = (Fault(Status(400), When(resource_type="Procedure")),)
    assert stage.screen(tmp_path / "b") == ExitCode.SOME_UNREAD
    stage.ehr.faults = ()
    assert stage.screen(tmp_path / "b") == ExitCode.DONE


def test_a_refused_login_ends_with_4_and_writes_no_decision(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "pod"
    ring_in(other)  # a key that the EHR does not know
    pod = make_pod(other, stage.ehr.base_url, patients("north", range(1, 4)))
    command = ["screen", "--config", str(pod.config), "--trial", str(TRIAL), "--out", str(tmp_path / "out")]
    assert run(command) == ExitCode.LOGIN_REFUSED
    assert "refused" in capsys.readouterr().err
    assert not (tmp_path / "out" / "decisions.csv").exists()


def test_a_draft_is_not_screened(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text(TRIAL.read_text().replace("status: final", "status: draft"))
    command = [
        "screen",
        "--config",
        str(stage.pod.config),
        "--trial",
        str(draft),
        "--out",
        str(tmp_path / "out"),
    ]
    assert run(command) == ExitCode.BAD_FILE
    assert "--draft" in capsys.readouterr().err
    assert run([*command, "--draft"]) == ExitCode.DONE


def test_every_mistake_of_a_trial_file_is_said_at_once(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        TRIAL.read_text().replace("in: wet_amd", "in: wet_amdd").replace("age: {is:", "age: {iss:")
    )
    command = ["screen", "--config", str(stage.pod.config), "--trial", str(wrong)]
    assert run(command) == ExitCode.BAD_FILE
    said = capsys.readouterr().err
    assert "TV120" in said
    assert "TV103" in said


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--trial", "nowhere.yaml"], ExitCode.BAD_FILE),
        (["--trial", str(TRIAL), "--config", "nowhere.yaml"], ExitCode.BAD_FILE),
        (["--trial", str(TRIAL), "--on-unknown", "include"], ExitCode.USAGE),
        (["--trial", str(TRIAL), "--index-date", "tomorrow"], ExitCode.USAGE),
        (["--trial", str(TRIAL), "--set", "min_age"], ExitCode.USAGE),
    ],
)
def test_wrong_usage_is_one_sentence_and_a_status(
    arguments: list[str], status: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["screen", *arguments]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("trialveil: ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [[], ["--nonsense"]])
def test_a_wrong_option_shows_how_to_get_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["screen", *arguments]) == ExitCode.USAGE
    assert "--help" in capsys.readouterr().err


def test_a_stopped_run_goes_on_where_it_stopped(stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = tmp_path / "whole"
    assert stage.screen(whole) == ExitCode.DONE
    # About one patient the EHR does not answer; when all before are stored, the program is interrupted.
    rows = list(csv.DictReader(patients("north", range(1, 13)).splitlines()))
    silent = next(number for number, row in enumerate(rows, start=1) if row["id"])
    stage.ehr.faults = (Fault(Hang(), When(resource_type="Condition", patient=rows[silent - 1]["id"])),)
    command = [sys.executable, "-m", "federated.cli", "screen", "--config", str(stage.pod.config)]
    started = subprocess.Popen(
        [*command, "--trial", str(TRIAL), "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
        # A shell gives its background jobs SIGINT ignored, and they hand that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    checkpoint = out / ".screening.jsonl"
    deadline = time.monotonic() + 60
    while not (checkpoint.exists() and checkpoint.read_bytes().count(b'"row"') >= silent - 1):
        assert time.monotonic() < deadline, "the run never stored a patient"
        assert started.poll() is None, started.stderr.read() if started.stderr else ""
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == ExitCode.STOPPED, said
    assert "Run the same command again to go on where it stopped." in said
    stored = checkpoint.read_bytes().count(b'"row"')
    assert checkpoint.stat().st_mode & 0o077 == 0
    stage.ehr.faults = ()
    before = stage.ehr.witness.count(resource_type="Condition")
    assert stage.screen(out) == ExitCode.DONE
    asked = stage.ehr.witness.count(resource_type="Condition") - before
    assert asked <= 12 - stored
    for file in ("decisions.csv", "decisions.json", "summary.json", "report.html"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()
    assert not checkpoint.exists()


def test_what_another_declaration_decided_is_not_mixed_in(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that says anew what silence means, between a stop and a start, has every patient decided anew."""

    def full(*arguments: object) -> None:
        raise OutputError("decisions.csv", errno.ENOSPC)

    out = tmp_path / "out"
    pod = stage.pod.config
    before = pod.read_text()
    with monkeypatch.context() as patched:
        patched.setattr("federated.screening.report.write.write_site", full)
        assert stage.screen(out) == ExitCode.USAGE
    assert (out / ".screening.jsonl").exists()
    asked = stage.ehr.witness.count(resource_type="Condition")
    try:
        pod.write_text(before.replace("  time_zone", "  world: {condition: open}\n  time_zone"))
        assert stage.screen(out) == ExitCode.DONE
    finally:
        pod.write_text(before)
    assert stage.ehr.witness.count(resource_type="Condition") > asked
    decided = json.loads((out / "summary.json").read_text())
    assert decided["criteria"]["wet_amd"]["pass"] == 0  # silence is no proof any more, for nobody


def test_probe_says_that_all_is_well_without_patient_data(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ehr", "probe", "--config", str(stage.pod.config), "--json"]) == ExitCode.DONE
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {check["name"] for check in report["checks"]} >= {"discovery", "login", "scopes", "search:Patient"}


def test_a_patient_is_shown_to_a_terminal_or_a_named_file_only(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(
        row for row in csv.DictReader(patients("north").splitlines()) if row["mrn"] and row["birth_date"]
    )
    who = ["--mrn", row["mrn"], "--birth-date", row["birth_date"]]
    command = ["ehr", "query", "--config", str(stage.pod.config), *who, "--kinds", "conditions"]
    assert run(command) == ExitCode.USAGE
    assert row["mrn"] not in "".join(capsys.readouterr())
    target = tmp_path / "patient.json"
    assert run([*command, "--out", str(target)]) == ExitCode.DONE
    assert target.stat().st_mode & 0o077 == 0
    shown = json.loads(target.read_text())
    assert shown["match"] == "matched"
    assert shown["kinds"]["condition"]["state"] == "OK"


def test_decisions_show_themselves_as_counts_without_people(stage: Stage) -> None:
    decisions = screen(stage.pod.config, TRIAL)
    counts = decisions.summary["counts"]
    for shown in (repr(decisions), decisions._repr_html_()):
        assert len(shown) < 600
        assert all(name in shown and str(count) in shown for name, count in counts.items())
        assert not any(patient.ref in shown for patient in decisions.run.patients)


def test_a_pod_file_is_made_checked_and_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pod.yaml"
    assert run(["pod", "new", str(file), "--name", "North"]) == ExitCode.DONE
    assert (tmp_path / "site.key").stat().st_mode & 0o077 == 0
    written = file.read_bytes()
    assert run(["pod", "new", str(file)]) == ExitCode.USAGE
    assert file.read_bytes() == written
    assert run(["pod", "check", str(file)]) == ExitCode.BAD_FILE  # neither keys nor patients are there yet
    said = capsys.readouterr().err
    assert "PV121" in said
    assert "PV124" in said
    assert run(["ehr", "keys", "new", "--out", str(tmp_path / "keys")]) == ExitCode.DONE
    (tmp_path / "patients.csv").write_text("mrn,birth_date\n1,1950-01-01\n")
    capsys.readouterr()
    assert run(["pod", "check", str(file), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["ok"] is True


@pytest.mark.parametrize("zone", ["Europe/London", "Mars: Base #1", "yes", '"', " x", "a\\tb"])
def test_what_a_new_pod_file_is_given_stays_one_text(tmp_path: Path, zone: str) -> None:
    file = tmp_path / "pod.yaml"
    assert run(["pod", "new", str(file), "-q", "--time-zone", zone]) == ExitCode.DONE
    problems = Problems()
    root = read_yaml(file.read_bytes(), file.name, problems)
    assert problems.found == []
    assert isinstance(root, Table)
    assert plain(root)["site"]["time_zone"] == zone


def test_a_pod_file_that_is_missing_is_told_as_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pod", "check", str(tmp_path / "pod.yaml"), "--json"]) == ExitCode.BAD_FILE
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["problems"][0]["code"]) == (False, "PV101")


def test_keys_rotate_in_three_steps_and_jwks_shows_all_live_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = str(tmp_path / "keys")
    assert run(["ehr", "keys", "new", "--out", keys, "--algorithm", "RS384"]) == ExitCode.DONE
    seen = []
    for _ in range(4):
        capsys.readouterr()
        assert run(["ehr", "jwks", "--keys", keys]) == ExitCode.DONE
        shown = json.loads(capsys.readouterr().out)
        assert not any({"d", "p", "q", "k"} & set(key) for key in shown["keys"]), "a private part is shown"
        seen.append([key["kid"] for key in shown["keys"]])
        assert run(["ehr", "keys", "rotate", "--out", keys]) == ExitCode.DONE
    assert [len(kids) for kids in seen] == [1, 2, 2, 1]
    assert seen[1][0] == seen[0][0]  # published first, signing later
    assert seen[2] == seen[1][::-1]  # the old one is still known
    assert seen[3] == [seen[1][1]]


def test_the_sandbox_serves_until_it_is_stopped() -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "federated.cli", "ehr", "sandbox", "-q"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        url = started.stdout.readline().strip()
        import urllib.request

        with urllib.request.urlopen(f"{url}/metadata", timeout=20) as answer:
            assert json.load(answer)["resourceType"] == "CapabilityStatement"
    finally:
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=30) in (ExitCode.STOPPED, ExitCode.DONE)
        if started.stdout is not None:
            started.stdout.close()


def test_the_demo_shows_what_the_truth_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--out", str(tmp_path / "demo"), "--json", "-q"]) == ExitCode.DONE
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "demo" / "summary.json").read_text())
    for clinic in ("riverside", "meadow", "lakeside", "hilltop"):
        found = json.loads((tmp_path / "demo" / clinic / "summary.json").read_text())
        assert found["counts"] == truth(clinic)["counts"]
        assert (tmp_path / "demo" / clinic / "report.html").stat().st_size > 50_000
    assert (tmp_path / "demo" / "overview.html").exists()
