"""Does a case catch a specimen?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ehr.testing.case import Case
from ehr.testing.cases import CASES
from ehr.testing.harnesses import shipped_harness
from ehr.testing.run import play
from ehr.testing.server_pool import ServerPool
from ehr.testing.specimens.specimen import Specimen


def numbered(numbers: Iterable[int]) -> tuple[Case, ...]:
    """Cases by their numbers, in their order."""
    wanted = set(numbers)
    return tuple(case for case in CASES if case.number in wanted)


def catchers(
    specimens: Iterable[Specimen],
    cases: Callable[[Specimen], Iterable[Case]],
    done: Callable[[Specimen], None] = lambda specimen: None,
) -> dict[str, tuple[int, ...]]:
    """Which of some cases catch each specimen, on the first back-end of each case.

    Args:
        specimens: which.
        cases: to try on each; those that do not apply to its provider catch nothing.
        done: told of each specimen that was tried.
    """

    async def catching(specimen: Specimen) -> tuple[int, ...]:
        return tuple([case.number for case in cases(specimen) if await _catches(case, specimen, pool)])

    found = {}
    with ServerPool() as pool:
        for specimen in specimens:
            found[specimen.name] = asyncio.run(catching(specimen))
            done(specimen)
    return found


async def _catches(case: Case, specimen: Specimen, pool: ServerPool) -> bool:
    harness = shipped_harness(specimen.provider)
    if case.not_applicable(harness.profile) is not None:
        return False
    with specimen.spoilt(harness) as bad:
        return await play(case, bad, case.backends[0], pool) is not None
