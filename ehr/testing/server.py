"""The EHR of one case: a sandbox with a vendor's skin, answers that the case writes itself, and a record of requests.

The same application stands behind the mocks and on the socket.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from ehr.sandbox.app import SandboxApp, read_request
from ehr.sandbox.apps import RegisteredApp
from ehr.sandbox.faults import Fault, FaultScript
from ehr.sandbox.login_routes import Who
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.skin import Skin, skin_named
from ehr.sandbox.store import Store
from ehr.testing.clock import StandingClock

CLIENT_ID = "contract-kit"
APP_ID = "contract-kit-app"
"""The application that people log in with."""
FHIR_JSON = "application/fhir+json"


class ConnectionReset(Exception):
    """Raised by a script: the connection breaks instead of an answer."""


@dataclass(slots=True)
class Received:
    """One request as it arrived.

    Attributes:
        method, path, query, headers, body: as sent; header names in lower case.
        at: seconds of the standing clock.
        status: what was answered; 0 until then.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    at: float
    status: int = 0

    @property
    def params(self) -> list[tuple[str, str]]:
        """Search parameters, of the query and of a form body."""
        form = self.body.decode("utf-8", "replace") if b"form" in self._content_type else ""
        return parse_qsl(self.query, keep_blank_values=True) + parse_qsl(form, keep_blank_values=True)

    @property
    def form(self) -> dict[str, str]:
        """Fields of a form body."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def _content_type(self) -> bytes:
        return self.headers.get("content-type", "").encode()


@dataclass(frozen=True, slots=True)
class Said:
    """One answer that a case writes itself."""

    status: int = 200
    body: bytes = b""
    content_type: str = FHIR_JSON
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[Received], "Said | Awaitable[Said | None] | None"]
"""Answers a request; None leaves it to the sandbox."""
Change = Callable[[dict[str, Any]], dict[str, Any]]


def said(document: Any, status: int = 200, **headers: str) -> Said:
    """A JSON answer; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Said(status, json.dumps(document).encode(), headers=named)


def searchset(*resources: dict[str, Any], total: int | None = None, **links: str) -> Said:
    """A searchset; a resource with a key ``search`` beside it is written as a whole entry."""
    modes = {"OperationOutcome": "outcome"}
    entries = [
        resource
        if "resource" in resource
        else {"resource": resource, "search": {"mode": modes.get(str(resource.get("resourceType")), "match")}}
        for resource in resources
    ]
    document: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": relation.rstrip("_"), "url": url} for relation, url in links.items()],
        "entry": entries,
    }
    return said(document if total is None else document | {"total": total})


class CaseServer:
    """An EHR under test conditions. Set ``skin`` and ``grants`` before the first request.

    Attributes:
        origin: scheme, host and port under which it is reached.
        skin: the vendor's ways.
        grants: scopes that its client is registered for; more is narrowed down to them.
        jwks: the client's registered keys.
        login: False opens everything to all.
        requests: what arrived, in order.
    """

    def __init__(self, skin: Skin | str, clock: StandingClock, jwks: dict[str, Any]) -> None:
        self.origin = ""
        self.skin = skin_named(skin) if isinstance(skin, str) else skin
        self.grants: tuple[str, ...] = ("system/*.rs",)
        self.login = True
        self.requests: list[Received] = []
        self.dress: Callable[[dict[str, Any]], dict[str, Any]] = lambda resource: resource
        self.abort: Callable[[tuple[str, int] | None], bool] = lambda client: False
        self._clock = clock
        self.jwks = jwks
        self._store = Store()
        self._scripts: list[tuple[str, Script]] = []
        self._changes: list[tuple[str, Change]] = []

    @cached_property
    def app(self) -> SandboxApp:
        """The sandbox behind the scripts."""
        client = RegisteredClient(self.jwks, self.grants, narrows=True)
        who = Who({CLIENT_ID: client}, {APP_ID: RegisteredApp()}) if self.login else None
        made = SandboxApp(self._store, self.skin, who, self._clock.now)
        made.origin = self.origin
        made.abort = lambda peer: self.abort(peer)
        return made

    @property
    def base_url(self) -> str:
        """FHIR base."""
        return self.origin + self.skin.fhir_path

    @property
    def token_url(self) -> str:
        """Token endpoint."""
        return self.origin + self.skin.token_path

    def reskin(self, **parts: Any) -> None:
        """Change parts of the skin; a mapping changes parts of a part (``paging={"max_count": 2}``)."""
        changed = {
            name: replace(getattr(self.skin, name), **value) if isinstance(value, dict) else value
            for name, value in parts.items()
        }
        self.skin = replace(self.skin, **changed)

    def gives(self, token: str, **more: Any) -> None:
        """Answer every login with this token, and every request with or without it."""
        self.login = False
        answer = {"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": "system/*.rs"}
        self.says("smart-configuration", lambda _: said({"token_endpoint": self.token_url}))
        self.says(self.skin.token_path, lambda _: said(answer | more))

    def restart(self) -> None:
        """Forget logins and faults; what was changed since the first request holds now."""
        vars(self).pop("app", None)

    def forget(self) -> None:
        """Forget every resource too."""
        self._store = Store()
        self.restart()

    def put(self, *resources: dict[str, Any]) -> None:
        """Take resources in, in the form in which the vendor keeps them."""
        for resource in resources:
            self._store.add(self.dress(resource))

    def says(self, end: str, script: Script) -> None:
        """Let a script answer requests whose path ends with ``/end``; the latest script comes first."""
        self._scripts.insert(0, (end, script))

    def amends(self, end: str, change: Change) -> None:
        """Change the sandbox's JSON answers to requests whose path ends with ``/end``."""
        self._changes.append((end, change))

    def fails(self, *faults: Fault) -> None:
        """The sandbox's faults from now on; none heals it."""
        self.app.faults = FaultScript(faults)

    def asked(self, end: str) -> list[Received]:
        """Requests whose path ends with ``/end``."""
        return [one for one in self.requests if _ends(one.path, end)]

    def searches(self, resource: str) -> list[Received]:
        """Searches for a type, later pages not among them."""
        wanted = (f"/{resource}", f"/{resource}/_search")
        return [one for one in self.requests if one.path.endswith(wanted) and "_getpages" not in one.query]

    def logins(self) -> list[Received]:
        """Requests to the token endpoint."""
        return [one for one in self.requests if one.path == self.skin.token_path]

    def data(self) -> list[Received]:
        """Requests that carried, or should have carried, a token."""
        open_to_all = (self.skin.token_path, "/metadata", "/.well-known/smart-configuration")
        return [one for one in self.requests if not one.path.endswith(open_to_all)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = await self._received(scope, receive)
        self.requests.append(received)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                received.status = message["status"]
            await send(message)

        try:
            answer = await self._scripted(received)
        except ConnectionReset:
            if not self.abort(scope.get("client")):
                raise ConnectionResetError("a script asked for it") from None
            return
        if answer is not None:
            await _write(answer, noted)
            return
        changes = [change for end, change in self._changes if _ends(received.path, end)]
        await self._sandboxed(scope, receive, received, changes, noted)

    async def _received(self, scope: Scope, receive: Receive) -> Received:
        sent = await read_request(scope, receive)
        return Received(sent.method, sent.path, sent.query, sent.headers, sent.body, self._clock.seconds)

    async def _scripted(self, received: Received) -> Said | None:
        for end, script in tuple(self._scripts):
            if _ends(received.path, end):
                answer = script(received)
                made = await answer if inspect.isawaitable(answer) else answer
                if made is not None:
                    return made
        return None

    async def _sandboxed(
        self, scope: Scope, receive: Receive, received: Received, changes: Iterable[Change], send: Send
    ) -> None:
        left = [{"type": "http.request", "body": received.body, "more_body": False}]

        async def again() -> Message:
            return left.pop() if left else await receive()

        todo = list(changes)
        if not todo:
            await self.app(scope, again, send)
            return
        head: list[Message] = []
        body = b""

        async def kept(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                head.append(message)
            body += message.get("body", b"")

        await self.app(scope, again, kept)
        status = head[0]["status"]
        if status == 200:
            document = json.loads(body)
            for change in todo:
                document = change(document)
            body = json.dumps(document).encode()
        await _write(Said(status, body), send)


def _ends(path: str, end: str) -> bool:
    return path.endswith(end if end.startswith("/") else f"/{end}")


async def _write(answer: Said, send: Send) -> None:
    headers = {"content-type": answer.content_type, "content-length": str(len(answer.body)), **answer.headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
