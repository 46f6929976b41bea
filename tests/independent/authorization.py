"""An authorization server that nobody here wrote: oidc-provider, run from a folder of its own, on loopback only."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ehr.auth.keys import KeyRing
from ehr.connect.opening import AtKeyboard
from tests.independent.sekmet import NotRunning, free_port

VERSION = "8.8.1"
SCRIPT = Path(__file__).with_name("authorization_server.mjs")
_PATIENCE_S = 30.0


@dataclass
class Running:
    """The server.

    Args:
        origin: scheme, host and port.
        log: what it said.
    """

    origin: str
    log: Path

    @property
    def base_url(self) -> str:
        """FHIR base."""
        return f"{self.origin}/fhir"

    @property
    def token_url(self) -> str:
        """Token endpoint."""
        return f"{self.origin}/token"

    def events(self) -> Counter[str]:
        """What the server counted, by the first word of each line."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return Counter(line.partition(" ")[0] for line in lines if "WARNING" not in line)


@contextmanager
def running(modules: Path, folder: Path, ring: KeyRing) -> Iterator[Running]:
    """The server.

    Args:
        modules: its ``node_modules``.
        folder: where its log lies.
        ring: keys of the client ``pod``.

    Raises:
        NotRunning: it did not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as file:
        command = ["node", str(SCRIPT), str(modules), str(port), json.dumps(ring.jwks())]
        server = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
    try:
        made = Running(f"http://127.0.0.1:{port}", log)
        _await(server, made)
        yield made
    finally:
        server.terminate()
        server.wait(15)


def _await(server: subprocess.Popen[bytes], made: Running) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(f"{made.base_url}/metadata", timeout=2, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise NotRunning("the authorization server did not answer")


@dataclass
class Visitor:
    """A browser with cookies that follows redirects through the server's pages and back to the client."""

    pages: list[httpx.Response] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Start to follow an address, and return at once."""
        self.threads.append(threading.Thread(target=self._follow, args=(address,), daemon=True))
        self.threads[-1].start()

    def _follow(self, address: str) -> None:
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=20) as client:
            self.pages.append(client.get(address))

    def wait(self) -> None:
        """Until every page has come."""
        for thread in self.threads:
            thread.join(20)

    def person(self) -> AtKeyboard:
        """The person who uses this browser."""
        return AtKeyboard(self.open, lambda question: "", 30.0)
