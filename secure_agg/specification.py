"""The specification of one round: what every pod receives, signed by the modeller.

Its bytes are hashed, and that hash is bound into every key, mask seed and signature of the round, so that
two pods with different specifications cannot be added by accident, nor be split on purpose.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import msgspec

from secure_agg.errors import ParameterError, SpecRefused
from secure_agg.parameters import (
    COHORT_LIMIT,
    COMPLETE_GRAPH_LIMIT,
    HARD_MINIMUM_SURVIVORS,
    LENGTH_LIMIT,
    DpSpec,
    Encoding,
    Graph,
    Mode,
    Parameters,
    check_encoding,
    colluders_tolerated,
    noise_of_sum,
    sparse_colluders,
    threshold,
)

PROTOCOL = "SA-1"
SUITE = "x25519-ed25519-hkdf-sha256-aes256ctr-chacha20poly1305"

_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
_NAMES = re.compile(rf"{_NAME}(?:\n{_NAME})*")
"""All names of a cohort, one on each line: one match for any number of pods."""


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, order=True):
    """One pod of a cohort.

    Attributes:
        name: the pod's name: lower case letters, digits, ``.``, ``_`` and ``-``, at most 64.
        fingerprint: SHA-256 of its raw Ed25519 public key, 32 bytes.
        nonce_commitment: for a sparse graph, SHA-256 commitment to the pod's part of the
            graph's seed, 32 bytes; empty for the complete graph.
    """

    name: str
    fingerprint: bytes
    nonce_commitment: bytes = b""


class RoundSpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything that is fixed before a round begins.

    Attributes:
        protocol, suite: what the bytes mean; fixed names.
        task: 16 bytes, the same for all rounds of a task.
        round: number of the round in its task, from 0.
        cohort: the invited pods, sorted by name.
        mode: "active" (default: the server may do anything) or "semi_honest".
        graph: "complete", or "sparse" (semi-honest only).
        degree: neighbours of each pod; ``len(cohort) - 1`` for the complete graph.
        threshold: shares that open a secret, and for "active" also pods that must confirm.
        minimum_survivors: pods whose updates must be in a sum.
        encoding: how numbers become ring words.
        length: coordinates of an update.
        schema_hash: SHA-256 over names, shapes and types, in order; 32 bytes.
        model_hash: SHA-256 of the global model that the pods start from; 32 bytes.
        previous_model_hash: the model hash of the round before, 32 bytes; zeros for round 0.
        dp: noise inside the mask.
        deadlines_s: seconds allowed for each of the five messages of a pod.
    """

    protocol: str
    suite: str
    task: bytes
    round: int
    cohort: tuple[Member, ...]
    mode: Mode
    graph: Graph
    degree: int
    threshold: int
    minimum_survivors: int
    encoding: Encoding
    length: int
    schema_hash: bytes
    model_hash: bytes
    previous_model_hash: bytes
    dp: DpSpec
    deadlines_s: tuple[float, float, float, float, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the invited pods, sorted."""
        return tuple(member.name for member in self.cohort)

    @property
    def floor(self) -> int:
        """Pods whose updates must be in a sum, whatever else holds."""
        if self.graph == "complete":
            return max(self.minimum_survivors, self.threshold)
        return self.minimum_survivors

    @property
    def colluders(self) -> int:
        """Pods that may work with the server; for a sparse graph those that surely cannot outvote a neighbourhood."""
        if self.graph == "complete":
            return colluders_tolerated(len(self.cohort), self.threshold, self.mode)
        return sparse_colluders(self.floor, self.threshold)

    @property
    def sum_noise(self) -> float:
        """Standard deviation of the noise when every invited pod is in the sum, in units of the update."""
        return noise_of_sum(self.dp.sigma, len(self.cohort), self.floor, self.colluders)

    def to_bytes(self) -> bytes:
        """The canonical bytes that are signed and hashed."""
        return msgspec.msgpack.encode(self)


def spec_hash(data: bytes) -> bytes:
    """The hash that every key, seed and signature of a round binds: 32 bytes, over the bytes as received."""
    return hashlib.sha256(b"sa1/spec" + data).digest()


def rotation_seed(spec: bytes) -> bytes:
    """The public seed of the rotation of 16-bit words, from the specification's hash: 32 bytes."""
    return hashlib.sha256(b"sa1/rotation" + spec).digest()


def read_spec(data: bytes) -> RoundSpec:
    """A specification from its bytes, checked.

    Raises:
        SpecRefused: not a specification of this version, not in canonical form, or inconsistent.
    """
    try:
        spec = msgspec.msgpack.decode(data, type=RoundSpec)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise SpecRefused(
            f"The specification ({len(data)} bytes) cannot be read. Nothing was sent."
        ) from None
    if spec.to_bytes() != data:
        raise SpecRefused("The specification is not in its one canonical form. Nothing was sent.")
    check_spec(spec)
    return spec


def check_spec(spec: RoundSpec) -> None:
    """Refuse a specification that does not hold together.

    Raises:
        SpecRefused: names the field and what was expected.
    """
    pods = len(spec.cohort)
    _check_names(spec)
    least = threshold(pods, spec.mode) if spec.graph == "complete" else 1
    holders = spec.degree + 1
    rules = (
        (
            spec.protocol == PROTOCOL and spec.suite == SUITE,
            f"protocol and suite must be {PROTOCOL} and {SUITE}",
        ),
        (len(spec.task) == 16, "task must be 16 bytes"),
        (0 <= spec.round < 2**63, "round must be 0 or more"),
        (
            HARD_MINIMUM_SURVIVORS <= pods <= COHORT_LIMIT,
            f"a cohort has {HARD_MINIMUM_SURVIVORS} to {COHORT_LIMIT} pods",
        ),
        (1 <= spec.length <= LENGTH_LIMIT, f"length must be 1 to {LENGTH_LIMIT}"),
        (
            {len(spec.schema_hash), len(spec.model_hash), len(spec.previous_model_hash)} == {32},
            "schema_hash, model_hash and previous_model_hash must be 32 bytes",
        ),
        (
            HARD_MINIMUM_SURVIVORS <= spec.minimum_survivors <= pods,
            f"minimum_survivors must be {HARD_MINIMUM_SURVIVORS} to the size of the cohort ({pods})",
        ),
        (
            spec.graph == "complete" or spec.mode == "semi_honest",
            "a sparse graph has the semi-honest promise only",
        ),
        (
            spec.graph == "sparse" or pods <= COMPLETE_GRAPH_LIMIT,
            f"the complete graph ends at {COMPLETE_GRAPH_LIMIT}",
        ),
        (
            spec.graph == "sparse" or spec.degree == pods - 1,
            "in a complete graph, degree is one less than the cohort",
        ),
        (2 <= spec.degree < pods, "degree must be 2 to one less than the cohort"),
        (least <= spec.threshold <= holders, f"threshold must be {least} to {holders}"),
        (
            2 * spec.threshold > holders,
            f"threshold must be more than half of the {holders} holders of shares",
        ),
        (
            all(math.isfinite(each) and each > 0 for each in spec.deadlines_s),
            "deadlines must be above 0 seconds",
        ),
    )
    for holds, expected in rules:
        if not holds:
            raise SpecRefused(f"The specification was refused: {expected}. Nothing was sent.")
    _check_dp(spec)
    try:
        check_encoding(spec.encoding, pods, spec.sum_noise)
    except ParameterError as refused:
        raise SpecRefused(f"The specification was refused: {refused}") from None


def _check_names(spec: RoundSpec) -> None:
    names = spec.names
    listed = "\n".join(names)
    if listed.count("\n") != len(names) - 1 or not _NAMES.fullmatch(listed):
        raise SpecRefused("A pod's name is not 1 to 64 of a-z, 0-9, '.', '_', '-'. Nothing was sent.")
    if list(names) != sorted(set(names)):
        raise SpecRefused("The cohort is not sorted by name, or names a pod twice. Nothing was sent.")
    prints = {member.fingerprint for member in spec.cohort}
    if len(prints) != len(names) or set(map(len, prints)) != {32}:
        raise SpecRefused(
            "Two pods share one identity key, or a fingerprint is not 32 bytes. Nothing was sent."
        )
    expected = 32 if spec.graph == "sparse" else 0
    if {len(member.nonce_commitment) for member in spec.cohort} != {expected}:
        raise SpecRefused(f"A nonce commitment is not {expected} bytes, as a {spec.graph} graph needs.")


def _check_dp(spec: RoundSpec) -> None:
    dp, encoding = spec.dp, spec.encoding
    finite = all(math.isfinite(each) for each in (dp.sigma, dp.delta, dp.l2_bound))
    if not finite or not 0 < dp.delta < 1:
        raise SpecRefused("dp.delta must lie between 0 and 1, dp.sigma and dp.l2_bound be finite.")
    if dp.mechanism == "none":
        if dp.sigma or dp.l2_bound:
            raise SpecRefused("dp.sigma and dp.l2_bound must be 0 where no mechanism is named.")
        return
    exact = encoding.bits == 64
    norm = encoding.clip * math.sqrt(spec.length) if exact else encoding.l2_clip
    if not (dp.sigma > 0 and 0 < norm <= dp.l2_bound):
        what = "clip * sqrt(length)" if exact else "l2_clip"
        raise SpecRefused(f"Noise needs dp.sigma above 0, and {what} above 0 and at most dp.l2_bound.")


class RoundIdentity(msgspec.Struct, frozen=True):
    """Which round of which task, over which model.

    Attributes:
        task: 16 bytes.
        number: from 0.
        model_hash: SHA-256 of the global model, 32 bytes.
        schema_hash: SHA-256 over names, shapes and types in order, 32 bytes.
        previous_model_hash: the model hash of the round before, 32 bytes; zeros for round 0.
    """

    task: bytes
    number: int
    model_hash: bytes
    schema_hash: bytes
    previous_model_hash: bytes = bytes(32)


def make_spec(
    parameters: Parameters,
    cohort: Sequence[Member],
    identity: RoundIdentity,
    encoding: Encoding | None = None,
) -> RoundSpec:
    """The specification of one round, checked; without ``encoding``, every pod counts the same.

    Raises:
        SpecRefused: the numbers do not hold together.
        ParameterError: no encoding fits; the message shows the inequality.
    """
    pods = len(cohort)
    sparse = parameters.graph == "sparse"
    spec = RoundSpec(
        protocol=PROTOCOL,
        suite=SUITE,
        task=identity.task,
        round=identity.number,
        cohort=tuple(sorted(cohort)),
        mode=parameters.mode,
        graph=parameters.graph,
        degree=parameters.degree if sparse else pods - 1,
        threshold=parameters.shares_needed(pods),
        minimum_survivors=parameters.minimum_survivors,
        encoding=encoding or parameters.encoding(pods),
        length=parameters.length,
        schema_hash=identity.schema_hash,
        model_hash=identity.model_hash,
        previous_model_hash=identity.previous_model_hash,
        dp=parameters.dp,
        deadlines_s=parameters.deadlines_s,
    )
    check_spec(spec)
    return spec
