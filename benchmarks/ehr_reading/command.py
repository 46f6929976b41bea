"""The command line of ``benchmarks/ehr.py``: rounds of runs in turn, and what is printed of them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.ehr_reading.arms import ARMS, FHIRPY, LIMIT, OURS, Arm, Run, run, serving

SCHEMA = "trialveil/ehr-benchmark/1"
IN_FLIGHT = 16
Runs = Mapping[str, list[Run | None]]
"""Client to its runs, in the order of the rounds; None where there was none in a round."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Args:
        patients: of the main rows.
        many: patients of the rows that show whether memory grows; 0 leaves them out.
        latencies_ms: what the server adds to each answer.
        rounds: in each of which every client runs once.
        peers: whether the peers run.
        slow_rounds: of a client that waits for each answer before it asks again, where answers are late.
    """

    patients: int = 500
    many: int = 5000
    latencies_ms: tuple[int, ...] = (0, 50)
    rounds: int = 3
    peers: bool = True
    slow_rounds: int = 1


FULL = Options(rounds=7, slow_rounds=3)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result, as other programs read it; all figures of a peer that is missing are None."""

    client: str
    patients: int
    latency_ms: int
    seconds: float | None
    share_of_limit: float | None
    speedup_over_fhirpy: float | None
    requests: int | None
    resources: int | None
    peak_bytes: int | None


def measured(options: Options) -> tuple[list[Row], dict[str, int]]:
    """All rows, and resident bytes of each client before it reads."""
    pythons = {arm.client: arm.python() for arm in ARMS if options.peers or arm.version is None}
    arms = [arm for arm in ARMS if arm.client in pythons]
    rows: list[Row] = []
    idle: dict[str, int] = {}
    for latency in options.latencies_ms:
        runs: dict[str, list[Run | None]] = {arm.client: [] for arm in arms}
        with serving(options.patients, latency) as base:
            for number in range(options.rounds):
                for arm in arms:
                    python = pythons[arm.client]
                    late = arm.one_by_one and latency > 0 and number >= options.slow_rounds
                    found = None
                    if python is not None and not late:
                        found = run(arm, python, base, options.patients, IN_FLIGHT)
                        _tell(arm, latency, found)
                    runs[arm.client].append(found)
        rows += rows_of(runs, options.patients, latency)
        idle |= {name: each.idle_bytes for name, found in runs.items() for each in found if each}
    if options.many:
        rows += _many([arm for arm in arms if arm.client in (LIMIT, OURS)], options.many)
    return rows, idle


def _many(arms: Iterable[Arm], patients: int) -> list[Row]:
    runs: dict[str, list[Run | None]] = {}
    with serving(patients, 0) as base:
        for arm in arms:
            python = arm.python()
            assert python is not None
            found = run(arm, python, base, patients, IN_FLIGHT)
            _tell(arm, 0, found)
            runs[arm.client] = [found]
    return rows_of(runs, patients, 0)


def _tell(arm: Arm, latency_ms: int, found: Run | None) -> None:
    if found is not None:
        sys.stderr.write(
            f"{arm.client}, {latency_ms} ms: {found.seconds:.2f} s, {found.cpu_seconds:.2f} CPU s\n"
        )


def rows_of(runs: Runs, patients: int, latency_ms: int) -> list[Row]:
    """The rows of one table."""
    return [
        Row(
            client=client,
            patients=patients,
            latency_ms=latency_ms,
            seconds=_rounded(_median(run.seconds for run in found if run)),
            share_of_limit=_rounded(ratio(runs.get(LIMIT, []), found)),
            speedup_over_fhirpy=_rounded(ratio(runs.get(FHIRPY, []), found)),
            requests=next((run.requests for run in found if run), None),
            resources=next((run.resources for run in found if run), None),
            peak_bytes=max((run.peak_bytes for run in found if run), default=None),
        )
        for client, found in runs.items()
    ]


def ratio(others: list[Run | None], ours: list[Run | None]) -> float | None:
    """How many times the other's time is ours: the median over the rounds in which both ran."""
    pairs = zip(others, ours, strict=False)
    return _median(other.seconds / own.seconds for other, own in pairs if other and own)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def document(rows: list[Row], idle: dict[str, int]) -> dict[str, Any]:
    """What ``--json`` prints."""
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "bytes_before_reading": idle,
    }
    return {"schema": SCHEMA, "machine": machine, "rows": [asdict(row) for row in rows]}


def shown(row: Row) -> str:
    """One row for people."""
    if row.seconds is None or row.peak_bytes is None:
        return f"{row.client:>24}: {row.latency_ms:>2} ms, not measured"
    text = (
        f"{row.client:>24}: {row.latency_ms:>2} ms, {row.patients:>5} patients, {row.seconds:7.2f} s, "
        f"{row.requests:>6,} requests, {row.resources:>9,} resources, peak {row.peak_bytes / 2**20:.0f} MiB"
    )
    if row.share_of_limit is not None:
        text += f", {row.share_of_limit:.0%} of the limit"
    if row.speedup_over_fhirpy is not None:
        text += f", {row.speedup_over_fhirpy:.2f} × fhirpy"
    return text


def main(about: str) -> None:
    """Run it; ``about`` is what ``--help`` says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--full", action="store_true", help="more rounds; about twenty minutes")
    parser.add_argument("--patients", type=int, help="so many in the main rows [default: 500]")
    parser.add_argument("--many", type=int, help="so many in the rows about memory [default: 5000; 0: none]")
    parser.add_argument("--rounds", type=int, help="runs of each client [default: 3]")
    parser.add_argument("--latency", type=int, action="append", help="ms added; may be given twice [0, 50]")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    given = parser.parse_args()
    options = options_of(given)
    if options.patients < 1 or options.rounds < 1 or options.many < 0 or min(options.latencies_ms) < 0:
        parser.error("--patients and --rounds are at least 1, --many and --latency at least 0")
    made = document(*measured(options))
    if given.json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
        return
    for row in made["rows"]:
        sys.stdout.write(shown(Row(**row)) + "\n")
    sys.stdout.write(json.dumps(made["machine"], indent=2) + "\n")


def options_of(given: argparse.Namespace) -> Options:
    """What was asked for."""
    chosen = FULL if given.full else Options()
    return Options(
        patients=chosen.patients if given.patients is None else given.patients,
        many=chosen.many if given.many is None else given.many,
        latencies_ms=tuple(given.latency) if given.latency else chosen.latencies_ms,
        rounds=chosen.rounds if given.rounds is None else given.rounds,
        peers=not given.no_peers,
        slow_rounds=chosen.slow_rounds,
    )
