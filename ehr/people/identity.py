"""The person who is looked for, and what came of it. No text form of these shows a name, number or date."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from ehr.errors import NotMatched
from ehr.records.fetched import Issue, State
from ehr.records.patient import PatientRef
from ehr.records.people import Patient


@dataclass(frozen=True, slots=True)
class Person:
    """What is known about a person who is to be found.

    Args:
        family: family name, or a whole name in DICOM's caret form.
        given: given names, in any number, or initials.
        birth_date: ``YYYY-MM-DD``; a year or a month alone is never certain.
        mrn: medical record number, as ``number`` or ``system|number``.
        id: the EHR's logical id.
        sex: ``female`` or ``male``, if known; used only against a doubtful match.
        phone, email: as recorded; some EHRs search by them where the birth date is not known. Evidence of nothing.
    """

    family: str | None = None
    given: str | None = None
    birth_date: str | None = None
    mrn: str | None = None
    id: str | None = None
    sex: str | None = None
    phone: str | None = None
    email: str | None = None

    def __repr__(self) -> str:
        return "<Person>"


class Grade(IntEnum):
    """How well a candidate fits; the smaller the better.

    ======  ==========================================================================================
    A       the id is equal, or the medical record number and the full birth date are
    B       full birth date, family name and given names are equal (an initial counts, and a list of
            given names that is the beginning of the other); or a current identifier that is marked as a
            medical record number is equal, of the same system if one was asked for, and each name that was
            given agrees while the birth date was not given or is not fully known on both sides. Such a
            number stands for one person only where no other candidate has it in any form
    C       birth date equal and one part of the name is unknown or one letter off, or the parts are
            swapped; or the names are equal and the birth date is compatible but not fully known
    X       anything else, and every contradiction
    ======  ==========================================================================================
    """

    A = 1
    B = 2
    C = 3
    X = 4

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, repr=False)
class Matched:
    """One certain patient.

    Args:
        ref: whose records to ask for, with the ids of records merged into this one.
        patient: the demographic record, as the EHR has it; never what was asked.
        grade: A or B.
        evidence: names of the fields that agreed.
        flags: ``inactive``, ``deceased``.
        issues: what was noticed on the way.
    """

    ref: PatientRef
    patient: Patient
    grade: Grade
    evidence: tuple[str, ...]
    flags: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()

    def require(self) -> PatientRef:
        """Whose records to ask for."""
        return self.ref

    def __repr__(self) -> str:
        flags = f", flags={'+'.join(self.flags)}" if self.flags else ""
        return f"Matched(grade={self.grade}, evidence={'+'.join(self.evidence)}{flags})"

    def _repr_html_(self) -> str:
        return _table(
            "Matched", grade=str(self.grade), evidence=", ".join(self.evidence), flags=", ".join(self.flags)
        )


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several might be meant, or the only candidate is not certain. More identifying facts would help.

    Args:
        count: how many; None where the server found too many to show.
        grades: grades of the candidates, the best first.
        issues: what was noticed on the way.
    """

    count: int | None
    grades: tuple[Grade, ...] = ()
    issues: tuple[Issue, ...] = ()

    def require(self) -> NoReturn:
        """Never returns.

        Raises:
            NotMatched: always.
        """
        raise NotMatched(
            f"{_number(self.count)} might be meant and none is certain. "
            "Give the medical record number, or the full name and birth date."
        )

    def __repr__(self) -> str:
        return f"Ambiguous(count={self.count}, grades={'/'.join(map(str, self.grades))})"

    def _repr_html_(self) -> str:
        return _table("Ambiguous", candidates=_number(self.count), grades=", ".join(map(str, self.grades)))


@dataclass(frozen=True, slots=True)
class NotFound:
    """Every search was complete and brought nobody who fits."""

    issues: tuple[Issue, ...] = ()

    def require(self) -> NoReturn:
        """Never returns.

        Raises:
            NotMatched: always.
        """
        raise NotMatched("nobody in this EHR fits. Check the spelling and the birth date.")

    def _repr_html_(self) -> str:
        return _table("NotFound")


@dataclass(frozen=True, slots=True)
class Undetermined:
    """It could not be found out: a search failed, or what is recorded contradicts itself.

    Args:
        state: what the failed search came back as; ERROR for a contradiction.
        issues: what was noticed; no patient data.
    """

    state: State
    issues: tuple[Issue, ...] = ()

    def require(self) -> NoReturn:
        """Never returns.

        Raises:
            NotMatched: always.
        """
        raise NotMatched(
            f"who is meant could not be found out ({self.state.name}). "
            'Look at .issues; after an outage ask again, or run "trialveil ehr probe".'
        )

    def __repr__(self) -> str:
        return (
            f"Undetermined(state={self.state.name}, issues={', '.join(issue.code for issue in self.issues)})"
        )

    def _repr_html_(self) -> str:
        return _table("Undetermined", state=self.state.name, issues=", ".join(i.code for i in self.issues))


MatchResult = Matched | Ambiguous | NotFound | Undetermined


def _number(count: int | None) -> str:
    return "more people than the server shows" if count is None else f"{count} people"


def _table(kind: str, **rows: str) -> str:
    cells = "".join(f"<tr><th>{name}</th><td>{text or '–'}</td></tr>" for name, text in rows.items())
    return f"<table><caption>{kind}</caption>{cells}</table>"
