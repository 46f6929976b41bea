"""``SecureAggregator``: the weighted mean, or the exact sum, of vectors that nobody sees one by one.

The two sides are in `secure_rounds` (modeller) and `secure_pod` (pod); what a round must look like is in `terms`.
"""

from __future__ import annotations

from federated.aggregators.secure_pod import MaskedRound as worker  # noqa: N813 # the registry's name for it
from federated.aggregators.secure_rounds import add_up as modeller
from federated.task.spec import Aggregation as Parameters

__all__ = ["Parameters", "modeller", "worker"]
