"""Every rule of a specification at its edge, from both sides, and the numbers that follow from one."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec
import pytest

from secure_agg.errors import SpecRefused
from secure_agg.parameters import DpSpec, Encoding, Parameters
from secure_agg.specification import (
    PROTOCOL,
    SUITE,
    Member,
    RoundIdentity,
    RoundSpec,
    check_spec,
    make_spec,
    read_spec,
    rotation_seed,
    spec_hash,
)
from tests.secure_agg.table import Setting, Table, sha

IDENTITY = RoundIdentity(bytes(range(16)), 4, sha("model"), sha("schema"), sha("before"))
NOISE = DpSpec("distributed_discrete_gaussian", sigma=0.5, delta=1e-6, l2_bound=2.0)


def members(count: int, nonce: int = 0) -> tuple[Member, ...]:
    names = (f"pod-{number:05}" for number in range(count))
    return tuple(Member(name, sha(name), bytes(nonce)) for name in names)


def complete(pods: int = 7, **chosen: Any) -> RoundSpec:
    parameters = Parameters(**{"length": 5, "clip": 1.0, "minimum_survivors": 3, **chosen})
    return make_spec(parameters, members(pods), IDENTITY)


def sparse(pods: int = 9, degree: int = 4, shares: int = 3, **chosen: Any) -> RoundSpec:
    parameters = Parameters(
        **{"length": 5, "clip": 1.0, "minimum_survivors": 3, **chosen},
        mode="semi_honest",
        graph="sparse",
        degree=degree,
        sparse_threshold=shares,
    )
    return make_spec(parameters, members(pods, 32), IDENTITY)


def resized(pods: int, graph: str, **changes: Any) -> RoundSpec:
    """A specification for another number of pods, made without its checks."""
    is_sparse = graph == "sparse"
    plain = sparse() if is_sparse else complete()
    sized = {} if is_sparse else {"degree": pods - 1, "threshold": 2 * pods // 3 + 1}
    cohort = members(pods, 32 if is_sparse else 0)
    encoding = msgspec.structs.replace(plain.encoding, scale=1.0)
    return msgspec.structs.replace(plain, **{"cohort": cohort, "encoding": encoding, **sized, **changes})


def refused(spec: RoundSpec, said: str) -> None:
    with pytest.raises(SpecRefused, match=said):
        check_spec(spec)


def breaks(spec: RoundSpec, rule: str) -> None:
    """The rule that is broken is said in these words and no others."""
    with pytest.raises(SpecRefused) as found:
        check_spec(spec)
    assert str(found.value) == f"The specification was refused: {rule}. Nothing was sent."


def changed(spec: RoundSpec, **changes: Any) -> RoundSpec:
    return msgspec.structs.replace(spec, **changes)


# ---- what a specification is ----


def test_a_specification_has_what_was_chosen() -> None:
    spec = complete(deadlines_s=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert msgspec.structs.asdict(spec) == {
        "protocol": "SA-1",
        "suite": "x25519-ed25519-hkdf-sha256-aes256ctr-chacha20poly1305",
        "task": bytes(range(16)),
        "round": 4,
        "cohort": members(7),
        "mode": "active",
        "graph": "complete",
        "degree": 6,
        "threshold": 5,
        "minimum_survivors": 3,
        "encoding": Encoding(32, 1.0, 2.0**28, on_clip="clip"),
        "length": 5,
        "schema_hash": sha("schema"),
        "model_hash": sha("model"),
        "previous_model_hash": sha("before"),
        "dp": DpSpec(),
        "deadlines_s": (1.0, 2.0, 3.0, 4.0, 5.0),
    }
    thin = sparse()
    assert (thin.mode, thin.graph, thin.degree, thin.threshold) == ("semi_honest", "sparse", 4, 3)
    assert RoundIdentity(bytes(16), 0, bytes(32), bytes(32)).previous_model_hash == bytes(32)
    own = Encoding(32, 2.0, 4.0)
    parameters = Parameters(length=5, clip=1.0, minimum_survivors=3)
    assert make_spec(parameters, members(5), IDENTITY, own).encoding == own
    assert make_spec(parameters, members(5)[::-1], IDENTITY).cohort == members(5)


def test_hashes_of_a_specification_have_their_own_names() -> None:
    data = complete().to_bytes()
    assert spec_hash(data) == hashlib.sha256(b"sa1/spec" + data).digest()
    assert rotation_seed(data[:32]) == hashlib.sha256(b"sa1/rotation" + data[:32]).digest()
    assert read_spec(data) == complete()


# ---- what follows from one ----


@pytest.mark.parametrize(
    ("spec", "floor", "colluders", "noisy"),
    [
        (complete(5), 4, 2, 2),
        (complete(7), 5, 2, 3),
        (complete(7, minimum_survivors=6), 6, 2, 4),
        (complete(20), 14, 7, 7),
        (complete(7, mode="semi_honest"), 4, 2, 2),
        (complete(12, mode="semi_honest"), 7, 5, 2),
        (sparse(), 3, 1, 2),
        (sparse(20, 8, 5, minimum_survivors=9), 9, 3, 6),
        (sparse(20, 8, 7, minimum_survivors=4), 4, 2, 2),
    ],
)
def test_floor_colluders_and_noise_follow(spec: RoundSpec, floor: int, colluders: int, noisy: int) -> None:
    assert (spec.floor, spec.colluders) == (floor, colluders)
    assert spec.names == tuple(member.name for member in spec.cohort)
    louder = changed(spec, dp=DpSpec(sigma=3.0))
    assert louder.sum_noise == pytest.approx(3.0 * math.sqrt(len(spec.cohort) / noisy), rel=1e-12)


# ---- rules ----


def test_a_specification_of_another_protocol_or_suite_is_refused() -> None:
    assert (PROTOCOL, len(SUITE)) == ("SA-1", 53)
    breaks(changed(complete(), protocol="SA-2"), f"protocol and suite must be SA-1 and {SUITE}")
    breaks(changed(complete(), suite="x25519"), f"protocol and suite must be SA-1 and {SUITE}")


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_task_is_16_bytes(size: int) -> None:
    breaks(changed(complete(), task=bytes(size)), "task must be 16 bytes")


def test_a_round_has_a_number_of_63_bits() -> None:
    for number in (0, 1, 2**63 - 1):
        check_spec(changed(complete(), round=number))
    for number in (-1, 2**63):
        breaks(changed(complete(), round=number), "round must be 0 or more")


def test_a_cohort_has_3_to_10_000_pods() -> None:
    check_spec(complete(3))
    breaks(resized(2, "complete"), "a cohort has 3 to 10000 pods")
    check_spec(resized(10_000, "sparse"))
    breaks(resized(10_001, "sparse"), "a cohort has 3 to 10000 pods")


def test_the_complete_graph_ends_at_128_pods() -> None:
    check_spec(resized(128, "complete"))
    breaks(resized(129, "complete"), "the complete graph ends at 128")
    check_spec(resized(129, "sparse"))


def test_an_update_has_1_to_2_to_the_30_coordinates() -> None:
    for length in (1, 2**30):
        check_spec(changed(complete(), length=length))
    for length in (-1, 0, 2**30 + 1):
        breaks(changed(complete(), length=length), "length must be 1 to 1073741824")


@pytest.mark.parametrize("field", ["schema_hash", "model_hash", "previous_model_hash"])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_hashes_are_32_bytes(field: str, size: int) -> None:
    breaks(
        changed(complete(), **{field: bytes(size)}),
        "schema_hash, model_hash and previous_model_hash must be 32 bytes",
    )


def test_minimum_survivors_is_3_to_the_cohort() -> None:
    for least in (3, 7):
        check_spec(changed(complete(7), minimum_survivors=least))
    for least in (2, 8):
        said = "minimum_survivors must be 3 to the size of the cohort (7)"
        breaks(changed(complete(7), minimum_survivors=least), said)


def test_a_sparse_graph_is_semi_honest() -> None:
    breaks(changed(sparse(), mode="active"), "a sparse graph has the semi-honest promise only")
    check_spec(complete(mode="semi_honest"))


@pytest.mark.parametrize("degree", [2, 5, 7, 8])
def test_the_degree_of_a_complete_graph_is_one_less_than_the_cohort(degree: int) -> None:
    breaks(changed(complete(7), degree=degree), "in a complete graph, degree is one less than the cohort")


def test_a_sparse_degree_is_2_to_one_less_than_the_cohort() -> None:
    for degree, shares in ((2, 2), (8, 5)):
        check_spec(changed(sparse(9), degree=degree, threshold=shares))
    for degree in (0, 1, 9):
        breaks(changed(sparse(9), degree=degree, threshold=3), "degree must be 2 to one less than the cohort")


@pytest.mark.parametrize(("mode", "least"), [("active", 5), ("semi_honest", 4)])
def test_the_threshold_of_a_complete_graph_is_at_least_that_of_its_mode(mode: str, least: int) -> None:
    for shares in (least, 7):
        check_spec(changed(complete(7, mode=mode), threshold=shares))
    for shares in (least - 1, 8):
        breaks(changed(complete(7, mode=mode), threshold=shares), f"threshold must be {least} to 7")


@pytest.mark.parametrize(("degree", "least"), [(2, 2), (4, 3), (6, 4), (8, 5)])
def test_a_sparse_threshold_is_more_than_half_of_the_holders(degree: int, least: int) -> None:
    """Holders of shares are the neighbours and the pod itself."""
    for shares in (least, degree + 1):
        check_spec(changed(sparse(9), degree=degree, threshold=shares))
    said = f"threshold must be more than half of the {degree + 1} holders of shares"
    breaks(changed(sparse(9), degree=degree, threshold=least - 1), said)
    for shares in (0, degree + 2):
        breaks(changed(sparse(9), degree=degree, threshold=shares), f"threshold must be 1 to {degree + 1}")


def test_half_of_an_even_number_of_holders_is_not_enough() -> None:
    check_spec(changed(sparse(9), degree=3, threshold=3))
    breaks(
        changed(sparse(9), degree=3, threshold=2),
        "threshold must be more than half of the 4 holders of shares",
    )


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("at", range(5))
def test_deadlines_are_above_0(seconds: float, at: int) -> None:
    deadlines = [1e-9] * 5
    check_spec(changed(complete(), deadlines_s=tuple(deadlines)))
    deadlines[at] = seconds
    breaks(changed(complete(), deadlines_s=tuple(deadlines)), "deadlines must be above 0 seconds")


# ---- names and keys ----


@pytest.mark.parametrize("name", ["a", "0", "a" * 64, "a.b_c-9", "9-", "z..z"])
def test_names_that_are_allowed(name: str) -> None:
    spec = complete()
    cohort = tuple(sorted((changed_member(spec.cohort[0], name=name), *spec.cohort[1:])))
    check_spec(changed(spec, cohort=cohort))


def changed_member(member: Member, **changes: Any) -> Member:
    return msgspec.structs.replace(member, **changes)


@pytest.mark.parametrize("name", ["", "a" * 65, "A", "-a", ".a", "_a", "a b", "a\n", "a\nb", "ä", "a/b"])
def test_names_that_are_not(name: str) -> None:
    spec = complete()
    for at in (0, 6):
        cohort = list(spec.cohort)
        cohort[at] = changed_member(cohort[at], name=name)
        refused(changed(spec, cohort=tuple(cohort)), "A pod's name is not 1 to 64 of a-z")


def test_a_cohort_out_of_order_or_with_a_name_twice_is_refused() -> None:
    first, second, *rest = complete().cohort
    for cohort in ((second, first, *rest), (first, changed_member(second, name=first.name), *rest)):
        refused(changed(complete(), cohort=cohort), "not sorted by name, or names a pod twice")


def test_fingerprints_are_of_32_bytes_and_all_different() -> None:
    first, second, *rest = complete().cohort
    for print_ in (first.fingerprint, b"", bytes(31), bytes(33)):
        cohort = (first, changed_member(second, fingerprint=print_), *rest)
        refused(
            changed(complete(), cohort=cohort), "share one identity key, or a fingerprint is not 32 bytes"
        )
    short = tuple(changed_member(m, fingerprint=m.fingerprint[:31]) for m in complete().cohort)
    refused(changed(complete(), cohort=short), "a fingerprint is not 32 bytes")


@pytest.mark.parametrize(("spec", "size"), [(complete(), 0), (sparse(), 32)])
def test_a_nonce_commitment_belongs_to_a_sparse_graph(spec: RoundSpec, size: int) -> None:
    for wrong in {0, 1, 31, 32, 33} - {size}:
        said = f"A nonce commitment is not {size} bytes, as a {spec.graph} graph needs"
        one = (changed_member(spec.cohort[0], nonce_commitment=bytes(wrong)), *spec.cohort[1:])
        refused(changed(spec, cohort=one), said)
        every = tuple(changed_member(m, nonce_commitment=bytes(wrong)) for m in spec.cohort)
        refused(changed(spec, cohort=every), said)


# ---- noise ----


def noisy(dp: DpSpec = NOISE, **encoding: Any) -> RoundSpec:
    spec = complete(7, dp=NOISE)
    return changed(spec, dp=dp, encoding=msgspec.structs.replace(spec.encoding, **encoding))


@pytest.mark.parametrize("delta", [0.0, 1.0, 1.5, -0.1, math.nan, math.inf])
def test_delta_lies_between_0_and_1(delta: float) -> None:
    for plain in (NOISE, DpSpec()):
        spec = noisy() if plain is NOISE else complete()
        refused(
            changed(spec, dp=msgspec.structs.replace(plain, delta=delta)), "dp.delta must lie between 0 and 1"
        )
        check_spec(changed(spec, dp=msgspec.structs.replace(plain, delta=0.999)))


@pytest.mark.parametrize("field", ["sigma", "l2_bound"])
def test_numbers_of_noise_are_finite_and_0_where_there_is_none(field: str) -> None:
    for value in (math.inf, -math.inf, math.nan):
        refused(noisy(msgspec.structs.replace(NOISE, **{field: value})), "dp.sigma and dp.l2_bound be finite")
    for value in (1e-9, -1.0):
        spec = changed(complete(), dp=msgspec.structs.replace(DpSpec(), **{field: value}))
        refused(spec, "must be 0 where no mechanism is named")
    check_spec(changed(complete(), dp=DpSpec()))


def test_noise_needs_a_deviation_and_a_norm_that_is_kept() -> None:
    said = "Noise needs dp.sigma above 0, and l2_clip above 0 and at most dp.l2_bound"
    check_spec(noisy(l2_clip=2.0))
    check_spec(noisy(l2_clip=1e-9))
    for spec in (noisy(l2_clip=0.0), noisy(l2_clip=2.0000001)):
        refused(spec, said)
    for sigma in (0.0, -0.5):
        refused(noisy(msgspec.structs.replace(NOISE, sigma=sigma)), said)


def test_the_norm_of_exact_words_is_that_of_the_clip() -> None:
    """Four coordinates of at most 3 have a norm of at most 6."""

    def spec(bound: float) -> RoundSpec:
        dp = DpSpec("distributed_discrete_gaussian", sigma=1.0, l2_bound=bound)
        return changed(complete(length=4, clip=3.0, bits=64), dp=dp)

    check_spec(spec(6.0))
    check_spec(spec(7.0))
    refused(spec(5.999), r"clip \* sqrt\(length\) above 0 and at most dp\.l2_bound")


def test_the_words_leave_room_for_the_noise_of_the_whole_cohort() -> None:
    """7 * (2^28 + 1) leaves 2^28 - 8 of 2^31; noise of the sum is sigma * sqrt(7 / 3)."""
    scale = 2.0**28
    spec = msgspec.structs.replace(noisy(), encoding=msgspec.structs.replace(noisy().encoding, scale=scale))
    most = (2**28 - 8) / scale / 12 / math.sqrt(7 / 3)
    check_spec(changed(spec, dp=msgspec.structs.replace(NOISE, sigma=most * 0.9999)))
    refused(changed(spec, dp=msgspec.structs.replace(NOISE, sigma=most * 1.0001)), "The sum could wrap")


def test_a_specification_that_cannot_be_read_says_how_long_it_was() -> None:
    for data in (b"", b"\x91" * 50, b"\xc0" * 7):
        with pytest.raises(SpecRefused, match=rf"The specification \({len(data)} bytes\) cannot be read"):
            read_spec(data)
    table = Table(Setting(pods=7))
    assert read_spec(table.spec.to_bytes()) == table.spec


@pytest.mark.parametrize(
    ("cohort", "identity", "said"),
    [
        (members(2), IDENTITY, "a cohort has 3 to 10000 pods"),
        (members(7), msgspec.structs.replace(IDENTITY, task=bytes(15)), "task must be 16 bytes"),
        (members(7, 32), IDENTITY, "A nonce commitment is not 0 bytes"),
    ],
)
def test_a_specification_that_does_not_hold_together_is_not_made(
    cohort: tuple[Member, ...], identity: RoundIdentity, said: str
) -> None:
    with pytest.raises(SpecRefused, match=said):
        make_spec(Parameters(length=5, clip=1.0, minimum_survivors=3), cohort, identity)
