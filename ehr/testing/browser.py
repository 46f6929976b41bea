"""A browser without a screen: opens the address of a login, and follows it back to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx

from ehr.connect.opening import AtKeyboard

PERSON_S = 30.0
"""How long a person has for a login; nobody is slow here, but the machine may be."""
Parameters = dict[str, str]


@dataclass(slots=True)
class ConsentingPerson:
    """Follows a login as a person does who says yes.

    Args:
        wire: makes what requests to the EHR are sent with.
        change: what it makes of the parameters that the EHR sends back.

    Attributes:
        asked: parameters of each login, in order.
        answers: addresses that it was sent back to.
        statuses: what the client said to them.
    """

    wire: Callable[[], httpx.AsyncBaseTransport]
    change: Callable[[Parameters], Parameters] = lambda said: said
    asked: list[Parameters] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    @property
    def person(self) -> AtKeyboard:
        """Who uses it."""
        return AtKeyboard(self.show, lambda question: "", PERSON_S)

    def show(self, address: str) -> None:
        """Open an address, in a thread of the client's."""
        self.asked.append(dict(parse_qsl(urlsplit(address).query)))
        location = asyncio.run(self._sent_back_to(address))
        if location is not None:
            back = urlsplit(urljoin(address, location))
            changed = urlencode(self.change(dict(parse_qsl(back.query))))
            self.answer(back._replace(query=changed).geturl())

    async def _sent_back_to(self, address: str) -> str | None:
        async with httpx.AsyncClient(transport=self.wire(), trust_env=False) as client:
            location: str | None = (await client.get(address)).headers.get("location")
            return location

    def answer(self, address: str) -> None:
        """Come back to the client, on this machine."""
        self.answers.append(address)
        parts = urlsplit(address)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PERSON_S)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            self.statuses.append(connection.getresponse().status)
        finally:
            connection.close()
