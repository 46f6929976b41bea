"""Shared by the tests of the transport: quick limits and one authority for the run."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from ehr.transport.settings import Limits
from tests.fakes.throwaway_ca import ThrowawayCA, throwaway_ca

# For tests that measure a real time-out on a real socket.
QUICK = Limits(connect_s=0.2, read_s=0.15, write_s=0.15, total_s=2.0, attempts=1)
# For all others: a busy machine must not look like a slow server.
ROOMY = Limits(connect_s=30, read_s=30, write_s=30, total_s=60, attempts=1)

# How long an example takes says nothing on a shared machine.
hypothesis.settings.register_profile("transport", deadline=None)
hypothesis.settings.load_profile("transport")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCA:
    return throwaway_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a download goes; its folder is empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "file.bin"
