"""What the tests of the runtime share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.federated.runtime.cast import Cast, with_stand_in


@pytest.fixture
def cast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cast]:
    """A modeller and five pods whose training is the stand-in."""
    with_stand_in(monkeypatch)
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", str(tmp_path / "out"))
    made = Cast(tmp_path)
    yield made
    made.close()
