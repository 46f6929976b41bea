"""The proof against a server that nobody here wrote: its own environment, the run, the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from tests.independent.sekmet import VERSION
from tests.proof import page


def program(cache: Path) -> Path:
    """The pinned server's program; installs it into an environment of its own where it is missing.

    Raises:
        subprocess.CalledProcessError: it could not be installed.
    """
    place = cache / f"sekmet-{VERSION}"
    found = place / "bin" / "sekmet"
    if not found.exists():
        venv.create(place, with_pip=True, clear=True)
        install = [
            str(place / "bin" / "python"),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--quiet",
            "install",
        ]
        subprocess.run([*install, f"sekmet-fhir=={VERSION}"], check=True)
    return found


def run(cache: Path) -> bool:
    """Run the tests against the server and write the page; True when all of them passed."""
    with tempfile.TemporaryDirectory(prefix="trialveil-proof-") as folder:
        figures = Path(folder) / "figures.jsonl"
        surroundings = {
            **os.environ,
            "TRIALVEIL_SEKMET": str(program(cache)),
            "TRIALVEIL_PROOF_FIGURES": str(figures),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            [*command, "tests/independent/test_independent_server.py"],
            cwd=page.ROOT,
            env=surroundings,
            check=False,
        )
        lines = figures.read_text(encoding="utf-8").splitlines() if figures.exists() else []
    seen = [json.loads(line) for line in lines]
    _write(seen, passed=done.returncode == 0)
    return done.returncode == 0


def _write(seen: list[dict[str, Any]], *, passed: bool) -> None:
    rows = []
    for found in seen:
        part = found.pop("part")
        rows.append((part, ", ".join(f"{name}: {shown(value)}" for name, value in found.items())))
    result = (
        "All checks held." if passed else "**At least one check did not hold; see the tests' own output.**"
    )
    page.write(
        "independent-server",
        "An independent server: sekmet-fhir",
        [
            f"`sekmet-fhir` {VERSION} (Apache-2.0), in an environment of its own, on loopback, without telemetry; "
            "its data are the forty patients of `fixtures/synthea`, given to it as transactions, so every id is "
            "its own. `tests/independent/test_independent_server.py` logs in as a backend service with a signed "
            "assertion (RS384 and ES384), finds each patient by record number and birth date or by name and birth "
            "date, reads the records and decides by `examples/trials/cardiometabolic-synthea.yaml` as of the "
            "fixture's last day. The same rows are screened at our own sandbox, and every verdict is compared.",
            result,
            page.table(("part", "seen"), rows),
            "It also holds that a client with an unregistered key is refused, and that kinds outside the scope come "
            "out as unknown, never as a finding. Not covered: a user's own login, `$match` and `$everything`, which "
            "this server does not offer or this client does not use here.",
        ],
    )


def shown(value: Any) -> str:
    """A figure as a page shows it."""
    if isinstance(value, dict):
        return "; ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(value.items()))
    return "yes" if value is True else str(value)
