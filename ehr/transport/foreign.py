"""A second client, without credentials, for hosts outside the EHR that were listed by name.

Bulk files and attachments may lie elsewhere. Such a host is called by https only, at an address that
was checked when its name was resolved, without redirects, within limits of size and type. There is no
way to give this client a header, a cookie or an `httpx.Auth`. Requirements S12 and S13.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

from ehr.errors import BadBody, ConfigurationError, DestinationRefused
from ehr.transport import addresses, origin
from ehr.transport.client import Transport
from ehr.transport.download import Download
from ehr.transport.engine import AddressRefused, AiohttpTransport, EngineSettings
from ehr.transport.response import Response
from ehr.transport.settings import SYSTEM_CLOCK, Clock, Limits
from ehr.transport.tls import tls_context

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class ForeignHost:
    """A host outside the EHR that files may be fetched from.

    Attributes:
        host: its name, exactly as in the URLs; lower case.
        network: ``public``: private, loopback and link-local addresses are refused; ``private``: exactly
            the declared addresses are allowed. Metadata services are refused in both.
        addresses: of a private host: IP addresses or networks.
        port: of https.
        content_types: allowed, lower case; empty allows every type.
    """

    host: str
    network: addresses.Network = "public"
    addresses: tuple[str, ...] = ()
    port: int = 443
    content_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    network: addresses.Network
    declared: tuple[addresses.Block, ...]

    def allows(self, address: str) -> bool:
        return addresses.allowed(address, self.network, self.declared)


class ForeignHosts:
    """Fetches files from listed hosts. Use it with ``async with``, in one event loop.

    Args:
        hosts: those that may be called.
        limits: time, size and rate; each host has its own rate.
        clock: time and chance.
        ca_file: PEM file with further certificate authorities.
        lookup: turns a name and a port into addresses; None asks the system.
        inner: sends requests instead of the engine, for tests; addresses are not checked then.

    Raises:
        ConfigurationError: a host is not well declared.
    """

    def __init__(
        self,
        hosts: Iterable[ForeignHost],
        *,
        limits: Limits | None = None,
        clock: Clock = SYSTEM_CLOCK,
        ca_file: Path | None = None,
        lookup: Lookup | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._hosts = {(host.host.lower(), host.port): host for host in hosts}
        rules = {host.host.lower().strip("[]"): _rule(host) for host in self._hosts.values()}
        self._wire = inner or AiohttpTransport(
            EngineSettings(
                limits=limits or Limits(),
                tls=tls_context(ca_file),
                resolver=_CheckedResolver(rules, lookup or _system_lookup),
                socket_factory=_checked_sockets(tuple(rules.values())),
            )
        )
        self._rules = rules
        self._transports: dict[tuple[str, int], Transport] = {}
        self._make: Callable[[str], Transport] = lambda base: Transport(
            base, limits=limits, clock=clock, inner=self._wire
        )

    def __repr__(self) -> str:
        return f"ForeignHosts({len(self._hosts)})"

    async def request(
        self, url: str, *, limit_bytes: int | None = None, deadline_s: float | None = None
    ) -> Response:
        """GET a file into memory.

        Raises:
            DestinationRefused: the host is not listed, or stands for an address that is not allowed.
            BadBody: the content type is not allowed (``wrong-type``).
            TransportError: no usable answer came.
        """
        host, transport = self._place(url)
        response = await transport.request(
            "GET", url, accept="*/*", expect="binary", limit_bytes=limit_bytes, deadline_s=deadline_s
        )
        if 200 <= response.status <= 299:
            _check_type(host, response.headers)
        return response

    @asynccontextmanager
    async def stream(
        self, url: str, *, limit_bytes: int | None = None, deadline_s: float | None = None
    ) -> AsyncIterator[Download]:
        """GET a file piece by piece or to disk; errors as for `request`, and HttpStatusError."""
        host, transport = self._place(url)
        async with transport.stream("GET", url, limit_bytes=limit_bytes, deadline_s=deadline_s) as download:
            _check_type(host, download.headers)
            yield download

    async def aclose(self) -> None:
        """Close every connection."""
        await self._wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _place(self, url: str) -> tuple[ForeignHost, Transport]:
        scheme, name, port = origin.authority(url)
        host = self._hosts.get((name, port))
        if scheme != "https" or host is None:
            raise DestinationRefused(
                "A file lies on a host, port or scheme that is not listed. Nothing was sent; "
                "list the host in the configuration if it is the EHR's own."
            )
        literal = name.strip("[]")
        if origin.is_address(literal) and not self._rules[literal].allows(literal):
            raise DestinationRefused("A file lies on an address that must not be called. Nothing was sent.")
        if (name, port) not in self._transports:
            family = next(iter(self._transports.values()), None)
            base = f"https://{name}:{port}"
            self._transports[name, port] = family.for_origin(base) if family else self._make(base)
        return host, self._transports[name, port]


class _CheckedResolver(AbstractResolver):
    """Resolves a listed name, and gives its addresses out only if every one of them is allowed."""

    def __init__(self, rules: dict[str, _Rule], lookup: Lookup) -> None:
        self._rules = rules
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        rule = self._rules.get(host)
        found = await self._lookup(host, port)
        if rule is None or not found or not all(rule.allows(address) for address in found):
            raise AddressRefused("an address that is not allowed")
        return [_result(host, address, port) for address in found]

    async def close(self) -> None:
        return None


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


async def _system_lookup(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _checked_sockets(rules: tuple[_Rule, ...]) -> Callable[[Any], socket.socket]:
    """The last look at an address before the connection, whatever way it came in."""

    def make(entry: Any) -> socket.socket:
        family, kind, protocol, _, where = entry
        if not any(rule.allows(str(where[0])) for rule in rules):
            raise AddressRefused("an address that is not allowed")
        return socket.socket(family, kind, protocol)

    return make


def _rule(host: ForeignHost) -> _Rule:
    if host.network not in {"public", "private"}:
        raise ConfigurationError("The network of a foreign host is neither public nor private.")
    if (host.network == "private") != bool(host.addresses):
        raise ConfigurationError(
            "A private foreign host needs its addresses declared, and a public one must have none."
        )
    origin.pin(f"https://{host.host}:{host.port}")
    return _Rule(host.network, addresses.blocks(host.addresses))


def _check_type(host: ForeignHost, headers: httpx.Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if host.content_types and kind not in host.content_types:
        raise BadBody("A file has a content type that is not allowed for its host.", reason="wrong-type")
