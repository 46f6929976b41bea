"""The pytest plugin and the command of the contract kit, as the authors of an adapter use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehr.providers.registry import Provider
from ehr.testing import CASES, ProviderHarness, run_contract
from ehr.testing.case import Case
from ehr.testing.cases import case_named
from ehr.testing.harnesses import shipped_harness
from ehr.testing.report import SCHEMA, merged
from ehr.testing.run import selected, set_aside
from federated.cli.command_documents import ContractDocument
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from tests.end_to_end.test_plugins import PLUGINS, _metadata
from tests.repository.sources import ROOT

EXAMPLE = PLUGINS / "ehr_provider"
NAMES = {case.number: case.name for case in CASES}
BAD = """
from ehr.testing import AdapterContract, ProviderHarness
from ehr.testing.harnesses import PLAINEST, shipped_harness
from ehr.testing.specimens import SPECIMENS

SPECIMEN = next(one for one in SPECIMENS if one.name == "the first page only")
HELD = SPECIMEN.spoilt(shipped_harness(PLAINEST))

class TestFirstPageOnly(AdapterContract):
    harness = HELD.__enter__()
"""


def pytest_run(tmp_path: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, output and report of pytest in a process of its own."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    _metadata(project, tmp_path / "site")
    report = tmp_path / "report.json"
    paths = [str(tmp_path / "site"), str(EXAMPLE), str(ROOT)]
    options = ["-q", "-p", "ehr.testing.plugin", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"]
    options += ["-c", str(EXAMPLE / "pyproject.toml"), f"--ehr-contract-report={report}"]
    seen = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(report.read_text()) if report.exists() else {}
    return seen.returncode, seen.stdout + seen.stderr, document


SOME = "mocks and (match_ or page_ or cond_)"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chosen", [SOME, pytest.param("mocks or socket", marks=pytest.mark.proof)])
def test_the_worked_example_holds_the_contract_and_writes_its_report(tmp_path: Path, chosen: str) -> None:
    status, output, report = pytest_run(tmp_path, str(EXAMPLE / "tests"), "-k", chosen)
    assert status == 0, output[-3000:]
    ContractDocument.model_validate(report)
    found = report["providers"]["quiet valley r4"]
    names = [one["name"] for one in found["cases"]]
    parts = ("match_", "page_", "cond_") if chosen == SOME else ("",)
    assert names == [case.name for case in CASES if any(part in case.name for part in parts)]
    assert found["summary"]["failed"] == 0 and found["summary"]["passed"] > 30
    (post,) = [one for one in found["cases"] if one["number"] == 65]
    assert (post["outcome"], post["reason"]) == ("not_applicable", "the profile has no search by POST")


@pytest.mark.timeout(600)
def test_a_bad_adapter_fails_and_the_report_says_why(tmp_path: Path) -> None:
    (tmp_path / "test_bad.py").write_text(BAD)
    status, output, report = pytest_run(tmp_path, "test_bad.py", "-k", "066 or 041")
    assert status == 1
    assert "066-page_all_pages_collected_in_order_without_duplicates-socket" in output
    outcomes = {one["number"]: one["outcome"] for one in report["providers"]["smarthealthit r4"]["cases"]}
    assert outcomes == {41: "passed", 66: "failed"}
    (failed,) = [one for one in report["providers"]["smarthealthit r4"]["cases"] if one["number"] == 66]
    assert failed["reason"].startswith("on mocks: what was read: saw ['p1', 'p2', 'p3']")
    assert failed["backends"] == ["mocks", "socket"]


@pytest.mark.timeout(600)
def test_at_level_must_what_an_adapter_need_not_hold_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from ehr.testing import AdapterContract\nfrom ehr.testing.harnesses import shipped_harness, PLAINEST\n"
        "class TestIt(AdapterContract):\n    harness = shipped_harness(PLAINEST)\n"
    )
    chosen = ("test_it.py", "-k", "005 or 007", "--ehr-contract-level=must")
    status, _, report = pytest_run(tmp_path, *chosen)
    assert status == 0
    assert [one["number"] for one in report["providers"]["smarthealthit r4"]["cases"]] == [7]
    assert {case.level for case in selected("must")} == {"must"}
    assert len(selected("should")) == len(CASES)


def test_a_skipped_case_fails_where_the_profile_claims_its_subject() -> None:
    plain = shipped_harness("smarthealthit r4")
    harness = replace(plain, skip=frozenset({"match_operation_grade_used_but_verified", NAMES[65]}))
    results = run_contract(harness, cases=[case_named(NAMES[54]), case_named(NAMES[65])])
    assert [one.outcome for one in results] == ["not_applicable", "failed"]
    assert "the profile claims" in str(results[1].reason)


def derived(number: int, **parts: Any) -> tuple[Case, ProviderHarness]:
    """A case that no shipped provider needs, with a profile that has what it is about."""
    plain = shipped_harness("smarthealthit r4")
    found = plain.found()
    return case_named(NAMES[number]), replace(
        plain, adapter=Provider(replace(found.profile, **parts), found.make)
    )


@pytest.mark.parametrize(
    ("number", "parts"), [(73, {"next_link": "rewrite"}), (141, {"empty_body_is_quota": True})]
)
def test_cases_that_wait_for_a_provider_hold_and_apply_by_its_profile(
    number: int, parts: dict[str, Any]
) -> None:
    case, harness = derived(number, **parts)
    assert set_aside(case, shipped_harness("smarthealthit r4")) is not None
    (result,) = run_contract(harness, cases=[case])
    assert (result.outcome, result.reason) == ("passed", None)


def test_an_adapter_that_raises_anything_fails_its_case_without_its_words() -> None:
    def explodes(parts: object) -> Any:
        raise ZeroDivisionError("Canaryfamily")

    plain = shipped_harness("smarthealthit r4")
    harness = replace(plain, adapter=Provider(plain.profile, explodes))
    (result,) = run_contract(harness, cases=[case_named(NAMES[41])])
    assert (result.outcome, result.reason) == ("failed", "on mocks: ZeroDivisionError was raised")


def test_results_of_both_back_ends_become_one_and_a_failure_wins() -> None:
    case = case_named(NAMES[66])
    runs = [(case, "mocks", "passed", None), (case, "socket", "failed", "it did")]
    for order in (runs, runs[::-1]):
        (result,) = merged(order)
        assert (result.outcome, result.reason) == ("failed", "on socket: it did")
        assert sorted(result.backends) == ["mocks", "socket"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cases stand for all of them."""
    monkeypatch.setattr("ehr.testing.run.CASES", tuple(case_named(NAMES[number]) for number in (66, 73)))


def test_the_command_prints_one_document_and_ends_with_0(
    few: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ehr", "contract", "--all", "--json"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    document = json.loads(out)
    ContractDocument.model_validate(document)
    assert (document["schema"], err) == (SCHEMA, "")
    assert set(document["providers"]) == {"epic r4", "smarthealthit r4"}
    assert document["providers"]["epic r4"]["summary"] == {"passed": 1, "failed": 0, "not_applicable": 1}


def test_the_command_ends_with_1_where_a_case_does_not_hold(
    few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skipping = replace(shipped_harness("smarthealthit r4"), skip=frozenset({NAMES[66]}))
    monkeypatch.setattr("ehr.testing.harnesses.shipped_harnesses", lambda: (skipping,))
    assert run(["ehr", "contract", "--provider", "smarthealthit r4"]) == ExitCode.FAULT
    out = capsys.readouterr().out
    assert "FAILED" in out and "0 passed, 1 failed, 1 not applicable" in out


@pytest.mark.parametrize(
    "arguments", [["--provider", "no such"], ["--provider", "epic r4", "--all"], ["--level", "may"]]
)
def test_wrong_usage_of_the_command_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ehr", "contract", *arguments]) == ExitCode.USAGE
    assert capsys.readouterr().out == ""
