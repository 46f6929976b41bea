"""Limits that cannot be meant are refused."""

from __future__ import annotations

from datetime import UTC

import pytest

from ehr.errors import ConfigurationError
from ehr.transport.settings import SYSTEM_CLOCK, ClassLimit, Limits


@pytest.mark.parametrize("wrong", [{"connect_s": 0}, {"attempts": 0}, {"json_bytes": -1}, {"total_s": float("nan")},
                                   {"concurrency": 0}, {"classes": {"bulk": ClassLimit(concurrency=0)}}])  # fmt: skip
def test_a_limit_that_is_not_above_zero_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Limits(**wrong)  # type: ignore[arg-type] # wrong on purpose


def test_the_defaults_are_those_of_the_bar() -> None:
    """S17."""
    limits = Limits()
    assert (limits.json_bytes, limits.binary_bytes) == (20 * 2**20, 200 * 2**20)


def test_the_system_clock_is_aware() -> None:
    assert SYSTEM_CLOCK.now().tzinfo is UTC
    assert 0 <= SYSTEM_CLOCK.random() < 1
