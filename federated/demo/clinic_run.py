"""The demonstration: four embedded EHRs, four pods that log in as backend services, one trial, four reports, one sum.

Everything is real but the people: each pod has a pod file with a policy, a key ring registered with its EHR, an
identity and a site key, all in a folder that is removed at the end. Only loopback is used. Then six pods train a
risk model on the rows of a published study.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ehr.sandbox.server import Sandbox
from federated.demo.pods import CLINICS, register, write_pod
from federated.demo.shared_tasks import (
    count_together,
    federation_section,
    make_keys,
    screening_policy,
    train_together,
)
from federated.reports.federation import Federation
from federated.reports.overview import write_overview
from federated.screening.run import Decisions
from federated.screening.trial.load import load_trial


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demonstration left.

    Args:
        out: the folder.
        decisions: clinic to its run.
        federation: what all of them found together.
        files: what was written over all sites.
    """

    out: Path
    decisions: dict[str, Decisions]
    federation: Federation
    files: tuple[Path, ...]


def demonstrate(out: Path, log: Callable[[str], Any] = lambda text: None) -> Demonstration:
    """Run the main job on synthetic people.

    Args:
        out: folder of the results; made if absent.
        log: hears each step.

    Raises:
        OutputError: the folder cannot be written.
    """
    place = files("federated.demo")
    with ExitStack() as held:
        data = held.enter_context(as_file(place.joinpath("clinics")))
        trial = load_trial(held.enter_context(as_file(place.joinpath("trial.yaml"))))
        home = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="trialveil-demo-")))
        pods = home / "clinics"
        keys = make_keys(pods, [clinic.name for clinic in CLINICS])
        sandboxes, pod_files = [], {}
        for clinic in CLINICS:
            clients = {clinic.client_id: register(clinic, pods / clinic.name)}
            own = data / clinic.name
            ehr = held.enter_context(Sandbox(own / "fhir", clinic.ways.skin, clients=clients))
            sandboxes.append(ehr)
            sections = screening_policy(trial, len(CLINICS)) + federation_section(keys, clinic.name)
            patients = own / "patients.csv"
            pod_files[clinic.name] = write_pod(clinic, pods / clinic.name, ehr.base_url, patients, sections)
            log(f"{clinic.title}: {clinic.ways.title} runs, and its pod's public key is registered with it.")
        log(
            "All pods log in, find their patients, read the records and decide; their counts are added up masked …"
        )
        counted = count_together(trial, keys, pod_files, out, log)
        for ehr in sandboxes:
            ehr.witness.assert_tokens_stayed_home()
        log("Each EHR saw its own tokens only. Six other pods train a risk model together …")
        trained = train_together(home / "lung", log)
    decisions = {clinic.name: Decisions(counted.runs[clinic.name]) for clinic in CLINICS}
    reports = {run.run.site.pseudonym: f"{clinic}/report.html" for clinic, run in decisions.items()}
    federation = Federation(counted.funnel, trained.discrimination, trained.server)
    written = write_overview([run.run for run in decisions.values()], out, reports, federation)
    return Demonstration(out, decisions, federation, written)
