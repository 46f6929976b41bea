"""Runs cases, one after the other, and says what came of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ehr.errors import EHRError
from ehr.testing.case import Case, Level
from ehr.testing.case_context import CaseContext
from ehr.testing.cases import CASES
from ehr.testing.expect import ContractBroken
from ehr.testing.guard import loopback_only, quiet_asyncio
from ehr.testing.harness import ProviderHarness
from ehr.testing.server_pool import Backend, ServerPool

Outcome = Literal["passed", "failed", "not_applicable"]
CASE_S = 30.0
"""A case that takes longer hangs, and has failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case.

    Args:
        case: which.
        outcome: over all its back-ends.
        reason: why it failed or does not apply; None where it passed.
        backends: where it ran.
    """

    case: Case
    outcome: Outcome
    reason: str | None = None
    backends: tuple[Backend, ...] = ()


def selected(level: Level) -> tuple[Case, ...]:
    """The cases of a level: ``must`` alone, or all."""
    return tuple(case for case in CASES if level == "should" or case.level == "must")


def set_aside(case: Case, harness: ProviderHarness) -> Result | None:
    """The result of a case that is not run: it does not apply, or the harness skips it.

    Only the profile can say that a case does not apply; what it claims and the harness skips has failed.
    """
    why = case.not_applicable(harness.profile)
    if why is not None:
        return Result(case, "not_applicable", why)
    if case.name in harness.skip:
        return Result(case, "failed", "the harness skips it, and the profile claims what it is about")
    return None


async def play(case: Case, harness: ProviderHarness, backend: Backend, pool: ServerPool) -> str | None:
    """Run one case on one back-end; why it failed, or None."""
    with tempfile.TemporaryDirectory(dir=pool.folder) as folder, loopback_only(), quiet_asyncio():
        context = CaseContext(harness, backend, pool, Path(folder))
        try:
            async with asyncio.timeout(CASE_S):
                await case.play(context)
        except TimeoutError:
            return f"it did not end within {CASE_S:.0f} s"
        except ContractBroken as broken:
            return str(broken)
        except EHRError as error:
            return f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything; its text may hold data
            return f"{type(error).__name__} was raised"
        finally:
            context.ehr.app.held.release()
    return None


async def run_case(case: Case, harness: ProviderHarness, pool: ServerPool) -> Result:
    """Run one case on all its back-ends."""
    aside = set_aside(case, harness)
    if aside is not None:
        return aside
    for backend in case.backends:
        why = await play(case, harness, backend, pool)
        if why is not None:
            return Result(case, "failed", f"on {backend}: {why}", case.backends)
    return Result(case, "passed", None, case.backends)


def run_contract(
    harness: ProviderHarness,
    *,
    level: Level = "should",
    cases: Sequence[Case] | None = None,
    done: Callable[[Result], None] = lambda result: None,
) -> tuple[Result, ...]:
    """Run the contract for one provider.

    Args:
        harness: the provider.
        level: ``must`` leaves out the cases that an adapter need not hold.
        cases: instead of all.
        done: told of each result as it comes.

    Raises:
        ConfigurationError: the provider is not known, or respx is not installed.
    """
    return asyncio.run(_contract(harness, selected(level) if cases is None else cases, done))


async def _contract(
    harness: ProviderHarness, cases: Iterable[Case], done: Callable[[Result], None]
) -> tuple[Result, ...]:
    results = []
    with ServerPool() as pool:
        for case in cases:
            result = await run_case(case, harness, pool)
            results.append(result)
            done(result)
    return tuple(results)
