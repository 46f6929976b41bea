"""An EHR on raw sockets with a login, whose every answer a test can replace; and a hospital that opens it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.misbehaving_server import MisbehavingServer, Received, answer, misbehaving

TOKEN = "Canarytoken-7f3a9c"
ANA = {
    "resourceType": "Patient",
    "id": "ana",
    "identifier": [{"type": {"coding": [{"code": "MR"}]}, "value": "M-1"}],
    "name": [{"family": "Canaryfamily", "given": ["Ana"]}],
    "birthDate": "1950-02-03",
}

Said = bytes | Awaitable[bytes]
Answer = Callable[[Received], Said]


def page(*resources: dict[str, Any], **links: str) -> bytes:
    """A searchset on the wire."""
    document = {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": relation, "url": url} for relation, url in links.items()],
        "entry": [{"resource": resource, "search": {"mode": "match"}} for resource in resources],
    }
    return answer(json.dumps(document).encode())


def said(document: Any, status: str = "200 OK", **headers: str) -> bytes:
    """A JSON document on the wire; underscores in header names stand for hyphens."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return answer(json.dumps(document).encode(), status=status, headers=named)


def token(value: str = TOKEN, **more: Any) -> bytes:
    """A good token response."""
    return said({"access_token": value, "token_type": "bearer", "expires_in": 3600} | more)


def condition(key: str = "c1", of: str = "ana") -> dict[str, Any]:
    """A diagnosis."""
    return {"resourceType": "Condition", "id": key, "subject": {"reference": f"Patient/{of}"}}


@dataclass
class Wire:
    """What the EHR answers, by the last part of the path; a type that is not here is an empty searchset."""

    answers: dict[str, Answer] = field(default_factory=dict)
    server: MisbehavingServer = field(default_factory=MisbehavingServer)

    @property
    def base(self) -> str:
        """The FHIR base."""
        return self.server.base

    def asked(self, name: str) -> list[Received]:
        """The requests whose path ends like this."""
        return [one for one in self.server.requests if _last(one) == name]

    async def script(self, received: Received, writer: asyncio.StreamWriter) -> None:
        """See `misbehaving`."""
        found = self.answers.get(_last(received), _usual.get(_last(received), lambda _: page()))
        made = found(received)
        raw = made if isinstance(made, bytes) else await made
        if raw:
            writer.write(raw)
        else:
            writer.close()


def _last(received: Received) -> str:
    return urlsplit(received.target).path.rpartition("/")[2]


def _patients(received: Received) -> bytes:
    asked = parse_qs(urlsplit(received.target).query) | parse_qs(received.body.decode())
    wanted = asked.get("_id", asked.get("family", [""]))[0]
    return page(ANA) if wanted in ("ana", "Canaryfamily", "") else page()


_usual: dict[str, Answer] = {
    "smart-configuration": lambda _: said({"token_endpoint": "token"}),
    "token": lambda _: token(),
    "Patient": _patients,
    "_search": _patients,
    "ana": lambda _: said(ANA),
    "Condition": lambda _: page(condition()),
}


def in_turn(answers: Iterable[bytes]) -> Answer:
    """These answers one after the other, the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@asynccontextmanager
async def wired(**answers: Answer) -> AsyncIterator[Wire]:
    """A running EHR; a keyword is the last part of a path."""
    wire = Wire(dict(answers))
    async with misbehaving(wire.script) as server:
        wire.server = server
        yield wire
