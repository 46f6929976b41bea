"""What stands beside ours, the server that all of them read from, and one run of one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ehr_reading.pages import KINDS, expected
from benchmarks.peers.environment import environment

PLACE = Path(__file__).parent
PAGE = 100
LARGE_PAGE = 500
LIMIT, OURS, FHIRPY = "bare", "trialveil", "fhirpy"


@dataclass(frozen=True, slots=True)
class Arm:
    """One client.

    Args:
        client: its name in the rows.
        program: under ``clients``.
        version: of a peer's distribution, which has the client's name; None for programs of this repository.
        page_size: entries a page that it asks for.
        one_by_one: it sends one request after the other.
    """

    client: str
    program: str
    version: str | None = None
    page_size: int = PAGE
    one_by_one: bool = False

    def python(self) -> Path | None:
        """The interpreter that runs it; None where the peer cannot be installed."""
        return Path(sys.executable) if self.version is None else environment(self.client, self.version)


ARMS = (
    Arm(LIMIT, "bare.py"),
    Arm(OURS, "ours.py"),
    Arm(f"{OURS}, {LARGE_PAGE} a page", "ours.py", page_size=LARGE_PAGE),
    Arm(FHIRPY, "peer_fhirpy.py", "2.3.1"),
    Arm("smart-fetch", "peer_smart_fetch.py", "1.0.3"),
    Arm("fhirclient", "peer_fhirclient.py", "4.4.0", one_by_one=True),
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a client came to; bytes are resident sizes of its process."""

    seconds: float
    cpu_seconds: float
    requests: int
    found: dict[str, int]
    idle_bytes: int
    peak_bytes: int

    @property
    def resources(self) -> int:
        """All that it read."""
        return sum(self.found.values())


@contextmanager
def serving(patients: int, latency_ms: int) -> Iterator[str]:
    """A server in a process of its own; its FHIR base."""
    command = [sys.executable, str(PLACE / "server.py"), *map(str, (patients, latency_ms, PAGE, LARGE_PAGE))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().decode().strip()
        finally:
            server.stdin.close()  # it ends with its input
            server.wait(timeout=30)


def run(arm: Arm, python: Path, base: str, patients: int, in_flight: int) -> Run | None:
    """Run a client once; None where a peer's program fails.

    Raises:
        SystemExit: it read something else than there is, or a program of ours failed.
    """
    sizes = map(str, (patients, in_flight, arm.page_size))
    done = subprocess.run(
        [str(python), str(PLACE / "clients" / arm.program), base, *sizes],
        stdout=subprocess.PIPE,
        stderr=None if arm.version is None else subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        if arm.version is None:
            sys.exit(f"{arm.client}: its program failed; no time is shown")
        sys.stderr.write(f"{arm.client}: its program failed, its figures are null\n")
        return None
    found = Run(**json.loads(done.stdout))
    check(arm.client, found.found, patients)
    return found


def check(client: str, found: dict[str, int], patients: int) -> None:
    """Compare what a client read with what there is, type by type.

    Raises:
        SystemExit: they differ.
    """
    there = expected(patients)
    visits = "Encounter" if "Encounter" in found else "Appointment"
    wanted = {name: there[name] for name in ("Patient", *KINDS[:3])} | {visits: there[visits]}
    if found != wanted:
        sys.exit(f"{client}: read {found}, and there are {wanted}; no time is shown")
