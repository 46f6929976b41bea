"""While a cohort is read the cyclic collector runs seldom, and afterwards as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ehr.reading.collector import SELDOM, collecting_seldom


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_as_before_once_the_last_has_left() -> None:
    outer, inner = collecting_seldom(), collecting_seldom()
    outer.__enter__()
    inner.__enter__()
    assert gc.get_threshold() == (SELDOM, 10, 10)
    outer.__exit__(None, None, None)
    assert gc.get_threshold() == (SELDOM, 10, 10)
    inner.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (SELDOM + 1, 5, 5)])
def test_what_a_program_has_chosen_for_itself_stays(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    with collecting_seldom():
        assert gc.get_threshold() == chosen
    assert gc.get_threshold() == chosen


def test_what_is_chosen_meanwhile_stays() -> None:
    with collecting_seldom():
        gc.set_threshold(900, 9, 9)
    assert gc.get_threshold() == (900, 9, 9)
