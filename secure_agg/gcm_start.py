"""Where to start AES-GCM so that it counts from a given block: its keystream from the middle.

GCM derives its first counter block from a nonce. A nonce of 12 bytes gives a block that ends in 1; any other
nonce is hashed, ``GHASH(nonce, 64 zero bits, its length in 64 bits)`` (NIST SP 800-38D, 7.1, step 2). For a
nonce of one block that hash is ``((nonce * H) + length) * H`` in the field of 2^128 elements, where H is the
encryption of zeros; so it can be turned round, and gives the nonce for whatever counter block is wanted. The
nonces are no secret, and every block is still enciphered once: the bytes are those of the counter mode.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

BLOCK_BYTES = 16
_MODULUS = (1 << 128) | 0b10000111
"""x^128 + x^7 + x^2 + x + 1."""


def nonce_for(key: bytes, first: bytes) -> bytes:
    """The nonce with which GCM under ``key`` enciphers its first block with counter block ``first``.

    Args:
        key: of AES.
        first: 16 bytes; the last four are the counter, 1 or more.
    """
    counter = int.from_bytes(first[12:], "big")
    before = first[:12] + (counter - 1).to_bytes(4, "big")  # GCM counts once before it enciphers
    subkey = Cipher(AES(key), ECB()).encryptor().update(bytes(BLOCK_BYTES))  # noqa: S305 one block, as GCM does
    turned = _inverse(_polynomial(subkey))
    length = _polynomial((8 * BLOCK_BYTES).to_bytes(BLOCK_BYTES, "big"))
    return _bytes(_product(_product(_polynomial(before), turned) ^ length, turned))


def _polynomial(block: bytes) -> int:
    """GCM writes the coefficient of x^0 in the highest bit of the first byte; here it is the lowest bit."""
    return int(f"{int.from_bytes(block, 'big'):0128b}"[::-1], 2)


def _bytes(polynomial: int) -> bytes:
    return int(f"{polynomial:0128b}"[::-1], 2).to_bytes(BLOCK_BYTES, "big")


def _product(left: int, right: int) -> int:
    found = 0
    while right:
        lowest = right & -right
        found ^= left * lowest
        right ^= lowest
    while (excess := found.bit_length() - 129) >= 0:
        found ^= _MODULUS << excess
    return found


def _inverse(polynomial: int) -> int:
    """By Euclid's algorithm; zero, which no key gives in practice, has none.

    Raises:
        ZeroDivisionError: the polynomial is zero.
    """
    if not polynomial:
        raise ZeroDivisionError("zero has no inverse")
    rest, other, found, carried = polynomial, _MODULUS, 1, 0
    while rest != 1:
        shift = rest.bit_length() - other.bit_length()
        if shift < 0:
            rest, other, found, carried, shift = other, rest, carried, found, -shift
        rest ^= other << shift
        found ^= carried << shift
    return found
