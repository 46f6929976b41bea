"""`trialveil trial …` and `trialveil valueset import`: what is printed, written, and the exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from federated.cli import frame
from federated.cli.command_documents import CheckDocument
from federated.cli.trial import ImportDocument
from federated.screening.trial.load import check_trial, load_trial
from federated.screening.trial.lock import digest

EXAMPLES = Path(__file__).parents[3] / "examples" / "trials"
GA = EXAMPLES / "ga-ehr-codes.yaml"
EXPANSION = {
    "resourceType": "ValueSet",
    "url": "http://x.example/vs",
    "expansion": {"contains": [{"system": "http://snomed.info/sct", "code": "22298006"}]},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(GA, tmp_path / "ga.yaml")
    return tmp_path


def test_a_new_file_is_good_as_it_stands(folder: Path) -> None:
    assert frame.run(["trial", "new", "mine.yaml"]) == 0
    checked = check_trial(folder / "mine.yaml")
    assert checked.problems == ()
    assert checked.require().status == "draft"


def test_a_file_that_exists_is_not_overwritten(folder: Path) -> None:
    before = (folder / "ga.yaml").read_bytes()
    assert frame.run(["trial", "new", "ga.yaml"]) == 2
    assert frame.run(["trial", "lock", "ga.yaml", "--out", "ga.yaml"]) == 2
    assert (folder / "ga.yaml").read_bytes() == before


def test_a_study_becomes_a_file(folder: Path) -> None:
    section = {
        "identificationModule": {"nctId": "NCT01234567"},
        "eligibilityModule": {"minimumAge": "18 Years"},
    }
    (folder / "s.json").write_text(json.dumps({"protocolSection": section}))
    assert frame.run(["trial", "new", "mine.yaml", "--nct", "s.json"]) == 0
    assert load_trial(folder / "mine.yaml").nct == ("NCT01234567",)
    (folder / "s.json").write_text("[]")
    assert frame.run(["trial", "new", "other.yaml", "--nct", "s.json"]) == 5


def test_a_good_file_is_said_to_have_no_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["trial", "check", "ga.yaml"]) == 0
    assert "ga.yaml: no mistakes" in capsys.readouterr().out


def test_every_mistake_of_every_file_is_listed_in_one_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.yaml").write_text(
        GA.read_text().replace("in: dry_amd", "in: dry_amdd").replace("within: 12 mo", "within: 1")
    )
    (folder / "b.yaml").write_text("a: b")
    assert frame.run(["trial", "check", "a.yaml", "b.yaml", "none.yaml", "ga.yaml"]) == 5
    out = capsys.readouterr().out
    assert "a.yaml:26:27: TV120" in out
    assert "a.yaml:32:40: TV142" in out
    assert "b.yaml:1:1: TV103" in out
    assert "none.yaml:1: TV171" in out
    assert "ga.yaml" not in out
    assert "no mistakes" not in out


def test_json_is_one_document_that_fits_its_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text(GA.read_text().replace("in: dry_amd", "in: dry_amdd"))
    assert frame.run(["trial", "check", "--json", "a.yaml", "none.yaml"]) == 5
    document = json.loads(capsys.readouterr().out)
    TypeAdapter(CheckDocument).validate_python(document)
    assert document["ok"] is False
    assert [row["code"] for row in document["problems"] if row["severity"] == "error"] == ["TV120", "TV171"]
    assert frame.run(["trial", "check", "--json", "ga.yaml"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "trialveil/check/1", "ok": True, "problems": []}


def test_a_bad_file_is_neither_explained_nor_locked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text("trialveil: 2")
    for command in (["trial", "explain", "a.yaml"], ["trial", "lock", "a.yaml", "--out", "l.yaml"]):
        assert frame.run(command) == 5
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "a.yaml:1:12: TV109" in shown.err
    assert not (folder / "l.yaml").exists()


def test_explain_prints_the_trial_with_a_sites_values(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frame.run(["trial", "explain", "ga.yaml", "--set", "min_age=61"]) == 0
    assert "age >= 61 years" in capsys.readouterr().out
    assert frame.run(["trial", "explain", "ga.yaml", "--set", "min_ag=61"]) == 5
    assert frame.run(["trial", "explain", "ga.yaml", "--set", "min_age"]) == 2


def test_a_locked_file_has_the_digest_that_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frame.run(["trial", "lock", "ga.yaml", "--out", "l.yaml"]) == 0
    locked = load_trial(folder / "l.yaml")
    assert digest(locked) == digest(load_trial(folder / "ga.yaml"))
    assert f"digest {digest(locked)}" in capsys.readouterr().err


def test_the_schema_is_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["trial", "schema"]) == 0
    published = Path(__file__).parents[3] / "docs" / "schemas" / "trial.json"
    assert json.loads(capsys.readouterr().out) == json.loads(published.read_text())


def test_an_imported_list_is_used_by_the_lines_that_are_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "x.json").write_text(json.dumps(EXPANSION))
    assert frame.run(["valueset", "import", "x.json", "--out", "mi.json"]) == 0
    line = capsys.readouterr().err.split("NAME: ")[1].strip()
    text = (
        GA.read_text()
        .replace("value_sets:\n", f"value_sets:\n  mi: {line}\n")
        .replace("in: wet_amd", "in: mi")
    )
    (folder / "t.yaml").write_text(text)
    checked = check_trial(folder / "t.yaml")
    assert [problem.code for problem in checked.problems] == ["TV126"]  # wet_amd is not used any more
    assert checked.require().value_sets["mi"].origin["url"] == "http://x.example/vs"
    (folder / "mi.json").write_text((folder / "mi.json").read_text().replace("22298006", "22298007"))
    assert {problem.code for problem in check_trial(folder / "t.yaml").problems} >= {"TV174"}


def test_an_import_says_what_it_took_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x.json").write_text(json.dumps(EXPANSION))
    assert frame.run(["valueset", "import", "x.json", "--json"]) == 0
    document = TypeAdapter(ImportDocument).validate_json(capsys.readouterr().out)
    assert (document.codes, document.systems, document.url) == (1, ["snomed"], "http://x.example/vs")
    (folder / "x.json").write_text(json.dumps({**EXPANSION, "expansion": {"total": 9, "contains": []}}))
    assert frame.run(["valueset", "import", "x.json"]) == 5
