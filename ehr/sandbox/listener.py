"""An ASGI application on a loopback socket, with or without TLS, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ehr.errors import ConfigurationError

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


class StoppableServer(uvicorn.Server):
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


def server_of(app: ASGIApp, tls: TLS | None, ready: Callable[[], None]) -> StoppableServer:
    """A server that is ready to run.

    Raises:
        ConfigurationError: the TLS files cannot be used.
    """
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
    return StoppableServer(config, ready)


def listening(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1; port 0 takes a free one.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    # With the protocol named, asyncio sends small pieces at once (TCP_NODELAY); else each answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"the port cannot be used ({type(error).__name__}); choose another, or 0"
        ) from None
    return listener


class Listener:
    """Serves an application between `start` and `stop`.

    Args:
        app: what answers.
        tls: to serve https.

    Raises:
        ConfigurationError: the TLS files cannot be used.
    """

    def __init__(self, app: ASGIApp, tls: TLS | None = None) -> None:
        self._app = app
        self._tls = tls
        self._server: StoppableServer | None = None
        self._thread: threading.Thread | None = None

    def start(self, name: str = "sandbox-ehr") -> str:
        """Listen; the origin (scheme, host and port), once requests are answered."""
        listener = listening(0)
        ready = threading.Event()
        try:
            server = server_of(self._app, self._tls, ready.set)
            thread = threading.Thread(target=server.run, args=([listener],), name=name, daemon=True)
            thread.start()
        except BaseException:
            listener.close()
            raise
        self._server, self._thread = server, thread
        if not ready.wait(_START_S):
            self.stop()
            raise ConfigurationError("the server did not start in time")
        return origin_of(listener, self._tls)

    def abort(self, client: tuple[str, int] | None) -> bool:
        """Reset the connection from ``client``; False if there is none."""
        return self._server is not None and self._server.abort(client)

    def stop(self) -> None:
        """Close all connections and end the thread; harmless when it does not run."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join()
        self._server = self._thread = None


def origin_of(listener: socket.socket, tls: TLS | None) -> str:
    """Scheme, host and port of a listening socket."""
    return f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"
