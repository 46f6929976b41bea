"""The top level of a trial file, and its criteria (docs/write-a-trial.md, "The whole file")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ehr.files.problems import quoted
from ehr.files.yaml_nodes import Items, Table, Text, Yaml, shape
from federated.screening.trial.criteria import At, Criterion, IndexDate
from federated.screening.trial.nodes import Spot, read_node
from federated.screening.trial.scalars import (
    BAD,
    BOOLEAN,
    PROSE,
    ReaderContext,
    ScalarKind,
    decimal,
    duration,
    read_day,
    several,
    unknown_keys,
    word,
)

KINDS = (
    "birth_date", "sex", "deceased", "condition", "procedure", "medication", "order", "allergy", "observation",
    "appointment", "encounter", "immunization", "document", "image", "column",
)  # fmt: skip
_RULE = re.compile(r"worse_acuity|right|left|larger\([a-z][a-z0-9_]*\)")


def matching(pattern: str, message: str, code: str) -> ScalarKind:
    """A text of one form."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> Any:
        text = PROSE.read(node, reading, name)
        if isinstance(text, str) and not re.fullmatch(pattern, text):
            return reading.bad(node, code, f"{message}; found {quoted(text)}.")
        return text

    return ScalarKind(read, {"type": "string", "pattern": f"^({pattern})$"})


def _nct(node: Yaml, reading: ReaderContext, name: str) -> Any:
    if isinstance(node, Text) and node.value == "none":
        return ()
    return several(NCT).read(node, reading, name)


def _index_date(node: Yaml, reading: ReaderContext, name: str) -> Any:
    if isinstance(node, Table):
        unknown_keys(node, reading, name, ("column",))
        column = node.entries.get("column")
        text = BAD if column is None else PROSE.read(column, reading, "column")
        return IndexDate("column", column=text) if isinstance(text, str) else BAD
    text = PROSE.read(node, reading, name)
    if text == "run" or text is BAD:
        return IndexDate() if text == "run" else BAD
    day = read_day(text)
    if day is None:
        message = f'index_date is "run", a date YYYY-MM-DD, or {{column: NAME}}; found {quoted(text)}.'
        return reading.bad(node, "TV160", message)
    return IndexDate("date", day)


def _pairing(node: Yaml, reading: ReaderContext, name: str) -> Any:
    if not isinstance(node, Table) or "within" not in node.entries:
        return reading.bad(node, "TV106", f"pairing is {{within: 24 h}}; found {shape(node)}.")
    unknown_keys(node, reading, name, ("within",))
    return duration(hours=True).read(node.entries["within"], reading, "within")


def _study_eye(node: Yaml, reading: ReaderContext, name: str) -> Any:
    rules = several(PROSE).read(node, reading, name)
    if rules is BAD:
        return BAD
    wrong = [rule for rule in rules if not _RULE.fullmatch(rule)]
    for rule in wrong:
        message = f"{quoted(rule)} is no rule. Known: worse_acuity, larger(METRIC), right, left."
        reading.bad(node, "TV161", message)
    if not wrong and rules[-1] not in ("right", "left"):
        reading.bad(node, "TV161", 'the last rule is "right" or "left", so that one eye is always chosen.')
    return BAD if wrong else rules


NCT = matching(r"NCT\d{8}", '"nct" is "NCT" and 8 digits, a list of them, or "none"', "TV165")
ID = matching(
    r"[a-z][a-z0-9-]{2,63}", '"id" is 3 to 64 small letters, digits and "-", a letter first', "TV165"
)
CRITERION_ID = matching(
    r"[a-z][A-Za-z0-9_-]{0,63}",
    '"id" is up to 64 letters, digits, "_" and "-", a small letter first',
    "TV165",
)
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
SETTINGS: Mapping[str, ScalarKind] = {
    "id": ID,
    "title": PROSE,
    "version": ScalarKind(PROSE.read, {"type": ["string", "number"]}),
    "nct": ScalarKind(_nct, _TEXTS),
    "status": word("draft", "final"),
    "provenance": PROSE,
    "index_date": ScalarKind(
        _index_date,
        {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"column": {"type": "string"}},
                                        "required": ["column"], "additionalProperties": False}]},
    ),
    "grain": word("patient", "eye", "visit"),
    "study_eye": ScalarKind(_study_eye, _TEXTS),
    "pairing": ScalarKind(_pairing, {"type": "object", "properties": {"within": {"type": "string"}},
                               "required": ["within"], "additionalProperties": False}),
    "reduce": word("latest", "any", "all"),
    "compat": word("strict", "reference-8.0.0"),
    "assume_complete": several(word(*KINDS)),
    "allow_deceased": BOOLEAN,
}  # fmt: skip
TOP = (
    "trialveil", "id", "title", "version", "nct", "status", "provenance", "index_date", "grain", "study_eye",
    "pairing", "reduce", "extends", "drop", "compat", "parameters", "value_sets", "criteria", "use",
    "assume_complete", "allow_deceased", "inclusion", "exclusion", "digest",
)  # fmt: skip
_CRITERION: Mapping[str, ScalarKind] = {
    "id": CRITERION_ID,
    "text": PROSE,
    "source": PROSE,
    "todo": PROSE,
    "if_unknown": word("review", "defer", "note"),
    "why": PROSE,
    "tags": several(PROSE),
    "near": decimal(0, 1000),
    "enabled": BOOLEAN,
}
CRITERION_SCHEMAS = {key: kind.schema for key, kind in _CRITERION.items()}
CRITERIA_KEYS = (
    "id", "text", "source", "where", "todo", "applies_if", "if_unknown", "why", "tags", "near", "enabled",
)  # fmt: skip
Side = Literal["inclusion", "exclusion"]


def read_settings(root: Table, reading: ReaderContext) -> dict[str, Any]:
    """The keys of the top level that are values, as fields of `Trial`; those with mistakes are left out."""
    for key in ("id", "title", "version"):
        if key not in root.keys:
            reading.bad(root, "TV104", f'the file needs "{key}".')
    read = {
        key: kind.read(root.entries[key], reading, key)
        for key, kind in SETTINGS.items()
        if key in root.entries
    }
    found = {key: value for key, value in read.items() if value is not BAD}
    if "assume_complete" in found:
        found["assume_complete"] = frozenset(found["assume_complete"])
    return found


def read_criteria(
    root: Table, reading: ReaderContext
) -> tuple[tuple[Criterion, ...], tuple[Criterion, ...]] | None:
    """Both lists; None where one of them has a mistake."""
    seen: dict[str, int] = {}
    before = sum(problem.severity == "error" for problem in reading.problems.found)
    inclusion = _read_side("inclusion", root, reading, seen)
    exclusion = _read_side("exclusion", root, reading, seen)
    after = sum(problem.severity == "error" for problem in reading.problems.found)
    if after > before:
        return None
    if not inclusion and not exclusion:
        reading.bad(root, "TV117", 'the file has no criterion; list some under "inclusion" or "exclusion".')
        return None
    return inclusion, exclusion


def _read_side(
    side: Side, root: Table, reading: ReaderContext, seen: dict[str, int]
) -> tuple[Criterion, ...]:
    part = root.entries.get(side)
    if part is None:
        return ()
    if not isinstance(part, Items):
        reading.bad(part, "TV106", f'"{side}" is a list of criteria; found {shape(part)}.')
        return ()
    if not part.items:
        reading.bad(root.keys.get(side, part.mark), "TV113", f'"{side}" is empty; leave it out.')
    read = [_read_criterion(item, side, reading, seen) for item in part.items]
    return tuple(criterion for criterion in read if criterion is not None)


def _read_criterion(node: Yaml, side: Side, reading: ReaderContext, seen: dict[str, int]) -> Criterion | None:
    if not isinstance(node, Table):
        message = f"a criterion is a table with id, text, source and where; found {shape(node)}."
        reading.bad(node, "TV106", message)
        return None
    unknown_keys(node, reading, "a criterion", CRITERIA_KEYS, needed=("id", "text", "source"))
    read: dict[str, Any] = {
        key: kind.read(node.entries[key], reading, key)
        for key, kind in _CRITERION.items()
        if key in node.entries
    }
    _note_id(read.get("id"), node, reading, seen)
    _one_of_where_and_todo(node, reading)
    for key in ("where", "applies_if"):
        if key in node.entries:
            read[key] = read_node(node.entries[key], reading, Spot(key, node.keys[key], key))
    if BAD in read.values() or not {"id", "text", "source"} <= read.keys():
        return None
    at = At("", node.mark.line, node.mark.column, node.mark.file)
    return Criterion(side=side, at=at, **read)


def _note_id(name: Any, node: Table, reading: ReaderContext, seen: dict[str, int]) -> None:
    if not isinstance(name, str):
        return
    if name == "alive":
        reading.bad(
            node.entries["id"], "TV105", '"alive" is the criterion that every trial has; take another id.'
        )
    elif name in seen:
        message = f"criterion id {quoted(name)} is used on line {seen[name]} too."
        reading.bad(node.entries["id"], "TV105", message)
    else:
        seen[name] = node.entries["id"].mark.line


def _one_of_where_and_todo(node: Table, reading: ReaderContext) -> None:
    if "where" in node.keys and "todo" in node.keys:
        reading.bad(node.keys["todo"], "TV116", 'a criterion has "where" or "todo", not both.')
    elif not {"where", "todo"} & set(node.keys):
        reading.bad(node, "TV116", 'a criterion needs "where", or "todo" with what a person must decide.')
