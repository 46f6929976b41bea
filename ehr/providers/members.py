"""The members of a Group or List, as patients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ehr.elements import Element, Reference
from ehr.fhir.session import FhirSession
from ehr.people import Resource
from ehr.records import PatientRef

if TYPE_CHECKING:
    from ehr.providers.adapter import CohortRef


class Member(Element):
    """One entry of a Group."""

    entity: Reference | None = None
    inactive: bool | None = None


class Group(Resource):
    """A group of patients."""

    member: tuple[Member, ...] = ()


class Entry(Element):
    """One entry of a List."""

    item: Reference | None = None
    deleted: bool | None = None


class List(Resource):
    """A list of patients."""

    entry: tuple[Entry, ...] = ()


async def members(session: FhirSession, source: CohortRef) -> AsyncIterator[PatientRef]:
    """Each patient once, in the list's order.

    Raises:
        Unavailable: the Group or List could not be read; a cohort is never silently short.
    """
    seen: set[str] = set()
    for reference in await _references(session, source):
        target = reference.target
        if target is not None and target[0] == "patient" and target[1] not in seen:
            seen.add(target[1])
            yield PatientRef(target[1])


async def _references(session: FhirSession, source: CohortRef) -> list[Reference]:
    if source.source == "group":
        groups = (await session.read(Group, source.id)).require()
        return [m.entity for group in groups for m in group.member if m.entity is not None and not m.inactive]
    lists = (await session.read(List, source.id)).require()
    return [e.item for one in lists for e in one.entry if e.item is not None and not e.deleted]
