"""Lists of pods in messages: whole names in a complete graph, one bit for each pod in a sparse one.

Both sides write and read them here. A bit stands for a name of the list that both already have: the roster
for who has shared, who has shared for the survivors. So no list can be unsorted, doubled, or hold a stranger.
"""

from __future__ import annotations

from collections.abc import Iterable

from secure_agg.errors import MalformedMessage, OutOfOrder
from secure_agg.messages import (
    FORWARD,
    SURVIVORS,
    Data,
    Forward,
    Proofs,
    SparseForward,
    SparseSurvivors,
    Survivors,
    decode,
    encode,
    pack_names,
    unpack_names,
)
from secure_agg.roster import CheckedRoster, Round


def write_forward(
    shared: tuple[str, ...], sealed: tuple[tuple[str, bytes], ...], this: Round, roster: CheckedRoster
) -> bytes:
    """The message that says who has shared and what is sealed for one pod."""
    if this.spec.graph == "sparse":
        packed = pack_names(roster.names, shared)
        return encode(FORWARD, SparseForward(this.hash, roster.hash, packed, sealed))
    return encode(FORWARD, Forward(this.hash, roster.hash, shared, sealed))


def read_forward(data: Data, this: Round, roster: CheckedRoster) -> Forward:
    """Who has shared, all of them in the roster, and what is sealed for this pod.

    Raises:
        MalformedMessage: it cannot be read, or lists others than the roster has.
        OutOfOrder: of another round or roster.
    """
    if this.spec.graph == "sparse":
        packed = decode(data, FORWARD, SparseForward, len(this.spec.cohort))
        check_belongs(packed, this, roster)
        shared = unpack_names(packed.shared, roster.names, "pods that have shared")
        return Forward(packed.spec_hash, packed.roster_hash, shared, packed.sealed)
    forward = decode(data, FORWARD, Forward, len(this.spec.cohort))
    check_belongs(forward, this, roster)
    check_names(forward.shared, roster.names, "pods that have shared")
    return forward


def write_survivors(body: Survivors, shared: tuple[str, ...], this: Round) -> bytes:
    """The message that says whose updates have come."""
    if this.spec.graph == "sparse":
        packed = pack_names(shared, body.survivors)
        return encode(SURVIVORS, SparseSurvivors(body.spec_hash, body.roster_hash, packed))
    return encode(SURVIVORS, body)


def read_survivors(data: Data, this: Round, roster: CheckedRoster, shared: tuple[str, ...]) -> Survivors:
    """Whose updates have come, all of them of pods that have shared.

    Raises:
        MalformedMessage: it cannot be read, or lists others than have shared.
        OutOfOrder: of another round or roster.
    """
    if this.spec.graph == "sparse":
        packed = decode(data, SURVIVORS, SparseSurvivors, len(this.spec.cohort))
        check_belongs(packed, this, roster)
        survivors = unpack_names(packed.survivors, shared, "survivors")
        return Survivors(packed.spec_hash, packed.roster_hash, survivors)
    found = decode(data, SURVIVORS, Survivors, len(this.spec.cohort))
    check_belongs(found, this, roster)
    check_names(found.survivors, shared, "survivors")
    return found


def check_belongs(
    message: Forward | SparseForward | Survivors | SparseSurvivors | Proofs,
    this: Round,
    roster: CheckedRoster,
) -> None:
    """Refuse a message of another round or roster."""
    if message.spec_hash != this.hash or message.roster_hash != roster.hash:
        raise OutOfOrder("A message belongs to another round or another roster. Nothing was sent.")


def check_names(names: tuple[str, ...], allowed: Iterable[str], what: str) -> None:
    """Refuse a list of pods that is unsorted, doubled, or has others than are allowed.

    Raises:
        MalformedMessage: says which list.
    """
    if list(names) != sorted(set(names)) or not set(names) <= set(allowed):
        raise MalformedMessage(f"The list of {what} is unsorted, names a pod twice, or one that is unknown.")
