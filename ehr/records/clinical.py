"""What is known about a person's health: conditions, procedures and observations (FHIR R4)."""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Any

from ehr.records.elements import (
    CLINICAL,
    VERIFICATION,
    CodeableConcept,
    Element,
    Period,
    Quantity,
    Range,
    Ratio,
    RecordedTime,
    Reference,
    codes_in,
    one_choice,
    status_in,
    when,
)
from ehr.records.people import Resource

# What FHIR lets an element that names a time be, in the order in which `when` takes it.
_TIME_TYPES = ("date_time", "period", "age", "range", "string")
_onset = attrgetter(*(f"onset_{name}" for name in _TIME_TYPES))
_abatement = attrgetter(*(f"abatement_{name}" for name in _TIME_TYPES))
_performed = attrgetter(*(f"performed_{name}" for name in _TIME_TYPES))


class Condition(Resource, frozen=True):
    """A diagnosis or problem."""

    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    category: tuple[CodeableConcept, ...] = ()
    code: CodeableConcept | None = None
    body_site: tuple[CodeableConcept, ...] = ()
    subject: Reference | None = None
    encounter: Reference | None = None
    onset_date_time: str | None = None
    onset_age: Quantity | None = None
    onset_period: Period | None = None
    onset_range: Range | None = None
    onset_string: str | None = None
    abatement_date_time: str | None = None
    abatement_age: Quantity | None = None
    abatement_period: Period | None = None
    abatement_range: Range | None = None
    abatement_string: str | None = None
    recorded_date: str | None = None

    def __post_init__(self) -> None:
        one_choice(*_onset(self))
        one_choice(*_abatement(self))

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What it is about."""
        return () if self.code is None else (self.code,)

    @property
    def clinical(self) -> str | None:
        """``active``, ``recurrence``, ``relapse``, ``inactive``, ``remission``, ``resolved`` or None."""
        return status_in(self.clinical_status, CLINICAL)

    @property
    def verification(self) -> str | None:
        """``confirmed``, ``provisional``, ``refuted``, ``entered-in-error``, … or None."""
        return status_in(self.verification_status, VERIFICATION)

    @property
    def categories(self) -> tuple[str, ...]:
        """Category codes in lower case."""
        return codes_in(self.category)

    @property
    def onset(self) -> RecordedTime | None:
        """When it began."""
        return when(*_onset(self))

    @property
    def abatement(self) -> RecordedTime | None:
        """When it ended."""
        return when(*_abatement(self))

    @property
    def recorded(self) -> RecordedTime | None:
        """When it was written down."""
        return when(self.recorded_date)


class Procedure(Resource, frozen=True):
    """Something that was done."""

    status: str | None = None
    category: CodeableConcept | None = None
    code: CodeableConcept | None = None
    body_site: tuple[CodeableConcept, ...] = ()
    subject: Reference | None = None
    encounter: Reference | None = None
    performed_date_time: str | None = None
    performed_period: Period | None = None
    performed_string: str | None = None
    performed_age: Quantity | None = None
    performed_range: Range | None = None

    def __post_init__(self) -> None:
        one_choice(*_performed(self))

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What was done."""
        return () if self.code is None else (self.code,)

    @property
    def performed(self) -> RecordedTime | None:
        """When it was done."""
        return when(*_performed(self))


class ObservationComponent(Element, frozen=True):
    """A part of an observation, such as the systolic pressure of a panel."""

    code: CodeableConcept | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_boolean: bool | None = None
    value_integer: int | None = None
    value_range: Range | None = None
    value_ratio: Ratio | None = None
    data_absent_reason: CodeableConcept | None = None

    @property
    def value(self) -> Value:
        """The value, whichever type it has; None where there is none."""
        return _value(self)


Value = Quantity | CodeableConcept | str | bool | Range | Ratio | None
"""What an observation can hold. Integers come as a `Quantity` without unit."""


_VALUE_TYPES = ("quantity", "codeable_concept", "string", "boolean", "range", "ratio")
_values = attrgetter(*(f"value_{name}" for name in _VALUE_TYPES))


def _value(holder: Any) -> Value:
    if holder.value_integer is not None:
        return Quantity(value=Decimal(holder.value_integer))
    return next((found for found in _values(holder) if found is not None), None)


class Observation(Resource, frozen=True):
    """A measurement or finding."""

    status: str | None = None
    category: tuple[CodeableConcept, ...] = ()
    code: CodeableConcept | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None
    effective_instant: str | None = None
    issued: str | None = None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_string: str | None = None
    value_boolean: bool | None = None
    value_integer: int | None = None
    value_range: Range | None = None
    value_ratio: Ratio | None = None
    data_absent_reason: CodeableConcept | None = None
    body_site: CodeableConcept | None = None
    method: CodeableConcept | None = None
    specimen: Reference | None = None
    component: tuple[ObservationComponent, ...] = ()

    def __post_init__(self) -> None:
        one_choice(self.value_integer, *_values(self))
        one_choice(self.effective_date_time, self.effective_period, self.effective_instant)

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What was measured."""
        return () if self.code is None else (self.code,)

    @property
    def categories(self) -> tuple[str, ...]:
        """Category codes in lower case."""
        return codes_in(self.category)

    @property
    def effective(self) -> RecordedTime | None:
        """When the value held; not when it was issued."""
        return when(self.effective_date_time or self.effective_instant, self.effective_period)

    @property
    def value(self) -> Value:
        """The value, whichever type it has; None where there is none."""
        return _value(self)
