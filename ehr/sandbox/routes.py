"""From method and path to what is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ehr.sandbox.messages import Pairs, Request
from ehr.sandbox.skin import Skin
from ehr.sandbox.witness import RequestTarget

_TYPE = re.compile(r"[A-Z][A-Za-z]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asks for.

    Args:
        asked: for witness and faults.
        pairs: search parameters that count.
        resource_id: of a read.
        session_key: of a later page.
    """

    asked: RequestTarget
    pairs: Pairs = ()
    resource_id: str = ""
    session_key: str = ""


# What is known about a session key: type and patient of the search it belongs to.
SessionFacts = Callable[[str], tuple[str | None, str | None]]
# The patient a resource is about, by type and id.
Subject = Callable[[str, str], str | None]


def target_of_request(request: Request, skin: Skin, session_facts: SessionFacts, subject: Subject) -> Target:
    """Say what is asked for; what fits nothing is ``other``."""
    if request.path == skin.token_path:
        return Target(RequestTarget("token"))
    if request.path == skin.authorize_path:
        return Target(RequestTarget("authorize"))
    if request.path != skin.fhir_path and not request.path.startswith(skin.fhir_path + "/"):
        return Target(RequestTarget("other"))
    rest = request.path[len(skin.fhir_path) :].strip("/")
    if rest == ".well-known/smart-configuration":
        return Target(RequestTarget("discovery"))
    if rest == "metadata":
        return Target(RequestTarget("metadata"))
    pairs = dict(request.parameters())
    if "_getpages" in pairs and request.method == "GET":
        return _later_page(pairs, session_facts)
    return _on_type(request, rest.split("/"), skin, subject)


def _later_page(pairs: dict[str, str], session_facts: SessionFacts) -> Target:
    key, number = pairs["_getpages"], pairs.get("_page", "")
    kind, patient = session_facts(key)
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
    return Target(RequestTarget("page", kind, patient, page), session_key=key)


def _on_type(request: Request, parts: list[str], skin: Skin, subject: Subject) -> Target:
    kind = parts[0]
    if not _TYPE.fullmatch(kind):
        return Target(RequestTarget("other"))
    if parts[1:] == [] and request.method in {"GET", "HEAD"}:
        return _search(kind, request.parameters())
    if parts[1:] == ["_search"] and request.method == "POST" and skin.searching.post != "none":
        pairs = request.form() + (request.parameters() if skin.searching.post == "both" else ())
        return _search(kind, pairs)
    if parts == ["Patient", "$match"] and request.method == "POST" and skin.match_operation:
        return Target(RequestTarget("match", kind))
    if len(parts) == 2 and request.method in {"GET", "HEAD"} and parts[1][:1] not in {"$", "_"}:
        return Target(RequestTarget("read", kind, subject(kind, parts[1])), resource_id=parts[1])
    return Target(RequestTarget("other", kind))


def _search(kind: str, pairs: Pairs) -> Target:
    names = {"_id"} if kind == "Patient" else {"patient", "subject", "actor"}
    named = (value.rpartition("/") for name, value in pairs if name.partition(":")[0] in names)
    about = [key for path, _, key in named if (not path or path.endswith("Patient")) and "," not in key]
    return Target(RequestTarget("search", kind, about[0] if about else None, 1), pairs=pairs)
