"""Drugs that a prescription only points to, read so that it can be told which drug it is.

A prescription whose drug is unknown could be any drug. While one is left, the collection is PARTIAL: it can
prove that a drug was given, never that it was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from ehr.fhir.read import counted
from ehr.gather import gather_or_cancel
from ehr.records.elements import CodeableConcept
from ehr.records.fetched import Fetched, Issue, Severity, State
from ehr.records.patient import Medication

MOST_READS = 200
"""Medications that are read for one patient; more stay unresolved."""


class Reader(Protocol):
    """What reads a resource: `ehr.fhir.session.FhirSession`."""

    def offers(self, type_name: str) -> bool: ...

    def may(self, type_name: str) -> bool: ...

    async def read(self, what: type[Medication], resource_id: str) -> Fetched[Medication]: ...


async def with_drugs(reader: Reader, fetched: Fetched[Any]) -> Fetched[Any]:
    """Fill in the drugs of requests and statements; PARTIAL with an issue where one stays unknown."""
    wanted = {target for record in fetched.items if (target := _pointed(record)) is not None}
    read = await _read(reader, sorted(wanted)[:MOST_READS])
    concepts = {
        one: drug.code for one, found in read.items() for drug in found.items if drug.code is not None
    }
    items = tuple(_filled(record, concepts) for record in fetched.items)
    unknown = sum(record.medication_reference is not None for record in items)
    state = State.PARTIAL if unknown and fetched.state.complete else fetched.state
    issues = (Issue("medication-not-resolved", Severity.ERROR, unknown),) if unknown else ()
    failed = [found for found in read.values() if found.again]
    cut = fetched.cut or bool(failed)
    why = counted(issue for found in failed for issue in found.issues)
    return replace(fetched, items=items, state=state, cut=cut).with_issues((*issues, *why))


def _pointed(record: Any) -> str | None:
    target = None if record.medication_reference is None else record.medication_reference.target
    return target[1] if target is not None and target[0] == "medication" else None


async def _read(reader: Reader, ids: list[str]) -> Mapping[str, Fetched[Medication]]:
    if not ids or not reader.offers("Medication") or not reader.may("Medication"):
        return {}
    found = await gather_or_cancel(reader.read(Medication, one) for one in ids)
    return dict(zip(ids, found, strict=True))


def _filled(record: Any, concepts: Mapping[str, CodeableConcept]) -> Any:
    target = _pointed(record)
    concept = None if target is None else concepts.get(target)
    if concept is None:
        return record
    return msgspec.structs.replace(record, medication_codeable_concept=concept, medication_reference=None)
