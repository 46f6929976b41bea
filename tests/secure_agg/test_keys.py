"""Known answers of the primitives, and what is derived from them: everything a key depends on changes it."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from secure_agg.errors import BadSignature, ParameterError, RosterRefused, SharesRefused
from secure_agg.keys import (
    Agreement,
    Channel,
    Identity,
    Secret,
    derive,
    fingerprint,
    mask_seed,
    own_mask_commitment,
    public_key,
    sign,
    verify,
)
from secure_agg.messages import ADVERT, CONFIRM
from tests.secure_agg.table import sha


def test_kat_x25519_rfc7748() -> None:
    """RFC 7748, section 6.1."""
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    alice_public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    bob_public = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert (public_key(alice), public_key(bob)) == (alice_public, bob_public)
    assert Agreement(alice).with_key(bob_public) == Agreement(bob).with_key(alice_public) == shared


def test_kat_ed25519_rfc8032() -> None:
    """RFC 8032, section 7.1, test 2."""
    identity = Identity(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert identity.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert identity.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_kat_hkdf_sha256_derives_rfc5869_case_1() -> None:
    """RFC 5869, A.1."""
    found = derive(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert found.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_kat_chacha20_poly1305_rfc8439() -> None:
    """RFC 8439, section 2.8.2: the tag of the example."""
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    cipher = ChaCha20Poly1305(bytes(range(0x80, 0xA0)))
    sealed = cipher.encrypt(
        bytes.fromhex("070000004041424344454647"), text, bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    )
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


def test_an_all_zero_agreement_is_refused() -> None:
    for point in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(RosterRefused, match="low order"):
            Agreement(sha("a key")).with_key(point)


def variants(call: Any, arguments: tuple[Any, ...], others: tuple[Any, ...]) -> list[Any]:
    """The result, and the results with one argument changed each time."""
    found = [call(*arguments)]
    for place, other in enumerate(others):
        found.append(call(*arguments[:place], other, *arguments[place + 1 :]))
    return found


def test_a_mask_seed_depends_on_everything_but_the_order_of_the_pair() -> None:
    given = (sha("dh"), sha("spec"), sha("roster"), "hull", "kent")
    found = variants(mask_seed, given, (sha("1"), sha("2"), sha("3"), "york", "bath"))
    assert len(set(found)) == len(found)
    assert mask_seed(*given[:3], "kent", "hull") == found[0]


def test_names_that_run_together_are_told_apart() -> None:
    assert mask_seed(sha("dh"), sha("s"), sha("r"), "ab", "c") != mask_seed(
        sha("dh"), sha("s"), sha("r"), "a", "bc"
    )


def test_seed_full_entropy_single_bit_flip_avalanche() -> None:
    """Each bit of the agreed secret changes about half of the seed: nothing is folded or cut off."""
    base = mask_seed(sha("dh"), sha("s"), sha("r"), "a", "b")
    for bit in range(256):
        changed = bytearray(sha("dh"))
        changed[bit // 8] ^= 1 << bit % 8
        other = mask_seed(bytes(changed), sha("s"), sha("r"), "a", "b")
        difference = int.from_bytes(base, "big") ^ int.from_bytes(other, "big")
        assert 64 < difference.bit_count() < 192


def test_a_commitment_binds_round_owner_and_seed() -> None:
    found = variants(own_mask_commitment, (sha("spec"), "hull", sha("seed")), (sha("1"), "york", sha("2")))
    assert len(set(found)) == 4


def test_a_channel_opens_only_what_was_sealed_for_it() -> None:
    given = (sha("dh"), sha("spec"), sha("roster"), "hull", "kent")
    sealed = Channel(*given).seal(b"a share")
    assert Channel(*given).unseal(sealed, "hull") == b"a share"
    others = (sha("1"), sha("2"), sha("3"), "york", "bath")
    for place, other in enumerate(others):
        wrong = Channel(*given[:place], other, *given[place + 1 :])  # type: ignore[arg-type]  # one of each type
        with pytest.raises(SharesRefused, match="could not be authenticated"):
            wrong.unseal(sealed, "hull")
    with pytest.raises(SharesRefused):
        Channel(*given[:3], "kent", "hull").unseal(sealed, "kent")


@pytest.mark.parametrize("place", [0, 3, 8, 22])
def test_a_channel_refuses_changed_bytes(place: int) -> None:
    channel = Channel(sha("dh"), sha("spec"), sha("roster"), "hull", "kent")
    sealed = bytearray(channel.seal(b"a share"))
    sealed[place] ^= 1
    with pytest.raises(SharesRefused) as refused:
        channel.unseal(bytes(sealed), "hull")
    assert refused.value.sender == "hull"
    assert refused.value.__cause__ is None


def test_a_signature_is_good_for_one_author_kind_and_body() -> None:
    hull, kent = Identity(sha("hull")), Identity(sha("kent"))
    pinned = {"hull": hull.public, "kent": kent.public, "broken": b"short"}
    good = sign(hull, ADVERT, b"body")
    verify(pinned, "hull", ADVERT, b"body", good)
    for name, kind, body in itertools.product(
        ("hull", "kent", "nobody", "broken"), (ADVERT, CONFIRM), (b"body", b"")
    ):
        if (name, kind, body) != ("hull", ADVERT, b"body"):
            with pytest.raises(BadSignature):
                verify(pinned, name, kind, body, good)
    with pytest.raises(BadSignature):
        verify(pinned, "hull", ADVERT, b"body", bytes(64))


def test_a_secret_shows_its_class_and_compares_by_content() -> None:
    secret = Secret(sha("s"))
    assert repr(secret) == str(secret) == "<Secret>"
    assert secret == Secret(sha("s"))
    assert secret != Secret(sha("t"))
    assert secret != sha("s")
    with pytest.raises(TypeError):
        hash(secret)
    secret.wipe()
    secret.wipe()
    with pytest.raises(ParameterError, match="overwritten"):
        secret.open()


def test_an_identity_needs_32_bytes_and_shows_none() -> None:
    with pytest.raises(ParameterError, match="seed is 31 bytes; expected 32 bytes"):
        Identity(bytes(31))
    assert repr(Identity(sha("x"))) == "<Identity>"
    assert fingerprint(Identity(sha("x")).public) != fingerprint(Identity(sha("y")).public)


@pytest.mark.parametrize(
    "secret",
    [
        Secret(sha("s")),
        Identity(sha("i")),
        Agreement(sha("a")),
        Channel(sha("c"), sha("round"), sha("roster"), "hull", "york"),
    ],
    ids=lambda secret: type(secret).__name__,
)
@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_holds_a_key_shows_its_class_and_is_never_dumped(
    secret: object, dump: Callable[[object], object]
) -> None:
    kind = type(secret).__name__
    assert repr(secret) == str(secret) == f"<{kind}>"
    with pytest.raises(TypeError, match=f"^{kind} is a secret and cannot be pickled or copied$"):
        dump(secret)
