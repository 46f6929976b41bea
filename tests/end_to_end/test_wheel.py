"""What is packaged: all that the demonstration needs, and nothing of tests or fixtures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "federated/demo/trial.yaml",
    "federated/demo/clinics/riverside/patients.csv",
    "federated/demo/clinics/riverside/fhir/Patient.ndjson.gz",
    "federated/demo/clinics/meadow/fhir/Observation.ndjson.gz",
    "federated/demo/clinics/lakeside/fhir/Observation.ndjson.gz",
    "federated/demo/clinics/hilltop/patients.csv",
    "federated/demo/clinics/LICENCE.md",
    "federated/demo/lung/lung.csv",
    "federated/demo/lung/LICENCE.md",
    "federated/reports/templates/federation.html.j2",
    "federated/screening/report/templates/report.html.j2",
    "federated/screening/report/templates/report.css",
    "federated/screening/report/templates/report.js",
    "federated/screening/trial/icd10cm.txt.gz",
    "federated/screening/trial/units.toml",
    "federated/screening/decide/texts.toml",
    "federated/screening/trial/new_trial.yaml",
    "ehr/providers/profiles/smarthealthit-r4.toml",
    "ehr/sandbox/people/people.ndjson",
    "ehr/py.typed",
    "federated/py.typed",
    "secure_agg/py.typed",
)
KINDS = {".py", ".toml", ".yaml", ".j2", ".css", ".js", ".gz", ".ndjson", ".csv", ".json", ".md", ".typed"}


def _files(folder: str) -> set[str]:
    return {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix in KINDS
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend itself where it is installed; without it only `make proof` builds one."""
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed here")
    target = tmp_path_factory.mktemp("dist")
    return Path(
        next(iter(builder.WheelBuilder(str(ROOT)).build(directory=str(target), versions=["standard"])))
    )


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def _check(names: set[str]) -> None:
    assert set(NEEDED) <= names
    foreign = {
        name for name in names if not name.startswith(("ehr/", "federated/", "secure_agg/", "trialveil-"))
    }
    assert not foreign, "only the three packages are in a wheel"
    assert not {name for name in names if "/tests/" in name or "/fixtures/" in name or name.endswith(".pyc")}


def test_the_packages_hold_what_the_demo_needs() -> None:
    """Without a builder: hatchling packs every file of the three folders that git does not ignore."""
    _check(_files("ehr") | _files("federated") | _files("secure_agg"))


def test_no_file_of_the_packages_is_of_a_kind_that_nobody_expects() -> None:
    for folder in ("ehr", "federated", "secure_agg"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert file.suffix in KINDS, f"{file.relative_to(ROOT)} would be packaged"


def test_a_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = _names(wheel)
    _check(names)
    assert _files("ehr") | _files("federated") | _files("secure_agg") <= names
    assert wheel.stat().st_size < 2_000_000


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_wheel_in_a_fresh_environment_runs_the_demo_in_another_folder(tmp_path: Path) -> None:
    """Core dependencies only, so no extra is needed. Needs a package index."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True)
    wheel = next(tmp_path.glob("trialveil-*.whl"))
    _check(_names(wheel))
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(install, check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(venv / "bin" / "trialveil"), "demo", "--out", "out", "--json"]
    done = subprocess.run(command, cwd=elsewhere, env=clean, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["counts"]["input"] == 562
    assert (elsewhere / "out" / "overview.html").exists()
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    for extra in ("pandas", "duckdb", "scipy", "matplotlib", "pytest"):
        assert f"\n{extra} " not in listed, f"{extra} is in the core"


@pytest.mark.proof
def test_a_source_archive_can_be_built_into_the_same_wheel(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed here")
    archive = Path(next(iter(builder.SdistBuilder(str(ROOT)).build(directory=str(tmp_path)))))
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert set(NEEDED) <= names
