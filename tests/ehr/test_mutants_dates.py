"""What survived the mutation proof once: dates."""

from __future__ import annotations

import pytest

from ehr.dates import is_time_text


@pytest.mark.parametrize(
    "text", ["2024-13-01", "2024-02-30", "yesterday", "", "2024-01-01T25:00:00Z", "20240101x"]
)
def test_what_is_no_time_is_told_as_false(text: str) -> None:
    assert is_time_text(text) is False


@pytest.mark.parametrize(
    "text", ["2024", "2024-02", "2024-02-29", "2024-02-29T10:00:00Z", "2024-02-29T10:00:00+01:00"]
)
def test_what_is_a_time_is_told_as_true(text: str) -> None:
    assert is_time_text(text) is True
