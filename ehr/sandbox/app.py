"""The ASGI application of one sandbox: records, spoils by script, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from starlette.types import Receive, Scope, Send

from ehr.errors import ConfigurationError
from ehr.sandbox.answers import altered, error_answer, outcome_answer, oversize_pieces, spoilt
from ehr.sandbox.faults import (
    Action,
    Alien,
    Body,
    Duplicate,
    ExpireSession,
    Fault,
    FaultRunner,
    FaultScript,
    Hang,
    LostPage,
    NextLink,
    Oversize,
    Remark,
    Reset,
    RevokeToken,
    Status,
    Trickle,
    WrongTotal,
    as_script,
)
from ehr.sandbox.handlers import Service
from ehr.sandbox.instants import Clock, http_date, utc_now
from ehr.sandbox.login_routes import LoginAddresses, LoginRoutes, Who
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.outcomes import Refused, outcome
from ehr.sandbox.pages import BundlePage, PageEntry, Sessions
from ehr.sandbox.routes import Target, target_of_request
from ehr.sandbox.skin import Skin, skin_named
from ehr.sandbox.store import Store
from ehr.sandbox.witness import Witness

_BODY_LIMIT = 1 << 20
_PAGE_FAULTS = (NextLink, Alien, Remark, Duplicate, LostPage, WrongTotal)

Abort = Callable[[tuple[str, int] | None], bool]


class TooLong(Exception):
    """A request body is over the limit."""


@dataclass(slots=True)
class Held:
    """Requests that hang, and how to let them go; safe to use from several threads."""

    waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=set)

    async def wait(self, receive: Receive) -> None:
        """Until released or until the client is gone."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        self.waiting.add(entry)
        tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(receive())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting.discard(entry)
            for task in tasks:
                task.cancel()

    def release(self) -> None:
        for loop, event in list(self.waiting):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class SandboxApp:
    """One embedded EHR as an ASGI application.

    Attributes:
        origin: scheme, host and port under which it is reached; addresses it hands out begin so.
        witness: what it saw.
        abort: set by the server: resets the connection of a peer; False where it cannot.
    """

    def __init__(self, store: Store, skin: Skin, who: Who | None, clock: Clock) -> None:
        self.origin = "http://sandbox.invalid"
        self.witness = Witness()
        self.abort: Abort = lambda client: False
        self.held = Held()
        self._bare_clock = clock
        self._runner = FaultRunner(FaultScript())
        self.skin = skin
        self.sessions = Sessions(skin, self.now)
        self._bare_store = store
        self._dressed = -1
        self._dress()
        self.login_routes = LoginRoutes(who, skin, store, self.now) if who is not None else None
        self.server = self.login_routes.server if self.login_routes is not None else None

    def _dress(self) -> None:
        """Take the data in the vendor's form, again where something was added since."""
        held = len(self._bare_store)
        if held == self._dressed:
            return
        self._dressed = held
        dress = self.skin.dress
        self.store = self._bare_store if dress is None else dress(self._bare_store)
        self.service = Service(self.store, self.skin, self.sessions, self.now)

    @property
    def base_url(self) -> str:
        return self.origin + self.skin.fhir_path

    @property
    def token_url(self) -> str:
        return self.origin + self.skin.token_path

    @property
    def authorize_url(self) -> str:
        return self.origin + self.skin.authorize_path

    @property
    def faults(self) -> FaultScript:
        return self._runner.script

    @faults.setter
    def faults(self, script: FaultScript | Iterable[Fault]) -> None:
        self._runner = FaultRunner(as_script(script))

    def now(self) -> datetime:
        """The sandbox's clock, with the script's offset."""
        return self._bare_clock() + self._runner.script.clock_offset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ConfigurationError("the sandbox serves HTTP only; run it with lifespan off")
        self._dress()
        exchange = _Exchange(self, scope, receive, send)
        try:
            request = await read_request(scope, receive, _BODY_LIMIT)
        except TooLong:
            await exchange.send_answer(Answer(413, b"", "text/plain"))
            return
        target = target_of_request(request, self.skin, self._session_facts, self._subject)
        self.witness.note_request(self.origin, request.method, target.asked, scope["headers"], request.query)
        await exchange.run(request, target, self._runner.actions(target.asked, request.method))

    def _session_facts(self, key: str) -> tuple[str | None, str | None]:
        session = self.sessions.peek(key)
        return (session.query.resource_type, session.query.patient) if session is not None else (None, None)

    def _subject(self, kind: str, name: str) -> str | None:
        stored = self.store.get(kind, name)
        return next(iter(sorted(stored.patients)), None) if stored is not None else None

    def answer(self, request: Request, target: Target, actions: list[Action]) -> Answer:
        """The answer to a request, page faults applied."""
        endpoint = target.asked.endpoint
        if self.login_routes is not None:
            urls = LoginAddresses(self.base_url, self.authorize_url, self.token_url)
            given = self.login_routes.answer(endpoint, request, urls)
            if given is not None:
                for token in given.tokens:
                    self.witness.note_issued(token, given.client_id, self.origin)
                return given.answer
        if endpoint == "metadata":
            return self.service.metadata(
                request, self.base_url, self.token_url, login=self.server is not None
            )
        try:
            return self._data(request, target, actions)
        except Refused as error:
            return self._refusal(error)

    def _data(self, request: Request, target: Target, actions: list[Action]) -> Answer:
        endpoint = target.asked.endpoint
        served = endpoint in {"search", "page", "read", "match"}
        if not served and (endpoint != "other" or self.skin.beside is None):
            raise Refused(404, "not-found", "nothing is served here")
        access = self.service.access(request, self.server)
        if not served:
            return self._beside(request)
        if endpoint == "read":
            return self.service.read(target, request, access)
        if endpoint == "match":
            return self.service.match(request, access, self.base_url)
        if endpoint == "search":
            page = self.service.search(target, request, access, self.base_url)
        else:
            page = self.service.later_page(target, access, self.base_url)
        for action in actions:
            if isinstance(action, _PAGE_FAULTS):
                page = altered(page, action, self._alien(target, page))
        return Answer(200, page.encoded())

    def _beside(self, request: Request) -> Answer:
        answer = self.skin.beside(request, self.service) if self.skin.beside is not None else None
        if answer is None:
            raise Refused(404, "not-found", "nothing is served here")
        return answer

    def _alien(self, target: Target, page: BundlePage) -> PageEntry | None:
        """A resource of the searched type about a patient who is not asked about."""
        kind = target.asked.resource_type or "Patient"
        here = {entry.url for entry in page.entries}
        for stored in self.store.all_of(kind):
            url = f"{self.base_url}/{stored.type}/{stored.id}"
            if target.asked.patient not in stored.patients and url not in here:
                return PageEntry(stored.body, url, "match")
        return None

    def _refusal(self, error: Refused) -> Answer:
        headers = {}
        if error.status == 401:
            headers["www-authenticate"] = 'Bearer realm="sandbox", error="invalid_token"'
        elif error.status == 403:
            headers["www-authenticate"] = 'Bearer realm="sandbox", error="insufficient_scope"'
        if error.location:
            headers["location"] = f"{self.base_url}/{error.location}"
        code = self.skin.code_of(error.situation)
        severity = "error" if code.severity in {"information", "warning"} else None
        return outcome_answer(error.status, outcome(code, str(error), severity=severity), headers)


@dataclass(slots=True)
class _Exchange:
    """One request and its answer on the wire."""

    app: SandboxApp
    scope: Scope
    receive: Receive
    send: Send

    async def run(self, request: Request, target: Target, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, RevokeToken):
                self._revoke(request, action)
            elif isinstance(action, ExpireSession):
                session = self.app.sessions.peek(target.session_key)
                if session is not None:
                    session.expired = True
            elif isinstance(action, Status):
                await self.send_answer(error_answer(action, self.app.now()))
                return
            elif isinstance(action, Hang):
                await self.app.held.wait(self.receive)
                await self.send_answer(Answer(503, b"", "text/plain"))
                return
            elif isinstance(action, Oversize):
                await self._oversize(action)
                return
        await self._finish(self.app.answer(request, target, actions), actions)

    def _revoke(self, request: Request, action: RevokeToken) -> None:
        if self.app.server is None:
            return
        if action.every:
            self.app.server.revoke_all()
        self.app.server.revoke(request.headers.get("authorization", "").rpartition(" ")[2])

    async def _finish(self, answer: Answer, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Body):
                answer = spoilt(answer, action)
        for action in actions:
            if isinstance(action, Reset):
                await self._reset(answer, action)
                return
            if isinstance(action, Trickle):
                await self._trickle(answer, action)
                return
        await self.send_answer(answer)

    async def send_answer(self, answer: Answer) -> None:
        await self._start(answer, len(answer.body))
        await self.send({"type": "http.response.body", "body": answer.body})

    async def _start(self, answer: Answer, length: int | None) -> None:
        headers = {"content-type": answer.content_type, "date": http_date(self.app.now()), **answer.headers}
        if length is not None:
            headers["content-length"] = str(length)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": encoded})

    async def _reset(self, answer: Answer, action: Reset) -> None:
        if action.after_bytes:
            await self._start(answer, len(answer.body))
            part = answer.body[: min(action.after_bytes, len(answer.body) - 1)]
            await self.send({"type": "http.response.body", "body": part, "more_body": True})
        if not self.app.abort(self.scope.get("client")):
            raise ConnectionResetError("a fault was asked for")

    async def _oversize(self, action: Oversize) -> None:
        headers = {"content-encoding": "gzip"} if action.packed else {}
        await self._start(Answer(200, b"", headers=headers), None)
        for piece in oversize_pieces(action):
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def _trickle(self, answer: Answer, action: Trickle) -> None:
        await self._start(answer, len(answer.body))
        for start in range(0, len(answer.body), action.piece_bytes):
            piece = answer.body[start : start + action.piece_bytes]
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(action.interval_s)
        await self.send({"type": "http.response.body", "body": b""})


async def read_request(scope: Scope, receive: Receive, limit: int | None = None) -> Request:
    """A request, read whole.

    Raises:
        TooLong: its body has more than ``limit`` bytes.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if limit is not None and len(body) > limit:
            raise TooLong
        if not message.get("more_body", False):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, bytes(body)
    )


def build_app(
    store: Store,
    skin: Skin | str = "smarthealthit",
    *,
    clients: Mapping[str, RegisteredClient] | None = None,
    who: Who | None = None,
    clock: Clock = utc_now,
    origin: str = "http://sandbox.invalid",
    witness: Witness | None = None,
) -> SandboxApp:
    """The ASGI application, for `httpx.ASGITransport` or any ASGI server.

    Args:
        store: the data, from `ehr.sandbox.data.load`.
        skin: whose behaviour.
        clients: backend services that may log in; without them and ``who`` everything is open to all.
        who: everybody who may log in, instead of ``clients``.
        clock: gives the time, aware.
        origin: under which it is reached.
        witness: to share one between several sandboxes.

    Raises:
        ConfigurationError: the skin is unknown.
    """
    if who is None and clients is not None:
        who = Who(clients)
    app = SandboxApp(store, skin_named(skin) if isinstance(skin, str) else skin, who, clock)
    app.origin = origin
    if witness is not None:
        app.witness = witness
    return app
