"""Histograms of what the server saw of a pod, and of what the pod had worked out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.reports.federation import Histogram

WORD = 2**32
"""A masked word lies from 0 to just below this."""


def histogram_of_words(words: NDArray[np.uint32], bins: int = 16) -> Histogram:
    """The masked words over their whole range.

    Args:
        words: any shape, at least one.
        bins: how many.

    Raises:
        InvalidArgument: there is no word, or they are not uint32.
    """
    if words.dtype != np.uint32 or words.size == 0:
        raise InvalidArgument(f"words: {words.size} of {words.dtype}; expected at least one, of uint32")
    return _histogram(words.astype(np.float64).ravel(), 0.0, float(WORD), bins)


def histogram_of_values(values: NDArray[np.float64], bins: int = 16) -> Histogram:
    """An update's numbers, from the largest size to either side of 0.

    Args:
        values: any shape, at least one, finite.
        bins: how many.

    Raises:
        InvalidArgument: there is no value, or one is not finite.
    """
    if values.size == 0 or not np.isfinite(values).all():
        raise InvalidArgument(f"values: {values.size}, not all finite; expected at least one finite number")
    reach = float(np.abs(values).max()) or 1.0
    return _histogram(values.ravel(), -reach, reach, bins)


def _histogram(values: NDArray[np.float64], low: float, high: float, bins: int) -> Histogram:
    counts: list[int] = np.histogram(values, bins=bins, range=(low, high))[0].tolist()
    return Histogram(low, high, tuple(counts))
