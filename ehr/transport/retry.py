"""What may be repeated, and how long to wait before.

Pure: time and randomness are arguments. Requirements S5, S26, S27 and S28 of the EHR layer. Only
requests that read, or that certainly did not reach the server, are ever repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

NEVER_RETRY = ("$docref", "$export", "$import")
"""Operations that make something on the server: never repeated, whatever the method."""

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
TOKEN_RETRY_STATUSES = frozenset({429, 500, 502, 503, 504})
TURNED_AWAY_STATUSES = frozenset({429, 503})
TOKEN = "token"  # noqa: S105 - the name of an endpoint class, not a secret
FIRST_WAIT_S = 0.5

_READING_POSTS = frozenset({"_search", "$match"})
_SECONDS = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,6})?")


class Repeat(Enum):
    """When a request may be sent again."""

    NEVER = "never"
    """Not at all."""
    UNSENT = "unsent"
    """Only when no connection was made, so that the server saw nothing."""
    TURNED_AWAY = "turned-away"
    """When no connection was made, or the server answered 429 or 503: it did not take the request."""
    TOKEN = "token"  # noqa: S105 - a rule's name
    """When no connection was made, or the token endpoint answered 429 or 5xx."""
    YES = "yes"
    """After every failure of the connection and every status of `RETRY_STATUSES`."""


def repeat_rule(
    method: str,
    path: str,
    endpoint_class: str | None,
    *,
    never: tuple[str, ...],
    renewable: bool,
    once: bool = False,
) -> Repeat:
    """Which failures of a request allow it to be repeated.

    Args:
        method: HTTP method, upper case.
        path: the URL's path.
        endpoint_class: ``token`` for the token endpoint.
        never: path segments that forbid every repetition.
        renewable: a fresh copy can be made for each attempt, or the body holds nothing that is good for
            one use only (a signed assertion with its ``jti``).
        once: what the body holds is used up when the server has read it (a code, a refresh token).
    """
    segments = path.split("/")
    if not set(segments).isdisjoint(never):
        return Repeat.NEVER
    if endpoint_class == TOKEN and once:
        return Repeat.TURNED_AWAY if renewable else Repeat.UNSENT
    if endpoint_class == TOKEN:
        return Repeat.TOKEN if renewable else Repeat.UNSENT
    if method in {"GET", "HEAD"} or (method == "POST" and segments[-1] in _READING_POSTS):
        return Repeat.YES
    return Repeat.NEVER


def repeats_status(rule: Repeat, status: int) -> bool:
    """Whether an answer with this status may be asked for again."""
    if rule is Repeat.YES:
        return status in RETRY_STATUSES
    if rule is Repeat.TURNED_AWAY:
        return status in TURNED_AWAY_STATUSES
    return rule is Repeat.TOKEN and status in TOKEN_RETRY_STATUSES


def repeats_failure(rule: Repeat, *, unsent: bool) -> bool:
    """Whether a request that got no answer may be sent again.

    Args:
        rule: from `repeat_rule`.
        unsent: no connection was made.
    """
    return rule is Repeat.YES or (rule is not Repeat.NEVER and unsent)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a server asks to wait, from either form of ``Retry-After``.

    A date is compared with the server's own ``Date`` where there is one, so that a wrong clock on
    either side does not stretch the wait.

    Args:
        headers: case-insensitive.
        now: this machine's time, aware.

    Returns:
        More than 0, not clamped; None if absent, negative, zero, past or unreadable.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text) or None
    until = _http_date(text)
    if until is None:
        return None
    wait = (until - (_http_date(headers.get("date", "")) or now)).total_seconds()
    return wait if wait > 0 else None


def wait_s(attempt: int, asked_s: float | None, longest_s: float, random: float) -> float:
    """How long to wait before the next attempt.

    Without a wish of the server: 0.5, 1, 2, 4 … s, of which a random share of up to a half is taken
    off. With one: that time plus up to a tenth. Never more than ``longest_s``.

    Args:
        attempt: the attempt that failed, from 1.
        asked_s: from `retry_after_s`.
        longest_s: the limit.
        random: from [0, 1).
    """
    if asked_s is not None:
        return min(asked_s * (1 + random / 10), longest_s)
    return float(min(FIRST_WAIT_S * 2 ** min(attempt - 1, 30), longest_s)) * (1 - random / 2)


def _http_date(text: str) -> datetime | None:
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
