"""Signing keys: which are taken, how a ring turns, and what a JWKS shows."""

from __future__ import annotations

import base64
import json
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from ehr.auth import keys
from ehr.auth.keys import Algorithm, make_ring, new_key, read_key, read_ring, rotate_ring
from ehr.errors import ConfigurationError
from tests.ehr.auth.login import key, owner_only, pem


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_both_kinds_of_key_are_read_from_both_forms(tmp_path: Path, algorithm: Algorithm, form: str) -> None:
    made = key(algorithm)
    content = (
        made.key.as_pem(private=True)
        if form == "pem"
        else json.dumps(made.key.as_dict(private=True)).encode()
    )
    found = read_key(owner_only(tmp_path / "key", content))
    assert (found.algorithm, found.kid) == (algorithm, made.key.thumbprint())


def test_a_jwk_keeps_the_name_it_was_registered_under(tmp_path: Path) -> None:
    document = {**key().key.as_dict(private=True), "kid": "site-7", "alg": "RS256", "use": "enc"}
    found = read_key(owner_only(tmp_path / "key.jwk", json.dumps(document).encode()))
    assert found.kid == "site-7"
    assert found.public_jwk()["alg"] == "ES384"  # what it signs with, whatever the file says


def _jwk(**members: str) -> bytes:
    return json.dumps(members).encode()


REFUSED = {
    "1024 bits": pem("RS-1024"),
    "public key only": pem("RS384", public=True),
    "another curve": pem("P-256"),
    "encrypted": pem(password=b"hush"),
    "neither RSA nor EC": _jwk(kty="oct", k="c2VjcmV0", alg="HS256"),
    "not an RSA or P-384": b"no key at all",
    "far too large": b"x" * 70_000,
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_key_that_smart_does_not_sign_with_is_refused_and_told_why(tmp_path: Path, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as refused:
        read_key(owner_only(tmp_path / "key.pem", REFUSED[what]))
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"{" * 60_000,
        b'{"kty": "EC"}',
        b'{"kty": "RSA", "n": 7}',
        b"{broken",
        _jwk(kty="EC", crv="P-384", x="!!", y="?"),
        b"-----BEGIN PRIVATE " + b"KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
)
def test_a_broken_key_file_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError, match="key file: not an RSA or P-384 private key") as refused:
        read_key(owner_only(tmp_path / "key", content))
    assert refused.value.__cause__ is None


def test_a_public_jwk_is_refused(tmp_path: Path) -> None:
    document = json.dumps(key().key.as_dict(private=False)).encode()
    with pytest.raises(ConfigurationError, match="public key only"):
        read_key(owner_only(tmp_path / "key", document))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = owner_only(tmp_path / "key.pem", pem())
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(path)


def test_a_missing_key_and_a_folder_in_its_place_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        read_key(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="is a folder"):
        read_key(tmp_path)


def test_a_jwks_shows_public_members_with_use_and_alg_only(tmp_path: Path) -> None:
    for algorithm, members in (("ES384", {"crv", "x", "y"}), ("RS384", {"n", "e"})):
        shown = keys.KeyRing((key(algorithm),)).jwks()  # type: ignore[arg-type]  # the two algorithms
        (jwk,) = shown["keys"]
        assert set(jwk) == {"kty", "kid", "use", "alg"} | members
        assert (jwk["use"], jwk["alg"]) == ("sig", algorithm)


def test_a_key_id_is_the_thumbprint_of_rfc_7638() -> None:
    # The example of RFC 7638, section 3.1.
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    found = RSAKey.import_key({"kty": "RSA", "n": modulus, "e": "AQAB"})
    assert found.thumbprint() == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_ring_is_made_turned_and_turned_again(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = make_ring(folder)
    both = rotate_ring(folder)
    assert [k.kid for k in both.keys] == [first.signing.kid, both.keys[1].kid]
    assert both.signing.kid == first.signing.kid  # the new key is published before it signs
    assert len(read_ring(folder).jwks()["keys"]) == 2
    turned = rotate_ring(folder)
    assert [k.kid for k in turned.keys] == [both.keys[1].kid, first.signing.kid]
    assert turned.retires
    assert read_ring(folder).retires
    assert len(read_ring(folder).jwks()["keys"]) == 2  # programs that run may still sign with the old one
    second = rotate_ring(folder)
    assert second.signing.kid == both.keys[1].kid
    assert not read_ring(folder).retires
    assert [k.kid for k in read_ring(folder).keys] == [second.signing.kid]
    assert sorted(p.name for p in folder.iterdir()) == sorted([f"{second.signing.kid}.pem", "ring.json"])


def test_a_ring_can_turn_to_the_other_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "RSA_BITS", 2048)
    make_ring(tmp_path)
    assert [k.algorithm for k in rotate_ring(tmp_path, "RS384").keys] == ["ES384", "RS384"]


def test_files_of_a_ring_are_their_owner_s_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_ring(folder)
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_ring_is_not_made_over_the_first(tmp_path: Path) -> None:
    make_ring(tmp_path)
    with pytest.raises(ConfigurationError, match="rotate"):
        make_ring(tmp_path)


def test_one_key_file_is_a_ring_that_does_not_turn(tmp_path: Path) -> None:
    path = owner_only(tmp_path / "key.pem", pem())
    assert len(read_ring(path).keys) == 1
    with pytest.raises(ConfigurationError, match="no key ring"):
        rotate_ring(path)


def _ring_json(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


@pytest.mark.parametrize(
    "content",
    [
        _ring_json({"kid": "a", "file": "../outside.pem"}),
        _ring_json({"kid": "a", "file": ".."}),
        _ring_json({"kid": "a", "file": "/etc/passwd"}),
        _ring_json({"kid": "../a", "file": "a.pem"}),
        _ring_json({"kid": "a", "file": "a.pem"}, {"kid": "a", "file": "b.pem"}),
        _ring_json({"kid": 1, "file": "a.pem"}),
        _ring_json(),
    ],
)
def test_a_ring_that_names_files_outside_its_folder_is_refused(tmp_path: Path, content: bytes) -> None:
    owner_only(tmp_path / "ring.json", content)
    with pytest.raises(ConfigurationError, match="names no key, one key twice, or a file outside"):
        read_ring(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"keys": 7}', b'{"keys": [{}]}', b"[" * 100_000, b"\xff"])
def test_a_broken_ring_is_refused(tmp_path: Path, content: bytes) -> None:
    owner_only(tmp_path / "ring.json", content)
    with pytest.raises(ConfigurationError, match=r"ring\.json is not a key ring"):
        rotate_ring(tmp_path)


@pytest.mark.parametrize("turns", [0, 1])
def test_a_crash_between_writes_leaves_the_ring_as_it_was(
    tmp_path: Path, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ring(tmp_path)
    for _ in range(turns):
        rotate_ring(tmp_path)
    before = [k.kid for k in read_ring(tmp_path).keys]
    real = keys.write_owner_only

    def crashing(target: Path, content: bytes) -> None:
        if target.name == "ring.json":
            raise OSError("power cut")
        real(target, content)

    with monkeypatch.context() as patch:
        patch.setattr(keys, "write_owner_only", crashing)
        with pytest.raises(ConfigurationError, match="cannot be written"):
            rotate_ring(tmp_path)
    assert [k.kid for k in read_ring(tmp_path).keys] == before
    rotate_ring(tmp_path)


def test_an_owner_only_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        keys.write_owner_only(tmp_path / "x", b"half")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_algorithm_makes_no_key() -> None:
    with pytest.raises(ConfigurationError, match="RS384, ES384"):
        new_key("HS256")  # type: ignore[arg-type]  # bad on purpose


def test_no_text_form_of_a_key_shows_it(tmp_path: Path) -> None:
    made = key()
    private = made.key.as_dict(private=True)["d"]
    assert isinstance(private, str)
    assert base64.urlsafe_b64decode(private + "==")
    ring = keys.KeyRing((made,))
    shown = f"{made!r} {made} {ring!r} {ring.jwks()}"
    assert private not in shown
    for secret in (made, ring):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(secret)


def test_fresh_keys_are_of_the_promised_size() -> None:
    assert new_key("RS384").key.raw_value.key_size == 3072
    made = new_key()
    assert isinstance(made.key, ECKey)
    assert made.key.curve_name == "P-384"
    assert OctKey.key_type == "oct"
