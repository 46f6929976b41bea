"""The published ICD-10-CM codes and the eye that each names; used for warnings only, never to decide.

The list is made by ``fixtures/icd10cm/make_icd10cm.py`` from the release of April 2026.
"""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

EyeLetter = Literal["r", "l", "b", "u"]
"""Right, left, both, unspecified."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Sorted codes with dots, and the eye letter (or an empty text) of each, in the same order."""

    codes: Sequence[str]
    eyes: Sequence[str]

    def known(self, code: str) -> bool:
        """Whether a code or category of this name is published."""
        at = bisect_left(self.codes, code)
        return at < len(self.codes) and self.codes[at] == code

    def span(self, prefix: str) -> range:
        """Positions of the codes that begin with a prefix (dots as in the list)."""
        return range(bisect_left(self.codes, prefix), bisect_left(self.codes, prefix + "\x7f"))

    def eyes_under(self, prefix: str) -> frozenset[str]:
        """The eye letters of the codes under a prefix; codes that name no eye give an empty text."""
        return frozenset(self.eyes[at] for at in self.span(prefix))


@cache
def published() -> Codes:
    """The list, read once."""
    packed = files("federated.screening").joinpath("icd10cm.txt.gz").read_bytes()
    rows = [line.partition(" ") for line in gzip.decompress(packed).decode("ascii").splitlines()]
    return Codes([row[0] for row in rows], [row[2] for row in rows])
