"""The peer: an environment of its own, made once and kept, and one measurement in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.secure_aggregation.rounds import Setting

VERSION = "1.41.0"
PROGRAM = Path(__file__).with_name("flower_program.py")


@dataclass(frozen=True, slots=True)
class Peer:
    """CPU seconds of one client and of the server, and bytes that the client sends."""

    client_cpu_seconds: float
    server_cpu_seconds: float
    client_bytes_up: int


def environment(cache: Path | None = None) -> Path | None:
    """The interpreter of the peer's environment; None where it cannot be made."""
    place = (cache or user_cache_path("trialveil") / "benchmarks") / f"flwr-{VERSION}"
    python, ready = place / "bin" / "python", place / "installed"
    if ready.exists():
        return python
    place.parent.mkdir(parents=True, exist_ok=True)
    install = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
        f"flwr=={VERSION}",
    ]
    if not _made(place) or not _runs(install):
        sys.stderr.write(f"flwr {VERSION} could not be installed: its figures are null\n")
        return None
    ready.touch()
    return python


def _made(place: Path) -> bool:
    """Some systems have no ensurepip; `virtualenv` is tried there."""
    return any(_runs([sys.executable, "-m", tool, str(place)]) for tool in ("venv", "virtualenv"))


def _runs(command: list[str]) -> bool:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


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
