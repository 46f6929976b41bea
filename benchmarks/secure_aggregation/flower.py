"""The peer: one measurement in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.secure_aggregation.rounds import Setting

VERSION = "1.41.0"
PROGRAM = Path(__file__).with_name("flower_program.py")


@dataclass(frozen=True, slots=True)
class Peer:
    """CPU seconds of one client and of the server, and bytes that the client sends."""

    client_cpu_seconds: float
    server_cpu_seconds: float
    client_bytes_up: int


def measure(python: Path | None, setting: Setting, repetitions: int) -> Peer | None:
    """The same round at the peer; None where it is not installed or fails."""
    if python is None:
        return None
    sizes = (setting.parameters, setting.pods, setting.lost, repetitions)
    done = subprocess.run(
        [str(python), str(PROGRAM), *map(str, sizes)],
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write("the peer's program failed: its figures are null\n")
        return None
    return Peer(**json.loads(done.stdout))
