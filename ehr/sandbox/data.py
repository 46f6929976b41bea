"""Reading a folder of FHIR files into a `Store`.

A folder may hold ``.ndjson`` and ``.ndjson.gz`` (a resource or a Bundle a line) and ``.json`` and
``.json.gz`` (a Bundle or one resource). Other files are left alone. Everything is read or nothing is.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ehr.errors import ConfigurationError
from ehr.sandbox.parameters import elements
from ehr.sandbox.store import Store

_ID = re.compile(r"[A-Za-z0-9\-._]{1,256}")  # some vendors pass FHIR's own limit of 64
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_SUFFIXES = (".ndjson", ".ndjson.gz", ".json", ".json.gz")
_BUNDLES = frozenset({"collection", "transaction", "searchset", "batch"})
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class DataLimits:
    """What a data folder may weigh, after unpacking.

    Args:
        file_bytes: one file.
        line_bytes: one line, or one whole ``.json`` file.
        resources: all files together.
        depth: nesting of one resource.
    """

    file_bytes: int = 2 << 30
    line_bytes: int = 256 << 20
    resources: int = 5_000_000
    depth: int = 100


def load(folder: Path, *, validate: bool = False, limits: DataLimits | None = None) -> Store:
    """Read every FHIR file of a folder, subfolders not included, or one file.

    Args:
        folder: where the files lie, or the one file.
        validate: also check each resource with ``fhir.resources`` (R4B); slow.
        limits: bounds against files that are not what they seem.

    Raises:
        ConfigurationError: the folder is missing or holds no FHIR file, or a file cannot be read as FHIR;
            the message names file, line and what is wrong, never a value.
    """
    bounds = limits or DataLimits()
    found: list[_Found] = []
    for path in _files(folder):
        for each in _resources(path, bounds):
            found.append(each)
            if len(found) > bounds.resources:
                raise _bad(path.name, each.line, f"more than {bounds.resources} resources in all")
    store = Store()
    for each in _resolved(found):
        if validate:
            _validate(each.resource, each.file, each.line)
        try:
            store.add(each.resource)
        except ConfigurationError as error:
            raise _bad(each.file, each.line, str(error)) from None
    return store


@dataclass(frozen=True, slots=True)
class _Found:
    """A resource, where it stands, and whether it may hold references like ``Type?identifier=…``."""

    file: str
    line: int
    resource: dict[str, Any]
    conditional: bool


def _files(folder: Path) -> list[Path]:
    if folder.is_file() and folder.name.endswith(_SUFFIXES):
        return [folder]
    if not folder.is_dir():
        raise ConfigurationError(
            "data is neither a folder nor a FHIR file; expected .ndjson, .ndjson.gz or .json files"
        )
    found = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES) and path.is_file())
    if not found:
        raise ConfigurationError("the data folder holds no .ndjson, .ndjson.gz, .json or .json.gz file")
    return found


def _bad(name: str, line: int, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{name}:{line}: {problem}. Nothing was loaded.")


def _resources(path: Path, limits: DataLimits) -> Iterator[_Found]:
    name = path.name
    for line, raw in _lines(path, limits, whole=not name.endswith((".ndjson", ".ndjson.gz"))):
        decoded = _decoded(raw, name, line, limits)
        bundled = decoded.get("resourceType") == "Bundle"
        for resource in _unpacked(decoded, name, line) if bundled else (decoded,):
            yield _Found(name, line, _checked(resource, name, line), b"?identifier=" in raw)


def _resolved(found: list[_Found]) -> Iterator[_Found]:
    """References by identifier, as in a transaction, become plain ones where exactly one resource has it."""
    named: dict[str, set[str]] = {}
    if any(each.conditional for each in found):
        for each in found:
            kind = each.resource["resourceType"]
            for identifier in elements(each.resource, ("identifier",)):
                if isinstance(identifier, dict) and "value" in identifier:
                    text = f"{kind}?identifier={identifier.get('system', '')}|{identifier['value']}"
                    named.setdefault(text, set()).add(f"{kind}/{each.resource['id']}")
    known = {text: names.pop() for text, names in named.items() if len(names) == 1}
    for each in found:
        if each.conditional:
            yield replace(each, resource=with_references(each.resource, known))
        else:
            yield each


def _lines(path: Path, limits: DataLimits, *, whole: bool) -> Iterator[tuple[int, bytes]]:
    """Non-empty lines with their numbers; a ``.json`` file is one line however it is laid out."""
    number, held = 1, bytearray()
    for piece in _pieces(path, limits):
        held += piece
        if not whole:
            *ready, held = held.split(b"\n")
            for raw in ready:
                if raw.strip():
                    yield number, bytes(raw)
                number += 1
        if len(held) > limits.line_bytes:
            raise _bad(path.name, number, f"longer than {limits.line_bytes} bytes")
    if held.strip():
        yield number, bytes(held)


def _pieces(path: Path, limits: DataLimits) -> Iterator[bytes]:
    read = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            while piece := file.read(_PIECE):
                read += len(piece)
                if read > limits.file_bytes:
                    raise _bad(path.name, 1, f"unpacks to more than {limits.file_bytes} bytes")
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise _bad(path.name, 1, f"cannot be read ({type(error).__name__})") from None


def _decoded(raw: bytes, name: str, line: int, limits: DataLimits) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _bad(name, line, "not JSON in UTF-8") from None
    if not isinstance(decoded, dict):
        raise _bad(name, line, f"a JSON {type(decoded).__name__}; expected a FHIR resource")
    if raw.count(b"{") + raw.count(b"[") > limits.depth and not _within(decoded, limits.depth):
        raise _bad(name, line, f"nested deeper than {limits.depth} levels")
    return decoded


def _within(value: Any, depth: int) -> bool:
    # level by level, so that what is too deep cannot exhaust the stack here either
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False


def _checked(resource: dict[str, Any], name: str, line: int) -> dict[str, Any]:
    kind, key = resource.get("resourceType"), resource.get("id")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise _bad(name, line, "no resourceType; expected a FHIR resource")
    if not isinstance(key, str) or not _ID.fullmatch(key):
        raise _bad(name, line, f"a {kind} without a usable id; expected letters, digits, '-', '.', '_'")
    return resource


def _unpacked(bundle: dict[str, Any], name: str, line: int) -> Iterator[dict[str, Any]]:
    if bundle.get("type") not in _BUNDLES:
        raise _bad(
            name, line, "a Bundle of another type; expected collection, transaction, searchset or batch"
        )
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _bad(name, line, "Bundle.entry is not a list of objects")
    held = [entry for entry in entries if isinstance(entry.get("resource"), dict)]
    renamed: dict[str, str] = {}
    for entry in held:
        _give_id(entry, renamed)
    for entry in held:
        if (entry.get("search") or {}).get("mode") != "outcome":
            yield with_references(entry["resource"], renamed)


def _give_id(entry: dict[str, Any], renamed: dict[str, str]) -> None:
    """A transaction's entries may have no id yet: their ``urn:uuid:`` becomes one, as a server would do."""
    resource, address = entry["resource"], entry.get("fullUrl")
    if not isinstance(address, str) or not address.startswith(("urn:uuid:", "urn:oid:")):
        return
    resource.setdefault("id", address.rsplit(":", 1)[1])
    renamed[address] = f"{resource.get('resourceType')}/{resource['id']}"


def with_references(
    value: Any, renamed: Mapping[str, str], keys: Collection[str] = ("reference", "url")
) -> Any:
    """The same data, with the new addresses of what was renamed, under ``keys`` alone."""
    if not renamed:
        return value
    if isinstance(value, list):
        return [with_references(item, renamed, keys) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: renamed.get(item, item)
        if key in keys and isinstance(item, str)
        else with_references(item, renamed, keys)
        for key, item in value.items()
    }


def _validate(resource: dict[str, Any], name: str, line: int) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    kind = resource["resourceType"]
    try:
        get_fhir_model_class(kind).model_validate(resource)
    except (ValueError, KeyError) as error:  # an unknown contained type comes as KeyError
        count = getattr(error, "error_count", lambda: 1)()
        raise _bad(name, line, f"a {kind} that is not valid R4B ({count} findings)") from None
