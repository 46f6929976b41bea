"""What may be repeated and how long to wait (S26, S27, S28)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.transport.retry import (
    NEVER_RETRY,
    Repeat,
    repeat_rule,
    repeats_failure,
    repeats_status,
    retry_after_s,
    wait_s,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def rule(method: str, path: str, kind: str | None = None, *, renewable: bool = True) -> Repeat:
    return repeat_rule(method, path, kind, never=NEVER_RETRY, renewable=renewable)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/r4/Patient", Repeat.YES),
        ("HEAD", "/r4/Binary/1", Repeat.YES),
        ("POST", "/r4/Patient/_search", Repeat.YES),
        ("POST", "/r4/Patient/$match", Repeat.YES),
        ("GET", "/r4/Group/1/$export", Repeat.NEVER),
        ("GET", "/r4/DocumentReference/$docref", Repeat.NEVER),
        ("POST", "/r4/DocumentReference/$docref", Repeat.NEVER),
        ("POST", "/r4/Patient", Repeat.NEVER),
        ("PUT", "/r4/Patient/1", Repeat.NEVER),
        ("DELETE", "/r4/job/1", Repeat.NEVER),
        ("POST", "/r4/_search/x", Repeat.NEVER),
    ],
)
def test_only_reading_requests_are_repeated(method: str, path: str, expected: Repeat) -> None:
    """S26."""
    assert rule(method, path) is expected


def test_a_token_request_is_repeated_on_5xx_only_if_it_can_be_made_anew() -> None:
    """S5, S26: a signed assertion is good once."""
    fresh, used = rule("POST", "/token", "token"), rule("POST", "/token", "token", renewable=False)
    assert repeats_status(fresh, 503) and not repeats_status(used, 503)
    assert not repeats_status(fresh, 400) and not repeats_status(fresh, 401)
    assert repeats_failure(fresh, unsent=True) and repeats_failure(used, unsent=True)
    # A refresh token may have been rotated by a request whose answer was lost.
    assert not repeats_failure(fresh, unsent=False) and not repeats_failure(used, unsent=False)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_transient_statuses_are_asked_again(status: int) -> None:
    """S27."""
    assert repeats_status(Repeat.YES, status) and not repeats_status(Repeat.NEVER, status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 405, 409, 410, 412, 422, 501])
def test_final_statuses_are_not_asked_again(status: int) -> None:
    """S27; the reference repeats 404."""
    assert not repeats_status(Repeat.YES, status)


def test_a_request_that_changes_something_is_not_repeated_even_if_it_was_never_sent() -> None:
    assert not repeats_failure(Repeat.NEVER, unsent=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0), (" 7 ", 7.0), ("1.5", 1.5), ("0", None), ("-5", None), ("", None), ("soon", None), ("inf", None),
        ("nan", None), ("1e9", None), ("7, 8", None), ("٣", None), ("9" * 400, None), ("9" * 12, 999_999_999_999.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0), ("Sun, 01 Mar 2026 11:00:00 GMT", None),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0), ("Sun, 99 Mar 2026 12:00:30 GMT", None),
        ("Sun, 01 Mar 0000 12:00:30 GMT", None), ("Sun Mar  1 12:00:30 2026", 30.0),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms_and_garbage_is_nothing(value: str, expected: float | None) -> None:
    """S28."""
    assert retry_after_s(httpx.Headers({"Retry-After": value.encode()}), NOW) == expected


def test_a_retry_after_date_is_compared_with_the_servers_own_clock() -> None:
    headers = {"Retry-After": "Sun, 01 Mar 2026 09:00:30 GMT", "Date": "Sun, 01 Mar 2026 09:00:00 GMT"}
    assert retry_after_s(httpx.Headers(headers), NOW) == 30.0


@given(st.text(max_size=80))
def test_no_retry_after_breaks_the_reader(value: str) -> None:
    found = retry_after_s({"retry-after": value}, NOW)
    assert found is None or found > 0


@given(st.integers(1, 10**8), st.integers(-12, 12))
def test_every_future_http_date_is_read_to_the_second(seconds: int, zone: int) -> None:
    until = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=zone)))
    assert retry_after_s({"retry-after": format_datetime(until)}, NOW) == seconds


@given(
    st.integers(1, 10_000),
    st.none() | st.floats(min_value=1e-6, max_value=1e12),
    st.floats(0.1, 3600),
    st.floats(0, 1, exclude_max=True),
)
def test_waits_are_positive_and_clamped(
    attempt: int, asked: float | None, longest: float, chance: float
) -> None:
    """S28."""
    assert 0 < wait_s(attempt, asked, longest, chance) <= longest


def test_waits_double_and_jitter_takes_off_up_to_half() -> None:
    """S27."""
    assert [wait_s(n, None, 60, 0.0) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 32, 60]
    assert wait_s(3, None, 60, 0.5) == 1.5


@given(st.floats(1e-3, 59), st.floats(0, 1, exclude_max=True))
def test_a_wish_of_the_server_is_never_undercut(asked: float, chance: float) -> None:
    assert wait_s(1, asked, 60, chance) >= asked
