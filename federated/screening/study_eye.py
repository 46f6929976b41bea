"""Which of two eligible eyes is the study eye (``trial-matching`` 2.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from federated.screening.evidence import Decision, Outcome
from federated.screening.eyes import SIDES, Eye


def chosen_eye(
    rules: tuple[str, ...], rows: Mapping[str, Outcome], letters: Callable[[Eye], float | None]
) -> tuple[Eye, str] | None:
    """The study eye and the rule that chose it; None where no eye is eligible, or no rule tells.

    Args:
        rules: ``worse_acuity``, ``larger(metric)``, ``right``, ``left``, in order.
        rows: the outcome of each eye.
        letters: the newest acuity of an eye; None where it is not known, and then ``worse_acuity`` does not tell.

    A rule about a metric does not tell while images are not read.
    """
    eligible = [eye for eye in SIDES if rows[eye].decision is Decision.ELIGIBLE]
    if len(eligible) == 1:
        return eligible[0], "only_eligible"
    if not eligible:
        return None
    for rule in rules:
        if rule in SIDES:
            return ("right" if rule == "right" else "left"), rule
        if rule == "worse_acuity":
            right, left = letters("right"), letters("left")
            if right is not None and left is not None and right != left:
                return ("right" if right < left else "left"), rule
    return None
