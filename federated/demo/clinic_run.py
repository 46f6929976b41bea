"""The demonstration: two embedded EHRs, two pods that log in as backend services, one trial, two reports.

Everything is real but the people: each pod has a pod file, a key ring registered with its EHR and a site key, all in
a folder that is removed at the end. Only loopback is used.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ehr.auth.keys import make_ring, write_owner_only
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.server import Sandbox
from federated.local import Decisions, Options, screen
from federated.reports.write import write_overview

CLINICS = {"north": "North Clinic", "harbour": "Harbour Eye Centre"}
SCOPES = ("system/*.rs",)

_POD = """\
name: {name}
ehr:
  provider: smarthealthit r4
  base_url: {base_url}
  allow_http: loopback
  auth:
    backend: {{client_id: {clinic}-pod, keys: keys}}
site:
  time_zone: Europe/London
  key: {{file: site.key}}
cohort:
  patients: patients.csv
"""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demonstration left.

    Args:
        out: the folder.
        decisions: clinic to its run.
        files: what was written over all sites.
    """

    out: Path
    decisions: dict[str, Decisions]
    files: tuple[Path, ...]


def demonstrate(out: Path, say: Callable[[str], Any] = lambda text: None) -> Demonstration:
    """Run the main job on synthetic people.

    Args:
        out: folder of the results; made if absent.
        say: is told each step.

    Raises:
        OutputError: the folder cannot be written.
    """
    place = files("federated.demo")
    with ExitStack() as held:
        data = held.enter_context(as_file(place.joinpath("clinics")))
        trial = held.enter_context(as_file(place.joinpath("trial.yaml")))
        pods = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="trialveil-demo-")))
        sandboxes = {}
        for clinic, title in CLINICS.items():
            ring = make_ring(pods / clinic / "keys")
            client = RegisteredClient(ring.jwks(), SCOPES)
            ehr = held.enter_context(Sandbox(data / clinic / "fhir", clients={f"{clinic}-pod": client}))
            sandboxes[clinic] = ehr
            _write_pod(pods / clinic, clinic, ehr.base_url, data / clinic / "patients.csv")
            say(f"{title}: an embedded EHR runs, and its pod's public key is registered with it.")
        say("Both pods log in, find their patients, read the records and decide …")
        with ThreadPoolExecutor(len(CLINICS)) as side_by_side:
            runs = {
                clinic: side_by_side.submit(
                    screen, pods / clinic / "pod.yaml", trial, Options(out=out / clinic)
                )
                for clinic in CLINICS
            }
            decisions = {clinic: run.result() for clinic, run in runs.items()}
        for ehr in sandboxes.values():
            ehr.witness.assert_tokens_stayed_home()
        say("Each EHR saw its own tokens only.")
    reports = {run.run.site.pseudonym: f"{clinic}/report.html" for clinic, run in decisions.items()}
    written = write_overview([run.run for run in decisions.values()], out, reports)
    return Demonstration(out, decisions, written)


def _write_pod(folder: Path, clinic: str, base_url: str, patients: Path) -> None:
    text = _POD.format(name=CLINICS[clinic], clinic=clinic, base_url=base_url)
    (folder / "pod.yaml").write_text(text, encoding="utf-8")
    write_owner_only(folder / "site.key", secrets.token_hex(32).encode())
    shutil.copyfile(patients, folder / "patients.csv")
