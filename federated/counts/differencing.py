"""Counts that were asked for one by one must not give single patients away by subtraction.

Two counts of 214 and 211 patients differ by 3. If the second group is a part of the first, whoever has both knows
something of three people. Where it is known who was counted, groups that differ by many people are told apart from
groups that differ by few; where it is not, every pair of close numbers is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MEMBER_BYTES = 8
"""Of each member's keyed pseudonym as much is kept as tells people of one pod apart."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts that leave a pod in one answer.

    Attributes:
        plan: digest of what was asked (`Plan.digest`).
        cohort: digest of whom it was asked of.
        counts: by name, as they leave: a small one is 0 already.
        members: who stands behind each count, by the same names: keyed pseudonyms, which never leave; empty where it
            is not known.
        units: how many of what is counted one person can be, such as 2 eyes.
    """

    plan: str
    cohort: str
    counts: Mapping[str, int] = field(repr=False)
    members: Mapping[str, frozenset[bytes]] = field(default_factory=dict, repr=False)
    units: int = 1


def shortened(pseudonyms: Iterable[str]) -> frozenset[bytes]:
    """Pseudonyms (hexadecimal) as the ledger keeps them."""
    return frozenset(bytes.fromhex(each)[:MEMBER_BYTES] for each in pseudonyms)


def too_close(new: Counted, old: Counted, smallest: int) -> tuple[str, str] | None:
    """The first count of ``new``, and that of ``old``, whose difference is a small number of people.

    Args:
        new: what is about to leave.
        old: what has left.
        smallest: the smallest number that may be seen; a difference of 1 to one less is refused.

    Returns:
        Both names; None where no difference tells anything.
    """
    same_cohort, few = new.cohort == old.cohort, (smallest - 1) * new.units + 1
    for name, count in new.counts.items():
        for before, known in old.counts.items():
            if not (count and known and 0 < abs(count - known) < few):
                continue
            members = new.members.get(name), old.members.get(before)
            if members[0] is None or members[1] is None:
                if same_cohort:
                    return name, before
            elif len(members[0] ^ members[1]) < smallest:
                return name, before
    return None
