"""The contract of the Epic adapter: every case, on mocks and over TLS."""

from __future__ import annotations

from ehr.testing import AdapterContract
from ehr.testing.harnesses import shipped_harness


class TestEpic(AdapterContract):
    harness = shipped_harness("epic r4")
