"""The members of a Group or List, as patients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ehr.errors import ConfigurationError, Unavailable
from ehr.fhir.session import FhirSession
from ehr.records.elements import Element, Reference
from ehr.records.patient import Fetched, PatientRef, State
from ehr.records.people import Resource

if TYPE_CHECKING:
    from ehr.providers.adapter import CohortRef

T = TypeVar("T")


class Member(Element, frozen=True):
    """One entry of a Group."""

    entity: Reference | None = None
    inactive: bool | None = None


class Group(Resource, frozen=True):
    """A group of patients."""

    member: tuple[Member, ...] = ()
    quantity: int | None = None


class ListEntry(Element, frozen=True):
    """One entry of a List."""

    item: Reference | None = None
    deleted: bool | None = None


class List(Resource, frozen=True):
    """A list of patients."""

    entry: tuple[ListEntry, ...] = ()


FindList = Callable[[], Awaitable[Fetched[List]]]


async def members(
    session: FhirSession, source: CohortRef, listed: FindList | None = None
) -> AsyncIterator[PatientRef]:
    """Each patient once, in the list's order.

    Args:
        session: the server.
        source: which Group or List.
        listed: finds the List, where it is found otherwise than by its id.

    Raises:
        ConfigurationError: there is no such Group or List.
        Unavailable: the Group or List could not be read, names fewer members than it says it has, or an active
            entry names no patient of this server; a cohort is never silently short.
    """
    seen: set[str] = set()
    for reference in await _references(session, source, listed):
        target = None if reference is None else reference.target
        if target is None or target[0] != "patient":
            raise Unavailable(
                f"an entry of the {source.source} is not a patient of this EHR; the cohort would be short.",
                state=State.PARTIAL.name,
            )
        if target[1] not in seen:
            seen.add(target[1])
            yield PatientRef(target[1])


async def _references(
    session: FhirSession, source: CohortRef, listed: FindList | None
) -> list[Reference | None]:
    if source.source == "group":
        groups = _there((await session.read(Group, source.id)).require(), source)
        if any(len(group.member) < (group.quantity or 0) for group in groups):
            raise Unavailable(
                "the group names fewer members than it says it has; the cohort would be short.",
                state=State.PARTIAL.name,
            )
        return [member.entity for group in groups for member in group.member if not member.inactive]
    lists = _there((await (session.read(List, source.id) if listed is None else listed())).require(), source)
    return [entry.item for one in lists for entry in one.entry if not entry.deleted]


def _there(found: tuple[T, ...], source: CohortRef) -> tuple[T, ...]:
    if not found:
        raise ConfigurationError(f"cohort: the EHR has no such {source.source}; check its id in pod.yaml.")
    return found
