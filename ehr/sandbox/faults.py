"""Faults by script: which requests go wrong, how, and how often. Deterministic.

ehr.faults = FaultScript((
    Fault(Status(503), When(resource_type="Condition"), times=2),
    Fault(Truncated(), When(resource_type="Observation", page=3)),
))
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ehr.errors import ConfigurationError
from ehr.sandbox.witness import Endpoint, RequestTarget

_DATA: frozenset[Endpoint] = frozenset({"search", "page", "read", "match"})


@dataclass(frozen=True, slots=True)
class When:
    """Which requests a fault is for; None means any.

    Args:
        endpoint: without it, requests for data (search, page, read, match); ``search`` covers its later
            pages too.
        resource_type: searched or read.
        patient: id of the patient asked about.
        page: 1 for the answer to the search itself, 2 and more for what follows.
        method: of HTTP.
    """

    endpoint: Endpoint | None = None
    resource_type: str | None = None
    patient: str | None = None
    page: int | None = None
    method: str | None = None

    def fits(self, asked: RequestTarget, method: str) -> bool:
        if self.endpoint is None:
            meant = asked.endpoint in _DATA
        else:
            meant = asked.endpoint == self.endpoint or (
                self.endpoint == "search" and asked.endpoint == "page"
            )
        return (
            meant
            and self.resource_type in {None, asked.resource_type}
            and self.patient in {None, asked.patient}
            and self.page in {None, asked.page}
            and self.method in {None, method}
        )


@dataclass(frozen=True, slots=True)
class Status:
    """An error status instead of an answer.

    Args:
        status: HTTP status.
        retry_after: whole seconds, a moment, a time from the sandbox's now (both sent as HTTP date), or
            any text.
        body: sent as it is; None for an OperationOutcome.
        content_type: of the body.
        location: a ``Location`` header, for redirects.
        vendor_code: the vendor's code in the OperationOutcome.
    """

    status: int
    retry_after: int | datetime | timedelta | str | None = None
    body: bytes | None = None
    content_type: str = "application/fhir+json"
    location: str | None = None
    vendor_code: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset; ``after_bytes`` of a good answer are sent before."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer until the sandbox releases it, stops, or the client goes away; then 503."""


@dataclass(frozen=True, slots=True)
class Body:
    """The status is 200, the body is not what it should be.

    Args:
        kind: ``truncated`` JSON, an ``html`` page, ``empty``, ``deep`` JSON (valid, 100,000 levels),
            ``wrong-type`` (the good answer under ``text/plain``) or ``not-utf8``.
    """

    kind: Literal["truncated", "html", "empty", "deep", "wrong-type", "not-utf8"]


@dataclass(frozen=True, slots=True)
class Oversize:
    """A body that is valid JSON and far too long, sent in pieces; packed with gzip if asked for."""

    size_bytes: int
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Trickle:
    """The good answer, a few bytes at a time.

    Args:
        piece_bytes: sent at once.
        interval_s: between pieces.
    """

    piece_bytes: int = 1
    interval_s: float = 0.05


@dataclass(frozen=True, slots=True)
class NextLink:
    """Another ``next`` link on a page.

    Args:
        kind: ``foreign`` goes to ``url``; ``relative`` is the good link without its origin; ``loop`` is the
            page itself; ``first`` is the first page again; ``none`` removes it.
        url: for ``foreign``: the origin that stands in the link instead of ours; path and query stay.
    """

    kind: Literal["foreign", "relative", "loop", "first", "none"]
    url: str = ""


@dataclass(frozen=True, slots=True)
class Alien:
    """A resource of the same type about another patient lies among the entries, as a match."""


@dataclass(frozen=True, slots=True)
class Remark:
    """An OperationOutcome lies among the entries, with ``search.mode`` outcome."""

    severity: Literal["information", "warning", "error", "fatal"] = "error"
    vendor_code: str = ""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The first entry of the page comes twice."""


@dataclass(frozen=True, slots=True)
class LostPage:
    """The page's entries are missing, its links are not."""


@dataclass(frozen=True, slots=True)
class WrongTotal:
    """``total`` says something else, or nothing."""

    total: int | None


@dataclass(frozen=True, slots=True)
class ExpireSession:
    """The paging session of the link is over."""


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """The presented token is revoked before it is looked at; ``every`` ends all others too."""

    every: bool = False


PageFault = NextLink | Alien | Remark | Duplicate | LostPage | WrongTotal
Action = Status | Reset | Hang | Body | Oversize | Trickle | PageFault | ExpireSession | RevokeToken


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule.

    Args:
        action: what goes wrong.
        when: for which requests.
        skip: so many fitting requests stay good first.
        times: so many go wrong; None for all.
    """

    action: Action
    when: When = When()
    skip: int = 0
    times: int | None = None

    def __post_init__(self) -> None:
        if self.skip < 0 or (self.times is not None and self.times < 0):
            raise ConfigurationError("skip and times of a Fault are whole numbers, 0 or more")


@dataclass(frozen=True, slots=True)
class FaultScript:
    """All rules; a request may meet several.

    Args:
        faults: tried in order.
        clock_offset: added to the sandbox's clock: its dates, token lives and assertion checks.
    """

    faults: tuple[Fault, ...] = ()
    clock_offset: timedelta = timedelta()


class FaultRunner:
    """Counts requests against a script; safe to use from several threads."""

    def __init__(self, script: FaultScript) -> None:
        self.script = script
        self._met = [0] * len(script.faults)
        self._lock = threading.Lock()

    def actions(self, asked: RequestTarget, method: str) -> list[Action]:
        """What goes wrong with this request; every call counts as one request."""
        found: list[Action] = []
        with self._lock:
            for number, fault in enumerate(self.script.faults):
                if not fault.when.fits(asked, method):
                    continue
                self._met[number] += 1
                order = self._met[number] - fault.skip
                if order >= 1 and (fault.times is None or order <= fault.times):
                    found.append(fault.action)
        return found


def as_script(value: FaultScript | Iterable[Fault]) -> FaultScript:
    """A script from a script or from its rules alone."""
    return value if isinstance(value, FaultScript) else FaultScript(tuple(value))
