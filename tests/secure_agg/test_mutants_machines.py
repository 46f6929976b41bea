"""Classes of changes that mutation runs made and no test noticed: memory, overwriting, journals, defaults, lists."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import pytest

from secure_agg import Cast, Parameters, messages, simulate
from secure_agg.client import Client
from secure_agg.errors import (
    BadMaskInput,
    BudgetRefused,
    CohortRefused,
    MalformedMessage,
    MemoryRefused,
    OutOfOrder,
    ParameterError,
    PolicyRefused,
    RoundRepeated,
    SecureAggError,
    SurvivorsRefused,
    WeightError,
)
from secure_agg.journal import (
    JOURNAL_LIMIT,
    PodJournal,
    PodPolicy,
    RoundRecord,
    admit,
    noise_plan,
    read_journal,
    release,
)
from secure_agg.keystream import Cursor, stream_key
from secure_agg.masks import LostPair, mask, remove
from secure_agg.messages import FORWARD, INVITATION, PROOFS, SURVIVORS
from secure_agg.name_lists import check_names
from secure_agg.parameters import DpSpec
from secure_agg.pod_setup import Contribution, PodSetup
from secure_agg.privacy import epsilon
from secure_agg.simulation import RoundToRun, make_cohort, sum_of_weights
from secure_agg.specification import RoundSpec
from tests.secure_agg.table import IDENTITIES, MODELLER, Setting, Table, entropy_from, sha
from tests.secure_agg.vectors import seed

KIB = 1024
NOISE = DpSpec("distributed_discrete_gaussian", sigma=0.5, delta=1e-6, l2_bound=2.0)

# ---- memory ----


def limited(table: Table, threads: int, memory: int) -> Client:
    table.clients["bath"] = table.make_client("bath")
    setup = table.clients["bath"]._setup
    table.clients["bath"]._setup = replace(setup, threads=threads, memory_bytes=memory)
    return table.clients["bath"]


@pytest.mark.parametrize(
    ("length", "threads", "used", "groups"),
    # 262,136 words and eight canaries fill 1 MiB; each thread has at least 4 MiB of words.
    [(60_000, 4, 1, 1), (3_200_000, 4, 4, 13), (3_000_000, 4, 3, 12), (1_200_000, 4, 2, 5)],
)
def test_a_pod_counts_the_memory_of_its_own_round_to_the_byte(
    length: int, threads: int, used: int, groups: int
) -> None:
    """The update in float64, its words, and the larger of rounding and of masking with five streams a thread."""
    table = Table(Setting(length=7))
    table.setting.length = length
    table.parameters = msgspec.structs.replace(table.parameters, length=length)
    table.spec = table.make_spec()
    table.server = type(table.server)(table.spec, MODELLER, table.pinned)
    table.updates["bath"] = np.zeros(length)
    words = 4 * (length + 8 * groups)
    rounding = 4 * 8 * 32_768
    masking = 256 * KIB * (used + 1) + used * 5 * 2048
    needed = 8 * length + words + max(rounding, masking)
    invitation = table.start()["bath"]
    limited(table, threads, needed - 1)
    with pytest.raises(MemoryRefused, match=f"needs {needed} bytes and {needed - 1} are allowed"):
        table.ask("bath", invitation)
    limited(table, threads, needed)
    assert table.ask("bath", invitation)[4:5] == messages.ADVERT


# ---- overwriting ----


def test_what_masked_an_update_is_overwritten_once_it_is_masked() -> None:
    table = Table()
    forward = table.up_to(FORWARD)["bath"]
    secrets = table.clients["bath"]._secrets
    assert secrets is not None
    held = [secrets._mask_key, secrets._channel_key, secrets._seed, *secrets._pairs.values()]
    assert len(held) == 3 + 4
    buffers = [each._data for each in held]
    assert all(map(any, buffers))
    table.ask("bath", forward)
    assert not any(map(any, buffers))
    assert secrets._pairs == {}
    assert secrets._channels == {}
    for each in held:
        with pytest.raises(ParameterError, match="overwritten when its round ended"):
            each.open()


def test_wiped_secrets_hold_nothing_at_all() -> None:
    table = Table()
    table.up_to(SURVIVORS)
    secrets = table.clients["bath"]._secrets
    assert secrets is not None
    buffers = [each._data for both in secrets._held.values() for each in both]
    assert len(buffers) == 10
    secrets.wipe()
    secrets.wipe()
    assert not any(map(any, buffers))
    assert (secrets._held, secrets._pairs, secrets._channels) == ({}, {}, {})


def test_the_servers_accumulator_is_zero_once_the_round_is_over() -> None:
    for wrong in (False, True):
        table = Table()
        proofs = table.up_to(PROOFS)
        words = table.server._sum.words
        assert words.any()
        if wrong:
            table.ask_all(dict(list(proofs.items())[:3]))
            with pytest.raises(SecureAggError):
                table.server.tick(table.server.deadline)
        else:
            assert np.abs(table.finish(proofs).mean).max() > 0
        assert not words.any()
        assert table.server._total is None
        assert (table.server._mail, table.server._reveals) == ({}, {})
        with pytest.raises(OutOfOrder, match="no sum yet"):
            _ = table.server._sum


def test_before_a_round_there_is_nothing_to_ask_for() -> None:
    table = Table()
    for name, said in (("_this", "No round was started"), ("_seen", "No roster"), ("_kept", "overwritten")):
        with pytest.raises(OutOfOrder, match=said):
            getattr(table.clients["bath"], name)
    for name, said in (("_seen", "no roster yet"), ("_sum", "no sum yet")):
        with pytest.raises(OutOfOrder, match=said):
            getattr(table.server, name)


# ---- lists ----


def test_the_list_that_is_wrong_is_named() -> None:
    for names in (("b", "a"), ("a", "a"), ("a", "c")):
        with pytest.raises(
            MalformedMessage, match=r"^The list of pods is unsorted, names a pod twice, or one"
        ):
            check_names(names, ("a", "b"), "pods")
    check_names((), ("a", "b"), "pods")
    check_names(("a", "b"), ("b", "a"), "pods")


@pytest.mark.parametrize(
    ("kind", "field", "what"),
    [
        (FORWARD, "shared", "pods that have shared"),
        (SURVIVORS, "survivors", "survivors"),
        (PROOFS, "confirmations", "pods that have confirmed"),
    ],
)
def test_a_pod_says_which_list_of_the_server_is_wrong(kind: bytes, field: str, what: str) -> None:
    table = Table()
    sent = table.up_to(kind)["bath"]
    message = messages.decode(sent, kind, messages.KINDS[kind].message, 5)
    backwards = msgspec.structs.replace(message, **{field: getattr(message, field)[::-1]})
    with pytest.raises(MalformedMessage, match=f"^The list of {what} is unsorted"):
        table.ask("bath", messages.encode(kind, backwards))


def test_a_survivor_set_of_just_the_floor_is_opened_and_of_one_less_is_not() -> None:
    for lost, opened in ((["york"], True), (["york", "leeds"], False)):
        table = Table()
        sent = table.up_to(SURVIVORS)["bath"]
        whole = messages.decode(sent, SURVIVORS, messages.Survivors, 5)
        fewer = msgspec.structs.replace(
            whole, survivors=tuple(name for name in whole.survivors if name not in lost)
        )
        if opened:
            table.ask("bath", messages.encode(SURVIVORS, fewer))
            continue
        with pytest.raises(SurvivorsRefused, match="has 3 pods; this pod opens a sum over at least 4"):
            table.ask("bath", messages.encode(SURVIVORS, fewer))


def test_a_pod_waits_for_the_sum_of_all_deadlines_and_no_longer() -> None:
    for late in (0.0, 1e-3):
        table = Table()
        table.now = 50.0
        roster = table.up_to(messages.ROSTER)["bath"]
        table.now = 50.0 + 60 + 60 + 600 + 60 + 60 + late
        if not late:
            table.ask("bath", roster)
            continue
        with pytest.raises(OutOfOrder, match="after the deadlines"):
            table.ask("bath", roster)


def test_a_server_takes_a_message_at_its_deadline() -> None:
    table = Table()
    assert (table.server.deadline, table.server.waiting_for) == (0.0, frozenset(table.names))
    assert table.server.tick(1e9) == ()
    answers = table.ask_all(table.start())
    assert table.server.receive(answers["bath"], table.server.deadline) == ()


# ---- journals and policies ----


def test_defaults_of_a_pod_are_those_of_the_documentation() -> None:
    chosen = PodPolicy()
    assert {each.name: getattr(chosen, each.name) for each in fields(chosen)} == {
        "minimum_survivors": 5,
        "minimum_change": 2,
        "maximum_rounds": 10_000,
        "semi_honest": False,
        "sparse_corrupt": 0.05,
        "sparse_dropped": 0.05,
        "schemas": None,
        "epsilon_budget": None,
    }
    PodPolicy(minimum_survivors=3)
    with pytest.raises(ParameterError, match="minimum_survivors is 2; a sum over fewer than 3"):
        PodPolicy(minimum_survivors=2)
    setup = PodSetup("bath", IDENTITIES["bath"], {}, b"")
    assert (setup.policy, setup.threads, setup.memory_bytes) == (chosen, None, None)
    given = Contribution(np.zeros(1), b"", b"")
    assert (given.weight, given.tensors, given.graph_nonce) == (1.0, (), b"")
    assert PodJournal() == PodJournal(version=1, records=())


def record(spec: RoundSpec, **changes: Any) -> RoundRecord:
    cohort = tuple(sorted(member.fingerprint for member in spec.cohort))
    plain = RoundRecord(spec.task, spec.round, sha("spec"), spec.model_hash, cohort, released=False, rho=0.0)
    return msgspec.structs.replace(plain, **changes)


LOOSE = PodPolicy(minimum_survivors=3)


def later(number: int = 1, model: str = "b", previous: bytes | None = None, pods: int = 5) -> RoundSpec:
    before = sha("a model") if previous is None else previous
    return Table(Setting(pods=pods, number=number, model=model, previous=before)).spec


def enter(spec: RoundSpec, *before: RoundRecord, policy: PodPolicy = LOOSE) -> PodJournal:
    return admit(PodJournal(records=before), spec, sha("this spec"), policy)


def test_a_round_that_is_entered_is_written_down_last() -> None:
    spec = later()
    earlier = record(Table().spec)
    found = enter(spec, earlier)
    assert found.records == (earlier, record(spec, spec_hash=sha("this spec")))
    assert found.version == 1


@pytest.mark.parametrize(
    ("change", "least", "held"), [(1, 1, True), (1, 2, False), (2, 2, True), (2, 3, False)]
)
def test_two_cohorts_of_a_task_differ_by_nothing_or_by_the_minimum(
    change: int, least: int, held: bool
) -> None:
    spec = later()
    cohort = tuple(sorted(member.fingerprint for member in spec.cohort))
    smaller = record(Table().spec, cohort=cohort[change:])
    policy = replace(LOOSE, minimum_change=least)
    enter(spec, record(Table().spec), policy=policy)
    enter(spec, replace_task(smaller), policy=policy)
    if held:
        enter(spec, smaller, policy=policy)
        return
    with pytest.raises(CohortRefused, match=f"differs by {change} pods .* or at least {least}"):
        enter(spec, smaller, policy=policy)


def replace_task(old: RoundRecord) -> RoundRecord:
    return msgspec.structs.replace(old, task=sha("another task")[:16])


def test_rounds_of_a_task_end_at_the_maximum_and_other_tasks_do_not_count() -> None:
    policy = replace(LOOSE, maximum_rounds=2)
    first, second = record(Table().spec), record(later())
    spec = later(2, "c", sha("b"))
    enter(spec, first, replace_task(second), policy=policy)
    with pytest.raises(PolicyRefused, match="takes part in 2 rounds"):
        enter(spec, first, second, policy=policy)


def test_the_order_of_rounds_is_kept() -> None:
    first, third = record(Table().spec), record(later(3, "d"), round=3)
    enter(later(1), first)
    enter(later(4, "e", sha("d")), first, third)
    enter(later(4, "e", sha("d")), third, first)
    enter(later(5, "e", sha("anything")), first, third)  # a round was missed: the model before it is unknown
    enter(later(7, "f", sha("anything")))
    for wrong in (later(3, "e"), later(2, "e"), later(4, "e", sha("a model"))):
        with pytest.raises(RoundRepeated):
            enter(wrong, first, third)
    with pytest.raises(RoundRepeated, match="Round 0 of a task names a model before it"):
        enter(later(0, "z", sha("before")))
    with pytest.raises(RoundRepeated, match="Round 0 of a task names a model before it"):
        enter(later(0, "z", bytes(31) + b"\x01"))


def test_a_model_is_answered_for_once() -> None:
    spec = later()
    same = record(spec, task=sha("other")[:16])
    enter(spec, same)
    with pytest.raises(RoundRepeated, match="already answered for the same model"):
        enter(spec, msgspec.structs.replace(same, released=True))
    with pytest.raises(CohortRefused, match="same model came before with another cohort"):
        enter(spec, msgspec.structs.replace(same, cohort=same.cohort[1:]))
    enter(spec, record(Table().spec, released=True))


def test_the_floor_and_the_list_of_schemas_of_a_pod_hold() -> None:
    spec = Table(Setting(pods=7)).spec
    enter(spec, policy=PodPolicy(minimum_survivors=5))
    with pytest.raises(CohortRefused, match="a sum over 5 pods; this pod asks for at least 6"):
        enter(spec, policy=PodPolicy(minimum_survivors=6))
    enter(spec, policy=replace(LOOSE, schemas=frozenset({sha("schema")})))
    for listed in (frozenset[bytes](), frozenset({sha("other")})):
        with pytest.raises(PolicyRefused, match="not on this pod's list"):
            enter(spec, policy=replace(LOOSE, schemas=listed))
    trusting = Table(Setting(parameters={"mode": "semi_honest"})).spec
    enter(trusting, policy=replace(LOOSE, semi_honest=True))
    with pytest.raises(PolicyRefused, match="semi-honest"):
        enter(trusting)


def test_a_budget_is_for_all_rounds_and_is_spent_to_the_last() -> None:
    table = Table(Setting(length=2000, parameters={"dp": NOISE}))
    planned = noise_plan(table.spec)
    assert planned is not None
    old = record(Table().spec, task=sha("long ago")[:16], model_hash=sha("old"), rho=planned.rho)
    both = epsilon(2 * planned.rho, NOISE.delta)
    found = enter(table.spec, old, policy=replace(LOOSE, epsilon_budget=both))
    assert found.records[-1].rho == planned.rho
    with pytest.raises(BudgetRefused, match="beyond its privacy budget"):
        enter(table.spec, old, policy=replace(LOOSE, epsilon_budget=math.nextafter(both, 0)))
    assert enter(table.spec, old).records[-1].rho == planned.rho
    assert enter(Table().spec).records[-1].rho == 0
    with pytest.raises(PolicyRefused, match="has a privacy budget, and the round adds no noise"):
        enter(Table().spec, policy=replace(LOOSE, epsilon_budget=1e9))


@pytest.mark.parametrize(
    ("bits", "rounding", "stochastic", "words"),
    [(32, "stochastic", True, 2000), (32, "nearest", False, 2000), (16, "stochastic", True, 2048),
     (64, "stochastic", False, 2000)],
)  # fmt: skip
def test_the_plan_of_noise_is_for_the_words_of_the_round(
    bits: Any, rounding: Any, stochastic: bool, words: int
) -> None:
    from secure_agg import privacy

    bound = 2.0 if bits != 64 else 8.0 * math.sqrt(2000)
    dp = msgspec.structs.replace(NOISE, l2_bound=bound, sigma=0.01 if bits == 16 else 0.5)
    spec = Table(Setting(length=2000, parameters={"dp": dp, "bits": bits, "rounding": rounding})).spec
    expected = privacy.plan(dp, privacy.NoisyRound(4, 2, spec.encoding.scale, words, stochastic))
    assert noise_plan(spec) == expected
    assert noise_plan(Table().spec) is None


def test_a_release_is_of_the_round_with_that_hash() -> None:
    first, second = record(Table().spec), record(later(), spec_hash=sha("other"))
    found = release(PodJournal(records=(first, second)), sha("other"))
    assert found.records == (first, msgspec.structs.replace(second, released=True))
    for journal in (PodJournal(records=(first,)), PodJournal(records=(first, second, second)), found):
        with pytest.raises(RoundRepeated, match="released before, or never entered"):
            release(journal, sha("other"))


def test_a_journal_of_another_version_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedMessage, match="of another version"):
        read_journal(PodJournal(version=2).to_bytes())
    assert JOURNAL_LIMIT == 2**28
    data = PodJournal().to_bytes()
    monkeypatch.setattr("secure_agg.journal.JOURNAL_LIMIT", len(data))
    assert read_journal(data) == PodJournal()
    monkeypatch.setattr("secure_agg.journal.JOURNAL_LIMIT", len(data) - 1)
    with pytest.raises(MalformedMessage, match=rf"The journal \({len(data)} bytes\) cannot be read"):
        read_journal(data)


def test_a_sparse_graph_is_worth_40_bits_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the edge from both sides; a pod's share of its own secret does not count as a neighbour's."""
    from secure_agg.graph import certificate
    from tests.secure_agg.test_sparse_roster import THIS

    spec = msgspec.structs.replace(THIS.spec, threshold=5)  # degree 4
    policy = replace(LOOSE, semi_honest=True, sparse_corrupt=0.2, sparse_dropped=0.1)
    worth = certificate(12, 0.2, 0.1, 4, 4).privacy_bits
    assert 0 < worth < 40
    with pytest.raises(PolicyRefused, match=r"Degree 4 and threshold 5 among 12 pods give .* asks for 40"):
        enter(spec, policy=policy)
    monkeypatch.setattr("secure_agg.journal.PRIVACY_BITS", worth)
    enter(spec, policy=policy)
    monkeypatch.setattr("secure_agg.journal.PRIVACY_BITS", math.nextafter(worth, math.inf))
    with pytest.raises(PolicyRefused):
        enter(spec, policy=policy)


# ---- the simulation ----


def test_a_simulated_round_is_round_0_of_a_task_of_its_own() -> None:
    parameters = Parameters(length=3, clip=8.0, minimum_survivors=3)
    cohort = make_cohort(["a", "b", "c"], parameters, entropy_from("cohort"))
    spec = RoundToRun(parameters, cohort, Cast()).spec()
    assert (spec.round, spec.task) == (0, hashlib.sha256(b"simulated task").digest()[:16])
    assert spec.model_hash == hashlib.sha256(b"simulated").digest()
    assert spec.schema_hash == hashlib.sha256(b"one vector").digest()
    assert spec.previous_model_hash == bytes(32)
    third = RoundToRun(parameters, cohort, Cast(task=bytes(16), round=2, model=b"m")).spec()
    assert (third.round, third.task) == (2, bytes(16))
    assert third.previous_model_hash == third.model_hash == hashlib.sha256(b"m").digest()


def test_weights_are_added_exactly_up_to_the_largest_that_fit() -> None:
    parameters = Parameters(length=3, clip=8.0, minimum_survivors=3)
    names = [f"pod-{number}" for number in range(4)]
    most = float(2**62 // 4) / 2**20

    def total(weight: float) -> float:
        cohort = make_cohort(names, parameters, entropy_from("cohort"))
        return sum_of_weights(parameters, dict.fromkeys(names, weight), cohort, Cast(entropy_from("w")))

    assert total(most) == 4 * most
    assert total(2.0**-21) == 4 * 2.0**-20  # rounded up to a step
    assert total(1.25) == 5
    for weight in (math.nextafter(most, math.inf), 0.0):
        with pytest.raises(WeightError, match=re.escape(f"at most {most:g}.")):
            total(weight)


def test_the_weights_are_added_in_a_round_0_of_another_task() -> None:
    parameters = Parameters(length=3, clip=8.0, minimum_survivors=3, dp=NOISE, l2_clip=1.0)
    names = [f"pod-{number}" for number in range(4)]
    cohort = make_cohort(names, parameters, entropy_from("cohort"))
    cast = Cast(entropy_from("w"), task=bytes(16), round=3, model=b"m")
    sum_of_weights(parameters, dict.fromkeys(names, 2.0), cohort, cast)
    for journal in cohort.journals.values():
        (entered,) = journal.records
        assert (entered.round, entered.released, entered.rho) == (0, True, 0.0)
        assert entered.task == hashlib.sha256(b"sa1/weights" + bytes(16)).digest()[:16]
        assert entered.model_hash == hashlib.sha256(b"sa1/weightsm").digest()


def test_a_pod_that_falls_silent_needs_a_place_of_the_list() -> None:
    parameters = Parameters(length=3, clip=8.0, minimum_survivors=3)
    updates = {f"pod-{number}": np.zeros(3) for number in range(4)}
    with pytest.raises(
        ParameterError, match="before_advertise, after_advertise, after_shares, after_upload, "
    ):
        simulate(parameters, updates, lost={"pod-0": "sometime"})  # type: ignore[dict-item]  # no such place
    trusting = msgspec.structs.replace(parameters, mode="semi_honest")
    with pytest.raises(ParameterError, match="no pod can be lost after one"):
        simulate(trusting, updates, lost={"pod-0": "after_confirm"})


# ---- masks ----


@pytest.mark.parametrize(
    "words", [np.zeros(4, np.int32), np.zeros((2, 2), np.uint32), np.zeros(8, "<u4")[::2]]
)
def test_what_is_no_vector_of_words_is_neither_masked_nor_opened(words: np.ndarray) -> None:
    with pytest.raises(BadMaskInput, match="uint16, uint32 or uint64"):
        mask(words, "a", seed("own"), {"b": seed("pair")})
    with pytest.raises(BadMaskInput, match="uint16, uint32 or uint64"):
        remove(words, [seed("own")])


def test_what_goes_wrong_in_one_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(part: np.ndarray, start: int, *_: object) -> None:
        if start:
            raise MemoryError("no room for this thread")

    monkeypatch.setattr("secure_agg.masks._add_range", failing)
    with pytest.raises(MemoryError, match="no room for this thread"):
        mask(np.zeros(3_000_000, "<u4"), "a", seed("own"), {"b": seed("pair")}, threads=2)


def test_a_mask_is_the_stream_of_each_seed_added_or_taken_off_once() -> None:
    def stream(label: str) -> np.ndarray:
        return Cursor(stream_key(seed(label))).words(5, "<u4")

    words = np.zeros(5, "<u4")
    mask(words, "b", seed("own"), {"a": seed("low"), "c": seed("high")})
    assert np.array_equal(words, stream("own") + stream("low") - stream("high"))
    total = np.zeros(5, "<u4")
    remove(total, [seed("own")], [LostPair("b", "a", seed("low")), LostPair("b", "c", seed("high"))])
    assert np.array_equal(total, -words)


def test_an_invitation_is_taken_by_start_alone() -> None:
    table = Table()
    invitation = table.start()["bath"]
    assert invitation[4:5] == INVITATION
    with pytest.raises(OutOfOrder, match=r"An invitation is given to start\(\)"):
        table.clients["bath"].receive(invitation, 0.0)
