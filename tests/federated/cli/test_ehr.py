"""``trialveil ehr query``: what was typed is checked first, and what is shown can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr.sandbox.server import Sandbox
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.cli.patient_tables import _date, _result, _status, show
from federated.cli.terminal import out_table


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--id", "x", "--kinds", "conditons"], "--kinds: kind is not known"),
        (["--family", "A", "--birth-date", "09/03/1951"], "--birth-date is not of the form"),
        (["--kinds", "conditions"], "nobody was named"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_ehr_is_asked(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox(login=False) as sandbox:
        config = tmp_path / "pod.yaml"
        run(["pod", "new", str(config), "-q", "--base-url", sandbox.base_url])
        out = tmp_path / "patient.json"
        command = ["ehr", "query", "--config", str(config), *arguments, "--out", str(out)]
        assert run(command) == ExitCode.USAGE
        assert sentence in capsys.readouterr().err
        assert not out.exists()
        assert sandbox.witness.count() == 0


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"status": "final"}, "final"),
        ({"clinicalStatus": {"coding": [{"code": "active"}]}}, "active"),
        (
            {
                "clinicalStatus": {"coding": [{"code": "active"}]},
                "verificationStatus": {"coding": [{"code": "provisional"}]},
            },
            "active, provisional",
        ),
        ({"verificationStatus": {"coding": [{"code": "confirmed"}]}}, ""),
        ({}, ""),
    ],
)
def test_a_doubtful_diagnosis_is_shown_as_doubtful(item: dict[str, object], words: str) -> None:
    assert _status(item) == words


def test_a_diagnosis_without_onset_is_shown_with_the_day_it_was_recorded() -> None:
    assert _date({"recordedDate": "2024-05-01"}) == "2024-05-01"
    assert _date({"recordedDate": "2024-05-01", "onsetDateTime": "2020"}) == "2020"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"valueQuantity": {"value": 6.1, "unit": "%"}}, "6.1 %"),
        ({"valueQuantity": {"value": 5, "comparator": "<", "code": "mg/dL"}}, "<5 mg/dL"),
        ({"valueQuantity": {"unit": "%"}}, ""),
        ({"valueCodeableConcept": {"coding": [{"code": "10828004", "display": "Positive"}]}}, "Positive"),
        ({"valueString": "20/40"}, "20/40"),
        (
            {"component": [{"valueQuantity": {"value": 120}}, {}, {"valueQuantity": {"value": 80}}]},
            "120; 80",
        ),
        ({}, ""),
    ],
)
def test_a_result_is_shown_as_it_was_recorded(item: dict[str, object], words: str) -> None:
    assert _result(item) == words


def test_only_results_have_a_column_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    for items, shown in (([{"valueString": "20/40"}], True), ([{"status": "final"}], False)):
        part = {"state": "OK", "items": items, "issues": []}
        show({"match_detail": "Matched", "kinds": {"observation": part}})
        assert ("Value" in capsys.readouterr().out) is shown


@pytest.mark.parametrize("command", [["ehr", "keys", "new"], ["trial", "new"], ["pod", "new"]])
def test_what_exists_is_never_overwritten_and_that_is_wrong_usage(command: list[str], tmp_path: Path) -> None:
    target = str(tmp_path / "made")
    place = ["--out", target] if "keys" in command else [target]
    assert run([*command, *place, "-q"]) == ExitCode.DONE
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run([*command, *place, "-q"]) == ExitCode.USAGE
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_patient_s_file_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    with Sandbox(login=False) as sandbox:
        config = tmp_path / "pod.yaml"
        config.write_text(
            f"name: n\nehr: {{provider: smarthealthit r4, base_url: '{sandbox.base_url}', auth: none, "
            "allow_http: loopback}\nsite: {time_zone: Europe/London, key: {file: site.key}}\n"
        )
        (tmp_path / "site.key").write_text("ab" * 32)
        (tmp_path / "site.key").chmod(0o600)
        out = tmp_path / "missing" / "patient.json"
        command = ["ehr", "query", "--config", str(config), "--id", "demo-1", "--out", str(out)]
        assert run(command) == ExitCode.USAGE


def test_a_long_first_column_leaves_room_for_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    out_table(("What", "When", "Status"), [("a diagnosis in many words " * 5, "2021-05-04", "active")])
    shown = capsys.readouterr().out
    assert "2021-05-04" in shown
    assert "active" in shown
