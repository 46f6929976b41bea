"""The errors of `ehr`, one small tree.

    EHRError
    ├── ConfigurationError        a setting, key file or argument is wrong (also a ValueError)
    │   └── CountNotKept              the day's count of requests cannot be kept; nothing was sent
    ├── DestinationRefused        a URL outside the pinned origin or an unlisted host; nothing was sent
    ├── TransportError            no usable answer came
    │   ├── ConnectionFailed          refused, reset, TLS, DNS
    │   ├── TimedOut                  a time-out or a deadline
    │   ├── ProtocolViolation         what came was not HTTP, or ended early
    │   ├── BodyTooLarge              more bytes, depth or entries than allowed
    │   ├── BadBody                   not JSON, HTML with 200, wrong type, empty
    │   ├── BreakerOpen               the host failed too often; asked again later
    │   └── QuotaSpent                the day's quota is used up
    ├── HttpStatusError           the server answered with an error status
    ├── AuthError                 no access
    │   ├── LoginRefused              the authorization server refused; needs a person
    │   ├── ClockWrong                this machine's clock and the server's differ
    │   ├── ScopeMissing              what was granted does not cover what is asked
    │   ├── TokenResponseMalformed    the token endpoint's answer cannot be used
    │   └── LoginNotKept              the store of logins cannot be read or written
    ├── ReadError                 a resource cannot be read into a record
    ├── Unavailable               `Fetched.require()` on an incomplete collection
    └── NotMatched                `MatchResult.require()` without one certain patient

Messages are our own: they name the field, the shape of what came and what to do. What a server
said is kept in ``debug_detail`` only, which is never printed unless a person asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class EHRError(Exception):
    """Root of the tree.

    Args:
        message: our own sentence; no patient data, URL, token or server text.
        debug_detail: server text for a person who debugs on the spot; never in ``str`` or ``repr``.
    """

    def __init__(self, message: str, *, debug_detail: str | None = None) -> None:
        super().__init__(message)
        self.debug_detail = debug_detail

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle (process pools, crash reports) must not carry the server's text along.
        kept = {name: value for name, value in vars(self).items() if name != "debug_detail"}
        return _rebuilt, (type(self), str(self), kept)


def _rebuilt(kind: type[EHRError], message: str, attributes: dict[str, Any]) -> EHRError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    vars(error).update(attributes, debug_detail=None)
    return error


class ConfigurationError(EHRError, ValueError):
    """A setting, key file or argument is wrong; nothing was sent."""


class CountNotKept(ConfigurationError):
    """The day's count of requests cannot be read or written; nothing was sent, and asking later may do."""


class DestinationRefused(EHRError):
    """A URL lies outside the pinned origin or base path, or its host is not listed. Nothing was sent."""


class TransportError(EHRError):
    """No usable answer came from the server."""


class ConnectionFailed(TransportError):
    """The connection was refused or reset, or TLS or name resolution failed."""


class TimedOut(TransportError):
    """A connect, read or write time-out, or the deadline of the request or the patient."""


class ProtocolViolation(TransportError):
    """What came was not valid HTTP, was cut short, or was not asked for."""


class BodyTooLarge(TransportError):
    """The body had more bytes, depth or entries than allowed; reading stopped."""


class BadBody(TransportError):
    """The body is not what was asked for.

    Attributes:
        reason: ``empty``, ``html``, ``not-json``, ``wrong-type`` or ``bad-encoding``.
    """

    def __init__(self, message: str, *, reason: str, debug_detail: str | None = None) -> None:
        super().__init__(message, debug_detail=debug_detail)
        self.reason = reason


class BreakerOpen(TransportError):
    """The host failed too often in a row; it is left alone for a while."""


class QuotaSpent(TransportError):
    """The server's quota for today is used up; go on tomorrow with the same command."""


class HttpStatusError(EHRError):
    """The server answered with an error status.

    Attributes:
        status: the HTTP status, 400 to 599.
        outcome_codes: codes found in an OperationOutcome (vendor codes such as ``59108``, or issue types).
    """

    def __init__(
        self, message: str, *, status: int, outcome_codes: Iterable[str] = (), debug_detail: str | None = None
    ) -> None:
        super().__init__(message, debug_detail=debug_detail)
        self.status = status
        self.outcome_codes = tuple(outcome_codes)


class AuthError(EHRError):
    """Access was not given."""


class LoginRefused(AuthError):
    """The authorization server refused the login. Trying again changes nothing; it needs a person.

    Attributes:
        code: the OAuth error code (``invalid_client``, ``invalid_grant``, …) if one was sent.
    """

    def __init__(self, message: str, *, code: str | None = None, debug_detail: str | None = None) -> None:
        super().__init__(message, debug_detail=debug_detail)
        self.code = code


class ClockWrong(LoginRefused):
    """This machine's clock and the server's differ by more than a minute, so assertions are refused."""


class ScopeMissing(AuthError):
    """What was granted does not cover what is asked."""


class TokenResponseMalformed(AuthError):
    """The token endpoint answered with something that cannot be used as a token."""


class LoginNotKept(AuthError):
    """The store of logins cannot be read or written, or another process holds it for too long."""


class ReadError(EHRError):
    """A resource cannot be read into a record.

    Attributes:
        path: where in the resource (``$.code.coding[0].code``); never a value.
    """

    def __init__(self, message: str, *, path: str = "$", debug_detail: str | None = None) -> None:
        super().__init__(message, debug_detail=debug_detail)
        self.path = path


class Unavailable(EHRError):
    """A collection that is not complete was asked for as if it were.

    Attributes:
        state: name of the `ehr.records.patient.State` it is in.
    """

    def __init__(self, message: str, *, state: str, debug_detail: str | None = None) -> None:
        super().__init__(message, debug_detail=debug_detail)
        self.state = state


class NotMatched(EHRError):
    """There is no one certain patient for the person asked for."""
