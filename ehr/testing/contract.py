"""The contract as a class of pytest tests: subclass it, and say which harness.

from ehr.testing import AdapterContract, ProviderHarness

class TestQuietValley(AdapterContract):
    harness = ProviderHarness(provider="quiet valley r4", skin="smarthealthit")
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

import pytest

from ehr.testing.case import Case
from ehr.testing.cases import CASES
from ehr.testing.harness import ProviderHarness
from ehr.testing.run import play, set_aside
from ehr.testing.server_pool import Backend, ServerPool

PROPERTY = "ehr_contract"
"""Name of the test property under which the plugin finds what a case came to."""

_RUNS = [
    pytest.param(case, backend, id=f"{case.number:03}-{case.name}-{backend}")
    for case in CASES
    for backend in case.backends
]


class AdapterContract:
    """Every contract case on every back-end it is for, as one test each."""

    harness: ClassVar[ProviderHarness]

    @pytest.fixture(scope="class")
    @classmethod
    def ehr_contract_pool(cls) -> Iterator[ServerPool]:
        """What the cases share."""
        with ServerPool() as pool:
            yield pool

    @pytest.mark.parametrize(("case", "backend"), _RUNS)
    def test_contract(
        self, case: Case, backend: Backend, ehr_contract_pool: ServerPool, request: pytest.FixtureRequest
    ) -> None:
        """See the case's own description."""
        aside = set_aside(case, self.harness)
        reason = aside.reason if aside is not None else None
        outcome = aside.outcome if aside is not None else "passed"
        if aside is None:
            reason = asyncio.run(play(case, self.harness, backend, ehr_contract_pool))
            outcome = "passed" if reason is None else "failed"
        entry = (PROPERTY, [self.harness.provider, case.name, backend, outcome, reason])
        request.node.user_properties.append(entry)
        if outcome == "not_applicable":
            pytest.skip(f"not applicable: {reason}")
        if outcome == "failed":
            pytest.fail(f"{case.number} {case.name} ({case.holds}) {reason}", pytrace=False)
