"""Files that an earlier release left on the disk are opened, and what was stopped then goes on now.

They were written by the code of November 2026; see `fixtures/stored/make_stored.py`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from federated.aggregators.values import tensors_to_bytes
from federated.cli.frame import run
from federated.errors import BudgetSpent, PolicyRefused
from federated.modeller import program as modeller
from federated.owner.budgets import BudgetLedger, Charge, Opened
from federated.owner.state import PodState
from federated.rounds.journal import Journal
from federated.task.spec import read_task_spec
from tests.end_to_end.clinics import TRIAL, clinic_ehr, make_pod, patients, ring_in
from tests.federated.runtime.cast import NAMES, Cast, identity, with_stand_in
from tests.repository.sources import ROOT

STORED = ROOT / "fixtures" / "stored"


def _copy(what: str, to: Path) -> Path:
    shutil.copytree(STORED / what, to)
    return to


def test_a_stopped_screening_goes_on_and_decides_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring, out = ring_in(tmp_path / "pod"), tmp_path / "out"
    out.mkdir()
    first, *others = (STORED / "screening" / "screening.jsonl").read_bytes().split(b"\n", 1)
    with clinic_ehr("north", ring) as ehr:
        pod = make_pod(tmp_path / "pod", ehr.base_url, patients("north"))
        head = json.loads(first)
        # The EHR listens at another port now, and the release may be another: all else must be equal.
        reading = f"smarthealthit r4|{ehr.base_url}|light|False"
        head["run"]["ehr"] = hashlib.sha256(reading.encode()).hexdigest()
        (out / ".screening.jsonl").write_bytes(b"\n".join([json.dumps(head).encode(), *others]))
        assert run(["screen", "--config", str(pod.config), "--trial", str(TRIAL), "--out", str(out)]) == 0
    assert "26 of 80 patients are done" in capsys.readouterr().err
    assert (out / "decisions.csv").read_bytes() == (STORED / "screening" / "decisions.csv").read_bytes()


async def test_a_stopped_task_goes_on_to_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stand_in(monkeypatch)
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", str(tmp_path / "out"))
    cast = Cast(_copy("task", tmp_path / "task"))
    journal = Journal(cast.folder / "modeller")
    try:
        spec = read_task_spec(journal.told("spec"))
        outcome = await modeller.run(cast.coordinator(spec, journal=journal), journal.told("signature"))
    finally:
        journal.close()
        cast.close()
    assert tensors_to_bytes(outcome.model) == (STORED / "task" / "model.bin").read_bytes()
    assert [one.survivors for one in outcome.rounds] == [NAMES] * 5


@pytest.mark.parametrize("name", NAMES)
def test_a_pod_remembers_every_round_that_it_had_entered(tmp_path: Path, name: str) -> None:
    state = PodState(_copy(f"task/{name}", tmp_path / name))
    try:
        assert [(one.round, one.released) for one in state.journal.records] == [
            *((number, True) for number in range(1, 6)),
            (6, False),  # it was stopped in the middle
        ]
        assert [one.state for one in state.tasks()] == ["open"]
    finally:
        state.close()


def test_what_was_spent_stays_spent(tmp_path: Path) -> None:
    budgets = BudgetLedger(_copy("ledger", tmp_path / "ledger"), {"risk": 50})
    try:
        assert budgets.used("risk") == 40
        assert budgets.reserve("risk", 40) == 10
        assert budgets.rho() == 0.25
        with pytest.raises(BudgetSpent):
            budgets.charge_privacy(Charge(b"other" * 4, "events", 4.0), 8.0, 1e-6)
        fewer = frozenset(identity(name).public for name in NAMES[1:])
        with pytest.raises(PolicyRefused):
            budgets.admit_opening(Opened(bytes(32), fewer, {"eligible": 30}), 3)
    finally:
        budgets.close()
