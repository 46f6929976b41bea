"""A browser without a screen: opens the address of a login, and follows it back to the client."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from ehr.connect.opening import AtKeyboard

PASSPHRASE = "correct horse battery"
Change = Callable[[dict[str, str]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """What came back for one address."""

    status: int
    text: str
    headers: dict[str, str]


def get(address: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: str = "") -> Page:
    """One request on a plain connection, no redirect followed."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        return Page(
            answer.status,
            answer.read().decode(),
            {name.lower(): value for name, value in answer.getheaders()},
        )
    finally:
        connection.close()


@dataclass
class Browser:
    """Opens addresses in threads of its own, as a real one does.

    Args:
        change: what it makes of the parameters that the server sends back.
        asked: change of the parameters that the client sends.
    """

    change: Change = lambda said: said
    asked: Change = lambda said: said
    addresses: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    passphrase: str = PASSPHRASE
    threads: list[threading.Thread] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Start to follow an address, and return at once."""
        self.addresses.append(address)
        self.threads.append(threading.Thread(target=self._follow, args=(address,), daemon=True))
        self.threads[-1].start()

    def _follow(self, address: str) -> None:
        page = get(_changed(address, self.asked))
        self.pages.append(page)
        if page.status in (302, 303):
            self.pages.append(get(_changed(urljoin(address, page.headers["location"]), self.change)))

    def wait(self) -> None:
        """Until every page has come."""
        for thread in self.threads:
            thread.join(60)

    def said(self) -> dict[str, str]:
        """The parameters of the newest address."""
        return dict(parse_qsl(urlsplit(self.addresses[-1]).query))

    def ask(self, question: str) -> str:
        """Answer a question with the passphrase."""
        self.questions.append(question)
        return self.passphrase

    def person(self, wait_s: float = 60.0) -> AtKeyboard:
        """The person who uses this browser."""
        return AtKeyboard(self.open, self.ask, wait_s)


def _changed(address: str, change: Change) -> str:
    parts = urlsplit(address)
    return parts._replace(query=urlencode(change(dict(parse_qsl(parts.query))))).geturl()
