"""People as FHIR R4 resources: the patient, and who treats them; and the base of all resources.

The struct *is* the record: it is decoded straight from JSON (unknown fields skipped, wrong types refused).
"""

from __future__ import annotations

from typing import Literal

from ehr.records.elements import (
    Address,
    ContactPoint,
    Element,
    Extension,
    HumanName,
    Identifier,
    Meta,
    Reference,
    one_choice,
)


class Resource(Element, frozen=True, tag_field="resourceType"):
    """What every resource has: an id and a version."""

    id: str | None = None
    meta: Meta | None = None

    @property
    def type_name(self) -> str:
        """The FHIR resource type."""
        return str(self.__struct_config__.tag)

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.type_name}/{self.id}"

    @property
    def labels(self) -> frozenset[str]:
        """Sensitivity labels in lower case (``meta.security``)."""
        security = () if self.meta is None else self.meta.security
        return frozenset((c.code or "").lower() for c in security)


class PatientLink(Element, frozen=True):
    """A link to another record of the same person."""

    other: Reference | None = None
    type: str | None = None


class Patient(Resource, frozen=True):
    """A person in the EHR."""

    identifier: tuple[Identifier, ...] = ()
    active: bool | None = None
    name: tuple[HumanName, ...] = ()
    telecom: tuple[ContactPoint, ...] = ()
    gender: str | None = None
    birth_date: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None
    address: tuple[Address, ...] = ()
    link: tuple[PatientLink, ...] = ()
    general_practitioner: tuple[Reference, ...] = ()
    extension: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        one_choice(self.deceased_boolean, self.deceased_date_time)

    @property
    def deceased(self) -> bool | None:
        """True or False where the record says so, None where it is silent."""
        return True if self.deceased_date_time is not None else self.deceased_boolean

    @property
    def replaced_by(self) -> str | None:
        """Id of the record that took this one's place after a merge."""
        for entry in self.link:
            target = entry.other.target if entry.other is not None else None
            if entry.type == "replaced-by" and target is not None:
                return target[1]
        return None

    def sex(self, which: Literal["administrative", "legal", "birth"]) -> str | None:
        """Code of the recorded sex in lower case (``male``, ``female``, …), or None.

        ``administrative`` is FHIR's ``gender``; ``birth`` and ``legal`` are extensions (US Core, vendors).
        """
        if which == "administrative":
            return self.gender.strip().lower() if self.gender else None
        wanted = "birthsex" if which == "birth" else "legal-sex"
        for extension in self.extension:
            if extension.url is not None and wanted in extension.url.lower():
                return _sex_word(extension)
        return None


def _sex_word(extension: Extension) -> str | None:
    concept = extension.value_codeable_concept
    coding = extension.value_coding or (concept.coding[0] if concept is not None and concept.coding else None)
    raw = extension.value_code or (coding.code if coding is not None else None) or extension.value_string
    if not raw:
        return None
    lowered = raw.strip().lower()
    return {"f": "female", "m": "male", "248152002": "female", "248153007": "male"}.get(lowered, lowered)


class Practitioner(Resource, frozen=True):
    """Someone who treats."""

    name: tuple[HumanName, ...] = ()
    active: bool | None = None
