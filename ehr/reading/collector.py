"""Fewer runs of Python's cyclic collector while records come in by the thousand.

Records are structs that the collector does not track, but the tuples inside them are counted as new containers, so
that it would run over the young ones several times for each patient and find nothing. Counting of references frees
them as ever; only the search for cycles comes later.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 50_000
"""New containers before a run, instead of Python's 700 (2,000 in later versions)."""

_lock = threading.Lock()
_inside = 0
_before = 0


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let the collector run seldom until the last of those inside has left.

    A threshold that is higher already stays, and so does a collector that is switched off (threshold 0).
    """
    global _inside, _before
    with _lock:
        first, *later = gc.get_threshold()
        if _inside == 0:
            _before = first
            if 0 < first < SELDOM:
                gc.set_threshold(SELDOM, *later)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and gc.get_threshold()[0] == SELDOM:
                gc.set_threshold(_before, *gc.get_threshold()[1:])
