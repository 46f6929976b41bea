"""A crowd of invented people from a seed: their records, and a patients file that names them in every way.

Nobody in it exists: names are put together from syllables, numbers are counted, dates are drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ehr.sandbox import Store, store_of

ICD, LOINC = "http://hl7.org/fhir/sid/icd-10-cm", "http://loinc.org"
CPT = "http://www.ama-assn.org/go/cpt"
TODAY = date(2026, 6, 1)
_SYLLABLES = (
    "ba",
    "del",
    "fo",
    "gri",
    "hun",
    "ka",
    "lem",
    "mor",
    "nis",
    "or",
    "pel",
    "ra",
    "sto",
    "tul",
    "vi",
)
_CODES = ("H35.3132", "H35.3113", "H35.3211", "E11.9", "I10", "I63.9", "H25.9")


@dataclass(frozen=True, slots=True)
class Crowd:
    """People and how they are asked for.

    Args:
        resources: of the EHR.
        csv: the patients file.
        rows: for each of its rows the id of the patient who is meant; None where it is nobody, or two.
    """

    resources: tuple[dict[str, Any], ...]
    csv: str
    rows: tuple[str | None, ...]

    @property
    def store(self) -> Store:
        """For a sandbox."""
        return store_of(self.resources)


def crowd(size: int, seed: int) -> Crowd:
    """So many rows: most name one person, a few the person of an earlier row, twins, or nobody."""
    dice = random.Random(seed)
    resources: list[dict[str, Any]] = [
        {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Probe"}]}
    ]
    lines, rows = ["id,mrn,family,given,birth_date"], list[str | None]()
    people: list[dict[str, Any]] = []
    for number in range(size):
        fate = dice.random()
        if fate < 0.03 and people:
            one = dice.choice(people)
            rows.append(one["id"])
        elif fate < 0.05:
            one = _person(dice, f"n{number:05}")
            rows.append(None)
        else:
            one = _person(dice, f"p{number:05}")
            resources += [one, *_records(dice, one["id"])]
            rows.append(one["id"])
            if fate < 0.07:
                resources.append({**one, "id": f"t{number:05}", "identifier": []})
                rows[-1] = None
            else:
                people.append(one)
        lines.append(_line(dice, one, plain=rows[-1] is None))
    return Crowd(tuple(resources), "\n".join(lines) + "\n", tuple(rows))


def _line(dice: random.Random, one: dict[str, Any], *, plain: bool) -> str:
    name, way = one["name"][0], 2 if plain else dice.randrange(3)
    if way == 0:
        return f"{one['id']},,,,"
    mrn = one["identifier"][0]["value"] if way == 1 else ""
    return f",{mrn},{name['family']},{' '.join(name['given'])},{one['birthDate']}"


def _word(dice: random.Random) -> str:
    return "".join(dice.choice(_SYLLABLES) for _ in range(dice.randint(2, 4))).capitalize()


def _person(dice: random.Random, key: str) -> dict[str, Any]:
    born = date(1930, 1, 1) + timedelta(days=dice.randrange(60 * 365))
    return {
        "resourceType": "Patient",
        "id": key,
        "identifier": [
            {"type": {"coding": [{"code": "MR"}]}, "system": "urn:example:mrn", "value": f"N-{key}"}
        ],
        "name": [{"family": _word(dice), "given": [_word(dice) for _ in range(dice.randint(1, 2))]}],
        "gender": dice.choice(("female", "male")),
        "birthDate": born.isoformat(),
    }


def _records(dice: random.Random, of: str) -> Iterator[dict[str, Any]]:
    subject = {"subject": {"reference": f"Patient/{of}"}}

    def past() -> str:
        return (TODAY - timedelta(days=dice.randrange(1, 1500))).isoformat()

    for number, code in enumerate(dice.sample(_CODES, dice.randrange(5))):
        yield _coded("Condition", f"{of}-c{number}", ICD, code) | subject | {"onsetDateTime": past()}
    for number in range(dice.randrange(1, 7)):
        code, unit, value = dice.choice((("98498-9", "{letters}", 60), ("4548-4", "%", 8)))
        quantity = {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
        yield (
            _coded("Observation", f"{of}-o{number}", LOINC, code)
            | subject
            | {"status": "final", "effectiveDateTime": past(), "valueQuantity": quantity}
        )
    if dice.random() < 0.2:
        yield (
            _coded("Procedure", f"{of}-p0", CPT, "67028")
            | subject
            | {"status": "completed", "performedDateTime": past()}
        )
    for number in range(dice.randrange(9)):
        kind = {"resourceType": "Encounter", "id": f"{of}-e{number}", "status": "finished"}
        yield kind | subject | {"class": {"code": "AMB"}, "period": {"start": past(), "end": past()}}
    if dice.random() < 0.5:
        yield {
            "resourceType": "Appointment",
            "id": f"{of}-a0",
            "status": "booked",
            "start": f"{(TODAY + timedelta(days=dice.randrange(1, 200))).isoformat()}T09:00:00Z",
            "participant": [{"actor": {"reference": f"Patient/{of}"}}],
        }


def _coded(kind: str, key: str, system: str, code: str) -> dict[str, Any]:
    return {"resourceType": kind, "id": key, "code": {"coding": [{"system": system, "code": code}]}}
