"""``Patient/$match``: candidates with a score and a grade, as a server might give them.

Grades follow the match-grade code system; a grade here says only how many of the sent elements agree.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ehr.sandbox.filters import folded
from ehr.sandbox.outcomes import Refused
from ehr.sandbox.parameters import elements
from ehr.sandbox.store import Store, Stored

_GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
_COMPARED = {
    "family": ("name.family",),
    "given": ("name.given",),
    "birthdate": ("birthDate",),
    "gender": ("gender",),
    "identifier": ("identifier.value",),
}


def match(body: bytes, store: Store, base_url: str, *, living: bool = False) -> bytes:
    """The searchset for a ``$match`` request.

    Args:
        body: Parameters with ``resource``, and perhaps ``onlyCertainMatches`` and ``count``.
        store: where the patients are.
        base_url: FHIR base, for ``fullUrl``.
        living: records that were merged away are left out.

    Raises:
        Refused: the body is not that.
    """
    wanted, only_certain, count = _read(body)
    graded = [
        (score, stored)
        for stored in store.all_of("Patient")
        if (score := _score(wanted, stored)) >= 0.5 and not (living and store.survivor(stored.id))
    ]
    graded.sort(key=lambda pair: -pair[0])
    best = [stored for score, stored in graded if score == 1]
    if only_certain:
        graded = graded[:1] if len(best) == 1 else []
    entries = [_entry(stored, score, len(best) == 1, base_url) for score, stored in graded[:count]]
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
    return msgspec.json.encode(bundle)


def _read(body: bytes) -> tuple[dict[str, Any], bool, int]:
    try:
        sent = msgspec.json.decode(body)
        named = {part["name"]: part for part in sent["parameter"]}
        wanted = named["resource"]["resource"]
        certain = named.get("onlyCertainMatches", {}).get("valueBoolean", False) is True
        count = int(named.get("count", {}).get("valueInteger", 10))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Refused(400, "bad-parameter", "expected Parameters with a Patient named resource") from None
    if not isinstance(wanted, dict) or wanted.get("resourceType") != "Patient":
        raise Refused(400, "bad-parameter", "the parameter resource is not a Patient")
    return wanted, certain, max(1, min(count, 100))


def _score(wanted: dict[str, Any], stored: Stored) -> float:
    agreed = asked = 0
    for paths in _COMPARED.values():
        sent = {folded(str(value)) for value in elements(wanted, paths)}
        if sent:
            asked += 1
            agreed += not sent.isdisjoint(folded(str(value)) for value in elements(stored.data, paths))
    return agreed / asked if asked else 0.0


def _entry(stored: Stored, score: float, unique: bool, base_url: str) -> dict[str, Any]:
    grade = "possible" if score < 0.75 else "certain" if score == 1 and unique else "probable"
    return {
        "fullUrl": f"{base_url}/Patient/{stored.id}",
        "resource": msgspec.Raw(stored.body),
        "search": {
            "extension": [{"url": _GRADE, "valueCode": grade}],
            "mode": "match",
            "score": round(score, 2),
        },
    }
