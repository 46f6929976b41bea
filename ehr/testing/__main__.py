"""``python -m ehr.testing``: run the contract of the shipped providers and write its page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ehr.testing.cases import CASES
from ehr.testing.harnesses import shipped_harnesses
from ehr.testing.report import bad_adapters, page
from ehr.testing.run import Result, run_contract
from ehr.testing.specimens import SPECIMENS

FILE = Path("docs") / "contract-report.md"
NOTE = (
    "What every adapter must hold, and what the shipped ones came to: each case on mocks and over a real socket "
    "with TLS,\nagainst an embedded EHR with the vendor's ways. A case does not apply where the provider's profile "
    "says so.\nMade by `python -m ehr.testing`; `trialveil ehr contract --all` runs the same cases. "
    "For an adapter of your own: [How do I test my own adapter?](test-an-adapter.md)"
)


def whole_page(results: Mapping[str, Sequence[Result]]) -> str:
    """The page: what the shipped adapters came to, and what shows that the cases would notice."""
    return page(results, NOTE) + "\n" + bad_adapters(SPECIMENS, CASES)


def main() -> int:
    """Write the page; the number of providers with a case that does not hold."""
    results = {harness.provider: run_contract(harness) for harness in shipped_harnesses()}
    FILE.write_text(whole_page(results), encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
    return sum(any(one.outcome == "failed" for one in found) for found in results.values())


if __name__ == "__main__":
    sys.exit(main())
