"""An attempt without a usable answer: our error for it, and what it says about the host."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from ehr.errors import (
    BadBody,
    BodyTooLarge,
    ConfigurationError,
    ConnectionFailed,
    DestinationRefused,
    EHRError,
    ProtocolViolation,
    QuotaSpent,
    TimedOut,
    TransportError,
)
from ehr.transport.engine import AddressNotAllowed, CertificateRefused
from ehr.transport.rate import Outcome
from ehr.transport.response import Response


@dataclass(slots=True)
class Failure:
    """An attempt without a usable answer."""

    error: EHRError
    repeatable: bool
    unsent: bool = False


class Unanswered(Exception):
    """Carries a failure out of the context managers; `Transport` turns it into the error inside."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


TOO_MUCH = (429, 503)
"""Statuses by which a host says that it is asked too much at once."""


def too_much(result: Response | Failure) -> bool:
    """Whether the host is asked too much at once: it says so, or is too busy to answer in time."""
    if isinstance(result, Response):
        return result.status in TOO_MUCH
    return isinstance(result.error, TimedOut) and not result.unsent


def health(result: Response | Failure) -> Outcome:
    if isinstance(result, Response):
        return Outcome.FAILED if result.status >= 500 else Outcome.ANSWERED
    if isinstance(result.error, (BadBody, BodyTooLarge, QuotaSpent)):
        return Outcome.ANSWERED
    return Outcome.FAILED if isinstance(result.error, TransportError) else Outcome.UNKNOWN


def failure_of(error: httpx.TransportError | httpx.DecodingError) -> Failure:
    """Our error for httpx's. The text is never taken over: a mock or another engine may name a URL."""
    if isinstance(error, AddressNotAllowed):
        refused = DestinationRefused(
            "The host stands for an address that must not be called. Nothing was sent."
        )
        return Failure(refused, repeatable=False, unsent=True)
    if isinstance(error, CertificateRefused):
        wrong = ConnectionFailed(
            "The server's TLS certificate does not hold. Nothing was sent; "
            "if the hospital has its own authority, name its file in the configuration."
        )
        return Failure(wrong, repeatable=False, unsent=True)
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        return Failure(
            ConfigurationError(
                "The request cannot be sent: its method, a header or its URL has characters that are not "
                "allowed, or the transport is closed or belongs to another event loop."
            ),
            repeatable=False,
            unsent=True,
        )
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    if isinstance(error, httpx.TimeoutException):
        stage = "connecting" if unsent else "reading or writing"
        return Failure(TimedOut(f"A time-out while {stage}."), repeatable=True, unsent=unsent)
    if isinstance(error, (httpx.ProtocolError, httpx.DecodingError)):
        return Failure(ProtocolViolation("The answer is not valid HTTP, or ended early."), repeatable=True)
    if unsent:
        return Failure(ConnectionFailed("No connection could be made."), repeatable=True, unsent=True)
    return Failure(ConnectionFailed("The connection broke before the answer was complete."), repeatable=True)
