"""Code lists as others publish them: FHIR ValueSet resources, VSAC exports (JSON or CSV), and our own form of both.

Only lists that are complete as they stand are taken: a definition by filter must be expanded first.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ehr.records.codes import URIS, Code, normal_code, system_name
from federated.errors import ConfigurationError

MAX_BYTES = 32 << 20
MAX_CODES = 500_000
MAX_DEPTH = 100


class ValueSetFileError(ConfigurationError):
    """A file is not a code list, or is not complete."""


@dataclass(frozen=True, slots=True)
class ValueSetFile:
    """A code list.

    Args:
        codes: its members, sorted.
        title, url, version, date: as the publisher gave them; None where missing.
        left_out: how many entries were abstract or inactive.
    """

    codes: tuple[Code, ...]
    title: str | None = None
    url: str | None = None
    version: str | None = None
    date: str | None = None
    left_out: int = 0


def read_valueset_file(data: bytes) -> ValueSetFile:
    """Read a code list.

    Args:
        data: JSON (FHIR ValueSet with an expansion or an enumerated compose; VSAC) or CSV (VSAC).

    Raises:
        ValueSetFileError: it is none of these, has a filter, or has fewer codes than it says.
    """
    if len(data) > MAX_BYTES:
        raise ValueSetFileError(f"it has {len(data)} bytes; at most 32 MiB are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueSetFileError("it is not UTF-8") from None
    if "\x00" in text:
        raise ValueSetFileError("it holds NUL characters")
    if text.lstrip()[:1] in ("{", "["):
        return _from_json(text)
    return _from_csv(text)


def as_json(read: ValueSetFile, sha256: str) -> str:
    """Our own form: a FHIR ValueSet with a flat expansion, sorted, one code a line; reading it gives the same codes.

    Args:
        read: what was imported.
        sha256: digest of the file it came from, kept as provenance.
    """
    head: dict[str, Any] = {"resourceType": "ValueSet", "status": "active"}
    head |= {key: getattr(read, key) for key in ("url", "version", "title", "date") if getattr(read, key)}
    head["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": f"urn:sha256:{sha256}"}]
    lines = [
        json.dumps({"system": URIS.get(code.system, code.system.removeprefix("uri:")), "code": code.code})
        for code in read.codes
    ]
    start = json.dumps(head, ensure_ascii=False, indent=2).removesuffix("\n}")
    body = ",\n    ".join(lines)
    return f'{start},\n  "expansion": {{"total": {len(lines)}, "contains": [\n    {body}\n  ]}}\n}}\n'


def _from_json(text: str) -> ValueSetFile:
    try:
        document = json.loads(text, parse_int=_integer, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise ValueSetFileError("it is not JSON that can be read") from None
    if not isinstance(document, dict):
        raise ValueSetFileError("it is a JSON list; expected a ValueSet resource")
    if document.get("resourceType") == "ValueSet":
        if isinstance(document.get("expansion"), dict):
            return _from_expansion(document)
        return _from_compose(document)
    if isinstance(document.get("concepts"), list | dict):
        return _from_vsac(document)
    raise ValueSetFileError("it is neither a FHIR ValueSet nor a VSAC export")


def _integer(digits: str) -> int:
    if len(digits) > 15:
        raise ValueError("a whole number is too long")
    return int(digits)


def _facts(document: Mapping[str, Any]) -> dict[str, str | None]:
    found = {
        "title": document.get("title") or document.get("name") or document.get("displayName"),
        "url": document.get("url") or document.get("oid") or document.get("id"),
        "version": document.get("version"),
        "date": document.get("date") or document.get("revisionDate"),
    }
    return {key: str(value) if isinstance(value, str | int) else None for key, value in found.items()}


def _made(codes: set[Code], facts: Mapping[str, str | None], left_out: int = 0) -> ValueSetFile:
    if not codes:
        raise ValueSetFileError("it has no codes")
    if len(codes) > MAX_CODES:
        raise ValueSetFileError(f"it has {len(codes)} codes; at most {MAX_CODES} are read")
    return ValueSetFile(tuple(sorted(codes)), left_out=left_out, **facts)


def _from_expansion(document: Mapping[str, Any]) -> ValueSetFile:
    expansion = document["expansion"]
    codes: set[Code] = set()
    present = left_out = 0
    for entry in _entries(expansion.get("contains")):
        present += 1
        heading = entry.get("code") is None
        code = None if heading else _code(entry.get("system"), entry.get("code"))
        if entry.get("abstract") is True or entry.get("inactive") is True:
            left_out += 1
        elif code is not None:
            codes.add(code)
    total = expansion.get("total")
    if isinstance(total, int) and total > present:
        message = f"its expansion says {total} codes and holds {present}: it is one page. Ask for the whole expansion"
        raise ValueSetFileError(message)
    facts = _facts(document)
    facts["date"] = facts["date"] or _facts({"date": expansion.get("timestamp")})["date"]
    return _made(codes, facts, left_out)


def _entries(contains: Any) -> Iterator[Mapping[str, Any]]:
    stack: list[tuple[Any, int]] = [(contains, 0)]
    while stack:
        found, depth = stack.pop()
        if found is None:
            continue
        for entry in _tables(found if depth <= MAX_DEPTH else None, '"contains" is not a list of codes'):
            yield entry
            stack.append((entry.get("contains"), depth + 1))


def _tables(found: Any, otherwise: str) -> Iterator[Mapping[str, Any]]:
    for one in found if isinstance(found, list) else [None]:
        if not isinstance(one, dict):
            raise ValueSetFileError(otherwise)
        yield one


def _code(system: Any, code: Any) -> Code:
    if not isinstance(code, str) or not isinstance(system, str) or not system.strip() or not code.strip():
        raise ValueSetFileError("a code has no system, or is not a text")
    name = system_name(system)
    return Code(name, normal_code(name, code))


def _from_compose(document: Mapping[str, Any]) -> ValueSetFile:
    compose = document.get("compose")
    if not isinstance(compose, dict) or not isinstance(compose.get("include"), list):
        raise ValueSetFileError('it has neither "expansion" nor "compose.include"')
    codes = _composed(compose["include"]) - _composed(compose.get("exclude") or [])
    return _made(codes, _facts(document))


def _composed(blocks: Any) -> set[Code]:
    codes: set[Code] = set()
    for block in _tables(blocks, '"compose" is not a list of blocks'):
        if block.get("filter") or block.get("valueSet") or not isinstance(block.get("concept"), list):
            message = "it is defined by a filter, another value set or a whole system; expand it first"
            raise ValueSetFileError(message)
        for concept in _tables(block["concept"], '"concept" is not a list of codes'):
            codes.add(_code(block.get("system"), concept.get("code")))
    return codes


def _from_vsac(document: Mapping[str, Any]) -> ValueSetFile:
    concepts = document["concepts"]
    if isinstance(concepts, dict):
        concepts = concepts.get("concept")
    codes = set()
    for concept in _tables(concepts, '"concepts" is not a list of codes'):
        system = concept.get("code_system_oid") or concept.get("codeSystem") or concept.get("codeSystemOID")
        codes.add(_code(_vsac_system(system), concept.get("code")))
    facts = _facts({**document, "title": document.get("display_name") or document.get("displayName")})
    return _made(codes, facts)


_VSAC_NAMES = {
    "icd10cm": "icd10cm", "icd9cm": "icd9cm", "snomedct": "snomed", "snomedctus": "snomed", "loinc": "loinc",
    "rxnorm": "rxnorm", "cpt": "cpt", "hcpcs": "hcpcs", "hcpcslevelii": "hcpcs", "cvx": "cvx", "ndc": "ndc",
}  # fmt: skip


def _vsac_system(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueSetFileError("a code has no system, or is not a text")
    short = _VSAC_NAMES.get("".join(char for char in text.lower() if char.isalnum()))
    return URIS[short] if short else text.strip()


def _from_csv(text: str) -> ValueSetFile:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise ValueSetFileError("it is not CSV that can be read") from None
    at = next((n for n, row in enumerate(rows) if _columns(row) is not None), None)
    if at is None:
        raise ValueSetFileError('no line has the headings "Code" and "Code System" (or "Code System OID")')
    columns = _columns(rows[at]) or (0, 0)
    head = {row[0].strip().lower(): row[1].strip() for row in rows[:at] if len(row) > 1 and row[1].strip()}
    codes = set()
    for row in rows[at + 1 :]:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(columns):
            raise ValueSetFileError("a line has fewer cells than the headings")
        codes.add(_code(_vsac_system(row[columns[1]]), row[columns[0]].strip()))
    facts = {
        "title": head.get("value set name"),
        "url": head.get("oid"),
        "version": head.get("definition version"),
    }
    return _made(codes, {**facts, "date": None})


def _columns(row: list[str]) -> tuple[int, int] | None:
    names = [cell.strip().lower().replace("_", " ") for cell in row]
    if "code" not in names:
        return None
    system = next((name for name in ("code system oid", "code system", "system") if name in names), None)
    return None if system is None else (names.index("code"), names.index(system))
