"""The tests that carry the marker ``proof``, because every day they would take too long: all of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from tests.proof import page

_WORSE = ("failure", "error", "skipped")


def run(root: Path = page.ROOT, folder: Path = page.FOLDER) -> bool:
    """Run them and write the page; True when each of them passed.

    Args:
        root: of the checkout whose tests are run.
        folder: where the page goes.
    """
    with tempfile.TemporaryDirectory(prefix="trialveil-proof-") as place:
        report = Path(place) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "proof",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
        ]
        subprocess.run([*command, f"--junitxml={report}"], cwd=root, check=False)
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    seen: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    for case in cases:
        file = case.get("classname", "").replace(".", "/")
        how = next((word for word in _WORSE if case.find(word) is not None), "passed")
        seen.setdefault(file, Counter())[how] += 1
        seconds[file] = seconds.get(file, 0.0) + float(case.get("time", 0))
    passed = sum(each["passed"] for each in seen.values())
    held = bool(cases) and passed == len(cases)
    _write(seen, seconds, f"{passed} of {len(cases)} tests passed.", folder)
    return held


def _write(seen: dict[str, Counter[str]], seconds: dict[str, float], result: str, folder: Path) -> None:
    rows = [
        (f"`{file}.py`", each.total(), each["passed"], each["skipped"], each["failure"] + each["error"],
         f"{seconds[file]:.1f}")
        for file, each in sorted(seen.items())
    ]  # fmt: skip
    page.write(
        "marked-tests",
        "Tests at full size",
        [
            f"**{result}** `make test` leaves these out or runs a sample of what they run whole.",
            page.table(("file", "tests", "passed", "skipped", "failed", "seconds"), rows),
        ],
        folder,
    )
