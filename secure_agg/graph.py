"""Who shares a mask with whom.

Up to 128 pods everybody does (`complete`), and nothing is left to chance. Beyond that each pod may have
``degree`` neighbours on a ring in a random order, after Bell et al. (CCS 2020): a Harary graph. That graph
has the **semi-honest promise only**. What a degree is worth is computed here from hypergeometric tails, in
logarithms; `certified` gives the least degree that the bounds allow, or refuses. The order comes from a seed that
all pods committed to before anybody saw it, never from the server alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from secure_agg.errors import BadMaskInput, CohortRefused, GraphNotCertified
from secure_agg.keystream import Cursor, stream_key

Neighbours = dict[str, frozenset[str]]
NONCE_BYTES = 32
_COMMITMENT = b"sa1/graph"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A degree, a threshold, and what they are worth, in bits: the failure probability is 2^-bits at most.

    Attributes:
        degree: neighbours of each pod.
        threshold: shares, of a pod's ``degree`` neighbours, that open its secret.
        privacy_bits: no honest pod has ``threshold`` or more corrupt neighbours, and the honest
            survivors stay connected.
        liveness_bits: every pod keeps ``threshold`` neighbours that answer.
    """

    degree: int
    threshold: int
    privacy_bits: float
    liveness_bits: float


def complete(names: Iterable[str]) -> Neighbours:
    """Everybody is everybody's neighbour.

    Raises:
        BadMaskInput: a name twice, or fewer than two.
    """
    everybody = _distinct(names)
    return {name: everybody - {name} for name in everybody}


def harary(names: Iterable[str], degree: int, seed: bytes) -> Neighbours:
    """Each pod's ``degree`` nearest on a ring in the order that the seed gives.

    Args:
        names: the cohort.
        degree: even, from 2 to one less than the cohort; with the whole cohort use `complete`.
        seed: 32 bytes, of `joint_seed`.

    Raises:
        BadMaskInput: a name twice, or a degree that cannot be.
    """
    return {name: frozenset(near) for name, near in Ring(names, degree, seed).items()}


class Ring(Mapping[str, tuple[str, ...]]):
    """A Harary graph as pods to their sorted neighbours, each found when it is asked for; see `harary`."""

    def __init__(self, names: Iterable[str], degree: int, seed: bytes) -> None:
        self._order = shuffled(names, seed)
        if degree % 2 or not 2 <= degree < len(self._order):
            raise BadMaskInput("degree", f"{degree}", f"an even number from 2 to {len(self._order) - 1}")
        self._half = degree // 2
        self._at = dict(zip(self._order, range(len(self._order)), strict=True))
        self._found: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, name: str) -> tuple[str, ...]:
        if name not in self._found:
            at, order = self._at[name], self._order
            steps = (step for half in range(1, self._half + 1) for step in (half, -half))
            self._found[name] = tuple(sorted(order[(at + step) % len(order)] for step in steps))
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def shuffled(names: Iterable[str], seed: bytes) -> list[str]:
    """The cohort in the order that the seed gives: sorted by a word of 64 bits drawn for each.

    Two equal words, of probability n^2 / 2^65 at most, leave their two pods in the order of their names.
    """
    listed = sorted(_distinct(names))
    words = Cursor(stream_key(seed, b"graph")).words(len(listed), "<u8")
    return [listed[place] for place in np.argsort(words, kind="stable").tolist()]


def _distinct(names: Iterable[str]) -> frozenset[str]:
    listed = list(names)
    found = frozenset(listed)
    if len(found) != len(listed) or len(found) < 2:
        raise BadMaskInput(
            "names", f"{len(listed)} names, {len(found)} distinct", "two or more distinct names"
        )
    return found


def commitment(name: str, nonce: bytes) -> bytes:
    """What a pod publishes before any nonce is shown: 32 bytes that bind its nonce and its name.

    Raises:
        BadMaskInput: the nonce is not 32 bytes.
    """
    if len(nonce) != NONCE_BYTES:
        raise BadMaskInput("nonce", f"{len(nonce)} bytes", f"{NONCE_BYTES} bytes")
    return hashlib.sha256(_COMMITMENT + nonce + name.encode()).digest()


def joint_seed(commitments: Mapping[str, bytes], nonces: Mapping[str, bytes]) -> bytes:
    """The graph's seed from everybody's nonce; one honest pod makes it unpredictable.

    Every pod that committed must show its nonce: leaving one out would let its owner choose between
    two seeds after seeing them.

    Raises:
        CohortRefused: a nonce is missing, unasked for, or not the one committed to.
    """
    if set(commitments) != set(nonces) or not nonces:
        raise CohortRefused(
            f"{len(nonces)} nonces for {len(commitments)} commitments; each pod that committed must show its own. "
            "There is no graph."
        )
    names = sorted(nonces)
    if set(map(len, nonces.values())) != {NONCE_BYTES}:
        raise CohortRefused(f"A nonce is not of {NONCE_BYTES} bytes. There is no graph.")
    # As `commitment`, without a call for each: every pod of a large cohort does this for all of them.
    made = [hashlib.sha256(_COMMITMENT + nonces[name] + name.encode()).digest() for name in names]
    for name, each in zip(names, made, strict=True):
        if each != commitments[name]:
            raise CohortRefused(
                f"The nonce of pod {name!r} is not the one it committed to. There is no graph."
            )
    # Nonces are of one length, and a name has no line break.
    return _digest(b"sa1/graph-seed", "\n".join(names).encode(), b"".join(nonces[name] for name in names))


def _digest(*parts: bytes) -> bytes:
    """SHA-256 over parts that each carry their length, so that no two lists collide."""
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def certified(
    pods: int,
    corrupt: float,
    dropped: float,
    *,
    privacy_bits: float = 40.0,
    liveness_bits: float = 20.0,
) -> Certificate:
    """The least even degree, with a threshold, for which both bounds hold.

    Args:
        pods: size of the cohort, 3 or more.
        corrupt: fraction of pods that work with the server, below 1.
        dropped: fraction of pods that may be lost at any point; chosen without knowledge of the graph.
        privacy_bits: the promise to a pod fails with probability 2^-privacy_bits at most.
        liveness_bits: the round fails with probability 2^-liveness_bits at most.

    Raises:
        GraphNotCertified: no degree below ``pods`` reaches both.
    """
    liars, lost = _counts(pods, corrupt, dropped)
    for degree in range(2, pods, 2):
        for threshold in range(degree, degree // 2, -1):  # the largest that lets the round live
            if liveness(pods, lost, degree, threshold) < liveness_bits:
                continue
            reached = privacy(pods, liars, lost, degree, threshold)
            if reached >= privacy_bits:
                return certificate(pods, corrupt, dropped, degree, threshold)
            break
    raise GraphNotCertified(
        f"No degree below {pods} gives {privacy_bits:g} bits of privacy and {liveness_bits:g} of liveness with "
        f"{liars} corrupt and {lost} lost pods. Use the complete graph, or expect fewer of either."
    )


def certificate(pods: int, corrupt: float, dropped: float, degree: int, threshold: int) -> Certificate:
    """What a given degree and threshold are worth; see `certified` for the arguments."""
    liars, lost = _counts(pods, corrupt, dropped)
    if not 1 <= threshold <= degree < pods:
        raise GraphNotCertified(
            f"threshold {threshold}, degree {degree}, {pods} pods: expected 1 <= threshold <= degree < pods."
        )
    return Certificate(
        degree,
        threshold,
        privacy(pods, liars, lost, degree, threshold),
        liveness(pods, lost, degree, threshold),
    )


def _counts(pods: int, corrupt: float, dropped: float) -> tuple[int, int]:
    """Fractions as numbers of pods, rounded against us."""
    if pods < 3 or not 0 <= corrupt < 1 or not 0 <= dropped < 1:
        raise GraphNotCertified(
            "A sparse graph needs 3 pods or more, and fractions of at least 0 and below 1."
        )
    return math.ceil(corrupt * pods - 1e-9), math.ceil(dropped * pods - 1e-9)


def privacy(pods: int, liars: int, lost: int, degree: int, threshold: int) -> float:
    """Bits against: an honest pod with ``threshold`` corrupt neighbours, or honest survivors cut in two.

    A pod's neighbours are a uniform choice among the others, so corrupt ones are hypergeometric; the
    union bound is over all honest pods. To cut the ring, two disjoint runs of ``degree / 2`` pods must
    all be corrupt or lost; the union bound is over all pairs of places.
    """
    opened = _log2(pods - liars) + log2_tail(pods - 1, liars, degree, threshold)
    cut = _log2(pods * (pods - 1) / 2) + _log2_run(pods, min(pods, liars + lost), degree)
    return _bits(opened, cut)


def liveness(pods: int, lost: int, degree: int, threshold: int) -> float:
    """Bits against a pod that keeps fewer than ``threshold`` neighbours; union bound over all pods."""
    return _bits(_log2(pods) + log2_tail(pods - 1, lost, degree, degree - threshold + 1))


def log2_tail(population: int, marked: int, drawn: int, least: int) -> float:
    """log2 of the probability that at least ``least`` of ``drawn`` are marked; minus infinity for none."""
    most = min(marked, drawn)
    terms = [
        _log_choose(marked, hit) + _log_choose(population - marked, drawn - hit)
        for hit in range(max(least, 0), most + 1)
        if drawn - hit <= population - marked
    ]
    if not terms:
        return -math.inf
    peak = max(terms)
    inside = math.log(math.fsum(math.exp(term - peak) for term in terms))
    return min(0.0, (peak + inside - _log_choose(population, drawn)) / math.log(2))


@lru_cache(maxsize=1 << 16)
def _log_choose(items: int, chosen: int) -> float:
    return math.lgamma(items + 1) - math.lgamma(chosen + 1) - math.lgamma(items - chosen + 1)


def _log2_run(pods: int, removed: int, length: int) -> float:
    """log2 of the probability that ``length`` given pods are all among the removed."""
    if removed < length:
        return -math.inf
    return (_log_choose(removed, length) - _log_choose(pods, length)) / math.log(2)


def _log2(value: float) -> float:
    return math.log2(value) if value > 0 else -math.inf


def _bits(*log2_probabilities: float) -> float:
    """Bits of a sum of probabilities; 0 at least."""
    return max(0.0, -_log2(math.fsum(2.0**each for each in log2_probabilities)))
