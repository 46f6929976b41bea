"""The content of a document: inline, or in a Binary on the same server."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from ehr.auth.authenticator import Authenticator
from ehr.config import ProviderProfile
from ehr.errors import BadBody, QuotaSpent, ReadError
from ehr.fhir.outcome import from_status
from ehr.records.elements import Element
from ehr.records.fetched import State
from ehr.records.patient import Attachment, DocumentReference
from ehr.transport.client import Response, Transport, outcome_codes, raise_for_status

_PIECE = 64 * 1024
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


@dataclass(frozen=True, slots=True, repr=False)
class OpenDocument:
    """An open document.

    Args:
        content_type: as declared by the attachment or the server.
        data: all of it; its size is bounded by the transport's limits.
    """

    content_type: str
    data: bytes

    def __repr__(self) -> str:
        return f"<Content {len(self.data)} bytes>"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, piece by piece."""
        for start in range(0, len(self.data), _PIECE):
            yield self.data[start : start + _PIECE]


@asynccontextmanager
async def open_content(
    transport: Transport, auth: Authenticator, document: DocumentReference, profile: ProviderProfile
) -> AsyncIterator[OpenDocument]:
    """Open the first form of a document.

    Raises:
        QuotaSpent: the vendor says that the day's documents are used up (S31).
        ReadError: there is no content, or its base64 is broken.
        DestinationRefused: the content lies on another origin.
        TransportError: it could not be fetched.
    """
    attachment = next((form.attachment for form in document.content if form.attachment is not None), None)
    if attachment is None or (attachment.data is None and attachment.url is None):
        raise ReadError("the document has no content: neither data nor url.", path="$.content[0].attachment")
    if attachment.data is not None:  # Nextech's way: the document stands in the reference itself
        yield OpenDocument(attachment.content_type or "application/octet-stream", _decoded(attachment.data))
        return
    yield await _binary(transport, auth, attachment, profile)


async def _binary(
    transport: Transport, auth: Authenticator, attachment: Attachment, profile: ProviderProfile
) -> OpenDocument:
    declared = (attachment.content_type or "").strip()
    accept = declared if _TYPE.fullmatch(declared) else "application/fhir+json"
    response = await transport.request("GET", attachment.url or "", auth=auth, accept=accept, expect="binary")
    _check_quota(response, profile)
    raise_for_status(response)
    content_type = str(response.headers.get("Content-Type", "")).split(";")[0].strip().lower()
    if content_type != "application/fhir+json":
        return OpenDocument(content_type or accept, response.body)
    try:
        wrapped = msgspec.json.decode(response.body, type=_Binary)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadBody("the Binary is not readable JSON.", reason="not-json") from None
    if wrapped.resource_type != "Binary":
        raise BadBody("what came instead of the Binary is another resource.", reason="wrong-type")
    return OpenDocument(wrapped.content_type or accept, _decoded(wrapped.data or ""))


def _check_quota(response: Response, profile: ProviderProfile) -> None:
    state, _ = from_status(response.status, outcome_codes(response.body), profile, "read")
    if state is State.QUOTA:
        raise QuotaSpent("the day's documents are used up at this EHR. Go on tomorrow with the same command.")


class _Binary(Element, frozen=True):
    resource_type: str | None = None
    content_type: str | None = None
    data: str | None = None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ReadError("the content's base64 is broken.", path="$.data") from None
