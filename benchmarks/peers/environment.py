"""An environment of its own for a peer, made once and kept in the cache folder of the user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path


def environment(name: str, version: str, cache: Path | None = None) -> Path | None:
    """The interpreter of a peer's environment; None where it cannot be made.

    Args:
        name: of the distribution.
        version: exactly this one.
        cache: where environments lie; None is the user's cache folder.
    """
    place = (cache or user_cache_path("trialveil") / "benchmarks") / f"{name}-{version}"
    python, ready = place / "bin" / "python", place / "installed"
    if ready.exists():
        return python
    place.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    if not _made(place) or not runs([*pip, f"{name}=={version}"]):
        sys.stderr.write(f"{name} {version} could not be installed: its figures are null\n")
        return None
    ready.touch()
    return python


def _made(place: Path) -> bool:
    """Some systems have no ensurepip; `virtualenv` is tried there."""
    return any(runs([sys.executable, "-m", tool, str(place)]) for tool in ("venv", "virtualenv"))


def runs(command: list[str]) -> bool:
    """Whether a program ends well; what it prints is thrown away."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0
