"""``trialveil ehr query``: what was typed is checked first, and what is shown can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr.sandbox.server import Sandbox
from federated.cli.ehr import _date, _status
from federated.cli.frame import run
from federated.cli.terminal import out_table
from federated.exit_codes import ExitCode


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


def test_a_long_first_column_leaves_room_for_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    out_table(("What", "When", "Status"), [("a diagnosis in many words " * 5, "2021-05-04", "active")])
    shown = capsys.readouterr().out
    assert "2021-05-04" in shown
    assert "active" in shown
