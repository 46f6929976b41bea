"""Which eye a record is about: ``right``, ``left``, ``both``, or None where it does not say.

In this order: the body site, the laterality character of an ICD-10-CM code, a CPT modifier. A record without an
eye can make an eye unknown, never yes or no (``trial-matching`` 2.6). Character positions follow the code
descriptions of the April 2026 release; a test compares them with the published list.

Which of two eligible eyes is the study eye (``trial-matching`` 2.6).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from ehr.records.codes import Code
from ehr.records.elements import CodeableConcept
from federated.screening.decide.evidence import Decision, Outcome
from federated.screening.decide.three_values import NO, UNKNOWN, YES

Eye = Literal["right", "left"]
Laterality = Literal["right", "left", "both"]

SIDES: tuple[Eye, Eye] = ("right", "left")

_SITES: Mapping[tuple[str, str], Laterality] = MappingProxyType(
    {
        ("snomed", "18944008"): "right",  # right eye structure
        ("snomed", "362502000"): "right",  # entire right eye
        ("snomed", "24028007"): "right",  # right (qualifier)
        ("snomed", "8966001"): "left",
        ("snomed", "362503005"): "left",
        ("snomed", "7771000"): "left",
        ("snomed", "40638003"): "both",
        ("snomed", "362508001"): "both",
        ("snomed", "51440002"): "both",
    }
)
_WORDS: tuple[tuple[re.Pattern[str], Laterality], ...] = (
    (re.compile(r"(both eyes|bilateral|\bou\b|right and left)", re.IGNORECASE), "both"),
    (re.compile(r"(\bright\b|\bod\b)", re.IGNORECASE), "right"),
    (re.compile(r"(\bleft\b|\bos\b)", re.IGNORECASE), "left"),
)
_CHARACTER: Mapping[str, Laterality] = MappingProxyType({"1": "right", "2": "left", "3": "both"})

_FIFTH = (
    "H055 H101 H103 H113 H170 H171 H181 H201 H202 H210 H214 H251 H252 H263 H270 H302 H309 H332 H334 H340 H341 "
    "H352 H356 H403 H404 H405 H406 H430 H431 H432 H460 H461 H490 H491 H492 H493 H494 H498 H512 H520 H521 H571 "
    "H4421 H4422 H4423"
)
_SIXTH = (
    "H024 H040 H041 H042 H043 H044 H045 H046 H048 H050 H051 H052 H053 H058 H100 H102 H104 H105 H108 H110 H111 H112 "
    "H114 H118 H150 H151 H158 H160 H161 H162 H163 H164 H178 H180 H182 H183 H184 H185 H186 H187 H188 H200 H208 H211 "
    "H212 H213 H215 H250 H258 H260 H261 H262 H264 H271 H300 H301 H308 H310 H311 H313 H314 H330 H331 H333 H342 H348 "
    "H350 H351 H353 H354 H357 H368 H400 H401 H402 H408 H433 H438 H440 H441 H442 H443 H444 H445 H446 H447 H448 "
    "H470 H471 H472 H473 H500 H501 H503 H522 H525 H530 H531 H5341 H5342 H5343 H5345 H5348 H590 H591 H592 H593 H598 "
    "H4981 H4988"
)
_SEVENTH = "E083 E093 E103 E113 E133"

POSITION: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(_FIFTH.split(), 4) | dict.fromkeys(_SIXTH.split(), 5) | dict.fromkeys(_SEVENTH.split(), 6)
)
"""First four (or five) characters of an ICD-10-CM code (no dot) to the index of its laterality character."""

_MODIFIER = re.compile(r"(?:^|[\s,;(-])(RT|LT)\)?$|(?:-|modifier )(50)\)?$")
_MODIFIERS: Mapping[str, Laterality] = MappingProxyType({"RT": "right", "LT": "left", "50": "both"})


def of_code(code: Code) -> Laterality | None:
    """The eye that an ICD-10-CM code names."""
    if code.system != "icd10cm":
        return None
    bare = code.code.replace(".", "")
    position = POSITION.get(bare[:5]) or POSITION.get(bare[:4])
    if position is None or len(bare) <= position:
        return None
    return _CHARACTER.get(bare[position])


def of_sites(sites: Iterable[CodeableConcept], codes_of: Iterable[Code]) -> Laterality | None:
    """The eye that body sites name: by code, else by the words of display and text."""
    named = {_SITES[(code.system, code.code)] for code in codes_of if (code.system, code.code) in _SITES}
    if not named:
        for site in sites:
            words = [coding.display for coding in site.coding if coding.display] + (
                [site.text] if site.text else []
            )
            named |= {side for text in words if (side := _in_words(text)) is not None}
    return joined(named)


def of_modifier(concepts: Iterable[CodeableConcept]) -> Laterality | None:
    """The eye that a CPT modifier names: a coding of its own, or the end of display or text."""
    named: set[Laterality] = set()
    for concept in concepts:
        for coding in concept.coding:
            side = _MODIFIERS.get((coding.code or "").strip().upper())
            if side is not None:
                named.add(side)
        for text in (*(coding.display for coding in concept.coding), concept.text):
            found = _MODIFIER.search(text.strip()) if text else None
            if found is not None:
                named.add(_MODIFIERS[found[1] or found[2]])
    return joined(named)


def _in_words(text: str) -> Laterality | None:
    return joined({side for pattern, side in _WORDS if pattern.search(text)})


def joined(sides: Iterable[Laterality]) -> Laterality | None:
    """Right and left make both; nothing makes None."""
    named = set(sides)
    if "both" in named or len(named) > 1:
        return "both"
    return next(iter(named), None)


def about(laterality: Laterality | None, eye: Eye) -> int:
    """Whether a record of this laterality is about an eye."""
    if laterality is None:
        return UNKNOWN
    return YES if laterality in ("both", eye) else NO


def other(eye: Eye) -> Eye:
    """The fellow eye."""
    return "left" if eye == "right" else "right"


def chosen_eye(
    rules: tuple[str, ...], rows: Mapping[str, Outcome], letters: Callable[[Eye], float | None]
) -> tuple[Eye, str] | None:
    """The study eye and the rule that chose it; None where no eye is eligible, or no rule tells.

    Args:
        rules: ``worse_acuity``, ``larger(metric)``, ``right``, ``left``, in order.
        rows: the outcome of each eye.
        letters: the newest acuity of an eye; None where it is not known, and then ``worse_acuity`` does not tell.

    A rule about a metric does not tell while images are not read.
    """
    eligible = [eye for eye in SIDES if rows[eye].decision is Decision.ELIGIBLE]
    if len(eligible) == 1:
        return eligible[0], "only_eligible"
    if not eligible:
        return None
    for rule in rules:
        if rule in SIDES:
            return ("right" if rule == "right" else "left"), rule
        if rule == "worse_acuity":
            right, left = letters("right"), letters("left")
            if right is not None and left is not None and right != left:
                return ("right" if right < left else "left"), rule
    return None
