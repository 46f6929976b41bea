"""A sandbox on a loopback socket, in a thread for tests and programs or in the foreground for a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr.errors import ConfigurationError
from ehr.sandbox.app import build_app
from ehr.sandbox.apps import RegisteredApp
from ehr.sandbox.authorize import Answers
from ehr.sandbox.data import load
from ehr.sandbox.faults import Fault, FaultScript
from ehr.sandbox.instants import Clock, utc_now
from ehr.sandbox.listener import TLS, Listener, listening, origin_of, server_of
from ehr.sandbox.login_routes import Who
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.skin import Skin
from ehr.sandbox.store import Store
from ehr.sandbox.witness import Witness

PEOPLE = Path(__file__).with_name("people")  # invented; for whoever has no data yet


class Sandbox:
    """An embedded EHR on 127.0.0.1 for the length of a ``with`` (or ``async with``) block.

    Args:
        data: a folder (see `ehr.sandbox.data`) or a `Store`, which may serve several sandboxes; None for a
            few built-in synthetic people.
        skin: name of a skin, or a `Skin`.
        clients: backend services that may log in, by client id.
        apps: applications that people may log in with, by client id.
        answers: what is said to them: ``auto`` yes at once, ``deny`` no, ``ask`` what a person says on a page.
        patient: whom ``auto`` picks where a login is for one patient; None takes the first.
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
        apps: Mapping[str, RegisteredApp] | None = None,
        answers: Answers = "auto",
        patient: str | None = None,
        login: bool = True,
        clock: Clock = utc_now,
        tls: TLS | None = None,
    ) -> None:
        store = data if isinstance(data, Store) else load(data or PEOPLE)
        who = Who(dict(clients or {}), dict(apps or {}), answers, patient) if login else None
        self.app = build_app(store, skin, who=who, clock=clock)
        self._listener = Listener(self.app, tls)
        self.app.abort = self._listener.abort

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
        if self.app.server is not None:
            self.app.server.revoke_all()

    def end_logins(self) -> None:
        """End every login of a person, refresh tokens included."""
        if self.app.login_routes is not None:
            self.app.login_routes.apps.end_all()

    def start(self) -> None:
        """Listen, and return when requests are answered."""
        self.app.origin = self._listener.start()

    def stop(self) -> None:
        """Close all connections and end the thread; harmless when it does not run."""
        self.release()
        self._listener.stop()

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Sandbox:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.stop)


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
    apps: Mapping[str, RegisteredApp] | None = None,
    answers: Answers = "ask",
) -> None:
    """Serve in the foreground until stopped (Ctrl-C raises `KeyboardInterrupt` after a clean end).

    Args:
        data: folder with FHIR files; None for a few built-in synthetic people.
        skin: name of a skin.
        port: on 127.0.0.1; 0 takes a free one.
        announce: is given the FHIR base URL once requests are answered.
        login: tokens are needed; at least one registration or application then.
        registrations: backend services that may log in.
        apps: applications that people may log in with.
        answers: what is said to them; see `Sandbox`.

    Raises:
        ConfigurationError: a file, skin or port cannot be used, or a login is asked for and nobody may log in.
    """
    clients = {entry.client_id: entry.client() for entry in registrations}
    if login and not clients and not apps:
        raise ConfigurationError("login needs an application, or a client id and its JWKS file")
    store = load(data or PEOPLE)
    app = build_app(store, skin, who=Who(clients, apps or {}, answers) if login else None)
    listener = listening(port)
    app.origin = origin_of(listener, None)
    server = server_of(app, None, lambda: announce(app.base_url))
    app.abort = server.abort
    server.run([listener])
