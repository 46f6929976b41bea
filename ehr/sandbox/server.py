"""A sandbox on a loopback socket, in a thread for tests and programs or in the foreground for a person."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from ehr.errors import ConfigurationError
from ehr.sandbox.app import SandboxApp, build_app
from ehr.sandbox.data import load
from ehr.sandbox.faults import Fault, FaultScript
from ehr.sandbox.instants import Clock, utc_now
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.skin import Skin
from ehr.sandbox.store import Store
from ehr.sandbox.witness import Witness

PEOPLE = Path(__file__).with_name("people")  # invented; for whoever has no data yet
_START_S = 20.0
_END_S = 1.0  # running requests may finish
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


@dataclass(frozen=True, slots=True)
class TLS:
    """A certificate to serve https with.

    Args:
        certificate: PEM file with the chain.
        key: PEM file with the private key, not encrypted.
    """

    certificate: Path
    key: Path


class _Server(uvicorn.Server):
    """uvicorn's server, told to stop by an event instead of looking ten times a second."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready()
        await self._stop.wait()

    def stop(self) -> None:
        """From any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn's own waits a fixed time; a suite that starts hundreds of sandboxes would feel it
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        tasks = list(self.server_state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if isinstance(transport, asyncio.Transport):
                transport.abort()  # an orderly TLS end could wait long for the peer
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def abort(self, client: tuple[str, int] | None) -> bool:
        """Reset the connection from ``client``; False if there is none."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if getattr(connection, "client", None) == client and isinstance(transport, asyncio.Transport):
                raw = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                transport.abort()
                return True
        return False


def _server(app: SandboxApp, tls: TLS | None, ready: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        date_header=False,  # the sandbox's own clock makes it
        server_header=False,
        ssl_certfile=tls.certificate if tls is not None else None,
        ssl_keyfile=tls.key if tls is not None else None,
    )
    try:
        config.load()
    except OSError as error:  # ssl's errors are among them
        raise ConfigurationError(f"the TLS files cannot be used ({type(error).__name__})") from None
    server = _Server(config, ready)
    app.abort = server.abort
    return server


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"the port cannot be used ({type(error).__name__}); choose another, or 0"
        ) from None
    return listener


class Sandbox:
    """An embedded EHR on 127.0.0.1 for the length of a ``with`` (or ``async with``) block.

    Args:
        data: a folder (see `ehr.sandbox.data`) or a `Store`, which may serve several sandboxes; None for a
            few built-in synthetic people.
        skin: name of a skin, or a `Skin`.
        clients: who may log in, by client id.
        login: False opens everything to all, and there is no token endpoint.
        clock: gives the time, aware; used everywhere, the ``Date`` header included.
        tls: to serve https.

    Attributes:
        app: the ASGI application, for `httpx.ASGITransport`.

    Raises:
        ConfigurationError: a file or skin cannot be used.
    """

    def __init__(
        self,
        data: Path | Store | None = None,
        skin: Skin | str = "smarthealthit",
        *,
        clients: Mapping[str, RegisteredClient] | None = None,
        login: bool = True,
        clock: Clock = utc_now,
        tls: TLS | None = None,
    ) -> None:
        store = data if isinstance(data, Store) else load(data or PEOPLE)
        allowed = dict(clients or {}) if login else None
        self.app = build_app(store, skin, clients=allowed, clock=clock)
        self._tls = tls
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.app.skin.name}, {self.app.store!r})"

    @property
    def origin(self) -> str:
        """Scheme, host and port; before the start, a name that leads nowhere."""
        return self.app.origin

    @property
    def base_url(self) -> str:
        """FHIR base, without a slash at the end."""
        return self.app.base_url

    @property
    def token_url(self) -> str:
        """Token endpoint; what an assertion's ``aud`` must be."""
        return self.app.token_url

    @property
    def witness(self) -> Witness:
        """What was seen; set another sandbox's here, and the two see together."""
        return self.app.witness

    @witness.setter
    def witness(self, shared: Witness) -> None:
        self.app.witness = shared

    @property
    def faults(self) -> FaultScript:
        """The fault script; setting one (or only its rules) starts its counts anew, at any time."""
        return self.app.faults

    @faults.setter
    def faults(self, script: FaultScript | Iterable[Fault]) -> None:
        self.app.faults = script

    def release(self) -> None:
        """Let every request go that a `Hang` fault holds."""
        self.app.held.release()

    def revoke_tokens(self) -> None:
        """End every access token now."""
        if self.app.desk is not None:
            self.app.desk.revoke_all()

    def start(self) -> None:
        """Listen, and return when requests are answered."""
        listener = _listening(0)
        ready = threading.Event()
        self.app.origin = _origin(listener, self._tls)
        try:
            server = _server(self.app, self._tls, ready.set)
            thread = threading.Thread(target=server.run, args=([listener],), name="sandbox-ehr", daemon=True)
            thread.start()
        except BaseException:
            listener.close()
            raise
        self._server, self._thread = server, thread
        if not ready.wait(_START_S):
            self.stop()
            raise ConfigurationError("the sandbox did not start in time")

    def stop(self) -> None:
        """Close all connections and end the thread; harmless when it does not run."""
        if self._server is None or self._thread is None:
            return
        self.release()
        self._server.stop()
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Sandbox:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def _origin(listener: socket.socket, tls: TLS | None) -> str:
    return f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Registration:
    """A client that a user registers on the command line.

    Args:
        client_id: as in the assertion's ``iss``.
        jwks: file with its public keys, a JWK Set.
        scopes: what it may ask for.
    """

    client_id: str
    jwks: Path
    scopes: tuple[str, ...] = ("system/*.rs",)

    def client(self) -> RegisteredClient:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read as a JWK Set of public keys.
        """
        try:
            document = json.loads(self.jwks.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"the JWKS file cannot be read ({type(error).__name__})") from None
        if not isinstance(document, dict):
            raise ConfigurationError("the JWKS file is not a JSON object with keys")
        return RegisteredClient(document, self.scopes)


def serve(
    data: Path | None,
    skin: str,
    port: int,
    *,
    announce: Callable[[str], None],
    login: bool = False,
    registrations: Iterable[Registration] = (),
) -> None:
    """Serve in the foreground until stopped (Ctrl-C raises `KeyboardInterrupt` after a clean end).

    Args:
        data: folder with FHIR files; None for a few built-in synthetic people.
        skin: name of a skin.
        port: on 127.0.0.1; 0 takes a free one.
        announce: is given the FHIR base URL once requests are answered.
        login: tokens are needed; at least one registration then.
        registrations: who may log in.

    Raises:
        ConfigurationError: a file, skin or port cannot be used, or a login is asked for and nobody may log in.
    """
    clients = {entry.client_id: entry.client() for entry in registrations}
    if login and not clients:
        raise ConfigurationError("login needs a client: give a client id and its JWKS file")
    store = load(data or PEOPLE)
    app = build_app(store, skin, clients=clients if login else None)
    listener = _listening(port)
    app.origin = _origin(listener, None)
    _server(app, None, lambda: announce(app.base_url)).run([listener])
