"""The golden Synthea result, read from a running EHR: login, search, paging, decisions, funnel, files."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ehr.sandbox.data import load
from federated.screening.decide.evidence import Verdict
from federated.screening.run import Decisions, Options, screen_async
from tests.end_to_end.clinics import TRIAL as DEMO_TRIAL
from tests.end_to_end.clinics import clinic_ehr, make_pod, patients, ring_in

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "synthea-r4-100"
TRIAL = ROOT / "examples" / "trials" / "cardiometabolic-synthea.yaml"

GOLDEN = {
    "age": (46, 0, 54),
    "risk": (52, 0, 48),
    "hba1c": (25, 74, 1),
    "bmi": (59, 10, 31),
    "kidney": (32, 67, 1),
    "seen": (92, 0, 8),
    "insulin": (99, 0, 1),
    "stroke": (100, 0, 0),
    "pregnant": (98, 0, 2),
    "colonoscopy": (86, 0, 14),
}
"""Criterion to yes, unknown, no; exclusions after negation."""
POSSIBLE = [46, 34, 33, 32, 32, 32, 32, 32, 32, 22]
ALONE = {"age": 11, "risk": 8, "colonoscopy": 10}


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Decisions:
    if not DATA.is_dir():
        pytest.skip("the 100 synthetic patients (shared/data/synthea-r4-100) are not beside this checkout")
    folder = tmp_path_factory.mktemp("golden")
    with gzip.open(DATA / "Patient.ndjson.gz") as lines:
        ids = [json.loads(line)["id"] for line in lines]
    with clinic_ehr(load(DATA), ring_in(folder), page=200) as ehr:
        pod = make_pod(folder, ehr.base_url, "id\n" + "\n".join(ids) + "\n")
        text = pod.config.read_text(encoding="utf-8").replace("Europe/London", "UTC")
        pod.config.write_text(text, encoding="utf-8")
        decisions = asyncio.run(screen_async(pod.config, TRIAL, Options(out=folder / "out")))
        ehr.witness.assert_tokens_stayed_home()
    return decisions


def test_the_golden_synthea_result(golden: Decisions) -> None:
    summary = golden.summary
    assert summary["counts"] == {
        "input": 100,
        "matched": 100,
        "evaluated": 100,
        "eligible": 13,
        "undecided": 9,
        "not_eligible": 78,
        "not_evaluated": 0,
    }
    cells = {
        name: (found["pass"], found["unknown"], found["fail"]) for name, found in summary["criteria"].items()
    }
    assert cells == GOLDEN | {"alive": (100, 0, 0)}
    steps = [step for step in summary["funnel"]["ordered"] if step["criterion"] != "alive"]
    assert [step["possible"] for step in steps] == POSSIBLE
    alone = {name: found["fails_alone"] for name, found in summary["criteria"].items()}
    assert {name: count for name, count in alone.items() if count} == ALONE


def test_every_kind_of_the_golden_run_was_read_to_its_end(golden: Decisions) -> None:
    states = Counter(state for patient in golden.run.patients for state in patient.fetched.values())
    assert set(states) <= {"OK", "EMPTY"}
    assert not golden.some_unread


def test_the_written_summary_is_the_one_that_was_returned(
    golden: Decisions, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = {path.name: path for path in golden.write(tmp_path_factory.mktemp("again"))}
    assert json.loads(written["summary.json"].read_text()) == golden.summary
    table = json.loads(written["decisions.json"].read_text())
    verdicts = Counter(
        (found["id"], found["verdict"]) for patient in table["patients"] for found in patient["criteria"]
    )
    for name, (yes, unknown, no) in GOLDEN.items():
        assert verdicts[name, "pass"] == yes
        assert verdicts[name, "unknown"] == unknown
        assert verdicts[name, "fail"] == no


def test_outputs_are_identical_for_any_concurrency(tmp_path: Path) -> None:
    written: dict[int, dict[str, bytes]] = {}
    with clinic_ehr("north", ring_in(tmp_path / "keys")) as ehr:
        for concurrency in (1, 3, 8):
            folder = tmp_path / f"pod-{concurrency}"
            pod = make_pod(
                folder,
                ehr.base_url,
                patients("north", range(1, 25)),
                extra=f"  rate: {{concurrency: {concurrency}}}\n",
            )
            config = pod.config.read_text(encoding="utf-8").replace("keys: keys", "keys: ../keys/keys")
            pod.config.write_text(config, encoding="utf-8")
            asyncio.run(screen_async(pod.config, DEMO_TRIAL, Options(out=folder / "out")))
            names = ("decisions.csv", "decisions.json", "summary.json", "report.html")
            written[concurrency] = {name: (folder / "out" / name).read_bytes() for name in names}
    assert written[1] == written[3] == written[8]


def _by_hand(run: Any) -> Counter[str]:
    """Possible after each step, recounted from the verdicts without the funnel's code."""
    counted: Counter[str] = Counter()
    for patient in run.patients:
        for criterion in patient.outcome.criteria:
            if criterion.verdict is Verdict.FAIL:
                break
            counted[criterion.id] += 1
    return counted


def test_the_funnel_of_the_golden_run_is_the_recount_of_its_verdicts(golden: Decisions) -> None:
    counted = _by_hand(golden.run)
    for step in golden.summary["funnel"]["ordered"]:
        assert step["possible"] == counted[step["criterion"]]
