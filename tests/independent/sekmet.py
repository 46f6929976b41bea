"""A server that nobody here wrote: sekmet-fhir, run from an environment of its own, on loopback only."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives import serialization

from ehr.auth.keys import KeyRing

VERSION = "0.1.1"
CLIENT = "trial-screener"
BATCH = 200
_PATIENCE_S = 60.0


class NotRunning(RuntimeError):
    """The server did not come up."""


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def public_pem(ring: KeyRing) -> bytes:
    """The public half of the signing key."""
    key = ring.signing.key.public_key
    return bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def settings(folder: Path, port: int, ring: KeyRing | None, scopes: str) -> Path:
    """The server's settings; without a ring it is open to all."""
    auth: dict[str, Any] = {"types": ["none"]}
    if ring is not None:
        (folder / "pub.pem").write_bytes(public_pem(ring))
        client = {"client_id": CLIENT, "public_key_path": str(folder / "pub.pem"), "scopes": scopes}
        auth = {"types": ["smart"], "smart_clients": [client]}
    document = {
        "base_url": f"http://127.0.0.1:{port}/fhir",
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "log_inbound": False,
        "validation": {"inbound": "off"},
        "simulator": {"enabled": False},
        "server_auth": auth,
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@contextmanager
def running(
    command: Path, folder: Path, ring: KeyRing | None = None, scopes: str = "system/*.*"
) -> Iterator[str]:
    """The server; yields its FHIR base.

    Args:
        command: the ``sekmet`` program of its environment.
        folder: where its settings and data lie.
        ring: the client's keys; None leaves it open.
        scopes: what the client may ask for.

    Raises:
        NotRunning: it ended, or did not answer in a minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = settings(folder, port, ring, scopes)
    quiet = {"OTEL_SDK_DISABLED": "true", "DO_NOT_TRACK": "1", "NO_COLOR": "1"}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [str(command), "serve", "--config", str(config)],
            cwd=folder,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            base = f"http://127.0.0.1:{port}/fhir"
            _await(server, base)
            yield base
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(15)


def _await(server: subprocess.Popen[bytes], base: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise NotRunning(f"the server ended with status {server.returncode}")
        try:
            if httpx.get(f"{base}/metadata", timeout=2, trust_env=False).status_code < 500:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise NotRunning("the server did not answer within a minute")


def resources(folder: Path) -> Iterator[dict[str, Any]]:
    """Every resource of a fixture folder, those that others point to first."""
    first = ("Organization", "Practitioner", "Patient", "Encounter")
    paths = sorted(
        folder.glob("*.ndjson.gz"),
        key=lambda path: (
            first.index(path.name.split(".")[0]) if path.name.split(".")[0] in first else len(first),
            path.name,
        ),
    )
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)


def fill(base: str, folder: Path) -> int:
    """Give the server a fixture folder as transactions; returns the number of resources.

    The server gives ids of its own to what is posted; references inside one transaction are its work, those to
    an earlier one are rewritten here by what it answered.
    """
    ids: dict[str, str] = {}
    count = 0
    with httpx.Client(timeout=120, trust_env=False) as http:
        batch: list[dict[str, Any]] = []
        kind = ""
        for resource in resources(folder):
            if batch and (len(batch) == BATCH or resource["resourceType"] != kind):
                count += _post(http, base, batch, ids)
                batch = []
            kind = resource["resourceType"]
            batch.append(resource)
        count += _post(http, base, batch, ids)
    return count


def _post(http: httpx.Client, base: str, batch: list[dict[str, Any]], ids: dict[str, str]) -> int:
    entries = []
    for resource in batch:
        kind = resource["resourceType"]
        moved = _moved({key: value for key, value in resource.items() if key != "id"}, ids)
        entries.append({"resource": moved, "request": {"method": "POST", "url": kind}})
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = http.post(base, json=bundle, headers={"Content-Type": "application/fhir+json"})
    answer.raise_for_status()
    for resource, entry in zip(batch, answer.json()["entry"], strict=True):
        kind, given = entry["response"]["location"].split("/_history")[0].split("/")[-2:]
        ids[f"{resource['resourceType']}/{resource['id']}"] = f"{kind}/{given}"
    return len(batch)


def _moved(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: ids.get(part, part) if key == "reference" and isinstance(part, str) else _moved(part, ids)
            for key, part in value.items()
        }
    return [_moved(part, ids) for part in value] if isinstance(value, list) else value


def analyse(folder: Path) -> None:
    """Let its database look at its own data: without that, searches over many patients take a minute."""
    with sqlite3.connect(folder / "data" / "sekmet.db") as database:
        database.execute("ANALYZE")


def requests(folder: Path) -> tuple[int, int]:
    """How many FHIR requests the server has logged, and how many of them asked for a further page."""
    lines = [
        line
        for line in (folder / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
        if "HTTP/1.1" in line and "/fhir/" in line
    ]
    return len(lines), sum("_offset=" in line and "_offset=0" not in line for line in lines)
