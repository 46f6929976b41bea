"""Who is this patient: candidates are graded one by one, and one is chosen or nobody is. Pure.

Whatever a server's search returned is only a candidate. What counts is compared here, letter by letter, and
a doubt is an answer of its own: `Ambiguous` or `Undetermined`, never a guess (``ehr`` design 7.7, S36).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ehr.config import ProviderProfile
from ehr.dates import BadDate, PartialDate, is_sentinel, parse_date
from ehr.people.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
from ehr.people.names import Likeness, NameParts, family_likeness, given_likeness, parts_of, split_name, ways
from ehr.people.record_numbers import MRN_TYPES, identifies, record_numbers, same_number
from ehr.records.fetched import Issue, Severity, State
from ehr.records.patient import PatientRef
from ehr.records.people import Patient

__all__ = [
    "CONFLICTS",
    "MATCH",
    "MRN_TYPES",
    "Ambiguous",
    "Assessment",
    "BirthDate",
    "Grade",
    "MatchResult",
    "Matched",
    "NotFound",
    "Person",
    "Undetermined",
    "assess",
    "choose",
    "compare_birth_dates",
    "known_date",
    "record_numbers",
    "search_plans",
    "survivors_to_read",
]

CONFLICTS = frozenset(
    {"id-birth-date-conflict", "mrn-birth-date-conflict", "merge-birth-date-conflict", "merge-unresolved"}
)
"""Issues of records that contradict each other: asking again brings nothing, a person has to look."""


class BirthDate(StrEnum):
    """How two birth dates compare."""

    EQUAL = "equal"
    OPEN = "open"
    """Unknown on a side, or known to the year or month only, and nothing speaks against it."""
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Assessment:
    """How well one candidate fits.

    Args:
        grade: see `Grade`.
        evidence: names of the fields that agree.
        conflict: an id or number is equal and the birth date is another: one of the two is wrong.
        twin: birth date and given name fit, so that this may be the other of two look-alikes.
    """

    grade: Grade
    evidence: tuple[str, ...] = ()
    conflict: str | None = None
    twin: bool = False


def known_date(text: str | None) -> PartialDate | None:
    """A birth date that says something: None for a missing, unreadable or placeholder date (S38).

    A time after the date is dropped: a birth date is a calendar day and never crosses a zone (S37).
    """
    if text is None or is_sentinel(text.strip()):
        return None
    try:
        return parse_date(text.strip().split("T")[0])
    except BadDate:
        return None


def compare_birth_dates(asked: str | None, recorded: str | None) -> BirthDate:
    """Compare as calendar dates, with the precision that both have."""
    left, right = known_date(asked), known_date(recorded)
    if left is None or right is None:
        return BirthDate.OPEN
    return {True: BirthDate.EQUAL, False: BirthDate.DIFFERENT, None: BirthDate.OPEN}[left.same(right)]


def best_name(person: Person, patient: Patient) -> tuple[Likeness, Likeness]:
    """(family, given) likeness of the record's name that fits best."""
    asked = parts_of(person.family, person.given)
    if not any(asked):
        return _UNKNOWN
    found = [_name_likeness(asked, way) for way in ways(patient.name)]
    return max(found, key=lambda pair: (sum(pair), min(pair)), default=_UNKNOWN)


_UNKNOWN = (Likeness.NEAR, Likeness.NEAR)


def _name_likeness(asked: NameParts, way: NameParts) -> tuple[Likeness, Likeness]:
    straight = (family_likeness(asked.family, way.family), given_likeness(asked.given, way.given))
    if not all(asked) and not all(way):
        # People with one name have it in either field.
        only = family_likeness(asked.family + asked.given, way.family + way.given)
        return only, only
    crossed = (family_likeness(asked.family, way.given), given_likeness(asked.given, way.family))
    if min(straight) is not Likeness.SAME and min(crossed) is Likeness.SAME:
        return Likeness.SAME, Likeness.NEAR  # swapped parts are one doubt
    return straight


def assess(person: Person, patient: Patient, mrn_types: Sequence[str] = MRN_TYPES) -> Assessment:
    """Grade one candidate (see `Grade`)."""
    born = compare_birth_dates(person.birth_date, patient.birth_date)
    same_id = person.id is not None and person.id == patient.id
    # A number that is asked for by its type ("EPI|1") counts, although other numbers mark the records here.
    kind = (person.mrn or "").strip().rpartition("|")[0]
    numbers = record_numbers(patient, (*mrn_types, kind) if kind else mrn_types)
    same_mrn = person.mrn is not None and any(same_number(person.mrn, one) for one in numbers)
    family, given = best_name(person, patient)
    evidence = tuple(
        name
        for name, agrees in (
            ("id", same_id),
            ("mrn", same_mrn),
            ("birth_date", born is BirthDate.EQUAL),
            ("family", family is Likeness.SAME),
            ("given", given is Likeness.SAME),
            ("sex", _sex(person, patient) is True),
        )
        if agrees
    )
    if born is BirthDate.DIFFERENT:
        conflict = "id" if same_id else "mrn" if same_mrn else None
        return Assessment(Grade.X, evidence, conflict)
    grade = _grade(born, same_id, same_mrn, (family, given))
    if grade is Grade.C and _sex(person, patient) is False:
        grade = Grade.X
    names_agree = all(
        likeness is Likeness.SAME
        for text, likeness in ((person.family, family), (person.given, given))
        if text
    )
    if grade is Grade.C and names_agree and person.mrn is not None and identifies(person.mrn, numbers):
        grade = Grade.B
    twin = born is BirthDate.EQUAL and given is Likeness.SAME and grade is not Grade.X
    return Assessment(grade, evidence, twin=twin)


def _grade(born: BirthDate, same_id: bool, same_mrn: bool, name: tuple[Likeness, Likeness]) -> Grade:
    equal = born is BirthDate.EQUAL
    if same_id or (same_mrn and equal):
        return Grade.A
    if equal and min(name) is Likeness.SAME:
        return Grade.B
    near = sum(likeness is Likeness.NEAR for likeness in name)
    if Likeness.DIFFERENT not in name and near <= (1 if equal else 0):
        return Grade.C
    return Grade.C if same_mrn else Grade.X


def _sex(person: Person, patient: Patient) -> bool | None:
    """Whether the sex agrees; None where a side does not say, or says other or unknown."""
    asked = person.sex.strip().lower() if person.sex else None
    recorded = {patient.sex("administrative"), patient.sex("legal"), patient.sex("birth")}
    binary = recorded & {"female", "male"}
    if asked not in ("female", "male") or not binary:
        return None
    return asked in binary


def survivors_to_read(candidates: Iterable[Patient]) -> tuple[str, ...]:
    """Ids of records that took a candidate's place and are not among the candidates."""
    every = tuple(candidates)
    here = {one.id for one in every}
    missing = (one.replaced_by for one in every if one.replaced_by is not None)
    return tuple(dict.fromkeys(one for one in missing if one not in here))


def _survivor(patient: Patient, by_id: Mapping[str, Patient]) -> Patient | None:
    """The record at the end of the chain of merges; None where it is not here, or goes round."""
    seen: set[str | None] = set()
    while patient.replaced_by is not None:
        if patient.id in seen:
            return None
        seen.add(patient.id)
        following = by_id.get(patient.replaced_by)
        if following is None:
            return None
        patient = following
    return patient


@dataclass(slots=True, repr=False)
class _Candidate:
    patient: Patient
    best: Assessment
    aliases: set[str]


def choose(
    person: Person,
    candidates: Sequence[Patient],
    *,
    policy: Grade = Grade.B,
    mrn_types: Sequence[str] = MRN_TYPES,
) -> MatchResult:
    """The one patient who is the person asked for, or why there is none.

    Args:
        person: what is known about the person.
        candidates: every record that a search brought, from all its pages; records that were merged away
            with their survivors (`survivors_to_read`).
        policy: the least grade that is accepted, A or B.
        mrn_types: identifier type codes and texts that mark a medical record number.

    Returns:
        `Matched` where exactly one person has the best grade, that grade is good enough, and nobody else
        with the birth date and given name is near it; `Ambiguous` where several might be meant or the only
        one is not certain; `NotFound`; `Undetermined` where identifying numbers contradict the birth date
        or a merge leads nowhere.

    Raises:
        ValueError: the policy is below B, which would accept guesses.
    """
    if policy not in (Grade.A, Grade.B):
        raise ValueError(f"policy is {policy}; expected grade A or B")
    assessed = [(one, assess(person, one, mrn_types)) for one in candidates if one.id]
    people = _people(assessed)
    if people is None:
        return _undetermined("merge-unresolved")
    alive = [one for one in people if one.best.grade is not Grade.X]
    conflict = next((one.best.conflict for one in people if one.best.conflict), None)
    # Two number ranges may hold one number; the record that the birth date confirms settles which is meant.
    settled = conflict == "mrn" and any(one.best.grade is Grade.A for one in alive)
    if conflict is not None and not settled:
        return _undetermined(f"{conflict}-birth-date-conflict")
    return _pick(alive, policy)


def _undetermined(code: str) -> Undetermined:
    return Undetermined(State.ERROR, (Issue(code, Severity.ERROR),))


def _people(assessed: Sequence[tuple[Patient, Assessment]]) -> list[_Candidate] | None:
    """Candidates with merged records folded into their survivors; None where a merge leads nowhere."""
    by_id = {one.id: one for one, _ in assessed if one.id}
    own = {one.id: assessment for one, assessment in assessed if one.id}
    people: dict[str, _Candidate] = {}
    for one_id, patient in by_id.items():
        survivor = _survivor(patient, by_id)
        if survivor is None or survivor.id is None:
            if own[one_id].grade is Grade.X and own[one_id].conflict is None:
                continue
            return None
        entry = people.setdefault(survivor.id, _Candidate(survivor, own[survivor.id], set()))
        if one_id != survivor.id:
            entry.aliases.add(one_id)
            entry.best = _better(entry.best, own[one_id])
    return list(people.values())


def _better(survivor: Assessment, merged: Assessment) -> Assessment:
    """The EHR says that both are one person, so the better grade holds; but a conflict stays one."""
    if survivor.conflict or survivor.grade <= merged.grade:
        return survivor
    if (
        survivor.grade is Grade.X
        and "birth_date" in merged.evidence
        and "birth_date" not in survivor.evidence
    ):
        return Assessment(Grade.X, merged.evidence, conflict="merge")
    return merged


def _pick(people: Sequence[_Candidate], policy: Grade) -> MatchResult:
    if not people:
        return NotFound()
    grades = tuple(sorted(one.best.grade for one in people))
    best = [one for one in people if one.best.grade == grades[0]]
    # Who is told by a number alone is told by it only if nobody else has that number in any form.
    by_number = "birth_date" not in best[0].best.evidence
    rivals = [
        one
        for one in people
        if one is not best[0] and (one.best.twin or (by_number and "mrn" in one.best.evidence))
    ]
    if len(best) > 1 or grades[0] > policy or rivals:
        return Ambiguous(len(people), grades)
    chosen = best[0]
    return Matched(
        PatientRef(chosen.patient.id or "", frozenset(chosen.aliases | _replaced(chosen.patient))),
        chosen.patient,
        chosen.best.grade,
        chosen.best.evidence,
        _flags(chosen.patient),
    )


def _replaced(patient: Patient) -> set[str]:
    """Ids of older records whose entries belong to this one, as its own links say."""
    targets = (
        link.other.target for link in patient.link if link.type == "replaces" and link.other is not None
    )
    return {target[1] for target in targets if target is not None and target[0] == "patient"}


def _flags(patient: Patient) -> tuple[str, ...]:
    inactive = ("inactive",) if patient.active is False else ()
    return (*inactive, *(("deceased",) if patient.deceased else ()))


MATCH = "$match"
"""Stands in a profile's ``patient_search`` where the server's own matching has its turn."""


def search_plans(person: Person, profile: ProviderProfile) -> tuple[Mapping[str, str], ...]:
    """The parameter sets that may find a person, in the order in which they are to be tried.

    A set of the profile is used only where every parameter in it has a value: a missing part never becomes
    a wildcard. ``name`` never goes together with ``family`` or ``given``, because a vendor ignores it then.
    """
    values = _values(person, profile.number_type)
    plans = (
        {name: values[name] for name in names}
        for names in profile.patient_search
        if all(values.get(name) for name in names)
        and not ("name" in names and {"family", "given"} & {*names})
    )
    unique = {tuple(sorted(plan.items())): plan for plan in plans}
    return tuple(unique.values())


def _values(person: Person, number_type: str) -> dict[str, str]:
    family, given = person.family or "", person.given or ""
    for field in (family, given):
        if "^" in field:
            family, given = split_name(field)
    born, number = known_date(person.birth_date), (person.mrn or "").strip()
    return {
        "_id": _escaped(person.id or ""),
        "identifier": f"{number_type}|{number}" if number and number_type and "|" not in number else number,
        "family": _escaped(family.strip()),
        "given": _escaped(given.split()[0].rstrip(".") if given.split() else ""),
        "name": _escaped(family.strip() or given.strip()),
        "birthdate": "" if born is None else str(born),
        "gender": _escaped(person.sex or ""),
        "telecom": _escaped(person.phone or person.email or ""),
        MATCH: "asked" if any((family, given, born, number)) else "",
    }


def _escaped(value: str) -> str:
    """FHIR search gives these characters a meaning; here they stand for themselves."""
    for letter in "\\,|$":
        value = value.replace(letter, f"\\{letter}")
    return value
