"""What is sent back, before it is sent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ehr.sandbox.faults import (
    Alien,
    Body,
    Duplicate,
    LostPage,
    NextLink,
    Oversize,
    PageFault,
    Remark,
    Status,
    WrongTotal,
)
from ehr.sandbox.instants import http_date
from ehr.sandbox.messages import Answer
from ehr.sandbox.outcomes import outcome
from ehr.sandbox.pages import BundlePage, PageEntry
from ehr.sandbox.skin import OutcomeCode

_PIECE = 1 << 16
_DEEP = 100_000


def outcome_answer(status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
    """An OperationOutcome under a status."""
    return Answer(status, msgspec.json.encode(document), headers=headers or {})


def error_answer(fault: Status, now: datetime) -> Answer:
    """The answer a `Status` fault asks for."""
    headers = {}
    if fault.retry_after is not None:
        headers["retry-after"] = _retry_after(fault.retry_after, now)
    if fault.location is not None:
        headers["location"] = fault.location
    if fault.status == 401:
        headers["www-authenticate"] = 'Bearer error="invalid_token"'
    if fault.body is not None:
        return Answer(fault.status, fault.body, fault.content_type, headers)
    code = OutcomeCode("exception", "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369", fault.vendor_code)
    return outcome_answer(fault.status, outcome(code, "a fault was asked for"), headers)


def _retry_after(value: int | datetime | timedelta | str, now: datetime) -> str:
    if isinstance(value, timedelta):
        return http_date(now + value)
    return http_date(value) if isinstance(value, datetime) else str(value)


def spoilt(answer: Answer, fault: Body) -> Answer:
    """The answer with another body under status 200."""
    if fault.kind == "truncated":
        return replace(answer, body=answer.body[: max(1, len(answer.body) * 2 // 3)])
    if fault.kind == "empty":
        return replace(answer, status=200, body=b"")
    if fault.kind == "html":
        page = b"<!doctype html><title>Sign in</title><p>Please sign in to go on.</p>"
        return Answer(200, page, "text/html; charset=utf-8")
    if fault.kind == "deep":
        body = b'{"resourceType":"Bundle","type":"searchset","x":' + b"[" * _DEEP + b"]" * _DEEP + b"}"
        return replace(answer, status=200, body=body)
    if fault.kind == "not-utf8":
        return replace(answer, status=200, body=b'{"resourceType":"Bundle","id":"\xff\xfe"}')
    return replace(answer, content_type="text/plain; charset=utf-8")


def oversize_pieces(fault: Oversize) -> Iterator[bytes]:
    """A long body in pieces: a Bundle with a padding string, about ``size_bytes`` before packing."""
    plain = _plain_pieces(fault.size_bytes)
    if not fault.packed:
        yield from plain
        return
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in plain:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()


def _plain_pieces(size: int) -> Iterator[bytes]:
    yield b'{"resourceType":"Bundle","type":"searchset","padding":"'
    for _ in range(size // _PIECE):
        yield b" " * _PIECE
    yield b" " * (size % _PIECE) + b'"}'


def altered(page: BundlePage, fault: PageFault, alien: PageEntry | None) -> BundlePage:
    """The page with one fault in it.

    Args:
        page: the good one.
        fault: what goes wrong.
        alien: an entry about another patient, if there is one.
    """
    if isinstance(fault, NextLink):
        return _relinked(page, fault)
    if isinstance(fault, WrongTotal):
        return replace(page, total=fault.total)
    if isinstance(fault, LostPage):
        return replace(page, entries=())
    if isinstance(fault, Duplicate):
        return replace(page, entries=page.entries[:1] + page.entries)
    if isinstance(fault, Alien):
        return replace(page, entries=page.entries + ((alien,) if alien is not None else ()))
    return replace(page, entries=(*page.entries, remark(fault)))


def remark(fault: Remark) -> PageEntry:
    """The entry a `Remark` fault asks for."""
    system = "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369" if fault.vendor_code else ""
    code = OutcomeCode("processing", system, fault.vendor_code, fault.severity)
    return PageEntry(msgspec.json.encode(outcome(code, "a fault was asked for")), "", "outcome")


def _relinked(page: BundlePage, fault: NextLink) -> BundlePage:
    links = dict(page.links)
    good = links.get("next", links["self"])
    if fault.kind == "none":
        return replace(page, links=tuple(link for link in page.links if link[0] != "next"))
    if fault.kind == "loop":
        return page.with_link("next", links["self"])
    if fault.kind == "first":
        return page.with_link("next", links["first"])
    parts = urlsplit(good)
    relative = parts.path + (f"?{parts.query}" if parts.query else "")
    return page.with_link("next", relative if fault.kind == "relative" else fault.url.rstrip("/") + relative)
