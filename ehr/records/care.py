"""What was done for a person: visits, drugs, orders, reports, documents (FHIR R4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import msgspec

from ehr.records.elements import (
    CLINICAL,
    VERIFICATION,
    CodeableConcept,
    Coding,
    Element,
    Identifier,
    Period,
    Quantity,
    RecordedTime,
    Reference,
    one_choice,
    status_in,
    when,
)
from ehr.records.people import Resource


class Hospitalization(Element, frozen=True):
    """How a stay ended."""

    discharge_disposition: CodeableConcept | None = None


class Participant(Element, frozen=True):
    """Someone or something that takes part in a visit."""

    individual: Reference | None = None
    actor: Reference | None = None
    status: str | None = None


class Encounter(Resource, frozen=True):
    """A visit or stay."""

    status: str | None = None
    class_: Coding | None = msgspec.field(default=None, name="class")
    type: tuple[CodeableConcept, ...] = ()
    subject: Reference | None = None
    period: Period | None = None
    participant: tuple[Participant, ...] = ()
    hospitalization: Hospitalization | None = None

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """The types of the encounter."""
        return self.type

    @property
    def class_code(self) -> str | None:
        """``AMB``, ``IMP``, ``EMER``, … in upper case."""
        return self.class_.code.upper() if self.class_ is not None and self.class_.code else None

    @property
    def when(self) -> RecordedTime | None:
        """Start and end; the end may be open."""
        return when(period=self.period)

    @property
    def discharge(self) -> CodeableConcept | None:
        """Where the person went after a stay."""
        return None if self.hospitalization is None else self.hospitalization.discharge_disposition


class Appointment(Resource, frozen=True):
    """A booked, kept, or cancelled visit.

    ``source`` says where it was read: an Appointment resource, an Encounter that stands in for one, or a
    vendor's own interface; it is ours and not on the wire.
    """

    status: str | None = None
    appointment_type: CodeableConcept | None = None
    service_type: tuple[CodeableConcept, ...] = ()
    description: str | None = None
    start: str | None = None
    end: str | None = None
    participant: tuple[Participant, ...] = ()
    source: Literal["appointment", "encounter", "enterprise"] = "appointment"
    location_name: str | None = None

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """The kinds of visit."""
        booked = () if self.appointment_type is None else (self.appointment_type,)
        return (*booked, *self.service_type)

    @property
    def when(self) -> RecordedTime | None:
        """The start: a visit belongs to the day on which it begins."""
        return when(self.start)

    @property
    def location(self) -> str | None:
        """Name of the place, if it is given."""
        return next((one.display for one in self._actors("location") if one.display), self.location_name)

    @property
    def practitioner(self) -> Reference | None:
        """The first practitioner taking part."""
        return next(self._actors("practitioner"), None)

    def _actors(self, kind: str) -> Iterator[Reference]:
        actors = (part.actor for part in self.participant if part.actor is not None)
        return (actor for actor in actors if actor.target is not None and actor.target[0] == kind)


class Medication(Resource, frozen=True):
    """A drug by itself, to which requests and statements may point."""

    code: CodeableConcept | None = None


class _Drug(Resource, frozen=True):
    status: str | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    subject: Reference | None = None
    contained: tuple[msgspec.Raw, ...] = ()

    def __post_init__(self) -> None:
        one_choice(self.medication_codeable_concept, self.medication_reference)

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """The drug; empty where it is only pointed to and the target was not read."""
        return () if self.medication_codeable_concept is None else (self.medication_codeable_concept,)


class MedicationRequest(_Drug, frozen=True, tag="MedicationRequest"):
    """A prescription or order of a drug."""

    intent: str | None = None
    do_not_perform: bool | None = None
    authored_on: str | None = None
    reported_boolean: bool | None = None
    kind: ClassVar[str] = "request"

    @property
    def authored(self) -> RecordedTime | None:
        """When it was written."""
        return when(self.authored_on)


class MedicationStatement(_Drug, frozen=True, tag="MedicationStatement"):
    """A statement that a drug is or was taken."""

    effective_date_time: str | None = None
    effective_period: Period | None = None
    date_asserted: str | None = None
    kind: ClassVar[str] = "statement"
    intent: ClassVar[None] = None  # a statement has none
    do_not_perform: ClassVar[bool] = False  # a statement forbids nothing

    @property
    def authored(self) -> RecordedTime | None:
        """When it was taken, else when that was said."""
        return when(self.effective_date_time, self.effective_period) or when(self.date_asserted)


class AllergyIntolerance(Resource, frozen=True):
    """An allergy, or the coded statement that none is known."""

    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    criticality: str | None = None
    category: tuple[str, ...] = ()
    code: CodeableConcept | None = None
    patient: Reference | None = None
    onset_date_time: str | None = None
    onset_age: Quantity | None = None
    onset_period: Period | None = None
    onset_string: str | None = None
    recorded_date: str | None = None

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What the allergy is to."""
        return () if self.code is None else (self.code,)

    @property
    def clinical(self) -> str | None:
        """``active``, ``inactive``, ``resolved`` or None."""
        return status_in(self.clinical_status, CLINICAL)

    @property
    def verification(self) -> str | None:
        """``confirmed``, ``unconfirmed``, ``refuted``, ``entered-in-error`` or None."""
        return status_in(self.verification_status, VERIFICATION)

    @property
    def onset(self) -> RecordedTime | None:
        """When it began, else when it was recorded."""
        return when(self.onset_date_time, self.onset_period, self.onset_age, text=self.onset_string) or when(
            self.recorded_date
        )


class Immunization(Resource, frozen=True):
    """A vaccination."""

    status: str | None = None
    vaccine_code: CodeableConcept | None = None
    patient: Reference | None = None
    occurrence_date_time: str | None = None
    occurrence_string: str | None = None

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """The vaccine."""
        return () if self.vaccine_code is None else (self.vaccine_code,)

    @property
    def occurred(self) -> RecordedTime | None:
        """When it was given."""
        return when(self.occurrence_date_time, text=self.occurrence_string)


class ServiceRequest(Resource, frozen=True):
    """An order of a service."""

    status: str | None = None
    intent: str | None = None
    do_not_perform: bool | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    authored_on: str | None = None
    kind: ClassVar[str] = "service"

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What is ordered."""
        return () if self.code is None else (self.code,)

    @property
    def authored(self) -> RecordedTime | None:
        """When it was ordered."""
        return when(self.authored_on)


class DeviceRequest(Resource, frozen=True):
    """An order of a device."""

    status: str | None = None
    intent: str | None = None
    code_codeable_concept: CodeableConcept | None = None
    code_reference: Reference | None = None
    subject: Reference | None = None
    authored_on: str | None = None
    do_not_perform: bool | None = None
    kind: ClassVar[str] = "device"

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What is ordered."""
        return () if self.code_codeable_concept is None else (self.code_codeable_concept,)

    @property
    def authored(self) -> RecordedTime | None:
        """When it was ordered."""
        return when(self.authored_on)


class DiagnosticReport(Resource, frozen=True):
    """A report that groups results."""

    status: str | None = None
    category: tuple[CodeableConcept, ...] = ()
    code: CodeableConcept | None = None
    subject: Reference | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None
    result: tuple[Reference, ...] = ()

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What kind of report it is."""
        return () if self.code is None else (self.code,)

    @property
    def effective(self) -> RecordedTime | None:
        """When the results held."""
        return when(self.effective_date_time, self.effective_period)


class Attachment(Element, frozen=True):
    """Content inline or at an address."""

    content_type: str | None = None
    data: str | None = None
    url: str | None = None
    size: int | None = None
    title: str | None = None
    hash: str | None = None


class DocumentContent(Element, frozen=True):
    """One form of a document."""

    attachment: Attachment | None = None


class DocumentReference(Resource, frozen=True):
    """A document in the chart."""

    status: str | None = None
    doc_status: str | None = None
    type: CodeableConcept | None = None
    category: tuple[CodeableConcept, ...] = ()
    subject: Reference | None = None
    date: str | None = None
    description: str | None = None
    content: tuple[DocumentContent, ...] = ()
    security_label: tuple[CodeableConcept, ...] = ()

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """What kind of document it is."""
        return () if self.type is None else (self.type,)

    @property
    def when(self) -> RecordedTime | None:
        """When it was made."""
        return when(self.date)


class ImagingSeries(Element, frozen=True):
    """One series of a study."""

    uid: str | None = None
    modality: Coding | None = None


class ImagingStudy(Resource, frozen=True):
    """A set of images."""

    identifier: tuple[Identifier, ...] = ()
    status: str | None = None
    modality: tuple[Coding, ...] = ()
    subject: Reference | None = None
    started: str | None = None
    series: tuple[ImagingSeries, ...] = ()

    @property
    def concepts(self) -> tuple[CodeableConcept, ...]:
        """The modalities."""
        return (CodeableConcept(coding=self.modality),) if self.modality else ()

    @property
    def when(self) -> RecordedTime | None:
        """When it was made."""
        return when(self.started)
