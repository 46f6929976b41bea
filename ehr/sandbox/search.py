"""FHIR R4 search: from a query string to the ordered list of matches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ehr.sandbox.filters import Filter, reference_parts, sort_texts, split_values, test_of
from ehr.sandbox.instants import interval_of
from ehr.sandbox.outcomes import Refused
from ehr.sandbox.parameters import elements, parameters_of, target_of
from ehr.sandbox.skin import Situation, Skin
from ehr.sandbox.store import Store, Stored

Pairs = Sequence[tuple[str, str]]

_CONTROLS = frozenset({"_sort", "_include", "_summary", "_total", "_format", "_pretty"})
# Which parameters narrow by an exact index before anything is compared.
_INDEXED = frozenset({"_id", "identifier", "code"})


@dataclass(slots=True)
class SearchRequest:
    """A search that has been read and found acceptable.

    Args:
        resource_type: what is searched.
        count: entries a page.
        filters: all must hold.
        applied: the parameters that count, as given, for the ``self`` link.
        ignored: names of parameters that do not count.
        sort: (parameter, descending) in order.
        includes: reference parameters of ``_include``.
        only_total: ``_summary=count`` was asked for.
    """

    resource_type: str
    count: int
    filters: list[Filter] = field(default_factory=list)
    applied: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    sort: list[tuple[str, bool]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    only_total: bool = False

    @property
    def patient(self) -> str | None:
        """The one patient the search is about, if it names one."""
        names = {"_id"} if self.resource_type == "Patient" else {"patient", "subject", "actor"}
        asked = [
            f
            for f in self.filters
            if f.name in names and len(f.values) == 1 and f.modifier in {"", "Patient"}
        ]
        return reference_parts(asked[0].values[0], "Patient")[1] if asked else None


@dataclass(slots=True)
class _Reading:
    request: SearchRequest
    skin: Skin
    strict: bool


def read_query(resource_type: str, pairs: Pairs, skin: Skin, *, strict: bool = False) -> SearchRequest:
    """Understand a search.

    Args:
        resource_type: what is searched.
        pairs: parameters in the order they came, decoded.
        skin: whose rules hold.
        strict: ``Prefer: handling=strict`` was sent.

    Raises:
        Refused: a parameter is malformed, a required one is missing, or an unknown one is not tolerated.
    """
    request = SearchRequest(resource_type, skin.paging.default_count)
    given = {name.partition(":")[0] for name, _ in pairs}
    for name, value in pairs:
        if name == "name" and skin.searching.name_yields and given & {"family", "given"}:
            continue
        _read_one(_Reading(request, skin, strict), name, value)
    _require(resource_type, {f.name for f in request.filters}, skin)
    return request


def _read_one(reading: _Reading, name: str, value: str) -> None:
    paging = reading.skin.paging
    if name == paging.parameter:
        if not value.isascii() or not value.isdigit() or len(value) > 9:
            raise Refused(400, "bad-parameter", f"{name} is not a whole number")
        if int(value) == 0:
            reading.request.only_total = True
        reading.request.count = max(1, min(int(value), paging.max_count))
        reading.request.applied.append((name, str(reading.request.count) if int(value) else "0"))
    elif name in _CONTROLS:
        if _read_control(reading, name, value):
            reading.request.applied.append((name, value))
        else:
            _unknown(reading, name)
    else:
        found = _filter(reading, name, value)
        if found is None:
            _unknown(reading, name)
        else:
            reading.request.filters.append(found)
            reading.request.applied.append((name, value))


def _read_control(reading: _Reading, name: str, value: str) -> bool:
    known = parameters_of(reading.request.resource_type)
    if name == "_sort":
        keys = [(part.lstrip("-"), part.startswith("-")) for part in value.split(",")]
        if not reading.skin.searching.sorts or any(key not in known for key, _ in keys):
            return False
        reading.request.sort += keys
    elif name == "_include":
        source, _, parameter = value.partition(":")
        parameter = parameter.partition(":")[0]
        held = known.get(parameter)
        if source != reading.request.resource_type or held is None or held.kind != "reference":
            return False
        reading.request.includes.append(parameter)
    elif name == "_summary":
        if value != "count":
            return value == "false"
        reading.request.only_total = True
    return True


def _filter(reading: _Reading, name: str, value: str) -> Filter | None:
    plain, _, modifier = name.partition(":")
    parameter = parameters_of(reading.request.resource_type).get(plain)
    allowed = reading.skin.searching.parameters.get(reading.request.resource_type)
    if parameter is None or (allowed is not None and plain not in allowed):
        return None
    if modifier and modifier not in reading.skin.searching.modifiers and not modifier[:1].isupper():
        raise Refused(400, "bad-parameter", f"{plain}: this modifier is not supported")
    if not value:
        raise Refused(400, "bad-parameter", f"{plain} is empty")
    accepted = reading.skin.searching.values.get((reading.request.resource_type, plain))
    if accepted is not None and not {one.rpartition("|")[2] for one in split_values(value)} <= accepted:
        raise Refused(400, "bad-value", f"{plain} has a value that is not supported")
    return Filter(plain, parameter, modifier, split_values(value))


def _unknown(reading: _Reading, name: str) -> None:
    if reading.strict or reading.skin.searching.unknown == "reject":
        raise Refused(400, "unknown-parameter", "a search parameter is not supported")
    reading.request.ignored.append(name.partition(":")[0])


def _require(resource_type: str, given: set[str], skin: Skin) -> None:
    choices = skin.searching.required.get(resource_type, ())
    if choices and "_id" not in given and not any(choice <= given for choice in choices):
        wanted = " or ".join("+".join(sorted(choice)) for choice in choices)
        situation: Situation = "too-few" if resource_type == "Patient" else "missing-parameter"
        raise Refused(400, situation, f"{resource_type} needs {wanted}")


def run(query: SearchRequest, store: Store, skin: Skin, *, now: int) -> list[Stored]:
    """All matches in order.

    Args:
        query: what is asked.
        store: where to look.
        skin: whose rules hold.
        now: the sandbox's time in microseconds, for the ``ap`` prefix.

    Raises:
        Refused: a value is malformed, or too many patients match.
    """
    late = skin.searching.post_filters.get(query.resource_type, frozenset())
    weighs = skin.searching.weighs if query.resource_type == "Patient" else frozenset()
    tests = {
        asked: test_of(asked, skin.searching, now)
        for asked in query.filters
        if asked.name not in late | weighs
    }
    candidates, answered = _candidates(query.resource_type, list(tests), store)
    left = [test for asked, test in tests.items() if asked is not answered]
    found = [stored for stored in candidates if all(test(stored) for test in left)]
    if query.resource_type == "Patient" and skin.merged == "redirect":
        found = [stored for stored in found if store.survivor(stored.id) is None]
    if query.resource_type == "Patient" and 0 < skin.searching.max_patients < len(found):
        raise Refused(400, "too-many", "too many patients match; give more details")
    for name, descending in reversed(query.sort):
        _sort(found, query.resource_type, name, descending=descending)
    return found


def sieve(query: SearchRequest, skin: Skin, now: int) -> Callable[[Stored], bool] | None:
    """What this server looks at only after it has cut a page; None where nothing is left.

    Raises:
        Refused: a value is malformed.
    """
    late = skin.searching.post_filters.get(query.resource_type, frozenset())
    tests = [test_of(asked, skin.searching, now) for asked in query.filters if asked.name in late]
    if not tests:
        return None
    return lambda stored: all(test(stored) for test in tests)


def _candidates(
    resource_type: str, filters: Iterable[Filter], store: Store
) -> tuple[Sequence[Stored], Filter | None]:
    """The smallest list that surely holds every match, and the filter it already answers in full."""
    best: Sequence[Stored] | None = None
    answered: Filter | None = None
    for asked in filters:
        listed = None if asked.modifier else _listed(asked, resource_type, store)
        if listed is not None and (best is None or len(listed) < len(best)):
            best, answered = listed, asked if asked.parameter.kind == "reference" else None
    return (store.all_of(resource_type) if best is None else best), answered


def _listed(asked: Filter, resource_type: str, store: Store) -> Sequence[Stored] | None:
    """What an index holds for one filter: all that can match it; None without an index."""
    if asked.name == "patient":
        targets = [reference_parts(value, "Patient") for value in asked.values]
        return store.of_patients(resource_type, [name for kind, name in targets if kind == "Patient"])
    if asked.name == "birthdate" and all(_whole_day(value) for value in asked.values):
        return store.with_exact(resource_type, asked.name, [v.removeprefix("eq") for v in asked.values])
    codes = [value.rpartition("|")[2] for value in asked.values]
    return (
        store.with_exact(resource_type, asked.name, codes) if asked.name in _INDEXED and all(codes) else None
    )


def _whole_day(value: str) -> bool:
    day = value.removeprefix("eq")
    return len(day) == 10 and day[:4].isdigit()  # only a date of the same day lies within one day


def _sort(found: list[Stored], resource_type: str, name: str, *, descending: bool) -> None:
    parameter = parameters_of(resource_type)[name]

    def key(stored: Stored) -> tuple[bool, int, str]:
        # what has no value comes last, both ways
        if parameter.kind == "date":
            spans = [span for span in map(interval_of, elements(stored.data, parameter.paths)) if span]
            return bool(spans) == descending, min((span[0] for span in spans), default=0), ""
        texts = sort_texts(stored.data, parameter)
        return bool(texts) == descending, 0, min(texts, default="")

    found.sort(key=key, reverse=descending)


def included(page: Iterable[Stored], query: SearchRequest, store: Store) -> list[Stored]:
    """What the matches of one page point to through the ``_include`` parameters, each once."""
    found: dict[tuple[str, str], Stored] = {}
    for stored in page:
        for name in query.includes:
            parameter = parameters_of(query.resource_type)[name]
            for value in elements(stored.data, parameter.paths):
                target = target_of(value)
                held = store.get(*target) if target is not None else None
                if held is not None and parameter.target in {None, held.type}:
                    found[held.type, held.id] = held
    return list(found.values())
