"""What a contract case is: a number, a name, and a short function over a `CaseContext`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from ehr.config import ProviderProfile
from ehr.testing.case_context import CaseContext
from ehr.testing.server_pool import Backend

Level = Literal["must", "should"]
Needs = Callable[[ProviderProfile], str | None]
"""Why a case does not apply to a provider with this profile; None where it does."""
Play = Callable[[CaseContext], Awaitable[None]]

GROUPS = {
    "A": "Discovery and configuration",
    "B": "OAuth and tokens",
    "C": "Patient matching",
    "D": "Search and paging",
    "E": "Resource mapping",
    "F": "Documents and bulk",
    "G": "Destination security",
    "H": "Reliability",
    "I": "Privacy and meaning",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that every adapter does.

    Args:
        number: fixed for ever.
        name: says what holds; fixed for ever.
        group: a key of `GROUPS`.
        level: ``must``, or ``should``.
        holds: the same in a sentence.
        play: raises `ehr.testing.expect.ContractBroken` where it does not hold.
        backends: which ones it runs on.
        needs: see `Needs`.
    """

    number: int
    name: str
    group: str
    level: Level
    holds: str
    play: Play
    backends: tuple[Backend, ...]
    needs: Needs

    def not_applicable(self, profile: ProviderProfile) -> str | None:
        """Why the case does not apply, by the profile alone."""
        return self.needs(profile)


def case(
    number: int,
    *,
    level: Level = "must",
    on: tuple[Backend, ...] = ("mocks", "socket"),
    needs: Needs = lambda profile: None,
) -> Callable[[Play], Case]:
    """Make a case of a function; its name and first line become the case's.

    Args:
        number: of the list of cases.
        level: see `Case`.
        on: back-ends.
        needs: see `Needs`.
    """

    def made(play: Play) -> Case:
        module = play.__module__.rpartition(".")[2]
        return Case(
            number,
            play.__name__,
            module[0].upper(),
            level,
            (play.__doc__ or "").strip().partition("\n")[0],
            play,
            on,
            needs,
        )

    return made
