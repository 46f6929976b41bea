"""The two back-ends of the kit: mocks of httpx, and real sockets with TLS.

A case's servers are reached through either; `ServerPool` keeps what is slow to make for all cases of a run.
"""

from __future__ import annotations

import shutil
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import httpx
from starlette.types import Receive, Scope, Send

from ehr.auth.keys import Algorithm, SigningKey, new_key
from ehr.errors import ConfigurationError
from ehr.sandbox.listener import TLS, Listener
from ehr.testing.certificates import throwaway_tls
from ehr.testing.server import CaseServer
from ehr.transport.engine import AiohttpTransport, EngineSettings
from ehr.transport.settings import Limits
from ehr.transport.tls import tls_context

Backend = Literal["mocks", "socket"]
_MOCKED = ("https://ehr.example", "https://elsewhere.example")


class Mocks:
    """respx stands between the client and the servers' applications; no socket is opened.

    Attributes:
        ca_file: the authority that clients must know; None where there is no TLS.

    Raises:
        ConfigurationError: respx is not installed.
    """

    ca_file: Path | None = None

    def __init__(self) -> None:
        try:
            import respx
        except ImportError:
            raise ConfigurationError(
                "the contract kit needs respx: pip install 'trialveil[testing]'"
            ) from None
        self._router = respx.MockRouter(assert_all_called=False)

    def connect(self, servers: Sequence[CaseServer]) -> None:
        """Give each server its origin, and let it answer; a request to any other origin is an error of the mocks."""
        for origin, server in zip(_MOCKED, servers, strict=True):
            server.origin = origin
            self._router.route(url__startswith=f"{origin}/").mock(side_effect=_asked(server))

    def transport(self, limits: Limits) -> httpx.AsyncBaseTransport:
        """What the client sends with; closed by the client."""
        return httpx.MockTransport(self._router.async_handler)


def _asked(server: CaseServer) -> Callable[[httpx.Request], Awaitable[httpx.Response]]:
    inside = httpx.ASGITransport(app=server, client=("127.0.0.1", 1))

    async def answer(request: httpx.Request) -> httpx.Response:
        try:
            return await inside.handle_async_request(request)
        except ConnectionResetError:
            raise httpx.ReadError("the connection was reset", request=request) from None

    return answer


class _Switch:
    """Passes requests on to the server of the case that runs now."""

    server: CaseServer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.server is None or scope["type"] != "http":
            raise ConnectionResetError("no case runs")
        await self.server(scope, receive, send)


class ServerPair:
    """Two https servers on loopback that stay up over all cases, with a throw-away authority."""

    def __init__(self, tls: TLS, ca_file: Path) -> None:
        self.ca_file: Path | None = ca_file
        self._context: ssl.SSLContext = tls_context(ca_file)  # slow to make, and the same for every case
        self._switches = (_Switch(), _Switch())
        self._listeners = tuple(Listener(switch, tls) for switch in self._switches)
        self._origins = tuple(listener.start("contract-kit") for listener in self._listeners)

    def connect(self, servers: Sequence[CaseServer]) -> None:
        """See `Mocks.connect`."""
        for server, switch, listener, origin in zip(
            servers, self._switches, self._listeners, self._origins, strict=True
        ):
            server.origin = origin
            server.abort = listener.abort
            switch.server = server

    def transport(self, limits: Limits) -> httpx.AsyncBaseTransport:
        """See `Mocks.transport`: the engine that hospitals use."""
        return AiohttpTransport(EngineSettings(limits=limits, tls=self._context))

    def close(self) -> None:
        """End both servers."""
        for listener in self._listeners:
            listener.stop()


class ServerPool:
    """What all cases of a run share: a folder, keys, and the servers on the sockets. Use it with ``with``."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="trialveil-contract-"))
        self._keys: dict[Algorithm, SigningKey] = {}
        self._opened: ServerPair | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._opened is not None:
            self._opened.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def key(self, algorithm: Algorithm) -> SigningKey:
        """A signing key, made once."""
        if algorithm not in self._keys:
            self._keys[algorithm] = new_key(algorithm)
        return self._keys[algorithm]

    @cached_property
    def _sockets(self) -> ServerPair:
        self._opened = ServerPair(*throwaway_tls(self.folder))
        return self._opened

    def wire(self, backend: Backend) -> Mocks | ServerPair:
        """The wire of one case."""
        return Mocks() if backend == "mocks" else self._sockets
