"""X25519, Ed25519 and ChaCha20-Poly1305 once more: slow, plain integers, standard library only.

Written from the texts of RFC 7748 (section 5), RFC 8032 (section 5.1) and RFC 8439 (sections 2.3 to 2.8). For
tests only: nothing here takes constant time.
"""

from __future__ import annotations

import hashlib
from functools import cache

FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, FIELD) % FIELD
Point = tuple[int, int]


def x25519(private: bytes, public: bytes) -> bytes:
    """RFC 7748, section 5: the Montgomery ladder, without any trick."""
    scalar = int.from_bytes(private, "little") & ~7 & (2**254 - 1) | 2**254
    u = int.from_bytes(public, "little") % 2**255 % FIELD
    x2, z2, x3, z3 = 1, 0, u, 1
    for place in reversed(range(255)):
        bit = scalar >> place & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        plus, minus = (x2 + z2) ** 2 % FIELD, (x2 - z2) ** 2 % FIELD
        one, other = (x3 - z3) * (x2 + z2), (x3 + z3) * (x2 - z2)
        x3, z3 = (one + other) ** 2 % FIELD, u * (one - other) ** 2 % FIELD
        step = plus - minus
        x2, z2 = plus * minus % FIELD, step * (plus + 121665 * step) % FIELD
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, -1, FIELD) % FIELD).to_bytes(32, "little")


def x25519_public(private: bytes) -> bytes:
    """The public key: the ladder over the base point, whose u is 9."""
    return x25519(private, (9).to_bytes(32, "little"))


def _added(a: Point, b: Point) -> Point:
    """The affine addition law of a twisted Edwards curve with a = -1; complete, so it doubles as well."""
    (x1, y1), (x2, y2) = a, b
    mixed = _D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + mixed, -1, FIELD) % FIELD,
        (y1 * y2 + x1 * x2) * pow(1 - mixed, -1, FIELD) % FIELD,
    )


@cache
def _doublings() -> tuple[Point, ...]:
    """The base point times 1, 2, 4 and so on: y = 4/5, x even."""
    y = 4 * pow(5, -1, FIELD) % FIELD
    square = (y * y - 1) * pow(_D * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if x * x % FIELD != square:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    point = (x if x % 2 == 0 else FIELD - x, y)
    found = [point]
    for _ in range(255):
        point = _added(point, point)
        found.append(point)
    return tuple(found)


def _multiple(scalar: int) -> bytes:
    """The base point, so many times, in its 32 bytes."""
    point = (0, 1)
    for place, doubled in enumerate(_doublings()):
        if scalar >> place & 1:
            point = _added(point, doubled)
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _halves(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ~7 & (2**254 - 1) | 2**254
    return scalar, digest[32:]


def ed25519_public(seed: bytes) -> bytes:
    """RFC 8032, section 5.1.5."""
    return _multiple(_halves(seed)[0])


def ed25519_sign(seed: bytes, data: bytes) -> bytes:
    """RFC 8032, section 5.1.6."""
    scalar, prefix = _halves(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + data).digest(), "little") % ORDER
    commitment = _multiple(nonce)
    challenge = hashlib.sha512(commitment + _multiple(scalar) + data).digest()
    answer = (nonce + int.from_bytes(challenge, "little") * scalar) % ORDER
    return commitment + answer.to_bytes(32, "little")


_QUARTERS = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def _turned(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & 0xFFFFFFFF


def _chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    start = b"expand 32-byte k" + key + counter.to_bytes(4, "little") + nonce
    before = [int.from_bytes(start[i : i + 4], "little") for i in range(0, 64, 4)]
    state = list(before)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            for to, by, turned, amount in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[to] = (state[to] + state[by]) & 0xFFFFFFFF
                state[turned] = _turned(state[turned] ^ state[to], amount)
    words = ((one + other) & 0xFFFFFFFF for one, other in zip(state, before, strict=True))
    return b"".join(word.to_bytes(4, "little") for word in words)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def _poly1305(key: bytes, data: bytes) -> bytes:
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i : i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def chacha20_poly1305(key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
    """RFC 8439, section 2.8: the ciphertext and its tag of 16 bytes."""
    stream = b"".join(_chacha20_block(key, 1 + i, nonce) for i in range(-(-len(plain) // 64)))
    sealed = bytes(a ^ b for a, b in zip(plain, stream, strict=False))
    lengths = len(associated).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    tag = _poly1305(_chacha20_block(key, 0, nonce)[:32], _padded(associated) + _padded(sealed) + lengths)
    return sealed + tag
