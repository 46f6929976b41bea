"""The frozen vectors, and small things that several tests of the mathematics need."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "vectors"


@cache
def standards() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "standards.json").read_text(encoding="utf-8"))
    return found


@cache
def frozen() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "secure_agg.json").read_text(encoding="utf-8"))
    return found


def seed(label: object) -> bytes:
    """32 bytes that are the same in every run, so that no test fails by chance."""
    return hashlib.sha256(repr(label).encode()).digest()


class Entropy:
    """Uniform bytes that are the same in every run."""

    def __init__(self, label: object) -> None:
        self._label, self._drawn = label, 0

    def __call__(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(repr((self._label, self._drawn)).encode()).digest(count)
