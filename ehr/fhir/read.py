"""One page of a searchset into records: typed in one pass, and entry by entry where that fails.

The page is decoded straight into the structs that are the records. Only if that fails is each entry looked
at alone: repaired by the closed list (`ehr.fhir.repair`), decoded once more, or set aside with a path and
nothing else of its content (``ehr`` design 7.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from decimal import Decimal
from functools import cache
from typing import Any, Literal, Union, cast

import msgspec

from ehr.errors import BadBody, ReadError
from ehr.fhir import repair, validate
from ehr.fhir.outcome import OperationOutcome
from ehr.records.elements import Element
from ehr.records.fetched import Issue, Severity
from ehr.records.patient import RESOURCES, Medication
from ehr.records.people import Resource

Validation = Literal["light", "full"]

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PATH = re.compile(r" - at `(\$[A-Za-z0-9_.\[\]]*)`")
_PLAIN = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Leniency:
    """How leniently entries are read.

    Args:
        zone: the site's zone.
        strict: no repairs: an entry is as the standard says, or it is set aside.
        validation: ``full`` validates every entry against the FHIR R4B models as well; slow.
    """

    zone: tzinfo
    strict: bool = False
    validation: Validation = "light"


class SearchMode(Element, frozen=True):
    """Why an entry is in the searchset."""

    mode: str | None = None


class Link(Element, frozen=True):
    """A link of a Bundle."""

    relation: str | None = None
    url: str | None = None


class Head(Element, frozen=True):
    """What is known of an entry that could not be read: type and id. Never printed."""

    resource_type: str | None = None
    id: str | None = None


class _RawEntry(Element, frozen=True):
    full_url: str | None = None
    resource: msgspec.Raw = msgspec.Raw()
    search: SearchMode | None = None


class _RawBundle(Element, frozen=True):
    resource_type: str
    link: msgspec.Raw = msgspec.Raw(b"[]")
    entry: tuple[msgspec.Raw, ...] | None = None
    total: msgspec.Raw = msgspec.Raw(b"null")
    type: msgspec.Raw = msgspec.Raw(b'"searchset"')


@dataclass(frozen=True, slots=True, repr=False)
class CheckedEntry:
    """One entry that was read on the slow path; shaped like the fast path's struct."""

    resource: Resource
    full_url: str | None
    search: SearchMode | None


@dataclass(slots=True, repr=False)
class PageContent:
    """What a page holds.

    Args:
        entries: entries that were read, in the server's order, with ``resource``, ``full_url``, ``search``.
        links: relation to URL.
        total: the server's own count, if it is a number.
        issues: repairs and reasons for setting entries aside; no patient data.
        quarantined: entries that were set aside.
        skipped: entries of resource types that this library does not read.
    """

    entries: list[Any]
    links: Mapping[str, str]
    total: int | None
    issues: list[Issue] = field(default_factory=list)
    quarantined: list[Head] = field(default_factory=list)
    skipped: int = 0


_KNOWN: frozenset[type[Resource]] = frozenset(
    {*(kind for kinds in RESOURCES.values() for kind in kinds), Medication, OperationOutcome}
)


@cache
def _kinds(extra: type[Resource] | None) -> Mapping[str, type[Resource]]:
    every = _KNOWN if extra is None else _KNOWN | {extra}
    return {str(kind.__struct_config__.tag): kind for kind in every}


@cache
def _page_decoder(extra: type[Resource] | None) -> msgspec.json.Decoder[Any]:
    union = cast("Any", Union[tuple(_kinds(extra).values())])  # noqa: UP007 - built at run time
    entry = msgspec.defstruct(
        "CheckedEntry",
        [("resource", union), ("full_url", str | None, None), ("search", SearchMode | None, None)],
        bases=(Element,),
    )
    bundle = msgspec.defstruct(
        "Bundle",
        [
            ("link", tuple[Link, ...], ()),
            ("entry", list[entry], msgspec.field(default_factory=list)),  # type: ignore[valid-type]  # made above
            ("total", int | None, None),
            ("type", Literal["searchset"], "searchset"),
        ],
        bases=(Element,),
        tag_field="resourceType",
        tag="Bundle",
    )
    return msgspec.json.Decoder(bundle)


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def read_page(
    body: bytes,
    shape: type[Resource],
    rules: Leniency,
    check: tuple[int, Callable[[bytes], None]] | None = None,
) -> PageContent:
    """Read a searchset.

    Args:
        body: JSON text.
        shape: the type that was asked for; entries of other known types are read too (includes).
        rules: see `Leniency`.
        check: where syntax and size were not checked yet: what checks them, and the bytes up to which that is only
            needed for a page that cannot be read as a whole. Decoding checks the syntax on its way.

    Raises:
        BadBody: it is not a searchset Bundle in UTF-8 (``not-json`` or ``wrong-type``).
    """
    large = check is not None and (len(body) > check[0] or rules.validation != "light")
    if check is not None and large:
        check[1](body)
    _check_text(body)
    if rules.validation == "light":
        try:
            bundle = _page_decoder(None if shape in _KNOWN else shape).decode(body)
        except _UNREADABLE:
            pass
        else:
            return PageContent(bundle.entry, _links(bundle.link), bundle.total)
        if check is not None and not large:
            check[1](body)
    return _read_entries(body, shape, rules)


def _check_text(body: bytes) -> None:
    # The decoder skips unknown elements without reading them as text; a broken page must not pass so.
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError:
        raise BadBody("The answer to a search is not UTF-8.", reason="not-json") from None


def _links(links: Iterable[Link]) -> dict[str, str]:
    return {link.relation: link.url for link in links if link.relation and link.url}


def _read_entries(body: bytes, shape: type[Resource], rules: Leniency) -> PageContent:
    try:
        bundle = _decoder(_RawBundle).decode(body)
    except _UNREADABLE:
        raise BadBody("The answer to a search is not a Bundle of entries.", reason="not-json") from None
    if bundle.resource_type == "OperationOutcome":
        outcome = read_resource(body, OperationOutcome, rules)[0]
        return PageContent([CheckedEntry(outcome, None, SearchMode(mode="outcome"))], {}, None)
    if bundle.resource_type != "Bundle" or bytes(bundle.type) != b'"searchset"':
        raise BadBody("The answer to a search is something else than a searchset.", reason="wrong-type")
    content = PageContent([], _lenient_links(bundle.link), _lenient_total(bundle.total))
    for raw in bundle.entry or ():
        _read_entry(bytes(raw), content, shape, rules)
    return content


def _lenient_links(raw: msgspec.Raw) -> dict[str, str]:
    try:
        return _links(_decoder(tuple[Link, ...]).decode(raw))
    except _UNREADABLE:
        raise BadBody(
            "The links of a Bundle cannot be read, so its end is unknown.", reason="not-json"
        ) from None


def _lenient_total(raw: msgspec.Raw) -> int | None:
    try:
        total = _PLAIN.decode(raw)
    except _UNREADABLE:
        return None
    return total if isinstance(total, int) and not isinstance(total, bool) else None


def _read_entry(raw: bytes, content: PageContent, shape: type[Resource], rules: Leniency) -> None:
    try:
        entry = _decoder(_RawEntry).decode(raw)
        head = _decoder(Head).decode(entry.resource)
    except _UNREADABLE as error:
        content.quarantined.append(Head())
        content.issues.append(_set_aside(_path_of(error)))
        return
    kind = _kinds(None if shape in _KNOWN else shape).get(head.resource_type or "")
    if kind is None and head.resource_type:
        content.skipped += 1
        return
    try:
        if kind is None:
            raise _unreadable("$.resourceType")
        resource, issues = read_resource(entry.resource, kind, rules)
    except ReadError as error:
        content.quarantined.append(Head(resource_type=head.resource_type, id=head.id))
        content.issues.append(_set_aside(error.path))
        return
    content.issues.extend(issues)
    content.entries.append(CheckedEntry(resource, entry.full_url, entry.search))


def _set_aside(path: str) -> Issue:
    return Issue("quarantined", Severity.ERROR, path=path)


def read_resource(
    raw: bytes | msgspec.Raw, shape: type[Resource], rules: Leniency
) -> tuple[Any, tuple[Issue, ...]]:
    """Read one resource, with repairs where they are allowed and needed.

    Returns:
        The record, and what was noticed.

    Raises:
        ReadError: it cannot be read; only the path of the fault is told.
    """
    try:
        found = _decoder(shape).decode(raw)
    except _UNREADABLE as error:
        path = _path_of(error)
    else:
        return found, _validated(raw, rules)
    # Out of the handler, so that no error keeps the decoder's, which can hold content.
    return _mended(raw, shape, rules, path)


def _validated(raw: bytes | msgspec.Raw, rules: Leniency) -> tuple[Issue, ...]:
    if rules.validation == "light":
        return ()
    faults = validate.reasons(_PLAIN.decode(raw))
    if faults and rules.strict:
        raise _unreadable(faults[0])
    return tuple(Issue("invalid", Severity.WARNING, path=path) for path in faults)


def _mended(
    raw: bytes | msgspec.Raw, shape: type[Resource], rules: Leniency, path: str
) -> tuple[Any, tuple[Issue, ...]]:
    try:
        plain = None if rules.strict else _PLAIN.decode(raw)
    except _UNREADABLE:
        plain = None
    if not isinstance(plain, dict):
        raise _unreadable(path)
    try:
        mended, issues = repair.repaired(plain, shape, rules.zone)
        return msgspec.convert(mended, shape), issues
    except RecursionError:
        raise _unreadable("$") from None
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        # What is still wrong after the repairs is the real reason; the models may name it better.
        faults = validate.reasons(repair.cleaned(plain))
        raise _unreadable(next(iter(faults), _path_of(error))) from None


def _unreadable(path: str) -> ReadError:
    return ReadError("A resource does not have the shape of FHIR R4; it was set aside.", path=path)


def _path_of(error: BaseException) -> str:
    found = _PATH.search(str(error))
    return found[1] if found else "$"


def counted(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """The same issues, each once with its count."""
    tally: dict[tuple[str, Severity, str | None], int] = {}
    for issue in issues:
        key = (issue.code, issue.severity, issue.path)
        tally[key] = tally.get(key, 0) + issue.count
    return tuple(Issue(code, severity, count, path) for (code, severity, path), count in tally.items())
