"""Reading the value sets of a trial file: includes, excludes, patterns, imported files.

The published ICD-10-CM codes, and the eye that each names, are used for warnings only, never to decide. That list is
made by ``fixtures/icd10cm/make_icd10cm.py`` from the release of April 2026.
"""

from __future__ import annotations

import gzip
import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from ehr.files.problems import quoted, suggestion
from ehr.files.yaml_nodes import Items, Table, Text, Yaml, shape
from ehr.records.codes import PREFIX_TREES, URIS, Code, normal_code, system_name
from federated.screening.trial.scalars import PROSE, ReaderContext, unknown_keys
from federated.screening.trial.value_types import ValueSet
from federated.screening.trial.valueset_files import ValueSetFileError, read_valueset_file

SYSTEMS = tuple(name for name in URIS if name != "ucum")
KEYS = ("title", "include", "exclude", "text_hints", "from", "sha256", "origin")
_ORIGIN = ("url", "version", "date", "sha256")
_EYES = {"r": "right eye", "l": "left eye", "b": "both eyes", "u": "unspecified eye"}
_NOT_A_TREE = "its codes are not a tree by prefix. List them or import an expansion."

Fetch = Callable[[Text], bytes | None]
"""Gives the bytes of the file that a text names, or notes why not and returns None."""


@dataclass(slots=True)
class _Members:
    codes: set[Code] = field(default_factory=set)
    prefixes: set[Code] = field(default_factory=set)
    places: dict[Code, Text] = field(default_factory=dict)
    imported: set[Code] = field(default_factory=set)


def read_value_set(name: str, node: Yaml, reading: ReaderContext, fetch: Fetch) -> ValueSet | None:
    """One value set; None where it has a mistake.

    Warns of codes that are not published, of patterns that name one eye only, and of repeated codes.
    """
    if not isinstance(node, Table):
        reading.bad(
            node, "TV106", f'value set {quoted(name)} is a table with "include"; found {shape(node)}.'
        )
        return None
    before = sum(problem.severity == "error" for problem in reading.problems.found)
    unknown_keys(node, reading, f"value set {quoted(name)}", KEYS)
    included = _read_members(node, "include", reading)
    excluded = _read_members(node, "exclude", reading)
    origin = _origin(node, reading) | _imported(node, reading, fetch, included)
    hints, title = _hints(node, reading), _title(node, reading)
    if sum(problem.severity == "error" for problem in reading.problems.found) > before:
        return None
    made = replace(
        _made(name, included, excluded), text_hints=hints, title=title, origin=MappingProxyType(origin)
    )
    if not len(made):
        reading.bad(node, "TV125", f"value set {quoted(name)} has no member.")
        return None
    _warn_of_members(made, included, excluded, reading)
    return made


def _made(name: str, included: _Members, excluded: _Members) -> ValueSet:
    out = ValueSet(name, frozenset(excluded.codes), frozenset(excluded.prefixes))
    codes = frozenset(code for code in included.codes if not out.has(code))
    prefixes = frozenset(prefix for prefix in included.prefixes if not _covered(prefix, out.prefixes))
    inside = ValueSet("", frozenset(), prefixes)
    return ValueSet(
        name,
        codes,
        prefixes,
        frozenset(code for code in out.codes if inside.has(code)),
        frozenset(prefix for prefix in out.prefixes if inside.has(prefix)),
    )


def _covered(prefix: Code, others: frozenset[Code]) -> bool:
    return any(prefix.system == other.system and prefix.code.startswith(other.code) for other in others)


def _read_members(node: Table, key: str, reading: ReaderContext) -> _Members:
    members = _Members()
    part = node.entries.get(key)
    if part is None:
        return members
    if not isinstance(part, Items):
        reading.bad(
            part, "TV106", f'"{key}" is a list of {{system: ..., codes: [...]}}; found {shape(part)}.'
        )
        return members
    for item in part.items:
        _read_block(item, key, reading, members)
    return members


def _read_block(item: Yaml, key: str, reading: ReaderContext, members: _Members) -> None:
    if not isinstance(item, Table):
        message = f'an item of "{key}" is {{system: ..., codes: [...]}}; found {shape(item)}.'
        reading.bad(item, "TV121", f"{message} A code means nothing without its system.")
        return
    keys = ("system", "codes")
    unknown_keys(item, reading, f'an item of "{key}"', keys, needed=keys)
    system = _system(item.entries.get("system"), reading)
    codes = item.entries.get("codes")
    if system is None or codes is None:
        return
    if not isinstance(codes, Items):
        reading.bad(codes, "TV106", f'"codes" is a list; found {shape(codes)}.')
        return
    for code in codes.items:
        _read_code(system, code, reading, members)


def _system(node: Yaml | None, reading: ReaderContext) -> str | None:
    if not isinstance(node, Text) or not node.value.strip():
        if node is not None:
            reading.bad(node, "TV121", f'"system" is a name such as icd10cm; found {shape(node)}.')
        return None
    text = node.value.strip()
    if text in SYSTEMS:
        return text
    if text.startswith("uri:") and len(text) > 4:
        return system_name(text[4:])
    name = system_name(text)
    if name in SYSTEMS:
        return name
    hint = suggestion(text, SYSTEMS)
    listed = ", ".join(SYSTEMS)
    reading.bad(node, "TV121", f'{quoted(text)} is not a known system. Known: {listed}, or "uri:...".{hint}')
    return None


def _read_code(system: str, node: Yaml, reading: ReaderContext, members: _Members) -> None:
    if not isinstance(node, Text) or not node.value.strip():
        reading.bad(node, "TV106", f"a code is a text; found {shape(node)}.")
        return
    text = node.value.strip()
    if "*" in text and system not in PREFIX_TREES:
        reading.bad(node, "TV122", f'"*" is not allowed for {system}: {_NOT_A_TREE}')
        return
    if "*" in text[:-1] or text == "*":
        reading.bad(
            node, "TV129", f'"*" stands once, at the end of the beginning of a code; found {quoted(text)}.'
        )
        return
    code = Code(system, normal_code(system, text.removesuffix("*")))
    if code in members.places and members.places[code].value.strip() == text:
        reading.problems.warn(node.mark, "TV127", f"{quoted(text)} is listed twice.")
    members.places[code] = node
    (members.prefixes if text.endswith("*") else members.codes).add(code)


def _imported(node: Table, reading: ReaderContext, fetch: Fetch, members: _Members) -> dict[str, str]:
    source, digest = node.entries.get("from"), node.entries.get("sha256")
    if source is None:
        if "include" not in node.keys:
            reading.bad(node, "TV104", 'a value set needs "include" or "from".')
        if digest is not None:
            reading.bad(digest, "TV104", '"sha256" is the digest of the file under "from", which is missing.')
        return {}
    if not isinstance(source, Text):
        reading.bad(source, "TV106", f'"from" names a file; found {shape(source)}.')
        return {}
    if digest is not None and not _is_digest(digest):
        reading.bad(digest, "TV174", "sha256 is 64 hexadecimal digits.")
        return {}
    data = fetch(source)
    if data is None:
        return {}
    found = hashlib.sha256(data).hexdigest()
    if isinstance(digest, Text) and digest.value.strip().lower() != found:
        message = (
            f'the file under "from" has another digest ({found[:12]}...): it was changed. Look at it again.'
        )
        reading.bad(digest, "TV174", message)
        return {}
    if digest is None:
        reading.problems.warn(source.mark, "TV174", f'no sha256 for this file; add "sha256: {found}".')
    return _take(data, source, reading, members, found)


def _is_digest(node: Yaml) -> bool:
    return (
        isinstance(node, Text)
        and len(node.value.strip()) == 64
        and set(node.value.strip().lower()) <= set("0123456789abcdef")
    )


def _take(
    data: bytes, source: Text, reading: ReaderContext, members: _Members, digest: str
) -> dict[str, str]:
    try:
        read = read_valueset_file(data)
    except ValueSetFileError as error:
        reading.bad(source, "TV175", f"the file cannot be used: {error}")
        return {}
    for code in read.codes:
        members.codes.add(code)
        members.places[code] = Text(code.code, source.mark)
    unknown = [c.code for c in read.codes if c.system == "icd10cm" and not published().known(c.code)]
    if unknown:
        message = (
            f"{len(unknown)} of its codes, such as {quoted(unknown[0])}, are not published ICD-10-CM codes."
        )
        reading.problems.warn(source.mark, "TV124", message)
    members.imported.update(read.codes)
    facts: Mapping[str, str | None] = {
        "url": read.url,
        "version": read.version,
        "date": read.date,
        "sha256": digest,
    }
    return {key: value for key, value in facts.items() if value}


def _origin(node: Table, reading: ReaderContext) -> dict[str, str]:
    """Where a locked file's set was imported from."""
    part = node.entries.get("origin")
    if part is None:
        return {}
    if not isinstance(part, Table):
        reading.bad(
            part, "TV106", f'"origin" is a table with url, version, date, sha256; found {shape(part)}.'
        )
        return {}
    unknown_keys(part, reading, "origin", _ORIGIN)
    read = {key: PROSE.read(value, reading, key) for key, value in part.entries.items()}
    return {key: value for key, value in read.items() if isinstance(value, str)}


def _hints(node: Table, reading: ReaderContext) -> tuple[str, ...]:
    part = node.entries.get("text_hints")
    if part is None:
        return ()
    if not isinstance(part, Items):
        reading.bad(part, "TV106", f'"text_hints" is a list of words; found {shape(part)}.')
        return ()
    words = [PROSE.read(item, reading, "text_hints") for item in part.items]
    return tuple(dict.fromkeys(" ".join(word.lower().split()) for word in words if isinstance(word, str)))


def _title(node: Table, reading: ReaderContext) -> str | None:
    part = node.entries.get("title")
    read = None if part is None else PROSE.read(part, reading, "title")
    return read if isinstance(read, str) else None


def _warn_of_members(made: ValueSet, included: _Members, excluded: _Members, reading: ReaderContext) -> None:
    for code in sorted(included.codes | included.prefixes | excluded.codes | excluded.prefixes):
        if code.system != "icd10cm" or code in included.imported:
            continue
        place = included.places.get(code) or excluded.places[code]
        prefix = code in included.prefixes or code in excluded.prefixes
        if not (published().span(code.code) if prefix else published().known(code.code)):
            message = f"{quoted(place.value.strip())} is not a published ICD-10-CM code (April 2026)."
            reading.problems.warn(place.mark, "TV124", message)
        elif code in made.prefixes:
            _warn_of_one_eye(code, place, made, reading)
    for code in sorted(excluded.codes | excluded.prefixes):
        if not (code in included.codes or code in made.not_codes or code in made.not_prefixes) and not any(
            _covered(member, frozenset({code})) for member in included.codes | included.prefixes
        ):
            place = excluded.places[code]
            message = (
                f"{quoted(place.value.strip())} is not in what is included; excluding it changes nothing."
            )
            reading.problems.warn(place.mark, "TV128", message)


def _warn_of_one_eye(code: Code, place: Text, made: ValueSet, reading: ReaderContext) -> None:
    eyes = published().eyes_under(code.code)
    if len(eyes) != 1 or not eyes & {"r", "l"}:
        return
    listed = published()
    family = [at for at in listed.span(code.code[:-1]) if listed.eyes[at]]
    others = {listed.eyes[at] for at in family} - eyes
    inside = {listed.eyes[at] for at in family if made.has(Code("icd10cm", listed.codes[at]))}
    if others and inside == eyes:
        (eye,) = eyes
        missing = [words.split()[0] for letter, words in _EYES.items() if letter in others]
        words = missing[0] if len(missing) == 1 else f"{', '.join(missing[:-1])} and {missing[-1]}"
        message = f"{quoted(place.value.strip())} covers the {_EYES[eye]} only; {words} are not in the set."
        reading.problems.warn(place.mark, "TV123", message)


@dataclass(frozen=True, slots=True)
class Codes:
    """Sorted codes with dots, and the eye letter (or an empty text) of each, in the same order."""

    codes: Sequence[str]
    eyes: Sequence[str]

    def known(self, code: str) -> bool:
        """Whether a code or category of this name is published."""
        at = bisect_left(self.codes, code)
        return at < len(self.codes) and self.codes[at] == code

    def span(self, prefix: str) -> range:
        """Positions of the codes that begin with a prefix (dots as in the list)."""
        return range(bisect_left(self.codes, prefix), bisect_left(self.codes, prefix + "\x7f"))

    def eyes_under(self, prefix: str) -> frozenset[str]:
        """The eye letters of the codes under a prefix; codes that name no eye give an empty text."""
        return frozenset(self.eyes[at] for at in self.span(prefix))


@cache
def published() -> Codes:
    """The list, read once."""
    packed = files("federated.screening.trial").joinpath("icd10cm.txt.gz").read_bytes()
    rows = [line.partition(" ") for line in gzip.decompress(packed).decode("ascii").splitlines()]
    return Codes([row[0] for row in rows], [row[2] for row in rows])
