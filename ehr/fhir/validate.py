"""Full validation against the FHIR R4B models: for the reason why an entry was set aside, and for probes.

It is slow (some thousand resources a second) and so never on the default path. Only paths leave this module:
the models' messages repeat what they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

_SHOWN = 3


def reasons(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a resource breaks FHIR R4B, as paths such as ``$.code.coding[0].code``; none where it does not.

    The path ``$`` alone stands for a fault that has no place: an unknown type, contents of an unknown type
    inside, nesting too deep.
    """
    from pydantic import ValidationError

    try:
        model = import_module("fhir.resources.R4B").get_fhir_model_class(raw.get("resourceType"))
        model.model_validate(dict(raw))
    except ValidationError as error:
        found = (
            _path(row["loc"], row["type"]) for row in error.errors(include_input=False, include_url=False)
        )
        return tuple(dict.fromkeys(found))[:_SHOWN]
    except (Exception, RecursionError):  # noqa: BLE001 - the models raise KeyError, AttributeError and others
        return ("$",)
    return ()


def _path(location: tuple[int | str, ...], kind: str) -> str:
    # The name of an element that does not exist is text from the server.
    named = location[:-1] if kind == "extra_forbidden" else location
    out = "$"
    for step in named:
        if isinstance(step, int):
            out += f"[{step}]"
        elif step.isascii() and step.isidentifier():
            out += f".{step}"
    return out
