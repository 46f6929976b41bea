"""Bounded reading: bytes before and after decoding, one content coding, complete streams only.

Requirements S17 and S18 of the EHR layer. gzip is undone here and not by the HTTP library, because a
ready decoder accepts a stream that was cut, and undoes ``gzip, gzip`` into one piece of a gigabyte.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator

import msgspec

from ehr.errors import BadBody, BodyTooLarge, ProtocolViolation

SMALLEST_ENTRY = 32
"""Bytes of the least entry that a typed reader takes: ``{"resource":{"resourceType":"…"}}``."""
_PIECE = 256 * 1024
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[a-z0-9.!#$&^_-]+\+)?json(?:\+[a-z]+)?")
_STRING = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'"[]{}')


class _Entry(msgspec.Struct, gc=False):
    """An entry of a Bundle, counted and not kept."""


class _Envelope(msgspec.Struct):
    entry: list[_Entry] = []


_SYNTAX = msgspec.json.Decoder(msgspec.Raw)
_ENTRIES = msgspec.json.Decoder(_Envelope)


class _Plain:
    """No content coding."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def finish(self) -> None:
        return None


class _Gzip:
    """gzip, member after member, in pieces of at most 256 KiB."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._began = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            self._began = True
            try:
                piece = self._member.decompress(chunk, _PIECE)
            except zlib.error:
                raise _coding("The body says gzip but is not, or its checksum is wrong.") from None
            chunk = self._member.unconsumed_tail or self._member.unused_data
            if piece:
                yield piece

    def finish(self) -> None:
        if self._began and not self._member.eof:
            raise ProtocolViolation("A compressed body ended early; the answer was thrown away.")


def _coding(message: str) -> BadBody:
    return BadBody(f"{message} The answer was thrown away.", reason="bad-encoding")


def decoder(codings: list[str]) -> _Plain | _Gzip:
    """The decoder for the values of ``Content-Encoding``.

    Raises:
        BadBody: more than one coding, or one that was not asked for.
    """
    names = [name.strip().lower() for value in codings for name in value.split(",") if name.strip()]
    if not names or names == ["identity"]:
        return _Plain()
    if names in (["gzip"], ["x-gzip"]):
        return _Gzip()
    raise _coding(f"The body has {len(names)} content codings; expected gzip or none.")


async def pieces(
    stream: AsyncIterable[bytes], codings: list[str], declared: str | None, limit: int
) -> AsyncIterator[bytes]:
    """The decoded body in bounded pieces.

    Args:
        stream: the body as it comes off the wire.
        codings: values of ``Content-Encoding``.
        declared: ``Content-Length``, if sent.
        limit: bytes allowed, before and after decoding.

    Raises:
        BodyTooLarge: more bytes came, or were announced; reading stops there.
        BadBody: the coding was not asked for or is broken (``bad-encoding``).
        ProtocolViolation: a compressed body ended early.
    """
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    undo = decoder(codings)
    encoded = decoded = 0
    async for chunk in stream:
        encoded += len(chunk)
        if encoded > limit:
            raise _too_large(limit)
        for piece in undo.feed(chunk):
            decoded += len(piece)
            if decoded > limit:
                raise _too_large(limit)
            yield piece
    undo.finish()


async def read(stream: AsyncIterable[bytes], codings: list[str], declared: str | None, limit: int) -> bytes:
    """The whole decoded body; arguments and errors as for `pieces`."""
    parts = [piece async for piece in pieces(stream, codings, declared, limit)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_all(
    more: Callable[[], Awaitable[bytes]], codings: list[str], declared: str | None, limit: int
) -> bytes:
    """The whole decoded body of a stream that gives what came, and nothing at its end.

    Arguments and errors as for `pieces`, without a generator between each two pieces.
    """
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    undo = decoder(codings) if codings else _Plain()
    encoded = decoded = 0
    parts: list[bytes] = []
    while chunk := await more():
        encoded += len(chunk)
        if encoded > limit:
            raise _too_large(limit)
        for piece in undo.feed(chunk):
            decoded += len(piece)
            if decoded > limit:
                raise _too_large(limit)
            parts.append(piece)
    undo.finish()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {limit} bytes allowed; reading stopped.")


def check_json(body: bytes, content_type: str | None, *, depth: int | None, entries: int) -> bytes:
    """A body that is JSON in content type and syntax, within the limits of depth and entries.

    Args:
        body: decoded bytes.
        content_type: value of ``Content-Type``; a missing one is let pass.
        depth: levels allowed, counted exactly (about 4 ms per MB); None leaves it at the decoder's own
            stack limit, near 1,000 levels.
        entries: entries of a Bundle allowed.

    Returns:
        The body without a byte order mark.

    Raises:
        BadBody: ``empty``, ``html``, ``wrong-type`` or ``not-json``.
        BodyTooLarge: too deep, or too many entries.
    """
    body = check_kind(body, content_type)
    check_syntax(body, depth=depth, entries=entries)
    return body


def check_kind(body: bytes, content_type: str | None) -> bytes:
    """The part of `check_json` that looks at the beginning alone: something, not HTML, of a JSON type.

    Returns:
        The body without a byte order mark.

    Raises:
        BadBody: ``empty``, ``html`` or ``wrong-type``.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    kind = (content_type or "").partition(";")[0].strip().lower()
    if not body or body.isspace():
        raise BadBody("The body is empty; expected JSON.", reason="empty")
    if kind in {"text/html", "application/xhtml+xml"} or _looks_like_html(body):
        raise BadBody("The body is HTML; expected JSON. A proxy or login page answers.", reason="html")
    if kind and not _JSON_TYPE.fullmatch(kind):
        raise BadBody("The content type is not JSON; expected application/fhir+json.", reason="wrong-type")
    return body


def check_syntax(body: bytes, *, depth: int | None, entries: int) -> None:
    """The part of `check_json` that reads it all; arguments and errors as there, for a body without a mark.

    Raises:
        BadBody: ``not-json``.
        BodyTooLarge: too deep, or too many entries.
    """
    try:
        found = _entries(body)
    except RecursionError:
        raise BodyTooLarge("The JSON is nested deeper than allowed; it was not read.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadBody("The body is not valid JSON, or ended early.", reason="not-json") from None
    if depth is not None and json_depth(body) > depth:
        raise BodyTooLarge(f"The JSON is nested deeper than the {depth} levels allowed; it was not read.")
    if found > entries:
        raise BodyTooLarge(f"The Bundle has more than the {entries} entries allowed; it was not read.")


def _looks_like_html(body: bytes) -> bool:
    start = body[:256].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _entries(body: bytes) -> int:
    """Entries of a Bundle, syntax checked on the way; 0 for JSON of another shape."""
    try:
        return len(_ENTRIES.decode(body).entry)
    except msgspec.ValidationError:
        # Valid so far but no Bundle: the reader says what is wrong with it, if its syntax is right.
        _SYNTAX.decode(body)
        return 0


def json_depth(body: bytes) -> int:
    """Levels of nesting of a syntactically valid JSON text, brackets inside strings not counted."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    skeleton = _STRING.sub(b"", body.translate(None, _NOT_STRUCTURE))
    level = deepest = 0
    for byte in skeleton:
        level += 1 if byte in b"[{" else -1
        deepest = max(deepest, level)
    return deepest
