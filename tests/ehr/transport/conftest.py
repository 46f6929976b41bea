"""Shared by the tests of the transport: quick limits and one authority for the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr.transport.settings import Limits
from tests.fakes.throwaway_ca import ThrowawayCA, throwaway_ca

# Real time-outs are measured on real sockets here, so they are short.
QUICK = Limits(connect_s=0.2, read_s=0.15, write_s=0.15, total_s=2.0, attempts=1)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCA:
    return throwaway_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a download goes; its folder is empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "file.bin"
