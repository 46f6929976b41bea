"""httpx's transport interface on aiohttp's connections.

Each setting answers a behaviour seen on servers that misbehave: no redirects, cookies, proxies or
environment; URL bytes go out exactly as they were checked; nothing is sent twice; a connection on
which something unasked lies is not used again; errors carry our own sentences. One engine belongs to
one event loop. Requirements S14, S16, S25 and S34 of the EHR layer.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

from ehr.transport.body import read_all
from ehr.transport.origin import Origin
from ehr.transport.request import ReadyRequest
from ehr.transport.settings import Limits
from ehr.transport.sockets import SocketFactory, Sockets
from ehr.transport.tls import tls_context

_METHOD = re.compile(r"[A-Z]{1,20}")
_HEADER_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(rb"[\t\x20-\x7e]*")
_NAME_TEXT = re.compile(_HEADER_NAME.pattern.decode())
_VALUE_TEXT = re.compile(_HEADER_VALUE.pattern.decode())
# aiohttp sets these itself, from the URL and the body.
_FRAMING = {b"host", b"content-length", b"transfer-encoding", b"connection"}
_FRAMING_TEXT = frozenset(name.decode() for name in _FRAMING)
_LINE_BYTES = 16 * 1024
_HEADERS = 128
_LARGE_BODY = 256 * 1024
_KEEP_ALIVE_S = 15.0


class CertificateRefused(httpx.ConnectError):
    """The server's certificate does not hold. Asking again changes nothing."""


class AddressRefused(OSError):
    """A host name stands for an address that must not be called; raised by resolvers and socket factories."""


class AddressNotAllowed(httpx.ConnectError):
    """What an `AddressRefused` becomes; nothing was sent."""


class _ConnectionLost(aiohttp.ClientError):
    """Closed or reset before an answer; a class of our own, because aiohttp repeats after its own."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made with.

    Attributes:
        limits: time-outs and connections per host.
        tls: the context; None makes the default one on first use.
        resolver: turns names into addresses; None is the system's.
        socket_factory: makes the socket for an address; sees the final one, also for literals.
    """

    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None
    resolver: AbstractResolver | None = None
    socket_factory: SocketFactory | None = None


class _Connector(aiohttp.TCPConnector):
    """Gives out clean connections only."""

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        while True:
            connection = await super().connect(*args, **kwargs)
            # Bytes that came unasked on an idle connection would be read as the next answer.
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


async def _send_once(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
    try:
        return await handler(request)  # type: ignore[no-any-return] # aiohttp's handler type is not exported
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        raise _ConnectionLost from None


class AiohttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport whose connections are aiohttp's.

    Errors are httpx's, with our own texts. Response bodies come undecoded.
    """

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self._settings = settings or EngineSettings()
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._sockets = Sockets(self._settings.socket_factory)
        self._context = self._settings.tls

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request once.

        Raises:
            httpx.TransportError: a subclass that says what failed.
        """
        url, headers = _wire_url(request.url), _wire_headers(request.method, request.headers.raw)
        body = await request.aread()
        bound = asyncio.timeout(self._settings.limits.head_s)
        try:
            async with bound:
                answer = await self._answer(request.method, url, headers, body)
        except TimeoutError:
            if not bound.expired():
                raise
            raise httpx.WriteTimeout("Sending the request, or its answer's head, took too long.") from None
        response = httpx.Response(
            answer.status,
            headers=list(answer.raw_headers),
            stream=_Body(answer),
            extensions={"reason_phrase": (answer.reason or "").encode("ascii", "replace")},
        )
        # Else httpx tries encodings on every look at a header.
        response.headers.encoding = "latin-1"
        return response

    async def fetch(self, request: ReadyRequest, origin: Origin) -> EngineResponse:
        """Send one request once; errors as for `handle_async_request`, and bodies come decoded.

        The caller bounds the time until the answer's head is there (`Limits.head_s`).

        Args:
            request: its URL lies inside ``origin``.
            origin: the pin.
        """
        headers = _checked_headers(request.method, request.headers)
        return EngineResponse(
            await self._answer(request.method, _pinned_url(request.url, origin), headers, request.content)
        )

    async def _answer(
        self, method: str, url: yarl.URL, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        session = self._open_session()
        try:
            answer = await session.request(
                method,
                url,
                headers=headers,
                data=_payload(body or b""),
                allow_redirects=False,
                ssl=self._tls(url),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _mapped(error) from None
        if not 200 <= answer.status <= 599:
            answer.close()
            raise httpx.RemoteProtocolError("The server sent a status outside 200 to 599.")
        return answer

    async def aclose(self) -> None:
        """Close every connection and see every socket closed. The engine cannot be used again."""
        self._closed = True
        if self._session is not None:
            self._check_loop()
            self._sockets.shut()
            await self._session.close()
            await self._sockets.closed()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise httpx.LocalProtocolError("This transport is closed.")
        if self._session is None:
            self._loop = asyncio.get_running_loop()
            self._session = self._new_session()
        self._check_loop()
        return self._session

    def _check_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise httpx.LocalProtocolError(
                "This transport belongs to another event loop; open one for each loop."
            )

    def _tls(self, url: yarl.URL) -> ssl.SSLContext | bool:
        if url.scheme != "https":
            return True
        if self._context is None:
            self._context = tls_context()
        return self._context

    def _new_session(self) -> aiohttp.ClientSession:
        settings, limits = self._settings, self._settings.limits
        connector = _Connector(
            limit=0,
            limit_per_host=limits.concurrency,
            keepalive_timeout=_KEEP_ALIVE_S,
            resolver=settings.resolver,
            use_dns_cache=settings.resolver is None,
            socket_factory=self._sockets,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=limits.connect_s, sock_read=limits.read_s
            ),
            middlewares=(_send_once,),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_HEADERS,
        )


class EngineResponse:
    """An answer of `AiohttpTransport.fetch`; to be closed.

    Attributes:
        status: 200 to 599.
        headers: case-insensitive.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = httpx.Headers(list(answer.raw_headers), encoding="latin-1")

    async def read(self, limit: int) -> bytes:
        """The whole decoded body; arguments and errors as for `ehr.transport.body.pieces`."""
        headers = self._answer.headers
        codings = headers.getall("content-encoding", [])
        try:
            return await read_all(self._answer.content.readany, codings, headers.get("content-length"), limit)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _mapped(error) from None

    def close(self) -> None:
        """End it; before the body's end that closes the connection."""
        self._answer.close()


class _Body(httpx.AsyncByteStream):
    """The undecoded body; closing it before its end closes the connection."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _mapped(error) from None

    async def aclose(self) -> None:
        self._answer.close()


def _payload(body: bytes) -> bytes | BytesIO | None:
    # A large body goes out in pieces, so that the loop is not held up.
    return BytesIO(body) if len(body) > _LARGE_BODY else body or None


def _wire_url(url: httpx.URL) -> yarl.URL:
    """The URL for aiohttp, byte for byte, and read by it as httpx reads it."""
    exact = yarl.URL(str(url), encoded=True)
    host = (exact.raw_host or "").encode()
    if (host, exact.raw_path_qs.encode(), exact.scheme) != (url.raw_host, url.raw_path, url.scheme):
        raise httpx.UnsupportedProtocol("The URL could be read in two ways.")
    if exact.port != (url.port or {"http": 80, "https": 443}.get(url.scheme)):
        raise httpx.UnsupportedProtocol("The URL's port could be read in two ways.")
    return exact


def _pinned_url(url: str, origin: Origin) -> yarl.URL:
    """As `_wire_url`, where the pin has read the URL already: both must see the same place."""
    exact = yarl.URL(url, encoded=True)
    if url == f"{origin.root}{exact.raw_path_qs}" and exact.raw_host == origin.host:
        return exact
    return _wire_url(httpx.URL(url))


def _wire_headers(method: str, raw: list[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    if not _METHOD.fullmatch(method):
        raise httpx.LocalProtocolError("The method is not a word of capital letters.")
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in raw:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise httpx.LocalProtocolError("A header has characters that are not allowed.")
        if name.lower() not in _FRAMING:
            headers.add(name.decode("ascii"), value.decode("ascii"))
    return headers


def _checked_headers(method: str, given: dict[str, str]) -> CIMultiDict[str]:
    """As `_wire_headers`, of names in lower case."""
    if not _METHOD.fullmatch(method):
        raise httpx.LocalProtocolError("The method is not a word of capital letters.")
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in given.items():
        # Printable ASCII is the rule; only what is not is looked at by the exact pattern.
        plain = value.isascii() and value.isprintable()
        if not _NAME_TEXT.fullmatch(name) or not (plain or _VALUE_TEXT.fullmatch(value)):
            raise httpx.LocalProtocolError("A header has characters that are not allowed.")
        if name not in _FRAMING_TEXT:
            headers.add(name, value)
    return headers


def _mapped(error: Exception) -> httpx.TransportError:
    """An httpx error with our own text; most specific first."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(error, AddressRefused) or isinstance(cause, AddressRefused):
        return AddressNotAllowed("The host stands for an address that must not be called.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CertificateRefused("The server's certificate does not hold for this host.")
    for kind, made, text in _ERRORS:
        if isinstance(error, kind):
            return made(text)
    return httpx.ReadError("The connection failed.")


_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError], str], ...] = (
    (aiohttp.ClientSSLError, httpx.ConnectError, "TLS could not be agreed on with the server."),
    (aiohttp.ClientConnectorDNSError, httpx.ConnectError, "The host name could not be resolved."),
    (aiohttp.ClientConnectorError, httpx.ConnectError, "The connection was refused or not possible."),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "Connecting took too long."),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout, "The server sent nothing for too long."),
    (TimeoutError, httpx.ReadTimeout, "The server sent nothing for too long."),
    (_ConnectionLost, httpx.ReadError, "The server closed the connection before answering."),
    (aiohttp.ServerDisconnectedError, httpx.ReadError, "The server closed the connection."),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "The answer ended early or is not valid HTTP."),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "The answer is not valid HTTP."),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol, "The URL cannot be used."),
    (aiohttp.ClientOSError, httpx.ReadError, "The connection was reset."),
    (OSError, httpx.ReadError, "The connection was reset."),
    (ValueError, httpx.RemoteProtocolError, "The answer is not valid HTTP."),
)
