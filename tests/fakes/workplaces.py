"""A pod's workplace over a sandbox EHR: a real task, a real folder, a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ehr
from ehr.sandbox.server import Sandbox
from federated.algorithms.step_context import StepContext
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.screening.trial.load import read_trial
from federated.screening.trial.lock import digest
from federated.task.spec import FORMAT, Participant, TaskDocument, TaskSpec, Unit, moment
from federated.types import ProtocolContext

CREATED = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADULTS = """\
trialveil: 1
id: adults
title: Adults
version: "1"
nct: none
status: {status}
index_date: run
inclusion:
  - {{id: age, text: Adult, source: "18 or older", where: {{age: {{is: ">= 18", unit: a}}}}}}
  - {{id: sex, text: A woman, source: "women", where: {{sex: {{is: female}}}}}}
"""
PATIENTS = "id\ndemo-1\ndemo-2\ndemo-3\n"


def trial_document(text: str = ADULTS.format(status="final")) -> TaskDocument:
    """A trial as it travels in a task."""
    return TaskDocument(kind="trial", digest=digest(read_trial(text).require()), text=text)


def spec(documents: Mapping[str, TaskDocument], algorithms: tuple[Unit, ...] = ()) -> TaskSpec:
    """A task for one pod, leeds."""
    return TaskSpec(
        format=FORMAT,
        name="count",
        nonce="0" * 32,
        created=moment(CREATED),
        expires=moment(CREATED + timedelta(days=1)),
        modeller=Participant(name="modeller", key="1" * 64),
        participants=(Participant(name="leeds", key="2" * 64),),
        protocol=Unit(name="bitfount.ResultsOnly"),
        algorithms=algorithms or (Unit(name="bitfount.EHRPatientQueryAlgorithm"),),
        documents=dict(documents),
    )


@contextmanager
def sandbox_pod(folder: Path, patients: str = PATIENTS) -> Iterator[Path]:
    """A pod file over a running sandbox."""
    with Sandbox(login=False) as sandbox:
        pod = folder / "pod.yaml"
        assert run(["pod", "new", str(pod), "-q"]) == ExitCode.DONE
        pod.write_text(
            f"name: leeds\nehr: {{provider: smarthealthit r4, base_url: '{sandbox.base_url}', "
            "allow_http: loopback, auth: none}\nsite: {time_zone: Europe/London, key: {file: site.key}}\n"
            "cohort: {patients: patients.csv}\n"
        )
        (folder / "patients.csv").write_text(patients)
        yield pod


def place(pod: Path | None, documents: Mapping[str, TaskDocument] | None = None, **more: Any) -> StepContext:
    """The workplace of a task; without a pod file it has no EHR. Results go where the environment says."""
    return StepContext(
        pod="leeds",
        spec=spec(documents or {"adults": trial_document()}),
        context=ProtocolContext(task_id="task"),
        secret=b"s" * 32,
        open_site=None if pod is None else (lambda: ehr.open_site_async(pod)),
        **more,
    )
