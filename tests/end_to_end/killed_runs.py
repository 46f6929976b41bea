"""A screening that is killed again and again, and what its EHR and its checkpoint saw of it."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ehr.sandbox.faults import Fault, FaultScript, Hang
from ehr.sandbox.server import Sandbox
from ehr.sandbox.witness import Endpoint
from federated.cli.frame import run
from federated.screening.report.files import UNFINISHED
from tests.end_to_end.clinics import TRIAL, clinic_ehr, make_pod, ring_in
from tests.fakes.crowd import crowd

CHECKPOINT = ".screening.jsonl"
AT_WORK = 8
"""Patients in work at a time (the profile's concurrency): so many may have been in the middle at a kill."""
_LIMIT_S = 900
_DATA: tuple[Endpoint, ...] = ("search", "page", "read", "match")
"""What a fault without an endpoint is for."""
_STOPS_ITSELF = f"""
import os, runpy, signal, sys
left = int(sys.argv.pop(1))
def look(event, args):
    global left
    if event in ("open", "os.rename") and {UNFINISHED!r} in str(args[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
sys.addaudithook(look)
runpy.run_module("federated.cli", run_name="__main__", alter_sys=True)
"""
"""The command, standing still the n-th time that it opens or moves an unfinished file."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Args:
        when: what the moment was, in words.
        after: requests that the EHR had seen by then, in all starts together.
        stored: rows that the checkpoint held.
        asked_again: patients asked about before this kill and not stored by it, hence asked again later.
    """

    when: str
    after: int
    stored: frozenset[int]
    asked_again: frozenset[str] = frozenset()


@dataclass(slots=True)
class Seen:
    """What happened.

    Args:
        whole_requests: of the undisturbed run.
        requests: of all starts together.
        kills: in order.
        faults: what did not hold, in words; empty is what we want.
        asked_in_starts: how many patients were asked about in so many starts.
        seconds: for everything.
    """

    patients: int
    whole_requests: int = 0
    requests: int = 0
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked_in_starts: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0


def killed_runs(folder: Path, patients: int, kills: int, seed: int, *, apart: bool = True) -> Seen:
    """Screen a crowd undisturbed, then killed at random moments until it is through, and compare.

    The command runs in a process of its own and is ended by ``SIGKILL``; the EHR lives on in this one. From the
    moment on it holds every request until the process is gone, so that however fast or slow the machine is,
    each kill finds the run at work, and where it was meant to.

    Args:
        folder: for everything.
        patients: rows.
        kills: the last of them while the results are written.
        seed: of people and moments.
        apart: False lets the runs that nobody kills happen in this process too, which spares two starts.
    """
    began, dice, people = time.monotonic(), random.Random(seed), crowd(patients, seed)
    seen = Seen(patients)
    trial = folder / "trial.yaml"
    trial.write_text(TRIAL.read_text().replace("index_date: 2026-06-01", "index_date: run"))
    ring = ring_in(folder / "pod")
    with clinic_ehr(people.store, ring) as ehr:
        pod = make_pod(folder / "pod", ehr.base_url, people.csv)
        command = [sys.executable, "-m", "federated.cli", "-q", "screen", "--config", str(pod.config)]
        command += ["--trial", str(trial), "--out"]
        _ended([*command, str(folder / "whole")], seen, "the undisturbed run", apart)
        seen.whole_requests = len(ehr.witness.requests)
        out = folder / "killed"
        asked = sum(ehr.witness.count(endpoint) for endpoint in _DATA)
        ehr.witness.forget()
        answered = 0
        for moment in sorted(dice.sample(range(1, asked), kills - 1)):
            if not _killed_held([*command, str(out)], ehr, moment - answered, dice.uniform(0, 0.05)):
                seen.faults.append(f"kill {len(seen.kills) + 1} found no run at work")
            answered = moment
            seen.kills.append(_noted(f"{moment:,} requests for data answered", ehr, out))
        if not _killed_writing([*command, str(out)], dice.randint(1, 6)):
            seen.faults.append("the last kill found no results being written")
        seen.kills.append(_noted("while the results were written", ehr, out))
        _ended([*command, str(out)], seen, "the last start", apart)
        seen.requests = len(ehr.witness.requests)
        _check_requests(seen, ehr, people.rows)
        ehr.witness.assert_tokens_stayed_home()
    _check_files(seen, folder / "whole", folder / "killed")
    seen.seconds = time.monotonic() - began
    return seen


def _ended(command: list[str], seen: Seen, what: str, apart: bool) -> None:
    if not apart:
        status = run(command[command.index("federated.cli") + 1 :])
        if status != 0:
            seen.faults.append(f"{what} ended with {status}")
        return
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode != 0:
        seen.faults.append(f"{what} ended with {done.returncode}: {done.stderr[-500:]}")


def _killed_held(command: list[str], ehr: Sandbox, answers: int, later_s: float) -> bool:
    """Start, answer so many requests for data, hold all further ones, and kill; True if the run was at work."""
    ehr.faults = FaultScript((Fault(Hang(), skip=answers),))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        _wait(lambda: bool(ehr.app.held.waiting) or started.poll() is not None)
        time.sleep(later_s)  # nothing more is answered meanwhile; what came before is worked on
        at_work = started.poll() is None
        started.kill()
    _wait(lambda: not ehr.app.held.waiting)  # the EHR has seen that its client is gone
    ehr.faults = FaultScript()
    return at_work


def _killed_writing(command: list[str], step: int) -> bool:
    """Start, let the process stop itself at a step of writing results, and kill; True if it got there."""
    inside = [command[0], "-c", _STOPS_ITSELF, str(step), *command[command.index("federated.cli") + 1 :]]
    with subprocess.Popen(inside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        seen: list[bool] = []

        def stopped_or_ended() -> bool:
            state = os.waitid(os.P_PID, started.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if state is not None:
                seen.append(state.si_code == os.CLD_STOPPED)
            return state is not None

        _wait(stopped_or_ended)
        started.kill()
    return seen == [True]


def _wait(due: Callable[[], bool]) -> None:
    until = time.monotonic() + _LIMIT_S
    while not due() and time.monotonic() < until:
        time.sleep(0.001)


def _noted(when: str, ehr: Sandbox, out: Path) -> Kill:
    return Kill(when, len(ehr.witness.requests), _stored(out / CHECKPOINT))


def _stored(checkpoint: Path) -> frozenset[int]:
    """Rows that are done, by a reading of the file that is not the program's own."""
    rows: set[int] = set()
    for line in checkpoint.read_bytes().split(b"\n")[1:] if checkpoint.exists() else ():
        try:
            entries = json.loads(line)
        except ValueError:
            continue  # the line that the kill cut
        rows |= {entry["row"] for entry in entries if not entry["again"]}
    return frozenset(rows)


def _check_requests(seen: Seen, ehr: Sandbox, rows: tuple[str | None, ...]) -> None:
    ends = [kill.after for kill in seen.kills]
    starts: dict[str, set[int]] = defaultdict(set)
    for number, request in enumerate(ehr.witness.requests):
        if request.patient is not None and request.resource_type != "Patient":
            starts[request.patient].add(sum(number >= end for end in ends))
    named_twice = {one for one, times in Counter(rows).items() if times > 1}
    before: frozenset[int] = frozenset()
    for place, kill in enumerate(seen.kills):
        if not before <= kill.stored:
            seen.faults.append(f"kill {place + 1} lost {len(before - kill.stored)} stored rows")
        before = kill.stored
        # Who stands in two rows under two names is asked for twice, also by a run that nobody disturbs.
        left = {one for row, one in enumerate(rows, start=1) if row not in kill.stored}
        again = [one for one, at in starts.items() if one not in left and any(start > place for start in at)]
        if again:
            seen.faults.append(f"{len(again)} patients stored at kill {place + 1} were asked about after it")
        split = frozenset(
            one for one, at in starts.items() if place in at and max(at) > place and one not in named_twice
        )
        seen.kills[place] = Kill(kill.when, kill.after, kill.stored, split)
        if len(split) > AT_WORK:
            seen.faults.append(f"{len(split)} patients were in the middle at kill {place + 1}")
    for at in starts.values():
        seen.asked_in_starts[len(at)] = seen.asked_in_starts.get(len(at), 0) + 1
    if set(starts) != {one for one in rows if one}:
        seen.faults.append("the patients asked about are not those of the rows")


def _check_files(seen: Seen, whole: Path, killed: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    if names != {path.name for path in killed.iterdir()}:
        seen.faults.append("the two runs left other files")
    for name in sorted(names - {"run.json"}):
        if (whole / name).read_bytes() != (killed / name).read_bytes():
            seen.faults.append(f"{name} differs from that of the undisturbed run")
    with (killed / "decisions.csv").open(newline="") as file:
        numbers = [int(row["input_row"]) for row in csv.DictReader(file)]
    if numbers != list(range(1, seen.patients + 1)):
        seen.faults.append("a row is lost or doubled in decisions.csv")
