"""The JSON Schema of trial files for editors, made from the same tables that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from federated.screening.trial.grammar import ELSEWHERE, PREDICATES, Shape
from federated.screening.trial.head import CRITERION_SCHEMAS, SETTINGS
from federated.screening.trial.merge import FORMAT
from federated.screening.trial.nodes import MAX_NODES
from federated.screening.trial.valuesets import SYSTEMS

_NODE = {"$ref": "#/$defs/node"}
_TEXTS = {"type": "array", "items": {"type": "string"}}


def trial_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a trial file.

    An editor that knows it completes keys and marks most mistakes; `load.read_trial` finds all of them.
    """
    properties = {key: dict(kind.schema) for key, kind in SETTINGS.items()}
    names: dict[str, Any] = {"type": "string"}
    properties |= {
        "trialveil": {"const": FORMAT},
        "extends": names,
        "drop": _TEXTS,
        "use": _TEXTS,
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "parameters": {"type": "object", "additionalProperties": _parameter()},
        "value_sets": {"type": "object", "additionalProperties": _value_set()},
        "criteria": {"type": "object", "additionalProperties": _NODE},
        "inclusion": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/criterion"}},
        "exclusion": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/criterion"}},
    }
    made = _object(properties, ("trialveil", "id", "title", "version"))
    return {"title": "Trial file", **made, "$defs": {"node": _node(), "criterion": _criterion()}}


def _object(properties: Mapping[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    made = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return made | ({"required": list(required)} if required else {})


def _parameter() -> dict[str, Any]:
    texts = {key: {"type": "string"} for key in ("unit", "text")}
    return _object(
        {"value": {"type": ["string", "number"]}, **texts, "site": {"type": "boolean"}}, ("value", "text")
    )


def _value_set() -> dict[str, Any]:
    system = {
        "anyOf": [{"enum": list(SYSTEMS)}, {"type": "string", "pattern": "^(uri:|https?:|urn:|[0-9.]+$)"}]
    }
    codes = {"type": "array", "minItems": 1, "items": {"type": ["string", "number"]}}
    blocks = {
        "type": "array",
        "minItems": 1,
        "items": _object({"system": system, "codes": codes}, ("system", "codes")),
    }
    texts: dict[str, Any] = {key: {"type": "string"} for key in ("title", "from")}
    texts["origin"] = _object({key: {"type": "string"} for key in ("url", "version", "date", "sha256")})
    digest = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}
    return _object({**texts, "include": blocks, "exclude": blocks, "text_hints": _TEXTS, "sha256": digest})


def _criterion() -> dict[str, Any]:
    properties = {key: dict(schema) for key, schema in CRITERION_SCHEMAS.items()}
    made = _object({**properties, "where": _NODE, "applies_if": _NODE}, ("id", "text", "source"))
    return made | {"oneOf": [{"required": ["where"]}, {"required": ["todo"]}]}


def _node() -> dict[str, Any]:
    several = {"type": "array", "minItems": 1, "items": _NODE}
    n = {"type": "integer", "minimum": 1, "maximum": MAX_NODES}
    properties = {
        "all": several,
        "any": several,
        "not": _NODE,
        "at_least": _object({"n": n, "of": several}, ("n", "of")),
        "ref": {"type": "string"},
    }
    properties |= {name: _predicate(shape) for name, shape in PREDICATES.items()}
    return {**_object(properties), "minProperties": 1, "maxProperties": 1}


def _predicate(shape: Shape) -> dict[str, Any]:
    keys = {name: dict(key.kind.schema) for name, key in shape.keys.items()}
    required = [name for name, key in shape.keys.items() if key.required]
    return _object({**keys, "elsewhere": dict(ELSEWHERE.kind.schema)}, required)
