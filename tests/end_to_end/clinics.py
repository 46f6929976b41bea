"""Small clinics as running sandboxes with a pod beside them, for end-to-end tests."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from ehr.auth.keys import KeyRing, make_ring, write_owner_only
from ehr.sandbox.data import load
from ehr.sandbox.instants import utc_now
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.server import Sandbox
from ehr.sandbox.skin import skin_named
from ehr.sandbox.store import Store
from tests.repository.sources import ROOT

CLINICS = ROOT / "fixtures" / "clinic"
TRIAL = Path(str(files("federated.demo"))) / "trial.yaml"
DEMO_CLINICS = Path(str(files("federated.demo"))) / "clinics"
CLIENT = "the-pod"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's folder: ``pod.yaml``, keys, site key, patients file."""

    folder: Path

    @property
    def config(self) -> Path:
        """The pod file."""
        return self.folder / "pod.yaml"


def truth(clinic: str) -> dict[str, Any]:
    """What the generator says must come out."""
    folder = CLINICS if (CLINICS / clinic).exists() else DEMO_CLINICS
    found: dict[str, Any] = json.loads((folder / clinic / "truth.json").read_text())
    return found


def patients(clinic: str, rows: Iterable[int] | None = None) -> str:
    """A clinic's patients file, whole or only some of its rows (from 1)."""
    lines = list(csv.reader((CLINICS / clinic / "patients.csv").read_text(encoding="utf-8").splitlines()))
    kept = lines[1:] if rows is None else [lines[number] for number in rows]
    return "\n".join(",".join(f'"{cell}"' for cell in line) for line in [lines[0], *kept]) + "\n"


def make_pod(
    folder: Path, base_url: str, people: str, *, extra: str = "", provider: str = "smarthealthit r4"
) -> Pod:
    """Write a pod's folder; its key ring must be there already."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pod.yaml").write_text(
        f"name: test-site\n"
        f"ehr:\n  provider: {provider}\n  base_url: {base_url}\n  allow_http: loopback\n"
        f"  auth:\n    backend: {{client_id: {CLIENT}, keys: keys}}\n{extra}"
        f"site:\n  time_zone: Europe/London\n  key: {{file: site.key}}\n"
        f"cohort:\n  patients: patients.csv\n",
        encoding="utf-8",
    )
    write_owner_only(folder / "site.key", b"k" * 40)
    (folder / "patients.csv").write_text(people, encoding="utf-8")
    return Pod(folder)


def ring_in(folder: Path) -> KeyRing:
    """A key ring in the pod's folder."""
    os.makedirs(folder, exist_ok=True)
    return make_ring(folder / "keys")


@contextmanager
def clinic_ehr(
    data: Store | str,
    ring: KeyRing,
    *,
    page: int | None = None,
    clock: Callable[[], datetime] = utc_now,
    scopes: tuple[str, ...] = ("system/*.rs",),
    skin: str = "smarthealthit",
) -> Iterator[Sandbox]:
    """A clinic's EHR; ``page`` cuts its pages to so many entries."""
    store = load(CLINICS / data / "fhir") if isinstance(data, str) else data
    ways = skin_named(skin)
    if page is not None:
        ways = replace(ways, paging=replace(ways.paging, max_count=page, default_count=page))
    clients = {CLIENT: RegisteredClient(ring.jwks(), scopes)}
    with Sandbox(store, ways, clients=clients, clock=clock) as ehr:
        yield ehr
