"""Sums of short vectors of whole numbers under Paillier's encryption (EUROCRYPT 1999), through `phe`.

For counts and other analytics of at most 10^4 numbers, where the parties cannot stay for several messages.
Read before use:

* The key holder must not be the aggregator. Types keep the roles apart within a program: an `Aggregator` is
  made from a public key alone, and a `KeyHolder` opens an `Aggregate`, never one pod's `EncryptedVector`. Nobody can
  keep two machines from working together: aggregator and key holder together read every pod.
* `phe` has no threshold decryption: one key holder reads the sum, and alone decides what to open.
* `phe` is licensed under the GPL, version 3; it is an extra (``pip install 'trialveil[he]'``), and whoever installs
  it decides. Randomness of keys and ciphertexts is taken by `phe` from the operating system.

Numbers are packed: a slot has the bits of a value, those of the number of pods, and one guard bit, so that a
sum never carries into the next slot. A total is multiplied by a fresh encryption of zero before it is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from secure_agg.errors import ExtraMissing, ParameterError, RangeError, SchemaMismatchError, TooFewPods

DEFAULT_KEY_BITS = 3072
LEAST_KEY_BITS = 2048
LARGEST_VECTOR = 10_000


def _phe() -> Any:
    """The library, with the fast arithmetic that it needs to be usable."""
    try:
        import_module("gmpy2")
        return import_module("phe.paillier")
    except ImportError:
        raise ExtraMissing("Paillier sums need phe (GPLv3) and gmpy2: pip install 'trialveil[he]'") from None


@dataclass(frozen=True, slots=True)
class Packing:
    """How whole numbers share a plaintext.

    Attributes:
        length: numbers in a vector, 1 to 10^4.
        value_bits: each number is at least ``-2^(value_bits - 1)`` and below ``2^(value_bits - 1)``.
        pods: the most contributions that a sum may have.
        key_bits: size of the modulus.

    Raises:
        ParameterError: a slot does not fit, with the arithmetic.
    """

    length: int
    value_bits: int
    pods: int
    key_bits: int = DEFAULT_KEY_BITS

    def __post_init__(self) -> None:
        if not 1 <= self.length <= LARGEST_VECTOR:
            raise ParameterError(
                f"length is {self.length}; expected 1 to {LARGEST_VECTOR}. Use the masks instead."
            )
        if self.value_bits < 1 or self.pods < 2 or self.key_bits < LEAST_KEY_BITS:
            raise ParameterError(
                f"value_bits {self.value_bits}, pods {self.pods}, key_bits {self.key_bits}: expected at least "
                f"1, 2 and {LEAST_KEY_BITS}."
            )
        if self.slots < 1:
            raise ParameterError(
                f"A slot of {self.value_bits} + {(self.pods - 1).bit_length()} + 1 bits does not fit into "
                f"{self.key_bits} - 2 bits."
            )

    @property
    def slot_bits(self) -> int:
        """Bits of a value, of the number of pods (rounded up), and one guard."""
        return self.value_bits + (self.pods - 1).bit_length() + 1

    @property
    def slots(self) -> int:
        """Numbers in one ciphertext; plaintexts stay below half of the modulus."""
        return (self.key_bits - 2) // self.slot_bits

    def pack(self, values: Sequence[int]) -> list[int]:
        """Plaintexts, each value shifted to 0 or more.

        Raises:
            SchemaMismatchError: wrong length, or something that is no whole number.
            RangeError: a value that needs more bits.
        """
        if len(values) != self.length:
            raise SchemaMismatchError(
                f"{len(values)} numbers came; expected {self.length}. Nothing was sent."
            )
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise SchemaMismatchError("Only whole numbers (int) can be counted. Nothing was sent.")
        offset = 1 << (self.value_bits - 1)
        if any(not -offset <= value < offset for value in values):
            raise RangeError(f"A number needs more than {self.value_bits} bits. Nothing was sent.")
        shifted = [value + offset for value in values]
        return [
            sum(
                value << (at * self.slot_bits) for at, value in enumerate(shifted[first : first + self.slots])
            )
            for first in range(0, self.length, self.slots)
        ]

    def unpack(self, plaintexts: Sequence[int], contributions: int) -> list[int]:
        """The sums, with ``contributions`` shifts taken off."""
        mask, offset = (1 << self.slot_bits) - 1, contributions << (self.value_bits - 1)
        found = [
            (plaintext >> (at * self.slot_bits) & mask) - offset
            for plaintext in plaintexts
            for at in range(self.slots)
        ]
        return found[: self.length]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What pods and the aggregator get: enough to encrypt and to add, not to read."""

    modulus: int = field(repr=False)

    def __repr__(self) -> str:
        return f"PublicKey({self.modulus.bit_length()} bits)"

    def _encrypt(self, plaintext: int) -> int:
        return int(_phe().PaillierPublicKey(self.modulus).raw_encrypt(plaintext))

    def _zero(self) -> int:
        return self._encrypt(0)


@dataclass(frozen=True, slots=True)
class EncryptedVector:
    """One pod's encrypted vector. The key holder has no way to open it."""

    pod: str
    packing: Packing
    key: PublicKey
    ciphertexts: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The encrypted sum of several pods, re-randomised."""

    pods: tuple[str, ...]
    packing: Packing
    key: PublicKey
    ciphertexts: tuple[int, ...] = field(repr=False)


def encrypt(pod: str, values: Sequence[int], packing: Packing, key: PublicKey) -> EncryptedVector:
    """A pod's part.

    Raises:
        SchemaMismatchError, RangeError: the values do not fit; nothing was encrypted.
        ParameterError: the key is not of the size that the packing was made for.
        ExtraMissing: `phe` or `gmpy2` is not installed.
    """
    if key.modulus.bit_length() != packing.key_bits:
        raise ParameterError(
            f"The key has {key.modulus.bit_length()} bits; the packing is for {packing.key_bits}."
        )
    plaintexts = packing.pack(values)
    return EncryptedVector(pod, packing, key, tuple(key._encrypt(each) for each in plaintexts))


class Aggregator:
    """Adds contributions; has a public key and nothing else.

    Args:
        key: the public key; a key holder is refused.
        packing: what every contribution must have been packed with.
        minimum: contributions below which no total is given; at least 3.
    """

    def __init__(self, key: PublicKey, packing: Packing, minimum: int) -> None:
        if not isinstance(key, PublicKey):
            raise ParameterError(
                "The aggregator takes a public key; who holds the private key must not aggregate."
            )
        if minimum < 3:
            raise ParameterError(f"minimum is {minimum}; a sum over fewer than 3 pods is never given.")
        self._key, self._packing, self._minimum = key, packing, minimum
        self._sums: list[int] = []
        self._pods: list[str] = []

    def add(self, contribution: EncryptedVector) -> None:
        """Add one pod's part.

        Raises:
            SchemaMismatchError: another key or packing, a pod for the second time, or more pods than slots
                have room for.
        """
        square = self._key.modulus**2
        fits = contribution.packing == self._packing and contribution.key == self._key
        whole = len(contribution.ciphertexts) == -(-self._packing.length // self._packing.slots)
        if not (fits and whole and all(0 < each < square for each in contribution.ciphertexts)):
            raise SchemaMismatchError("A contribution has another key, packing or length; it was not added.")
        if contribution.pod in self._pods or len(self._pods) == self._packing.pods:
            raise SchemaMismatchError("A pod came twice, or more pods than were agreed; it was not added.")
        sums = self._sums or [1] * len(contribution.ciphertexts)
        self._sums = [a * b % square for a, b in zip(sums, contribution.ciphertexts, strict=True)]
        self._pods.append(contribution.pod)

    def total(self) -> Aggregate:
        """The encrypted sum, multiplied by fresh encryptions of zero.

        Raises:
            TooFewPods: fewer contributions than the minimum.
        """
        if len(self._pods) < self._minimum:
            raise TooFewPods("paillier", len(self._pods), self._minimum, self._packing.pods)
        square = self._key.modulus**2
        fresh = tuple(each * self._key._zero() % square for each in self._sums)
        return Aggregate(tuple(self._pods), self._packing, self._key, fresh)


class KeyHolder:
    """Holds the private key and opens sums; never part of the aggregator.

    Args:
        minimum: contributions below which a sum is not opened; at least 3.
        bits: size of the modulus; 3072 for 128-bit security.
    """

    def __init__(self, minimum: int, bits: int = DEFAULT_KEY_BITS) -> None:
        if minimum < 3 or bits < LEAST_KEY_BITS:
            raise ParameterError(f"minimum {minimum}, bits {bits}: expected at least 3 and {LEAST_KEY_BITS}.")
        public, self._private = _phe().generate_paillier_keypair(n_length=bits)
        self._minimum = minimum
        self.public = PublicKey(int(public.n))

    def __repr__(self) -> str:
        return "KeyHolder()"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("A key holder is never pickled or copied.")

    def open(self, total: Aggregate) -> list[int]:
        """The sums.

        Raises:
            ParameterError: not an `Aggregate` under this key.
            TooFewPods: it says that it has fewer contributions than the minimum.
        """
        if not isinstance(total, Aggregate) or total.key != self.public:
            raise ParameterError(
                "Only an Aggregate under this key can be opened, never one pod's contribution."
            )
        if len(set(total.pods)) < self._minimum:
            raise TooFewPods("paillier", len(set(total.pods)), self._minimum, total.packing.pods)
        opened = [int(self._private.raw_decrypt(each)) for each in total.ciphertexts]
        return total.packing.unpack(opened, len(total.pods))
