"""Each attack twice: it succeeds on a small implementation with the flaw, and fails on ours."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from secure_agg import messages, shamir
from secure_agg.errors import BadSignature, SecureAggError
from secure_agg.keys import Identity
from secure_agg.keystream import Cursor, stream_key
from secure_agg.masks import mask
from secure_agg.messages import FORWARD, PROOFS, ROSTER, SURVIVORS
from tests.secure_agg.broken.flaws import (
    EarlyDropoutFatal,
    SigningPod,
    TrustingPod,
    UnsignedPod,
    folded_mask,
    folded_seed,
    scalar_mask,
)
from tests.secure_agg.table import Table, entropy_from, sha

N = 1000
Words = NDArray[np.uint32]


def secret_update() -> Words:
    return np.random.default_rng(7).integers(0, 2**20, N, dtype=np.uint32)


def ours(update: Words, salt: str = "") -> Words:
    masked = update.copy()
    mask(
        masked,
        "hull",
        sha("own" + salt),
        {"kent": sha("pair" + salt), "york": sha("other" + salt)},
        threads=1,
    )
    return masked


# ---- one number for the whole vector ----


def recovered_from_one_known(masked: Words, known: int) -> Words:
    """The attack: one known coordinate gives the mask, and the mask gives the rest."""
    return masked - (masked[0] - np.uint32(known))


def test_a_scalar_mask_is_undone_by_one_known_coordinate_and_ours_is_not() -> None:
    update = secret_update()
    broken = recovered_from_one_known(scalar_mask(update, 123456789), int(update[0]))
    assert np.array_equal(broken, update)
    tried = recovered_from_one_known(ours(update), int(update[0]))
    assert np.count_nonzero(tried[1:] == update[1:]) == 0


def test_known_coordinate_recovers_nothing() -> None:
    """Nor do 999 known coordinates tell the last one: every guess for it is as likely."""
    update = secret_update()
    masked = ours(update)
    keystream = masked - update
    steps = np.diff(keystream.astype(np.int64))
    assert len(np.unique(keystream)) > N - 5
    assert len(np.unique(steps)) > N - 5


def test_pairwise_differences_do_not_leak() -> None:
    """Of two coordinates with the same value, the scalar mask shows it; ours shows nothing."""
    update = np.zeros(100_000, np.uint32)
    update[::2] = 5
    assert len(np.unique(scalar_mask(update, 99))) == 2
    assert len(np.unique(ours(update))) > 99_000


# ---- a folded seed ----


def searched(word: int, candidates: int) -> list[int]:
    """The attack: try every seed, compare one known word of keystream."""
    return [
        seed
        for seed in range(candidates)
        if int(np.random.default_rng(seed).integers(0, 2**32, 1, dtype=np.uint32)[0]) == word
    ]


def test_a_folded_seed_is_found_by_search_and_ours_has_all_its_bits() -> None:
    update, seed = secret_update(), sha("a pair")
    masked = update + folded_mask(seed, N)
    word = int(masked[0] - update[0])
    (found,) = searched(word, 2**12)
    assert found == folded_seed(seed, 12)
    unmasked = masked - np.random.default_rng(found).integers(0, 2**32, N, dtype=np.uint32)
    assert np.array_equal(unmasked, update)
    assert searched(int((ours(update) - update)[0]), 2**12) == []


def test_two_seeds_that_fold_to_one_give_one_mask_there_and_two_here() -> None:
    """Swapping two pairs of bytes is invisible to the fold, and changes our keystream from its first word."""
    seed = sha("a pair")
    swapped = seed[2:4] + seed[:2] + seed[4:]
    assert np.array_equal(folded_mask(seed, N), folded_mask(swapped, N))
    one, other = (Cursor(stream_key(each)).words(N) for each in (seed, swapped))
    assert np.count_nonzero(one == other) <= 1


# ---- overlapping lists ----


def test_overlapping_lists_open_one_pod_there_and_nothing_here() -> None:
    """The server asks for both secrets of hull. The trusting pods give both; ours have one list only."""
    secrets = {"hull": (sha("own mask of hull"), sha("mask key of hull"))}
    rows = shamir.share(secrets["hull"], 5, 4, entropy_from("shares"))
    pods = [TrustingPod({"hull": shamir.to_bytes(row[0])}, {"hull": shamir.to_bytes(row[1])}) for row in rows]
    answers = [pod.reveal(["hull"], ["hull"]) for pod in pods[:4]]
    own = np.stack([shamir.from_bytes(live["hull"], 1) for live, _ in answers])
    key = np.stack([shamir.from_bytes(lost["hull"], 1) for _, lost in answers])
    opened = shamir.combine([1, 2, 3, 4], own, 4)[0], shamir.combine([1, 2, 3, 4], key, 4)[0]
    assert opened == secrets["hull"]

    table = Table()
    table.up_to(SURVIVORS)
    sent = next(data for _, data in table.transcript if data[4:5] == SURVIVORS)
    both = messages.decode(sent, SURVIVORS, messages.Survivors, 5)
    doubled = messages.Survivors(both.spec_hash, both.roster_hash, tuple(sorted((*both.survivors, "hull"))))
    for name in table.names:
        with pytest.raises(SecureAggError):
            table.ask(name, messages.encode(SURVIVORS, doubled))


# ---- survivors that nobody signed ----


def test_unsigned_survivor_sets_are_opened_twice_there_and_never_here() -> None:
    """Half of the pods are told that hull lives, half that it is lost."""
    everybody, smaller = ("bath", "hull", "kent", "leeds", "york"), ("bath", "kent", "leeds", "york")
    loose = [UnsignedPod(name) for name in everybody]
    for place, pod in enumerate(loose):
        pod.reveal(everybody if place % 2 else smaller)
    assert {shown for pod in loose for shown in pod.opened} == {everybody, smaller}

    identities = {name: Identity(sha(name)) for name in everybody}
    pinned = {name: identity.public for name, identity in identities.items()}
    strict = {name: SigningPod(name, identities[name], pinned, threshold=4) for name in everybody}
    signed = {
        name: pod.confirm(everybody if name in {"bath", "hull"} else smaller) for name, pod in strict.items()
    }
    for pod in strict.values():
        with pytest.raises(BadSignature):
            pod.reveal(signed)

    table, other = Table(), Table()
    table.up_to(PROOFS)
    others = other.up_to(PROOFS, lost={"hull": FORWARD})
    with pytest.raises(BadSignature):
        table.ask("bath", others["bath"])


# ---- an early dropout ----


def test_an_early_dropout_is_fatal_there_and_a_smaller_sum_here() -> None:
    broken = EarlyDropoutFatal(("bath", "hull", "kent"), {"bath": sha("b"), "kent": sha("k")})
    with pytest.raises(KeyError):
        broken.pair_seeds("bath")
    for lost in (messages.INVITATION, ROSTER):
        table = Table()
        result = table.run(lost={"hull": lost})
        assert result.survivors == ("bath", "kent", "leeds", "york")
        assert np.abs(result.mean - table.mean_of(result.survivors)).max() <= result.report.error_bound
