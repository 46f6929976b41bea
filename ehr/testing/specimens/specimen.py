"""What a known-bad adapter is: a good one with one thing spoilt, and the case that must catch it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from ehr.providers.generic import AdapterParts
from ehr.providers.registry import Provider
from ehr.records.patient import Kind, PatientRef
from ehr.testing.harness import ProviderHarness

Spoilt = Callable[[ProviderHarness], AbstractContextManager[ProviderHarness]]


@dataclass(frozen=True, slots=True)
class Specimen:
    """One deliberately bad adapter.

    Args:
        name: what it does wrong.
        caught_by: number of the case that is there to catch it.
        also: numbers of further cases that catch it.
        spoilt: gives, for the length of a ``with`` block, a harness whose adapter is bad.
        provider: the shipped provider that it is made from.
    """

    name: str
    caught_by: int
    also: tuple[int, ...]
    spoilt: Spoilt
    provider: str


def part(target: object, attribute: str, bad: object) -> Spoilt:
    """A specimen in which one function or value of a good adapter is another."""

    @contextmanager
    def spoilt(harness: ProviderHarness) -> Iterator[ProviderHarness]:
        with patch.object(target, attribute, bad):
            yield harness

    return spoilt


def parts(*spoils: Spoilt) -> Spoilt:
    """Several of them at once: what one mistake of design amounts to."""

    @contextmanager
    def spoilt(harness: ProviderHarness) -> Iterator[ProviderHarness]:
        with ExitStack() as held:
            for spoil in spoils:
                harness = held.enter_context(spoil(harness))
            yield harness

    return spoilt


class _Wrapped:
    """An adapter whose ``read`` goes through another function."""

    def __init__(self, inner: Any, through: Callable[..., Awaitable[Any]]) -> None:
        self._inner = inner
        self._through = through

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def read(self, kind: Kind, ref: PatientRef) -> Any:
        return await self._through(self._inner.read, kind, ref)


def wrapped(new: Callable[[], Callable[..., Awaitable[Any]]]) -> Spoilt:
    """A specimen that changes what a good adapter reads.

    Args:
        new: makes, for each time that the specimen is used, a function that is given the good ``read`` and its
            arguments.
    """

    @contextmanager
    def spoilt(harness: ProviderHarness) -> Iterator[ProviderHarness]:
        found, through = harness.found(), new()

        def make(made_of: AdapterParts) -> Any:
            return _Wrapped(found.make(made_of), through)

        yield replace(harness, adapter=Provider(found.profile, make))

    return spoilt
