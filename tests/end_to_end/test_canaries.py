"""Canary words of a record, tokens and keys are searched for in everything that comes out (S8, S22, S23)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr.sandbox import store_of
from ehr.sandbox.faults import Action, Alien, Body, Fault, NextLink, Remark, Reset, RevokeToken, Status, When
from ehr.sandbox.server import Sandbox
from federated.cli.frame import run
from tests.end_to_end.clinics import TRIAL, Pod, clinic_ehr, make_pod, ring_in

FAMILY, GIVEN, MRN, BORN, TEXT = "Canaryfamily", "Canarygiven", "CANARY-4711", "1948-11-23", "canarytext"
PEOPLE: list[dict[str, Any]] = [
    {
        "resourceType": "Patient",
        "id": f"canary-id-{number}",
        "active": True,
        "identifier": [
            {
                "type": {
                    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]
                },
                "value": f"{MRN}-{number}",
            }
        ],
        "name": [{"family": FAMILY, "given": [f"{GIVEN}{number}"]}],
        "telecom": [
            {"system": "phone", "value": "canaryphone"},
            {"system": "email", "value": "canary@mail.example"},
        ],
        "address": [{"line": ["canarystreet 1"], "city": "Canarytown"}],
        "gender": "female",
        "birthDate": BORN,
    }
    for number in (1, 2)
]
RECORDS: list[dict[str, Any]] = [
    {
        "resourceType": "Condition",
        "id": "canary-condition",
        "subject": {"reference": "Patient/canary-id-1", "display": FAMILY},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "code": {
            "coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "H35.3112"}],
            "text": TEXT,
        },
        "note": [{"text": TEXT}],
    },
    {
        "resourceType": "Condition",
        "id": "canary-broken",
        "subject": {"reference": "Patient/canary-id-1"},
        "onsetDateTime": TEXT,
        "code": TEXT,
    },
    {
        "resourceType": "Observation",
        "id": "canary-observation",
        "status": "final",
        "subject": {"reference": "Patient/canary-id-1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "98498-9"}]},
        "effectiveDateTime": "2026-04-01",
        "valueString": TEXT,
    },
]
FAULTS: dict[str, Action | None] = {
    "nothing": None,
    "500": Status(
        500, body=f'{{"resourceType":"OperationOutcome","issue":[{{"diagnostics":"{FAMILY}"}}]}}'.encode()
    ),
    "400": Status(400, body=FAMILY.encode(), content_type="text/html"),
    "redirect": Status(302, location=f"https://evil.example/{FAMILY}"),
    "html": Body("html"),
    "truncated": Body("truncated"),
    "reset": Reset(),
    "alien": Alien(),
    "remark": Remark("error", FAMILY),
    "foreign link": NextLink("foreign", "https://evil.example"),
    "revoked": RevokeToken(every=True),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Pod]]:
    folder: Path = tmp_path_factory.mktemp("canary")
    people = (
        "mrn,family,given,birth_date,note\n"
        f"{MRN}-1,{FAMILY},{GIVEN}1,{BORN},x\n"
        f",{FAMILY},{GIVEN}2,{BORN},x\n"
        f"{MRN}-1,{FAMILY},{GIVEN}1,1950-01-01,x\n"
        f",Otherfamilycanary,{GIVEN},{BORN},x\n"
    )
    with clinic_ehr(store_of([*PEOPLE, *RECORDS]), ring_in(folder), page=1) as ehr:
        yield ehr, make_pod(folder, ehr.base_url, people, extra="  patient_seconds: 20\n")


def _canaries(ehr: Sandbox, pod: Pod) -> list[str]:
    words = [
        "canaryfamily",
        "canarygiven",
        "canary-4711",
        BORN,
        TEXT,
        "canaryphone",
        "canarytown",
        "canary-id",
        "k" * 40,
    ]
    words += ["otherfamilycanary", "canarystreet", "canary@mail"]
    words += [token.lower() for token in ehr.witness.issued]
    keys = "".join(path.read_text() for path in (pod.folder / "keys").glob("*.pem"))
    return words + [line.lower() for line in keys.splitlines() if len(line) > 30 and "---" not in line]


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_that_comes_out_holds_a_canary(
    stage: tuple[Sandbox, Pod],
    fault: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ehr, pod = stage
    action = FAULTS[fault]
    ehr.faults = (
        ()
        if action is None
        else tuple(Fault(action, When(endpoint=point), times=9) for point in ("search", "read"))
    )
    caplog.set_level(logging.DEBUG)
    try:
        out = tmp_path / "out"
        run(["-v", "screen", "--config", str(pod.config), "--trial", str(TRIAL), "--out", str(out)])
        run(["-v", "ehr", "probe", "--config", str(pod.config)])
        run(["-v", "ehr", "query", "--config", str(pod.config), "--mrn", f"{MRN}-1", "--birth-date", BORN])
        captured = capsys.readouterr()
    finally:
        ehr.faults = ()
    files = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()} if out.exists() else {}
    logged = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("uvicorn", "asyncio"))
    )
    for place, text in {"stdout": captured.out, "stderr": captured.err, "log": logged, **files}.items():
        for word in _canaries(ehr, pod):
            assert word not in text.lower(), f"a canary ({word[:12]}…) is in {place}"
    if fault == "nothing":
        assert json.loads(files["summary.json"])["counts"]["matched"] >= 2


def test_no_token_left_its_origin(stage: tuple[Sandbox, Pod]) -> None:
    stage[0].witness.assert_tokens_stayed_home()
