"""A FHIR server with one fault on page 3 of 5, and another one that must never be asked anything.

Fifty observations of one patient who does not exist, ten a page. Threads and the standard library only.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.ehr_reading.pages import person_id

PAGES, SIZE, FAULTY = 5, 10, 3
RIGHT = PAGES * SIZE
ENDLESS = 100
"""After so many requests for one page the server ends the search itself."""


@dataclass(slots=True)
class Answer:
    """What is sent for one page."""

    page: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(slots=True)
class Seen:
    """What the two servers saw.

    Attributes:
        asked: requests by page.
        elsewhere: requests at the other server.
        token_elsewhere: whether one of those had a token.
    """

    asked: Counter[int] = field(default_factory=Counter)
    elsewhere: int = 0
    token_elsewhere: bool = False


Fault = Callable[[Answer, int, str], None]
"""Spoils page 3: the answer, how often this page was asked for (from 1), and the other server's base."""


def _refused(answer: Answer, status: int, **headers: str) -> None:
    answer.status, answer.headers = status, headers
    answer.page = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "transient"}]}


def _busy_twice(answer: Answer, asked: int, other: str) -> None:
    if asked <= 2:
        _refused(answer, 429, **{"retry-after": "1"})


def _down_once(answer: Answer, asked: int, other: str) -> None:
    if asked == 1:
        _refused(answer, 503)


def _expired_once(answer: Answer, asked: int, other: str) -> None:
    if asked == 1:
        _refused(answer, 401, **{"www-authenticate": "Bearer"})


def _cut(answer: Answer, asked: int, other: str) -> None:
    answer.cut = True


def _itself(answer: Answer, asked: int, other: str) -> None:
    links = answer.page["link"]
    links[1]["url"] = links[1]["url"].replace(f"page={FAULTY + 1}", f"page={FAULTY}")
    if asked >= ENDLESS:
        del links[1]


def _foreign(answer: Answer, asked: int, other: str) -> None:
    link = answer.page["link"][1]
    link["url"] = f"{other}/Observation?{urlsplit(link['url']).query}"


def _relative(answer: Answer, asked: int, other: str) -> None:
    link = answer.page["link"][1]
    link["url"] = f"Observation?{urlsplit(link['url']).query}"


def _outcome(answer: Answer, asked: int, other: str) -> None:
    issue = {"severity": "warning", "code": "informational"}
    outcome = {"resourceType": "OperationOutcome", "id": "w", "issue": [issue]}
    answer.page["entry"].append({"resource": outcome, "search": {"mode": "outcome"}})


def _twice(answer: Answer, asked: int, other: str) -> None:
    answer.page["entry"] += answer.page["entry"][:5]


def _bad_date(answer: Answer, asked: int, other: str) -> None:
    answer.page["entry"][4]["resource"]["effectiveDateTime"] = "2015-13-45"


FAULTS: dict[str, Fault] = {
    "429 with Retry-After 1, twice": _busy_twice,
    "503 once": _down_once,
    "401 once": _expired_once,
    "JSON cut short": _cut,
    "next leads to the page itself": _itself,
    "next leads to another host": _foreign,
    "next is relative": _relative,
    "an OperationOutcome among the entries": _outcome,
    "five entries come twice": _twice,
    "one bad date": _bad_date,
}
"""The ten faults, by the words that are shown."""
LEAK = "next leads to another host"


def page_of(base: str, number: int) -> dict[str, Any]:
    """A page as it should be, from 1."""
    search = f"{base}/Observation?patient={person_id(1)}&_count={SIZE}"
    links = [{"relation": "self", "url": search}]
    if number < PAGES:
        links.append({"relation": "next", "url": f"{search}&page={number + 1}"})
    first = (number - 1) * SIZE
    entries = [_entry(base, first + place) for place in range(SIZE)]
    return {"resourceType": "Bundle", "type": "searchset", "total": RIGHT, "link": links, "entry": entries}


def _entry(base: str, number: int) -> dict[str, Any]:
    resource = {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/{person_id(1)}"},
        "effectiveDateTime": f"2015-03-{1 + number % 28:02}",
        "valueQuantity": {"value": 13.5, "unit": "g/dL"},
    }
    found = {"fullUrl": f"{base}/Observation/o{number}", "resource": resource}
    return {**found, "search": {"mode": "match"}}


@contextmanager
def faulty(fault: Fault | None) -> Iterator[tuple[str, Seen]]:
    """Serve a fault, or none; the FHIR base and what was seen."""
    seen, bases = Seen(), ["", ""]
    servers = [
        ThreadingHTTPServer((host, 0), _handler(which == 1, seen, bases, fault))
        for which, host in enumerate(("127.0.0.1", "127.0.0.1"))
    ]
    for which, server in enumerate(servers):
        host = "localhost" if which else "127.0.0.1"
        bases[which] = f"http://{host}:{server.server_port}/fhir"
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield bases[0], seen
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _handler(other: bool, seen: Seen, bases: list[str], fault: Fault | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
            number = int(query.get("page", ["1"])[0])
            if other:
                seen.elsewhere += 1
                seen.token_elsewhere |= "authorization" in self.headers
                self._send(Answer(page_of(bases[1], number)))
            elif asked.path.endswith("/Observation"):
                seen.asked[number] += 1
                answer = Answer(page_of(bases[0], number))
                if fault is not None and number == FAULTY:
                    fault(answer, seen.asked[number], bases[1])
                self._send(answer)
            elif asked.path.endswith("/Patient"):
                self._send(Answer(_people(bases[0])))
            elif asked.path.endswith("/metadata"):
                self._send(Answer(_capability()))
            else:
                self._send(Answer({"resourceType": "OperationOutcome"}, 404))

        def _send(self, answer: Answer) -> None:
            body = json.dumps(answer.page).encode()
            body = body[: len(body) // 2] if answer.cut else body
            self.send_response(answer.status)
            for name, value in {"content-type": "application/fhir+json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def _people(base: str) -> dict[str, Any]:
    patient = {"resourceType": "Patient", "id": person_id(1), "birthDate": "1950-01-01"}
    links = [{"relation": "self", "url": f"{base}/Patient?_id={person_id(1)}"}]
    entry = {"fullUrl": f"{base}/Patient/{person_id(1)}", "resource": patient, "search": {"mode": "match"}}
    return {"resourceType": "Bundle", "type": "searchset", "total": 1, "link": links, "entry": [entry]}


def _capability() -> dict[str, Any]:
    resources = [
        {"type": name, "searchParam": [{"name": "_id"}, {"name": "patient"}]}
        for name in ("Patient", "Observation")
    ]
    rest = [{"mode": "server", "resource": resources}]
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest}
