"""What is spent stays spent: over threads, processes, kills, and damage to the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from federated.counts.differencing import Counted, shortened, too_close
from federated.errors import BudgetSpent, ConfigurationError, InvalidArgument, PolicyRefused
from federated.owner.budgets import FILE, BudgetLedger, Charge, Opened
from secure_agg.privacy import epsilon

QUOTA = 500
SPENDER = """
import sys
from pathlib import Path
from federated.owner.budgets import BudgetLedger
budgets = BudgetLedger(Path(sys.argv[1]), {"oct": int(sys.argv[2])})
print("ready", flush=True)
sys.stdin.readline()
while granted := budgets.reserve("oct", int(sys.argv[3]), b"task"):
    print(granted, flush=True)
"""


def spender(folder: Path, quota: int = QUOTA, wanted: int = 7) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SPENDER, str(folder), str(quota), str(wanted)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def begin(processes: list[subprocess.Popen[str]]) -> None:
    """All of them are at work; none before the last one is ready."""
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()


def printed(process: subprocess.Popen[str]) -> int:
    """What a process was granted, as far as it could say so."""
    out, _ = process.communicate(timeout=60)
    return sum(int(line) for line in out.split("\n")[:-1])


def test_w19_processes_that_reserve_at_once_never_exceed_the_quota(tmp_path: Path) -> None:
    processes = [spender(tmp_path) for _ in range(4)]
    begin(processes)
    granted = [printed(each) for each in processes]
    assert sum(granted) == QUOTA
    assert BudgetLedger(tmp_path, {"oct": QUOTA}).used("oct") == QUOTA


def test_w19_a_killed_process_never_gives_a_prediction_out_twice(tmp_path: Path) -> None:
    quota = 100_000  # far more than the first one can spend before it is killed
    killed, other = spender(tmp_path, quota, 1), spender(tmp_path, quota, 997)
    begin([killed])
    assert killed.stdout is not None
    said = int(killed.stdout.readline())
    begin([other])
    os.kill(killed.pid, signal.SIGKILL)
    said += printed(killed) + printed(other)
    # At most the one reservation that it could not tell of is lost.
    assert quota - 1 <= said <= quota
    again = BudgetLedger(tmp_path, {"oct": quota})
    assert again.used("oct") == quota
    assert again.reserve("oct", 1) == 0


def test_w19_threads_share_a_quota_too(tmp_path: Path) -> None:
    budgets, granted = BudgetLedger(tmp_path, {"oct": 100}), []

    def spend() -> None:
        while got := budgets.reserve("oct", 3):
            granted.append(got)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(granted) == 100


def test_a_request_that_would_go_over_is_cut_to_what_is_left(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path, {"oct": 10, "none": 0})
    assert [budgets.reserve("oct", 6) for _ in range(3)] == [6, 4, 0]
    assert budgets.reserve("none", 1) == 0
    assert budgets.reserve("free", 1_000_000) == 1_000_000
    for wanted in (0, -5):
        with pytest.raises(InvalidArgument, match="wanted"):
            budgets.reserve("oct", wanted)


def test_a_lower_quota_counts_what_was_spent_before(tmp_path: Path) -> None:
    assert BudgetLedger(tmp_path, {"oct": 10}).reserve("oct", 8) == 8
    assert BudgetLedger(tmp_path, {"oct": 5}).reserve("oct", 1) == 0


def test_privacy_is_charged_before_a_release_and_never_beyond_the_budget(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    first = budgets.charge_privacy(Charge(b"a", "heart", 0.1), 4.0, 1e-6)
    assert first == pytest.approx(epsilon(0.1, 1e-6))
    assert budgets.charge_privacy(Charge(b"a", "heart", 0.1), 4.0, 1e-6) == first
    with pytest.raises(BudgetSpent, match="Nothing was released"):
        budgets.charge_privacy(Charge(b"b", "lungs", 5.0), 4.0, 1e-6)
    with pytest.raises(BudgetSpent):
        budgets.charge_privacy(Charge(b"b", "lungs", 0.1), 4.0, 1e-6, masked_rho=5.0)
    for rho in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidArgument, match="rho"):
            budgets.charge_privacy(Charge(b"c", "lungs", rho), 4.0, 1e-6)
    budgets.close()
    assert BudgetLedger(tmp_path).rho() == pytest.approx(0.1)


def counted(plan: str, cohort: str = "c", members: dict[str, range] | None = None, **counts: int) -> Counted:
    who = {name: shortened(f"{each:016x}" for each in people) for name, people in (members or {}).items()}
    return Counted(plan, cohort, counts, who)


@pytest.mark.parametrize(
    ("count", "refused"), [(100, False), (101, True), (110, True), (90, True), (111, False)]
)
def test_a_count_that_differs_by_few_people_from_an_earlier_one_is_refused(
    tmp_path: Path, count: int, refused: bool
) -> None:
    budgets = BudgetLedger(tmp_path)
    budgets.admit_counts("", counted("p", eligible=100), 11)
    budgets = BudgetLedger(tmp_path)  # also after a start
    if refused:
        with pytest.raises(PolicyRefused, match="Nothing was sent"):
            budgets.admit_counts("", counted("q", eligible=count), 11)
        with pytest.raises(PolicyRefused):
            budgets.admit_counts("", counted("p", renamed=count), 11)
    else:
        budgets.admit_counts("", counted("q", eligible=count), 11)
    budgets.admit_counts("heart", counted("q", eligible=count), 11)
    budgets.admit_counts("", counted("p", eligible=100), 11)


def test_close_counts_of_different_people_may_leave_where_it_is_known_who_was_counted(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    budgets.admit_counts("", counted("p", members={"old": range(100)}, old=100), 11)
    budgets.admit_counts("", counted("q", members={"other": range(500, 603)}, other=103), 11)
    with pytest.raises(PolicyRefused):
        budgets.admit_counts("", counted("r", members={"older": range(97)}, older=97), 11)


def test_a_cohort_that_grew_by_few_people_gives_none_of_them_away(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    budgets.admit_counts("", counted("p", "monday", members={"all": range(100)}, all=100), 11)
    with pytest.raises(PolicyRefused):
        budgets.admit_counts("", counted("p", "tuesday", members={"all": range(101)}, all=101), 11)


def test_the_same_people_in_two_sources_are_the_same_people(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    budgets.admit_counts("", counted("p", "ehr", members={"all": range(100)}, all=100), 11)
    with pytest.raises(PolicyRefused):
        budgets.admit_counts("list", counted("q", "list", members={"all": range(97)}, all=97), 11)
    budgets.admit_counts("list", counted("q", "list", members={"all": range(80)}, all=80), 11)


def test_eyes_are_told_apart_by_people(tmp_path: Path) -> None:
    """Six people with two eyes each are twelve eyes, and six people."""
    before = counted("p", members={"passed": range(100)}, passed=200)
    after = replace(counted("q", members={"passed": range(94)}, passed=188), units=2)
    assert too_close(after, before, 11) == ("passed", "passed")
    far = replace(counted("q", members={"passed": range(89)}, passed=178), units=2)
    assert too_close(far, before, 11) is None


def pods(*names: str) -> frozenset[bytes]:
    return frozenset(name.encode().ljust(32) for name in names)


FIVE = ("bath", "hull", "kent", "leeds", "york")


def test_the_same_is_not_counted_again_without_one_pod(tmp_path: Path) -> None:
    """The difference of both sums would be what that one pod has."""
    counts = {"evaluated": 200, "eligible": 30, "lost": 0}
    budgets = BudgetLedger(tmp_path)
    budgets.admit_opening(Opened(b"q", pods(*FIVE), counts), 2)
    budgets.close()
    budgets = BudgetLedger(tmp_path)
    for few in (FIVE[:4], FIVE[1:], (*FIVE, "oban")):
        with pytest.raises(PolicyRefused, match="differ by 1"):
            budgets.admit_opening(Opened(b"q", pods(*few), counts | {"eligible": 41}), 2)
    budgets.admit_opening(Opened(b"q", pods(*FIVE), counts), 2)
    budgets.admit_opening(Opened(b"q", pods(*FIVE[:3]), counts), 2)
    budgets.admit_opening(Opened(b"other", pods(*FIVE[:4]), counts), 2)
    grown = {"evaluated": 250, "eligible": 44, "lost": 0}
    budgets.admit_opening(Opened(b"q", pods(*FIVE[1:]), grown), 2)
    budgets.close()


def test_a_ledger_of_an_earlier_release_remembers_sums_from_now_on(tmp_path: Path) -> None:
    BudgetLedger(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("drop table opened")
    db.close()
    budgets = BudgetLedger(tmp_path)
    budgets.admit_opening(Opened(b"q", pods(*FIVE), {"evaluated": 20}), 2)
    with pytest.raises(PolicyRefused):
        budgets.admit_opening(Opened(b"q", pods(*FIVE[1:]), {"evaluated": 20}), 2)
    budgets.close()


def test_counts_that_are_not_shown_give_nothing_away() -> None:
    assert too_close(counted("p", a=0), counted("q", a=7), 11) is None


def test_a_ledger_that_is_gone_or_damaged_is_never_begun_afresh(tmp_path: Path) -> None:
    def spoil(name: str, data: bytes | None) -> Path:
        folder = tmp_path / name
        budgets = BudgetLedger(folder, {"oct": 5})
        budgets.reserve("oct", 5)
        budgets.close()
        file = folder / FILE
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data)
        return folder

    page = b"SQLite format 3\0" + bytes(4080)
    for name, data in (("gone", None), ("empty", b""), ("garbage", b"\xff" * 4096), ("page", page)):
        folder = spoil(name, data)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="every task is refused") as caught:
                BudgetLedger(folder)
            assert str(tmp_path) not in str(caught.value)


def test_a_ledger_in_use_that_lost_its_mark_or_has_another_is_refused(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    budgets.reserve("oct", 1)
    budgets.close()
    mark = tmp_path / "budgets.id"
    kept = mark.read_bytes()
    for content in (None, b"0" * 32):
        mark.unlink()
        if content is not None:
            mark.write_bytes(content)
        with pytest.raises(ConfigurationError, match="mark"):
            BudgetLedger(tmp_path)
        mark.write_bytes(kept)
    assert BudgetLedger(tmp_path).used("oct") == 1


def test_a_kill_before_the_mark_was_written_does_no_harm(tmp_path: Path) -> None:
    BudgetLedger(tmp_path).close()
    (tmp_path / "budgets.id").unlink()
    assert BudgetLedger(tmp_path, {"oct": 1}).reserve("oct", 2) == 1


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    for pragma in ("application_id = 7", "user_version = 2"):
        BudgetLedger(tmp_path).close()
        db = sqlite3.connect(tmp_path / FILE)
        before = db.execute(f"pragma {pragma.split(' ')[0]}").fetchone()[0]
        db.execute(f"pragma {pragma}")
        db.commit()
        with pytest.raises(ConfigurationError, match="kind or version"):
            BudgetLedger(tmp_path)
        db.execute(f"pragma {pragma.split(' ')[0]} = {before}")
        db.commit()
        db.close()


def test_the_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    BudgetLedger(tmp_path)
    assert {(tmp_path / name).stat().st_mode & 0o077 for name in (FILE, "budgets.id")} == {0}
