"""Medical record numbers among a patient's identifiers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehr.records.elements import Identifier
from ehr.records.people import Patient

MRN_TYPES = ("MR", "MRN", "Medical Record Number")
"""How identifiers are marked that are medical record numbers: v2-0203's code, and words in use."""


def record_numbers(patient: Patient, mrn_types: Sequence[str] = MRN_TYPES) -> tuple[Identifier, ...]:
    """The medical record numbers of a patient, current ones first.

    An identifier counts by its type's code or text; where none is marked, by ``use: usual`` without a type.
    """
    wanted = {word.casefold() for word in mrn_types}
    marked = [one for one in patient.identifier if one.value and _marks(one) & wanted]
    if not marked:
        # Nextech marks the number of the chart so, and gives it no type (its R4 pages of 2024-10).
        marked = [one for one in patient.identifier if one.value and one.type is None and one.use == "usual"]
    return tuple(sorted(marked, key=lambda one: one.use == "old"))


def _marks(identifier: Identifier) -> set[str]:
    kind = identifier.type
    if kind is None:
        return set()
    return {text.casefold() for text in (kind.text, *(coding.code for coding in kind.coding)) if text}


def same_number(asked: str, identifier: Identifier) -> bool:
    """Whether an identifier is the number asked for, ``number`` or ``system|number``; case makes no difference."""
    system, bar, value = asked.strip().rpartition("|")
    if not value.strip() or value.strip().casefold() != (identifier.value or "").strip().casefold():
        return False
    if bar and system and identifier.system and system.casefold() != identifier.system.strip().casefold():
        # A vendor's type of number may stand where the system should.
        return system.casefold() in _marks(identifier)
    return True


def identifies(asked: str, numbers: Iterable[Identifier]) -> bool:
    """Whether one of the numbers can be enough by itself: marked as a record number, current, and of the system asked
    for, if one was.
    """
    system = asked.strip().rpartition("|")[0].casefold()
    return any(
        one.type is not None
        and one.use != "old"
        and (not system or one.system is not None or system in _marks(one))
        and same_number(asked, one)
        for one in numbers
    )
