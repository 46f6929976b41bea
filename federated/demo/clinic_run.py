"""The demonstration: four embedded EHRs, four pods that log in as backend services, one trial, four reports.

Everything is real but the people: each pod has a pod file, a key ring registered with its EHR and a site key, all in
a folder that is removed at the end. Only loopback is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ehr.sandbox.server import Sandbox
from federated.demo.pods import CLINICS, register, write_pod
from federated.local import Decisions, Options, screen
from federated.reports.write import write_overview


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
        for clinic in CLINICS:
            clients = {clinic.client_id: register(clinic, pods / clinic.name)}
            own = data / clinic.name
            ehr = held.enter_context(Sandbox(own / "fhir", clinic.ways.skin, clients=clients))
            sandboxes[clinic.name] = ehr
            write_pod(clinic, pods / clinic.name, ehr.base_url, own / "patients.csv")
            say(f"{clinic.title}: {clinic.ways.title} runs, and its pod's public key is registered with it.")
        say("All pods log in, find their patients, read the records and decide …")
        with ThreadPoolExecutor(len(CLINICS)) as side_by_side:
            runs = {
                clinic.name: side_by_side.submit(
                    screen, pods / clinic.name / "pod.yaml", trial, Options(out=out / clinic.name)
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
