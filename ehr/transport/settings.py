"""Limits and clock of the HTTP policy: plain values, so that tests and profiles can say them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ehr.errors import ConfigurationError

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ClassLimit:
    """Limits of one endpoint class (``token``, ``bulk``, …), within those of its host.

    Attributes:
        concurrency: requests in flight; None leaves it to the host's limit.
        requests_per_s: None is unlimited.
    """

    concurrency: int | None = None
    requests_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, how large, how often. Times in seconds, sizes in bytes.

    Attributes:
        connect_s: for the connection with TLS.
        read_s: between two pieces of an answer, and from the request's end to the first piece.
        write_s: for sending a request's body.
        total_s: for one attempt from connecting to the last byte; waiting for a turn does not count.
        json_bytes: size of a JSON body, before and after decoding.
        binary_bytes: size of a binary, before and after decoding.
        depth: levels of JSON counted exactly; None leaves it at the decoder's stack limit, near 1,000.
        entries: entries of one Bundle.
        concurrency: requests in flight to one host.
        requests_per_s: to one host; None is unlimited.
        class_requests_per_s: to each resource type that ``classes`` does not name; None is unlimited.
        attempts: times that one request is sent, at most.
        longest_wait_s: between two attempts, whatever ``Retry-After`` says.
        breaker_failures: failures in a row after which a host is left alone; a 5xx answer counts.
        breaker_pause_s: how long it is left alone before one request tries again.
        classes: further limits by endpoint class.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    write_s: float = 30.0
    total_s: float = 120.0
    json_bytes: int = 20 * _MIB
    binary_bytes: int = 200 * _MIB
    depth: int | None = None
    entries: int = 10_000
    concurrency: int = 8
    requests_per_s: float | None = None
    class_requests_per_s: float | None = None
    attempts: int = 5
    longest_wait_s: float = 60.0
    breaker_failures: int = 10
    breaker_pause_s: float = 30.0
    classes: Mapping[str, ClassLimit] = field(default_factory=dict)

    @property
    def head_s(self) -> float:
        """For the head of an answer, from connecting on: ``read_s`` does not run while a body is being sent."""
        return self.connect_s + self.write_s + self.read_s

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"Limits.{name} is zero or negative; expected more than 0.")
        for limit in self.classes.values():
            if any(
                value is not None and not value > 0 for value in (limit.concurrency, limit.requests_per_s)
            ):
                raise ConfigurationError("A limit of an endpoint class is zero or negative.")


_POSITIVE = tuple(name for name in Limits.__dataclass_fields__ if name not in {"classes"})


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance as the policy sees them.

    Attributes:
        now: the time of day, aware, UTC.
        monotonic: seconds that never go back.
        sleep: waits that many seconds.
        random: from [0, 1); spreads waits, nothing secret.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]


def _now() -> datetime:
    return datetime.now(UTC)


SYSTEM_CLOCK = Clock(now=_now, monotonic=time.monotonic, sleep=asyncio.sleep, random=random.random)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that this client shows to servers (mutual TLS).

    Attributes:
        certificate: PEM file with the chain.
        key: PEM file with the private key; None if it is in the same file.
        password: opens the key.
    """

    certificate: Path
    key: Path | None = None
    password: str | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a client certificate with its password is never pickled")
