"""A FHIR server that does nothing but hand out bytes it made before; a process of its own.

``python server.py PATIENTS LATENCY_MS SIZE [SIZE …]`` prints its base URL and then serves until its input ends.
``SIZE`` is a number of entries a page that it can be asked for with ``_count``. Every request needs the token.
``/count`` tells how many pages were handed out since it was last asked. Beyond `KEPT` patients a page is made when
it is asked for, so that the server's memory does not grow with them. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.ehr_reading.pages import KINDS, Key, person_id, rendered, templates

TOKEN = "benchmark-token"
KEPT = 1000
_PERSON = re.compile(rb"[?&](?:patient|subject|_id)=(?:Patient(?:/|%2F))?(p[0-9]{6})(?:&|$)")
_COUNT = re.compile(rb"[?&]_count=([0-9]+)")
_PAGE = re.compile(rb"[?&]page=([0-9]+)")
_BEARER = b"bearer " + TOKEN.encode()


class Pages:
    """What the server knows: pages by key, as whole HTTP answers."""

    def __init__(self, base: str, patients: int, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self.served = 0
        self._patients = patients
        self._made = {
            key: answer(body) for size in sizes for key, body in rendered(base, min(patients, KEPT), size)
        }
        self._templates = {size: templates(base, size) for size in sizes if patients > KEPT}

    def page(self, key: Key) -> bytes | None:
        """One answer, or None where there is no such page."""
        made = self._made.get(key)
        return self._later(key) if made is None else made

    def _later(self, key: Key) -> bytes | None:
        name, person, size, page = key
        number = int(person[1:])
        if size not in self._templates or not 0 < number <= self._patients:
            return None
        forty = self._templates[size]
        parts = forty[(number - 1) % len(forty)].get(name, ())
        return answer(parts[page].of(person_id(number))) if page < len(parts) else None

    def answered(self, target: bytes, authorised: bool) -> bytes:
        """The answer to one request."""
        path = target.partition(b"?")[0]
        if path == b"/count":
            told, self.served = self.served, 0
            return answer(json.dumps({"served": told}).encode())
        if path == b"/fhir/metadata":
            return answer(CAPABILITY)
        if not authorised:
            return answer(b'{"resourceType":"OperationOutcome"}', b"401 Unauthorized")
        person, count, number = _PERSON.search(target), _COUNT.search(target), _PAGE.search(target)
        size = int(count[1]) if count else self.sizes[0]
        name = path.rpartition(b"/")[2].decode("ascii", "replace")
        whose = person[1].decode() if person else ""
        made = self.page((name, whose, size, int(number[1]) if number else 0))
        if made is None:
            return answer(b'{"resourceType":"OperationOutcome"}', b"404 Not Found")
        self.served += 1
        return made


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole HTTP answer."""
    return b"HTTP/1.1 %b\r\ncontent-type: application/fhir+json\r\ncontent-length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


CAPABILITY = json.dumps(
    {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {"type": name, "searchParam": [{"name": n} for n in ("_id", "patient")]}
                    for name in ("Patient", *KINDS, "Encounter")
                ],
            }
        ],
    }
).encode()


class Talk(asyncio.Protocol):
    """One connection: HTTP/1.1, kept alive, GET alone."""

    def __init__(self, answered: Callable[[bytes, bool], bytes], latency_s: float) -> None:
        self._answered = answered
        self._latency_s = latency_s
        self._waiting = b""
        self._line: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._line = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head, self._waiting = self._waiting[:end], self._waiting[end + 4 :]
            made = self._answered(head.split(b" ", 2)[1], _BEARER in head.lower())
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._send, made)
            else:
                self._send(made)

    def _send(self, made: bytes) -> None:
        if self._line is not None and not self._line.is_closing():
            self._line.write(made)


async def serve(patients: int, latency_s: float, sizes: tuple[int, ...]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    held: list[Pages] = []
    server = await loop.create_server(
        lambda: Talk(lambda target, known: held[0].answered(target, known), latency_s), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}/fhir"
    held.append(Pages(base, patients, sizes))
    sys.stdout.write(f"{base}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000, tuple(map(int, sys.argv[3:]))))
