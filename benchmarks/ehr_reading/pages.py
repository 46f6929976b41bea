"""The pages that every client reads: searchsets of people who do not exist, as bytes.

The forty patients of ``fixtures/synthea`` are repeated under ids of their own. Each of their visits gives an
Encounter and an Appointment, so that a client that knows no appointments can read as many entries. Standard
library only: the server's process holds nothing else.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "fixtures" / "synthea"
KINDS = ("Condition", "Procedure", "Observation", "Appointment")
"""What is read of each patient, besides the patient's own record."""
TYPES = ("Patient", *KINDS, "Encounter")
OPEN_PERSON = b"p000000"
"""Stands in a template where a patient's id goes; of the same length as each of them."""

Key = tuple[str, str, int, int]
"""Type, patient, entries a page, number of the page from 0."""


def person_id(number: int) -> str:
    """The id of a patient, from 1."""
    return f"p{number:06d}"


@dataclass(frozen=True, slots=True)
class Template:
    """One page of one of the forty: its bytes with an open id."""

    body: bytes
    entries: int

    def of(self, person: str) -> bytes:
        """The page of a patient."""
        return self.body.replace(OPEN_PERSON, person.encode())


@cache
def people() -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """The forty: type to its resources as JSON, ids open."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in ("Patient", "Condition", "Procedure", "Observation", "Encounter"):
        with gzip.open(DATA / f"{name}.ndjson.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                owner = record["id"] if name == "Patient" else record["subject"]["reference"].split("/")[1]
                kinds = found.setdefault(owner, {kind: [] for kind in TYPES})
                kinds[name].append(_opened(line, owner))
                if name == "Encounter":
                    kinds["Appointment"].append(_opened(json.dumps(appointment(record)), owner))
    return tuple({name: tuple(each) for name, each in kinds.items()} for _, kinds in sorted(found.items()))


def _opened(text: str, owner: str) -> str:
    return text.strip().replace(owner, OPEN_PERSON.decode())


def appointment(encounter: Mapping[str, Any]) -> dict[str, Any]:
    """The booking that led to a visit."""
    who = [encounter["subject"], *(part["individual"] for part in encounter.get("participant", ()))]
    return {
        "resourceType": "Appointment",
        "id": f"{encounter['id']}-b",
        "status": "fulfilled",
        "serviceType": encounter.get("type", []),
        "start": encounter["period"]["start"],
        "end": encounter["period"]["end"],
        "participant": [{"actor": actor, "status": "accepted"} for actor in who],
    }


def templates(base: str, size: int) -> tuple[Mapping[str, tuple[Template, ...]], ...]:
    """All pages of each of the forty, by type, for a server at ``base`` with ``size`` entries a page."""
    return tuple(
        {name: tuple(_pages(base, name, records, size)) for name, records in kinds.items()}
        for kinds in people()
    )


def _pages(base: str, name: str, records: tuple[str, ...], size: int) -> Iterator[Template]:
    parameter = "_id" if name == "Patient" else "patient"
    search = f"{base}/{name}?{parameter}={OPEN_PERSON.decode()}&_count={size}"
    for number, start in enumerate(range(0, max(len(records), 1), size)):
        part = records[start : start + size]
        links = [{"relation": "self", "url": search}]
        if start + size < len(records):
            links.append({"relation": "next", "url": f"{search}&page={number + 1}"})
        entries = ",".join(
            f'{{"fullUrl":"{base}/{name}/{json.loads(record)["id"]}","resource":{record},'
            '"search":{"mode":"match"}}'
            for record in part
        )
        head = f'"type":"searchset","total":{len(records)},"link":{json.dumps(links)}'
        body = f'{{"resourceType":"Bundle",{head},"entry":[{entries}]}}'
        yield Template(body.encode(), len(part))


def expected(patients: int) -> dict[str, int]:
    """How many resources of each type a cohort has."""
    forty = people()
    return {name: sum(len(forty[number % len(forty)][name]) for number in range(patients)) for name in TYPES}


def rendered(base: str, patients: int, size: int) -> Iterator[tuple[Key, bytes]]:
    """Every page of every patient."""
    forty = templates(base, size)
    for number in range(patients):
        person = person_id(number + 1)
        for name, parts in forty[number % len(forty)].items():
            for page, template in enumerate(parts):
                yield (name, person, size, page), template.of(person)
