"""Keystream, masks, sharing and rounding once more: slow, plain, whole numbers, standard library only.

Written from the standards' texts (FIPS 197, NIST SP 800-38A, RFC 5869) and from docs/protocol.md, and shares no line
with the package: AES on bytes, arithmetic in Python integers, exact fractions.
"""

from __future__ import annotations

import hashlib
import hmac
from fractions import Fraction

SEGMENT = 64 * 1024 * 1024
PRIME = 65537


def _times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _substitution() -> list[int]:
    box = []
    for value in range(256):
        inverse = next((each for each in range(256) if _times(value, each) == 1), 0)
        turned = 0
        for shift in range(5):
            turned ^= (inverse << shift | inverse >> (8 - shift)) & 0xFF
        box.append(turned ^ 0x63)
    return box


BOX = _substitution()


def _expanded(key: bytes) -> list[list[int]]:
    """Words of the key schedule of AES-256: 60 of 4 bytes."""
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 60):
        word = list(words[i - 1])
        if i % 8 == 0:
            word = [BOX[each] for each in word[1:] + word[:1]]
            word[0] ^= constant
            constant = _times(constant, 2)
        elif i % 8 == 4:
            word = [BOX[each] for each in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word, strict=True)])
    return words


def aes256(key: bytes, block: bytes) -> bytes:
    """One block, encrypted."""
    words = _expanded(key)
    keys = [[byte for word in words[4 * r : 4 * r + 4] for byte in word] for r in range(15)]
    state = [a ^ b for a, b in zip(block, keys[0], strict=True)]
    for number in range(1, 15):
        state = [BOX[each] for each in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if number < 14:
            mixed = []
            for c in range(0, 16, 4):
                a, b, d, e = state[c : c + 4]
                mixed += [
                    _times(a, 2) ^ _times(b, 3) ^ d ^ e,
                    a ^ _times(b, 2) ^ _times(d, 3) ^ e,
                    a ^ b ^ _times(d, 2) ^ _times(e, 3),
                    _times(a, 3) ^ b ^ d ^ _times(e, 2),
                ]
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[number], strict=True)]
    return bytes(state)


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, sections 2.2 and 2.3."""
    key = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    found, last, counter = b"", b"", 1
    while len(found) < length:
        last = hmac.new(key, last + info + bytes([counter]), hashlib.sha256).digest()
        found, counter = found + last, counter + 1
    return found[:length]


def raw_stream(key: bytes, start: int, length: int) -> bytes:
    """Bytes ``start .. start + length`` of the keystream under an AES key."""
    found = b""
    for number in range(start // 16, (start + length + 15) // 16):
        segment, inside = divmod(number * 16, SEGMENT)
        found += aes256(key, segment.to_bytes(12, "big") + (2 + inside // 16).to_bytes(4, "big"))
    return found[start % 16 :][:length]


def stream(seed: bytes, domain: bytes, start: int, length: int) -> bytes:
    """Bytes of the stream of a seed."""
    return raw_stream(hkdf_sha256(seed, b"", b"sa1/prg" + domain, 32), start, length)


def words(seed: bytes, domain: bytes, count: int, size: int) -> list[int]:
    """The first words of the stream of a seed, ``size`` bytes each."""
    data = stream(seed, domain, 0, count * size)
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


def masked(
    update: list[int], me: str, own: bytes, pairs: dict[str, bytes], size: int, domain: bytes = b"vector"
) -> list[int]:
    """One pod's vector with its masks, in words of ``size`` bytes."""
    found = [a + b for a, b in zip(update, words(own, domain, len(update), size), strict=True)]
    for peer, seed in pairs.items():
        sign = 1 if peer < me else -1
        found = [a + sign * b for a, b in zip(found, words(seed, domain, len(update), size), strict=True)]
    return [each % 256**size for each in found]


def shares(secret: bytes, coefficients: list[list[int]], holders: int) -> list[list[int]]:
    """Values at 1 .. ``holders`` of one polynomial per 16-bit limb; ``coefficients`` without the constants."""
    limbs = [int.from_bytes(secret[i : i + 2], "little") for i in range(0, len(secret), 2)]
    return [
        [
            (limb + sum(c * x ** (k + 1) for k, c in enumerate(column))) % PRIME
            for limb, column in zip(limbs, coefficients, strict=True)
        ]
        for x in range(1, holders + 1)
    ]


def at_zero(points: dict[int, int]) -> int:
    """The value at 0 of the polynomial through the points, by exact fractions and then modulo the prime."""
    total = 0
    for x, y in points.items():
        up, down = 1, 1
        for other in points:
            if other != x:
                up, down = up * -other, down * (x - other)
        total += y * up * pow(down, PRIME - 2, PRIME)
    return total % PRIME


def rounded(value: Fraction, relative: int, scale: int, uniform_word: int | None, bits: int) -> int:
    """One coordinate as a word: exact product, then rounding with the upper 22 bits of a word, or to even."""
    steps = value * Fraction(relative, 2**40) * scale
    whole = round(steps) if uniform_word is None else (steps + Fraction(uniform_word >> 10, 2**22)) // 1
    return int(whole) % 2**bits
