"""AES-GCM from the middle of its keystream, compared with the counter mode."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from hypothesis import given
from hypothesis import strategies as st

from secure_agg.gcm_start import _bytes, _inverse, _polynomial, _product, nonce_for

keys = st.binary(min_size=32, max_size=32) | st.binary(min_size=16, max_size=16)


@given(keys, st.binary(min_size=12, max_size=12), st.integers(1, 2**32 - 8))
def test_gcm_begins_at_any_block_that_is_asked_for(key: bytes, nonce: bytes, counter: int) -> None:
    first = nonce + counter.to_bytes(4, "big")
    galois = Cipher(AES(key), GCM(nonce_for(key, first))).encryptor()
    assert galois.update(bytes(100)) == Cipher(AES(key), CTR(first)).encryptor().update(bytes(100))


def test_the_field_is_that_of_the_standard() -> None:
    """McGrew and Viega, "The Galois/Counter Mode of Operation", test case 2: H and the hash of one block."""
    key = _polynomial(bytes.fromhex("66e94bd4ef8a2c3b884cfa59ca342b2e"))
    block = _polynomial(bytes.fromhex("0388dace60b6a392f328c2b971b2fe78"))
    assert _bytes(_product(block, key)).hex() == "5e2ec746917062882c85b0685353deb7"


@given(st.integers(1, 2**128 - 1))
def test_an_element_times_its_inverse_is_one(element: int) -> None:
    assert _product(element, _inverse(element)) == 1
    assert _polynomial(_bytes(element)) == element


def test_zero_has_no_inverse() -> None:
    with pytest.raises(ZeroDivisionError):
        _inverse(0)
