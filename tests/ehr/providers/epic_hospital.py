"""A small hospital with Epic: people who are easily taken for one another, and what is recorded about them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ehr.providers.epic import EpicAdapter
from ehr.sandbox import Sandbox, Store
from ehr.sandbox.store import store_of
from ehr.site import ClockAndWire, Site, open_site_async
from tests.ehr.sandbox.synthetic import condition, patient
from tests.ehr.site_folder import Folder
from tests.fakes.clock import FakeClock

MR = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"


def person(key: str, family: str, given: str, born: str, *, mrn: str = "", **more: Any) -> dict[str, Any]:
    """A patient with a medical record number."""
    number = {"type": MR, "system": "urn:oid:1.2.3", "value": mrn or f"9{key}"}
    return {**patient(key, family, given, born), "identifier": [number], **more}


def sick(key: str, of: str, category: str | None) -> dict[str, Any]:
    """A diagnosis in one category, or in none."""
    made = condition(key, of, "H35.31", "2020-01-15")
    made["category"] = [{"coding": [{"system": CATEGORY, "code": category}]}] if category else []
    return made


def measured(key: str, of: str, category: str, when: str = "2024-01-01") -> dict[str, Any]:
    """A laboratory value or alike."""
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "category": [{"coding": [{"code": category}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "4548-4"}]},
        "subject": {"reference": f"Patient/{of}"},
        "effectiveDateTime": when,
    }


def prescribed(key: str, of: str, what: str) -> dict[str, Any]:
    """A prescription that only points to its drug, as Epic writes them."""
    return {
        "resourceType": "MedicationRequest",
        "id": key,
        "status": "active",
        "intent": "order",
        "subject": {"reference": f"Patient/{of}"},
        "medicationReference": {"reference": f"Medication/{what}"},
    }


def drug(key: str) -> dict[str, Any]:
    """A drug by itself."""
    coding = [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "106892"}]
    return {"resourceType": "Medication", "id": key, "code": {"coding": coding}}


@cache
def hospital() -> Store:
    """The data as other systems would have it; the skin dresses it."""
    phone = [{"system": "phone", "value": "555-0100"}]
    gone = [{"type": "replaced-by", "other": {"reference": "Patient/eve.new"}}]
    astray = [{"type": "replaced-by", "other": {"reference": "Patient/lost"}}]
    return store_of(
        [
            person("amy", "Shaw", "Amy", "1987-02-20", mrn="700", telecom=phone),
            person("bo", "Kerry", "Bo", "1975-03-03", telecom=[{"system": "phone", "value": "555-0101"}]),
            {
                **person("tom", "Lee", "Tom", "1990-01-01"),
                "identifier": [{"type": {"text": "EPI"}, "system": "urn:oid:9", "value": "E1"}],
            },
            person("tim", "Lee", "Tim", "1990-01-01"),
            person("ian1", "Twin", "Ian", "1970-05-05"),
            person("ian2", "Twin", "Ian", "1970-05-05"),
            person("eve.old", "Jones", "Eve", "1960-06-06", link=gone),
            person("eve.new", "Smith", "Eve", "1960-06-06"),
            person("ray", "Astray", "Ray", "1961-06-06", link=astray),
            *(person(f"pat{n}", "Many", "Pat", "1980-08-08") for n in range(101)),
            sick("c1", "amy", "problem-list-item"),
            sick("c2", "amy", "encounter-diagnosis"),
            sick("c3", "amy", None),
            sick("c4", "eve.old", "encounter-diagnosis"),
            sick("c5", "eve.new", "problem-list-item"),
            *(measured(f"o{n}", "amy", "laboratory", f"20{n:02}-01-01") for n in range(12)),
            measured("v1", "amy", "vital-signs"),
            {
                "resourceType": "List",
                "id": "l1",
                "status": "current",
                "mode": "working",
                "code": {"coding": [{"code": "patients"}]},
                "identifier": [{"system": "urn:oid:1.2.840", "value": "9192"}],
                "entry": [{"item": {"reference": f"Patient/{who}"}} for who in ("tom", "amy", "tom")],
            },
            *(prescribed(f"m{n}", "amy", f"drug{n}") for n in range(3)),
            *(drug(f"drug{n}") for n in range(3)),
            {"resourceType": "Binary", "id": "b1", "contentType": "application/pdf", "data": "JVBERg=="},
        ]
    )


@asynccontextmanager
async def opened(running: Sandbox, folder: Path, time: FakeClock, **written: str) -> AsyncIterator[Site]:
    """The hospital's site, opened as a pod opens it."""
    config = Folder(folder / "site").write(running.base_url, provider="epic r4", **written)
    async with open_site_async(config, ClockAndWire(clock=time.clock)) as site:
        assert isinstance(site.adapter, EpicAdapter)
        yield site
