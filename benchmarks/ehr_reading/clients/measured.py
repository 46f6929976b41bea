"""What each client's program does around its reading: its arguments, its clocks, its memory, its answer.

Standard library only: the peers' environments have nothing else of ours.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TOKEN = "benchmark-token"
KINDS = ("Condition", "Procedure", "Observation", "Appointment")
WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be read.

    Args:
        base: FHIR base.
        patients: the first so many.
        in_flight: requests at a time.
        page_size: entries a page.
    """

    base: str
    patients: int
    in_flight: int
    page_size: int

    @property
    def people(self) -> list[str]:
        """Ids."""
        return [f"p{number:06d}" for number in range(1, self.patients + 1)]


def run(read: Callable[[Asked], Counter[str]]) -> None:
    """Read a few patients to warm up, then all of them with the clocks running; prints one JSON object."""
    base, patients, in_flight, page_size = sys.argv[1], *map(int, sys.argv[2:5])
    read(Asked(base, min(WARM_UP, patients), in_flight, page_size))
    before = resident_bytes("VmRSS")
    told(base)
    cpu, wall = time.process_time(), time.perf_counter()
    found = read(Asked(base, patients, in_flight, page_size))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    made = {
        "seconds": wall,
        "cpu_seconds": cpu,
        "requests": told(base),
        "found": dict(found),
        "idle_bytes": before,
        "peak_bytes": resident_bytes("VmHWM"),
    }
    sys.stdout.write(json.dumps(made) + "\n")


def told(base: str) -> int:
    """How many pages the server has handed out since it was last asked."""
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    line = HTTPConnection(urlsplit(base).netloc, timeout=30)
    line.request("GET", "/count")
    served: int = json.loads(line.getresponse().read())["served"]
    line.close()
    return served


def resident_bytes(name: str) -> int:
    """Resident size of this process: ``VmRSS`` now, ``VmHWM`` at its largest."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(rf"{name}:\s+(\d+) kB", status.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
