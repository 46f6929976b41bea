"""Bad ways to say who somebody is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

import ehr.fhir.find
import ehr.people.matching
import ehr.providers.generic
from ehr.fhir.find import find_patient
from ehr.people.identity import Grade, Matched, MatchResult, Person
from ehr.people.matching import choose, search_plans
from ehr.people.names import Likeness
from ehr.records.elements import HumanName
from ehr.records.patient import PatientRef
from ehr.records.people import Patient
from ehr.testing.specimens.specimen import Spoilt, part


def _the_only_one(person: Person, candidates: Sequence[Patient], **named: Any) -> MatchResult:
    if len(candidates) == 1:
        one = candidates[0]
        return Matched(PatientRef(str(one.id)), one, Grade.B, ("birth_date", "family", "given"))
    return choose(person, candidates, **named)


def _first_of_several(person: Person, candidates: Sequence[Patient], **named: Any) -> MatchResult:
    result = choose(person, candidates, **named)
    if candidates and getattr(result, "grades", ())[:1] in ((Grade.A,), (Grade.B,)):
        return Matched(PatientRef(str(candidates[0].id)), candidates[0], Grade.B, ("family",))
    return result


def _begins_alike(asked: Sequence[str], recorded: Sequence[str]) -> Likeness:
    alike = "".join(recorded).startswith("".join(asked)) and bool(asked)
    return Likeness.SAME if alike else Likeness.DIFFERENT


def _by_name(person: Person, profile: Any) -> Sequence[Mapping[str, str]]:
    return [
        {"name": plan["given"], **{key: value for key, value in plan.items() if key != "given"}}
        if "given" in plan
        else plan
        for plan in search_plans(person, profile)
    ]


async def _as_asked(session: Any, person: Person, **named: Any) -> MatchResult:
    found = await find_patient(session, person, **named)
    if not isinstance(found, Matched) or not person.family:
        return found
    name = HumanName(family=person.family, given=(person.given or "",))
    copied = msgspec.structs.replace(found.patient, name=(name,), birth_date=person.birth_date)
    return replace(found, patient=copied)


SPOILT: dict[str, tuple[int, Spoilt]] = {
    "a single hit accepted unseen": (42, part(ehr.fhir.find, "choose", _the_only_one)),
    "the first of two namesakes taken": (46, part(ehr.fhir.find, "choose", _first_of_several)),
    "a family name that begins alike accepted": (
        45,
        part(ehr.people.matching, "family_likeness", _begins_alike),
    ),
    "given names sent as name": (44, part(ehr.fhir.find, "search_plans", _by_name)),
    "demographics copied from the question": (63, part(ehr.providers.generic, "find_patient", _as_asked)),
}
