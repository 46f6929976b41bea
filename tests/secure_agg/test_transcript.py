"""One whole round, byte by byte: what the machines send is what a slow implementation by plain integers made.

The oracle's own primitives are held against the examples of their documents first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import runpy
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from secure_agg import messages
from secure_agg.client import Client
from secure_agg.journal import PodJournal, PodPolicy
from secure_agg.keys import Identity, fingerprint
from secure_agg.parameters import Parameters
from secure_agg.pod_setup import Contribution, PodSetup
from secure_agg.reports import RoundResult
from secure_agg.server import Server
from secure_agg.specification import Member, RoundIdentity, make_spec
from tests.oracles import curves
from tests.oracles import secure_agg_plain as oracle
from tests.secure_agg.vectors import FOLDER, seed


@cache
def known() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "sa1_transcript.json").read_text(encoding="utf-8"))
    return found


def entropy_of(pod: str, drawn: list[str]) -> Any:
    """Gives the frozen bytes, in their order, and nothing else."""
    rest = [bytes.fromhex(each) for each in drawn]

    def take(size: int) -> bytes:
        assert rest, f"{pod} draws more than was frozen"
        assert len(rest[0]) == size, f"{pod} draws {size} bytes; {len(rest[0])} were frozen"
        return rest.pop(0)

    return take


class Round:
    """The machines with the frozen inputs, and everything they say."""

    def __init__(self) -> None:
        frozen = known()
        self.said: list[tuple[str, bytes]] = []
        self.silent: set[str] = set()
        identities = {
            name: Identity(bytes.fromhex(pod["identity_seed"])) for name, pod in frozen["pods"].items()
        }
        pinned = {name: identity.public for name, identity in identities.items()}
        modeller = Identity(bytes.fromhex(frozen["modeller_identity_seed"]))
        parameters = Parameters(length=7, clip=frozen["clip"], minimum_survivors=3, on_clip="error")
        encoding = parameters.encoding(len(pinned), "weights_first", float(frozen["total_weight"]))
        task, model, schema = (bytes.fromhex(frozen[key]) for key in ("task", "model_hash", "schema_hash"))
        members = [Member(name, fingerprint(key)) for name, key in pinned.items()]
        spec = make_spec(parameters, members, RoundIdentity(task, 0, model, schema), encoding)
        self.server = Server(spec, modeller, pinned)
        self.given = {
            name: Contribution(np.array(pod["update_times_4096"]) / 4096, model, schema, float(pod["weight"]))
            for name, pod in frozen["pods"].items()
        }
        self.pods = {
            name: Client(
                PodSetup(name, identity, pinned, modeller.public, PodPolicy(minimum_survivors=3), threads=1),
                PodJournal(),
                entropy_of(name, frozen["pods"][name]["entropy"]),
            )
            for name, identity in identities.items()
        }

    def run(self) -> RoundResult:
        now, sent = 0.0, self.server.start(0.0)
        while self.server.result is None:
            broadcast = len({mail.data for mail in sent}) == 1
            self.said += [("server", mail.data) for mail in (sent[:1] if broadcast else sent)]
            answers = [self._answer(mail.to, mail.data, now) for mail in sent]
            sent = ()
            for answer in filter(None, answers):
                sent += self.server.receive(answer, now)
            if not sent and self.server.result is None:
                now = self.server.deadline
                sent = self.server.tick(now)
        return self.server.result

    def _answer(self, name: str, data: bytes, now: float) -> bytes:
        if messages.kind_of(data) == messages.FORWARD and name == known()["lost_after_shares"]:
            return b""
        pod = self.pods[name]
        idle = messages.kind_of(data) == messages.INVITATION
        step = pod.start(data, self.given[name], now) if idle else pod.receive(data, now)
        (answer,) = step.send_after(lambda journal: None)
        self.said.append((name, answer))
        return answer


def test_kat_full_transcript_three_pods_one_drop() -> None:
    frozen, this = known(), Round()
    result = this.run()
    expected = [(each["from"], bytes.fromhex(each["bytes"])) for each in frozen["messages"]]
    assert len(this.said) == len(expected)
    for number, (ours, theirs) in enumerate(zip(this.said, expected, strict=True)):
        kind = frozen["messages"][number]["kind"]
        assert ours == theirs, f"message {number}, a {kind} of {theirs[0]}, differs"
    assert list(result.survivors) == frozen["survivors"]
    assert result.mean.tolist() == pytest.approx([float(Fraction(x)) for x in frozen["mean"]], rel=1e-15)
    assert result.report.t == frozen["threshold"]


def test_the_frozen_mean_is_that_of_the_updates() -> None:
    frozen = known()
    pods = [frozen["pods"][name] for name in frozen["survivors"]]
    weight = sum(pod["weight"] for pod in pods)
    assert len(pods) == 3
    for i, found in enumerate(frozen["mean"]):
        exact = Fraction(sum(pod["weight"] * pod["update_times_4096"][i] for pod in pods), 4096 * weight)
        step = Fraction(frozen["total_weight"], frozen["scale"] * weight)
        # Three roundings of one step each, and weights that were rounded to 2^-40.
        assert abs(Fraction(found) - exact) < 3 * step + 2**-36


def test_the_frozen_transcript_comes_out_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_sa1_transcript.py", "--out", str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(FOLDER / "make_sa1_transcript.py"), run_name="__main__")
    made = (tmp_path / "sa1_transcript.json").read_bytes()
    assert made == (FOLDER / "sa1_transcript.json").read_bytes()


@pytest.mark.parametrize("change", ["own_seed", "mask_key", "channel_key", "coefficients", "rounding"])
def test_every_drawn_byte_reaches_the_wire(change: str) -> None:
    made = runpy.run_path(str(FOLDER / "make_sa1_transcript.py"))
    plan = made["plan"]()
    pod = plan.pods["hull"]
    other = dataclasses.replace(pod, **{change: bytes(b ^ 8 for b in getattr(pod, change))})
    changed = oracle.run(dataclasses.replace(plan, pods={**plan.pods, "hull": other}))
    before = [bytes.fromhex(each["bytes"]) for each in known()["messages"]]
    assert [data for _, _, data in changed.messages] != before


def test_the_oracles_agreement_is_that_of_rfc_7748() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert curves.x25519(alice, curves.x25519_public(bob)).hex() == shared
    assert curves.x25519(bob, curves.x25519_public(alice)).hex() == shared


def test_the_oracles_signature_is_that_of_rfc_8032() -> None:
    key = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert curves.ed25519_public(key).hex() == public
    assert curves.ed25519_sign(key, b"\x72").hex() == signature


@pytest.mark.parametrize("number", range(3))
def test_the_oracles_primitives_are_those_of_the_library(number: int) -> None:
    private, peer = seed(("private", number)), seed(("peer", number))
    there = X25519PublicKey.from_public_bytes(curves.x25519_public(peer))
    agreed = X25519PrivateKey.from_private_bytes(private).exchange(there)
    assert curves.x25519(private, curves.x25519_public(peer)) == agreed
    data = hashlib.shake_256(private).digest(100 + 37 * number)
    assert curves.ed25519_sign(private, data) == Ed25519PrivateKey.from_private_bytes(private).sign(data)
    sealed = ChaCha20Poly1305(peer).encrypt(private[:12], data, private)
    assert curves.chacha20_poly1305(peer, private[:12], data, private) == sealed
