"""Epic: the skin dresses what the cases put in (categories, types of numbers)."""

from __future__ import annotations

from ehr.testing.harness import ProviderHarness

HARNESS = ProviderHarness(
    provider="epic r4", skin="epic", settings={"headers": {"client_id": "contract-kit-app"}}
)
