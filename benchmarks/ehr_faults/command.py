"""The command line of ``benchmarks/faults.py``: every client against every fault, and what is printed of it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.ehr_faults.server import ENDLESS, FAULTS, FAULTY, LEAK, RIGHT, Seen, faulty
from benchmarks.peers.environment import environment

SCHEMA = "trialveil/faults-benchmark/1"
OURS = "trialveil"
PEERS = {"fhirpy": "2.3.1", "fhirclient": "4.4.0", "smart-fetch": "1.0.3"}
PROGRAM = Path(__file__).with_name("client.py")
LONGEST_S = 180
Outcome = Literal[
    "right answer", "typed error", "silently short", "too many", "followed for ever", "token sent elsewhere"
]


@dataclass(frozen=True, slots=True)
class Told:
    """What a client said of one search: entries, and an error or state by name."""

    entries: int
    said: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One client at one fault; None where a peer is not installed."""

    fault: str
    client: str
    outcome: Outcome | None
    entries: int | None


def outcome_of(told: Told, seen: Seen) -> Outcome:
    """What it comes to; what the servers saw counts before what the client says."""
    if seen.token_elsewhere:
        return "token sent elsewhere"
    if seen.asked[FAULTY] >= ENDLESS:
        return "followed for ever"
    if told.entries == RIGHT:
        return "right answer"
    if told.said is not None:
        return "typed error"
    return "silently short" if told.entries < RIGHT else "too many"


def tried(client: str, python: Path | None, fault: str) -> Row:
    """One client at one fault.

    Raises:
        SystemExit: our own program failed, or did not end.
    """
    if python is None:
        return Row(fault, client, None, None)
    with faulty(FAULTS[fault]) as (base, seen):
        told = _asked(client, python, base)
    if told is None:
        return Row(fault, client, None, None)
    return Row(fault, client, outcome_of(told, seen), told.entries)


def _asked(client: str, python: Path, base: str) -> Told | None:
    try:
        done = subprocess.run(
            [str(python), str(PROGRAM), client, base],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST_S,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        if client == OURS:
            sys.exit(f"{client}: its program did not end well ({type(error).__name__})")
        sys.stderr.write(f"{client}: its program did not end well\n")
        return None
    return Told(**json.loads(done.stdout))


def tries(faults: Iterable[str], peers: bool) -> list[Row]:
    """All rows, by fault; several at a time, because most of it is waiting."""
    pythons: dict[str, Path | None] = {OURS: Path(sys.executable)}
    if peers:
        pythons |= {name: environment(name, version) for name, version in PEERS.items()}
    asked = [(client, python, fault) for fault in faults for client, python in pythons.items()]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda one: tried(*one), asked))


def document(rows: list[Row]) -> dict[str, Any]:
    """What ``--json`` prints: of the fault that can leak a token, only our own row and a count of others."""
    others = [row for row in rows if row.fault == LEAK and row.client != OURS and row.outcome is not None]
    leaked = sum(row.outcome == "token sent elsewhere" for row in others)
    shown = [row for row in rows if row.fault != LEAK or row.client == OURS]
    return {
        "schema": SCHEMA,
        "token_elsewhere": {"peers": len(others), "sent": leaked},
        "rows": [asdict(row) for row in shown],
    }


def text_of(made: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for row in made["rows"]:
        entries = "" if row["entries"] is None else f" ({row['entries']} of {RIGHT})"
        lines.append(f"{row['fault']:>38} | {row['client']:>12}: {row['outcome'] or 'not run'}{entries}")
    count = made["token_elsewhere"]
    lines.append(f"{LEAK}: {count['sent']} of {count['peers']} peers sent the token there")
    good = [row for row in made["rows"] if row["client"] == OURS]
    kept = sum(row["outcome"] in ("right answer", "typed error") for row in good)
    lines.append(f"{OURS}: {kept} of {len(good)} end with the right answer or say what is missing")
    return "\n".join(lines) + "\n"


def main(about: str) -> None:
    """Run it; ``about`` is what ``--help`` says. Exit status 1 where ours fails at a fault."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    given = parser.parse_args()
    made = document(tries(FAULTS, not given.no_peers))
    sys.stdout.write(json.dumps(made, indent=2) + "\n" if given.json else text_of(made))
    ours = [row["outcome"] for row in made["rows"] if row["client"] == OURS]
    if not set(ours) <= {"right answer", "typed error"}:
        sys.exit(1)
