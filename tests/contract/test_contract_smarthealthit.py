"""The contract of the SMART Health IT adapter: every case, on mocks and over TLS."""

from __future__ import annotations

from ehr.testing import AdapterContract
from ehr.testing.harnesses import shipped_harness


class TestSmartHealthIT(AdapterContract):
    harness = shipped_harness("smarthealthit r4")
