"""Known-bad adapters: each is caught by the case that it is made for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ehr.testing.cases import CASES
from ehr.testing.harnesses import shipped_harness
from ehr.testing.specimens import CAUGHT, SPECIMENS, __main__
from ehr.testing.specimens.specimen import Specimen
from ehr.testing.specimens.trial import catchers, numbered
from tests.repository.sources import ROOT

NAMED = {specimen.name: specimen for specimen in SPECIMENS}


@pytest.fixture(scope="module")
def caught() -> Iterator[dict[str, tuple[int, ...]]]:
    yield catchers(SPECIMENS, lambda specimen: numbered([specimen.caught_by]))


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
def test_the_case_that_a_specimen_is_made_for_catches_it(
    specimen: Specimen, caught: dict[str, tuple[int, ...]]
) -> None:
    assert caught[specimen.name] == (specimen.caught_by,)


def test_there_are_at_least_twenty_and_each_is_for_another_case_that_applies() -> None:
    cases = {case.number: case for case in CASES}
    profile = shipped_harness(SPECIMENS[0].provider).profile
    assert len(SPECIMENS) >= 20
    assert len({specimen.caught_by for specimen in SPECIMENS}) == len(SPECIMENS) == len(NAMED)
    assert all(cases[specimen.caught_by].not_applicable(profile) is None for specimen in SPECIMENS)


def test_a_good_adapter_is_not_caught_once_a_specimen_is_over() -> None:
    harness = shipped_harness(SPECIMENS[0].provider)
    for specimen in SPECIMENS:
        with specimen.spoilt(harness):
            pass
    good = Specimen("good", 38, (), lambda _: _as_it_is(harness), harness.provider)
    numbers = [specimen.caught_by for specimen in SPECIMENS]
    assert catchers([good], lambda _: numbered(numbers))["good"] == ()


def _as_it_is(harness):  # type: ignore[no-untyped-def]  # a context manager
    from contextlib import nullcontext

    return nullcontext(harness)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_the_listed_cases_and_no_others_catch_each_specimen() -> None:
    found = catchers(SPECIMENS, lambda specimen: CASES)
    text = (ROOT / "ehr" / "testing" / "specimens" / CAUGHT).read_text(encoding="utf-8")
    assert text == __main__.page(found), "run: python -m ehr.testing.specimens"
