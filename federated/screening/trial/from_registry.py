"""A first draft of a trial file from an entry of ClinicalTrials.gov (API v2, ``protocolSection``).

Only identifier, title, sex and ages are structured there. Every line of the free text becomes a criterion that a
person must code (``todo``), so nothing that was not read can pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from federated.errors import ConfigurationError
from federated.screening.trial.merge import FORMAT

MAX_BYTES = 4 << 20
_AGE = re.compile(r"(\d{1,3})\s+(Year|Month|Week|Day)s?", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[*•·‣–-]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+", re.IGNORECASE)
_HEADING = re.compile(
    r"\W*(?:key\s+|main\s+|major\s+)?(inclusion|exclusion)(?:\s+criteria)?\W*", re.IGNORECASE
)
_HEAD = """# Made from a registry entry: nothing below is checked by a person yet.
# Replace each "todo" by a "where" (see "trialveil trial explain" and docs/write-a-trial.md),
# then set "status: final". A draft is not screened.
"""


class NotARegistryEntry(ConfigurationError):
    """A file is no study of ClinicalTrials.gov, version 2."""


def draft_from_registry(data: bytes) -> str:
    """A trial file with ``status: draft``.

    Args:
        data: the JSON of one study, as the API or the site's download gives it.

    Raises:
        NotARegistryEntry: it is not one, or has no eligibility module.
    """
    section = _section(data)
    eligibility = _table(section, "eligibilityModule")
    identification = _table(section, "identificationModule")
    nct = _text(identification.get("nctId"))
    if not re.fullmatch(r"NCT\d{8}", nct):
        raise NotARegistryEntry('"identificationModule.nctId" is not NCT and 8 digits')
    criteria: dict[str, list[dict[str, Any]]] = {
        "inclusion": [*_ages(eligibility), *_sex(eligibility)],
        "exclusion": [],
    }
    for side, line in _lines(_text(eligibility.get("eligibilityCriteria"), lines=True)):
        number = len(criteria[side]) + 1
        todo = "Not coded yet: write it as a node, or leave it to a person."
        short = line if len(line) <= 80 else line[:77].rsplit(" ", 1)[0] + "..."
        criteria[side].append({"id": f"{side[:2]}{number:02}", "text": short, "source": line, "todo": todo})
    head: dict[str, Any] = {
        "trialveil": FORMAT,
        "id": nct.lower(),
        "title": _text(identification.get("briefTitle")) or nct,
    }
    head |= {"version": "0.1", "nct": nct, "status": "draft"}
    head["provenance"] = f"Drafted from the registry entry {nct}; not checked by a person."
    made = head | {side: found for side, found in criteria.items() if found}
    if not criteria["inclusion"] and not criteria["exclusion"]:
        raise NotARegistryEntry('"eligibilityModule" holds neither ages, nor a sex, nor criteria')
    return _HEAD + str(yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=110))


def _section(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_BYTES:
        raise NotARegistryEntry(f"the file has {len(data)} bytes; at most 4 MiB are read")
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise NotARegistryEntry("the file is not JSON that can be read") from None
    if isinstance(document, dict):
        section = document.get("protocolSection", document)
        if isinstance(section, dict) and isinstance(section.get("eligibilityModule"), dict):
            return section
    raise NotARegistryEntry(
        'the file has no "protocolSection.eligibilityModule" (ClinicalTrials.gov, version 2)'
    )


def _table(section: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = section.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: Any, *, lines: bool = False) -> str:
    if not isinstance(value, str):
        return ""
    clean = "".join(char if char.isprintable() or char in "\r\n\t" else " " for char in value)
    return clean if lines else " ".join(clean.split())


def _ages(eligibility: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, words, operator in (("minimumAge", "At least", ">="), ("maximumAge", "At most", "<=")):
        text = _text(eligibility.get(key))
        found = _AGE.fullmatch(text)
        item = {"id": key[:3] + "-age", "text": f"{words} {text}", "source": f"{key}: {text}"}
        if found is not None:
            where = {"age": _age(operator, int(found[1]), found[2].lower())}
            yield item | {"text": f"{words} {text.lower()} old", "where": where}
        elif text and text.lower() != "n/a":
            todo = "An age in a unit that is not read; write it as a node."
            yield item | {"todo": todo}


def _age(operator: str, count: int, unit: str) -> dict[str, str]:
    if unit == "week":
        # "At most 6 weeks" holds until the seventh week is complete.
        days = count * 7 + (6 if operator == "<=" else 0)
        return {"is": f"{operator} {days}", "unit": "d"}
    return {"is": f"{operator} {count}", "unit": {"year": "a", "month": "mo", "day": "d"}[unit]}


def _sex(eligibility: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sex = _text(eligibility.get("sex")).lower()
    if sex in ("male", "female"):
        where = {"sex": {"is": sex}}
        yield {"id": "sex", "text": f"Sex is {sex}", "source": f"sex: {sex.upper()}", "where": where}


def _lines(text: str) -> Iterator[tuple[str, str]]:
    side = "inclusion"
    for raw in text.splitlines():
        line = " ".join(re.sub(r"\\([<>*_\[\]~#.()-])", r"\1", _BULLET.sub("", raw)).split())
        heading = _HEADING.fullmatch(line)
        if heading is not None:
            side = heading[1].lower()
        elif any(char.isalnum() for char in line):
            yield side, line
