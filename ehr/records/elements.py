"""The FHIR R4 data types that records are made of, as frozen structs decoded straight from JSON.

Field names are FHIR's (camel case on the wire). Only what is read is declared; unknown fields are skipped.
``repr`` names the class alone: the content is patient data (S8, S22).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

CLINICAL = (("relapse", "recurrence", "active"), ("remission", "resolved", "inactive"))
VERIFICATION = (
    ("entered-in-error",),
    ("refuted",),
    ("differential", "provisional", "presumed", "unconfirmed"),
    ("confirmed",),
)
"""FHIR R4's words for clinical and verification status: each group contradicts the others; narrower words first."""


class Element(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True, kw_only=True):
    """Base of all structs: frozen, untracked by the garbage collector, silent about its content."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Coding(Element, frozen=True):
    """A code in a system (raw, as sent; `ehr.records.codes.code_of` makes it comparable)."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(Element, frozen=True):
    """One meaning, in any number of codings, or in text alone."""

    coding: tuple[Coding, ...] = ()
    text: str | None = None

    @property
    def label(self) -> str | None:
        """What to show a person: the first display, else the text."""
        return next((c.display for c in self.coding if c.display), None) or self.text


class Period(Element, frozen=True):
    """From, to; each may be missing (open or unknown)."""

    start: str | None = None
    end: str | None = None


class Quantity(Element, frozen=True):
    """A number with its unit. ``comparator`` ``<``, ``<=``, ``>=``, ``>`` makes it a bound, not a value."""

    value: Decimal | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        value = self.value
        if value is None:
            return
        # msgspec takes the texts "NaN" and "Infinity" for a Decimal too; neither may reach a comparison.
        if not value.is_finite() or abs(value.adjusted()) > 300:
            raise ValueError("value is not a finite decimal number")

    @property
    def unit_code(self) -> str | None:
        """The coded unit if there is one, else the printed one."""
        return self.code or self.unit


class Range(Element, frozen=True):
    """Between low and high, both inside; one may be missing."""

    low: Quantity | None = None
    high: Quantity | None = None


class Ratio(Element, frozen=True):
    """Numerator over denominator."""

    numerator: Quantity | None = None
    denominator: Quantity | None = None


class Reference(Element, frozen=True):
    """A pointer to another resource."""

    reference: str | None = None
    type: str | None = None
    display: str | None = None

    @property
    def target(self) -> tuple[str, str] | None:
        """(type in lower case, id), from relative and absolute references; None for ``urn:`` and ``#``.

        Nextech writes ``patient/…`` (its R4 pages of 2024-10), so the type is compared without case.
        """
        text = (self.reference or "").split("/_history/")[0].rstrip("/")
        if not text or text.startswith(("#", "urn:")):
            return None
        parts = text.split("/")
        return (parts[-2].lower(), parts[-1]) if len(parts) >= 2 and parts[-1] else None


class Identifier(Element, frozen=True):
    """A number that an organisation gave, in its namespace (``system``)."""

    use: str | None = None
    type: CodeableConcept | None = None
    system: str | None = None
    value: str | None = None


class HumanName(Element, frozen=True):
    """A name; people have several (maiden, usual, old)."""

    use: str | None = None
    text: str | None = None
    family: str | None = None
    given: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()


class ContactPoint(Element, frozen=True):
    """A telephone number or an e-mail address."""

    system: str | None = None
    value: str | None = None
    use: str | None = None


class Address(Element, frozen=True):
    """A postal address."""

    use: str | None = None
    text: str | None = None
    line: tuple[str, ...] = ()
    city: str | None = None
    district: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None


class Meta(Element, frozen=True):
    """Version and sensitivity labels of a resource."""

    version_id: str | None = None
    last_updated: str | None = None
    security: tuple[Coding, ...] = ()


class Extension(Element, frozen=True):
    """An extension, of which only coded and textual values are read."""

    url: str | None = None
    value_code: str | None = None
    value_string: str | None = None
    value_coding: Coding | None = None
    value_codeable_concept: CodeableConcept | None = None
    extension: tuple[Extension, ...] = ()


class RecordedTime(Element, frozen=True):
    """A time as it was recorded, whichever of FHIR's choices was used; not on the wire.

    Args:
        at: date, dateTime or instant.
        start, end: a period.
        age: an age at the time; with the birth date it becomes an interval.
        text: words that nobody can compare; the entry is undated.
    """

    at: str | None = None
    start: str | None = None
    end: str | None = None
    age: Quantity | None = None
    text: str | None = None


def when(
    at: str | None = None,
    period: Period | None = None,
    age: Quantity | None = None,
    span: Range | None = None,
    text: str | None = None,
) -> RecordedTime | None:
    """`RecordedTime` out of FHIR's choice fields; None where none of them is there."""
    if at is not None:
        return RecordedTime(at=at)
    if period is not None:
        return RecordedTime(start=period.start, end=period.end)
    if age is not None:
        return RecordedTime(age=age)
    if text is not None or span is not None:
        return RecordedTime(text=text or "range")
    return None


def codes_in(concepts: tuple[CodeableConcept, ...] | CodeableConcept | None) -> tuple[str, ...]:
    """All bare codes of some concepts in lower case, for status and category elements."""
    if concepts is None:
        return ()
    every = (concepts,) if isinstance(concepts, CodeableConcept) else concepts
    return tuple(c.code.strip().lower() for concept in every for c in concept.coding if c.code)


def status_in(concept: CodeableConcept | None, groups: tuple[tuple[str, ...], ...]) -> str | None:
    """The status that a concept names: FHIR's own word in any of its codings, else the first code as it is.

    Vendors put a code of their own before or after FHIR's.

    Args:
        groups: FHIR's words.

    Returns:
        None where there is no code, or where words of two groups contradict each other.
    """
    found = codes_in(concept)
    if len(found) < 2:
        return found[0] if found else None
    groups_named = [group for group in groups if not set(group).isdisjoint(found)]
    if len(groups_named) > 1:
        return None
    return next((word for group in groups_named for word in group if word in found), found[0])


def one_choice(*choices: object) -> None:
    """Refuse a resource that fills two types of one choice element.

    Raises:
        ValueError: more than one is not None; taking either would be a guess.
    """
    if choices.count(None) < len(choices) - 1:
        raise ValueError(f"{len(choices) - choices.count(None)} types of one choice element are given")
