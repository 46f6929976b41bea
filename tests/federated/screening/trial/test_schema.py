"""The JSON Schema for editors agrees with what the reader takes."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from federated.screening.trial.schema import trial_schema
from tests.federated.screening.trial_texts import errors, read, with_node

EXAMPLES = sorted((Path(__file__).parents[4] / "examples" / "trials").glob("*.yaml"))
SCHEMA = trial_schema()
TYPES = {
    "string": str,
    "object": dict,
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """A small JSON Schema validator: the keywords that our schema has, and no others."""
    rules = {
        "$ref": lambda ref: fits(value, SCHEMA["$defs"][ref.rsplit("/", 1)[-1]]),
        "anyOf": lambda parts: any(fits(value, part) for part in parts),
        "oneOf": lambda parts: sum(fits(value, part) for part in parts) == 1,
        "enum": lambda known: value in known,
        "const": lambda known: value == known,
        "type": lambda names: any(
            isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
            for name in ([names] if isinstance(names, str) else names)
        ),
        "pattern": lambda pattern: not isinstance(value, str) or re.search(pattern, value) is not None,
        "minLength": lambda n: len(value) >= n,
        "minimum": lambda n: value >= n,
        "maximum": lambda n: value <= n,
        "minItems": lambda n: not isinstance(value, list) or len(value) >= n,
        "maxItems": lambda n: not isinstance(value, list) or len(value) <= n,
        "items": lambda part: not isinstance(value, list) or all(fits(item, part) for item in value),
        "required": lambda keys: not isinstance(value, dict) or set(keys) <= set(value),
        "minProperties": lambda n: len(value) >= n,
        "maxProperties": lambda n: len(value) <= n,
        "properties": lambda parts: (
            not isinstance(value, dict)
            or all(fits(value[key], part) for key, part in parts.items() if key in value)
        ),
        "additionalProperties": lambda part: (
            not isinstance(value, dict)
            or all(part and fits(value[key], part) for key in set(value) - set(schema.get("properties", {})))
        ),
    }
    known = {"title", "$defs", "examples", "description", "$schema", "$id"}
    return all(rules[key](part) for key, part in schema.items() if key not in known)


def loaded(text: str) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.isoformat() if isinstance(value, date) else value

    return plain(yaml.safe_load(text))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_fit_the_schema(path: Path) -> None:
    assert fits(loaded(path.read_text()), SCHEMA)


NODES = [
    ("{condition: {in: dm}}", True),
    ("{condition: {in: dm, onset: {within: 6 mo}, clinical: any, eye: right}}", True),
    ("{at_least: {n: 1, of: [{deceased: {is: true}}]}}", True),
    ("{observation: {in: hba1c, take: latest, is: {between: [1, 2]}, unit: '%'}}", True),
    ("{encounter: {every: {period: 12 mo, times: 2, over: 24 mo}}}", True),
    ("{medication: {in: dm, status: [active]}}", True),
    ("{conditon: {in: dm}}", False),
    ("{condition: {in: dm, eye: upper}}", False),
    ("{condition: {in: dm}, deceased: {is: true}}", False),
    ("{medication: {in: dm}}", False),
    ("{encounter: {every: {period: 12 mo, times: 2}}}", False),
    ("{observation: {in: hba1c, take: latest, is: high}}", False),
    ("{all: []}", False),
]


@pytest.mark.parametrize(("node", "good"), NODES)
def test_the_schema_and_the_reader_agree(node: str, good: bool) -> None:
    text = with_node(node)
    assert fits(loaded(text), SCHEMA) == good
    assert bool(errors(read(text))) != good
