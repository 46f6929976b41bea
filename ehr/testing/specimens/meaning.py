"""Bad ways to understand an answer, or its absence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC
from typing import Any

import ehr.reading.cohort
import ehr.reading.query
from ehr.dates import interval_of
from ehr.errors import LoginRefused
from ehr.records.fetched import Fetched, complete
from ehr.testing.specimens.specimen import Spoilt, part, wrapped

_read = ehr.reading.cohort._read


async def _outage_is_empty(read: Callable[..., Any], *given: Any, **named: Any) -> Any:
    found = await read(*given, **named)
    return found if found.complete else complete(found.items)


def _remembering(by_server: bool) -> Callable[..., Any]:
    """Answers that are kept: failures too, or without regard to who gave them."""
    kept: dict[Any, Fetched[Any]] = {}

    async def read(method: Callable[..., Any], *given: Any, **named: Any) -> Any:
        key = (method.__name__, given, tuple(named), id(method.__self__) if by_server else None)  # type: ignore[attr-defined]  # a bound method
        if key not in kept:
            kept[key] = await method(*given, **named)
        return kept[key]

    return read


async def _one_ends_all(*given: Any) -> Any:
    found = await _read(*given)
    if not found.complete:
        raise LoginRefused("a patient could not be read")
    return found


SPOILT: dict[str, tuple[int, Spoilt]] = {
    "an outage read as an empty record": (152, wrapped(lambda: _outage_is_empty)),
    "a failure kept and given again": (144, wrapped(lambda: _remembering(by_server=True))),
    "one server's answer given for another's": (145, wrapped(lambda: _remembering(by_server=False))),
    "one patient's failure ends the run": (143, part(ehr.reading.cohort, "_read", _one_ends_all)),
    "a day counted in UTC": (
        97,
        part(ehr.reading.query, "interval_of", lambda text, zone: interval_of(text, UTC)),
    ),
    "a pseudonym that is a plain hash": (
        150,
        part(
            ehr.reading.query,
            "pseudonym",
            lambda key, text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16],
        ),
    ),
    "a part of a record taken for nothing missing": (
        153,
        part(Fetched, "complete", property(lambda self: bool(self.items) or self.state.complete)),
    ),
}
