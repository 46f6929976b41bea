"""Personal names as they are compared: accents, case, marks, titles and the many ways to write one name.

Nothing here knows a nickname: two names agree by their letters or not at all (``ehr`` design 7.7).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from ehr.records.elements import HumanName

TITLES = frozenset(
    {"dr", "mr", "mrs", "ms", "miss", "mx", "prof", "professor", "rev", "sir", "dame", "herr", "frau"}
)
"""Words dropped from the front of a name."""

SUFFIXES = frozenset({"jr", "sr", "junior", "senior", "ii", "iii", "iv", "md", "phd", "esq", "dds", "rn"})
"""Words dropped from the end of a name."""

# Letters that no decomposition reduces to their base letter.
_LETTERS = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_JOINING = frozenset("'’‘ʼ`´.\u2032\u02bb")


class Likeness(IntEnum):
    """How alike two parts of a name are."""

    DIFFERENT = 0
    NEAR = 1
    """One letter differs, or one side does not have the part: unknown, never a wildcard."""
    SAME = 2


class NameParts(NamedTuple):
    """One way in which a person is called, normalised into words."""

    family: tuple[str, ...]
    given: tuple[str, ...]


def words(text: str | None) -> tuple[str, ...]:
    """The comparable words of a name.

    Compatibility decomposition, case folded, marks stripped; hyphens and every other separator end a word,
    apostrophes and dots do not (``O'Brien`` is ``obrien``, ``J.`` is ``j``).
    """
    if not text:
        return ()
    # An acute accent by itself decomposes into a space, so these marks go first.
    text = "".join(letter for letter in text if letter not in _JOINING)
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    out: list[str] = []
    for letter in folded.translate(_LETTERS):
        if unicodedata.combining(letter) or letter in _JOINING:
            continue
        out.append(letter if letter.isalnum() else " ")
    return tuple("".join(out).split())


def without_titles(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The words without titles before and suffixes after; never nothing where there was something."""
    first, last = 0, len(parts)
    while first < last - 1 and parts[first] in TITLES:
        first += 1
    while last - 1 > first and parts[last - 1] in SUFFIXES:
        last -= 1
    return parts[first:last]


def split_name(text: str) -> tuple[str, str]:
    """(family, given) of a name written in one text.

    ``Last^First^Middle`` as in DICOM, ``Last, First``, or else the last word is the family name.
    """
    if "^" in text:
        family, *given = (part.strip() for part in text.split("^")[:3])
        return family, " ".join(part for part in given if part)
    if "," in text:
        family, _, rest = text.partition(",")
        # "Smith, Jr" names no one's given name.
        return family.strip(), "" if set(words(rest)) <= SUFFIXES else rest.strip()
    kept = text.split()
    while len(kept) > 1 and set(words(kept[-1])) <= SUFFIXES:
        kept.pop()
    return (kept[-1], " ".join(kept[:-1])) if kept else ("", "")


def parts_of(family: str | None, given: str | None) -> NameParts:
    """Normalised parts of a name in two fields; a field that holds a whole caret name is split."""
    if given and "^" in given:
        whole = split_name(given)
        family, given = family or whole[0], whole[1] or whole[0]
    if family and "^" in family:
        whole = split_name(family)
        family, given = whole[0], given or whole[1]
    return NameParts(without_titles(words(family)), without_titles(words(given)))


def ways(names: Iterable[HumanName]) -> tuple[NameParts, ...]:
    """Every way in which a record calls its person: usual, maiden, old, …

    An entry that has one part only (a maiden family name) takes the other from the other entries.
    """
    entries = tuple(dict.fromkeys(_entry(name) for name in names))
    return tuple(dict.fromkeys(way for entry in entries for way in _completed(entry, entries) if any(way)))


def _entry(name: HumanName) -> NameParts:
    if not name.family and not name.given and name.text:
        return parts_of(*split_name(name.text))
    return parts_of(name.family, " ".join(name.given))


def _completed(entry: NameParts, entries: tuple[NameParts, ...]) -> Iterator[NameParts]:
    if entry.family and entry.given:
        yield entry
        return
    families = [entry.family] if entry.family else [other.family for other in entries if other.family]
    givens = [entry.given] if entry.given else [other.given for other in entries if other.given]
    for family in families or [()]:
        for given in givens or [()]:
            yield NameParts(family, given)


def family_likeness(left: tuple[str, ...], right: tuple[str, ...]) -> Likeness:
    """Likeness of two family names: spaces, hyphens and apostrophes make no difference."""
    return _likeness(left, right, same="".join(left) == "".join(right))


def given_likeness(left: tuple[str, ...], right: tuple[str, ...]) -> Likeness:
    """Likeness of two lists of given names.

    They agree where one list is the beginning of the other, word by word equal or an initial of the other.
    """
    begins = all(_agree(one, other) for one, other in zip(left, right, strict=False))
    return _likeness(left, right, same=begins or "".join(left) == "".join(right))


def _agree(one: str, other: str) -> bool:
    # A lone letter is an initial only in scripts that have capitals; elsewhere it can be the whole name.
    if min(len(one), len(other)) == 1 and one[0].upper() != one[0].lower():
        return one[0] == other[0]
    return one == other


def _likeness(left: tuple[str, ...], right: tuple[str, ...], *, same: bool) -> Likeness:
    if not left or not right:
        return Likeness.SAME if left == right else Likeness.NEAR
    if same:
        return Likeness.SAME
    return Likeness.NEAR if within_one_edit("".join(left), "".join(right)) else Likeness.DIFFERENT


def within_one_edit(left: str, right: str) -> bool:
    """Whether one letter inserted, removed or replaced makes them equal (Levenshtein distance 0 or 1)."""
    shorter, longer = sorted((left, right), key=len)
    if len(longer) - len(shorter) > 1:
        return False
    at = next((i for i, letter in enumerate(shorter) if letter != longer[i]), len(shorter))
    rest = at + 1 if len(shorter) == len(longer) else at
    return shorter[rest:] == longer[at + 1 :]
