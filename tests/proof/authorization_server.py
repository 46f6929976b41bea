"""The proof against an authorization server that nobody here wrote: its own folder, the run, the page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.independent.authorization import VERSION
from tests.proof import page
from tests.proof.independent_server import shown


def modules(cache: Path) -> Path:
    """The pinned server's ``node_modules``; installs it into a folder of its own where it is missing.

    Raises:
        FileNotFoundError: this machine has no Node.js.
        subprocess.CalledProcessError: it could not be installed.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise FileNotFoundError("this proof needs Node.js with npm")
    place = cache / f"oidc-provider-{VERSION}"
    found = place / "node_modules"
    if not (found / "oidc-provider").exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text('{"private": true}', encoding="utf-8")
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run([npm, "install", *quiet, f"oidc-provider@{VERSION}"], cwd=place, check=True)
    return found


def run(cache: Path) -> bool:
    """Run the tests against the server and write the page; True when all of them passed."""
    with tempfile.TemporaryDirectory(prefix="trialveil-proof-") as folder:
        figures = Path(folder) / "figures.jsonl"
        surroundings = {
            **os.environ,
            "TRIALVEIL_OIDC_PROVIDER": str(modules(cache)),
            "TRIALVEIL_PROOF_FIGURES": str(figures),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        tests = "tests/independent/test_authorization_server.py"
        done = subprocess.run([*command, tests], cwd=page.ROOT, env=surroundings, check=False)
        lines = figures.read_text(encoding="utf-8").splitlines() if figures.exists() else []
    _write([json.loads(line) for line in lines], passed=done.returncode == 0)
    return done.returncode == 0


def _write(seen: list[dict[str, Any]], *, passed: bool) -> None:
    rows = [
        (found.pop("part"), ", ".join(f"{name}: {shown(value)}" for name, value in found.items()))
        for found in seen
    ]
    result = (
        "All checks held." if passed else "**At least one check did not hold; see the tests' own output.**"
    )
    page.write(
        "authorization-server",
        "An independent authorization server: oidc-provider",
        [
            f"`oidc-provider` {VERSION} (MIT, Node.js), in a folder of its own, on loopback. "
            "`tests/independent/authorization_server.mjs` starts it with a FHIR base that takes its tokens; "
            "`tests/independent/test_authorization_server.py` logs in as a person with a browser that keeps cookies "
            "and follows the server's own pages, renews the login, and logs in as a backend service. Our sandbox "
            "takes no part.",
            result,
            page.table(("part", "seen"), rows),
            "Not covered: what this server does not check. It knows no `aud` of SMART, no launch context, and no "
            "limit of five minutes on assertions; the sandbox's own tests hold those.",
        ],
    )
