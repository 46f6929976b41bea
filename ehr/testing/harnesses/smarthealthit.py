"""SMART Health IT: plain FHIR R4; nothing has to be dressed."""

from __future__ import annotations

from ehr.testing.harness import ProviderHarness

HARNESS = ProviderHarness(provider="smarthealthit r4", skin="smarthealthit")
