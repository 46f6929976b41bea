"""Pods refuse a modeller that cheats, and the modeller pods that do: with a typed reason, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from federated.aggregators.round_terms import Terms, round_spec
from federated.aggregators.values import model_hash, reals_layout, tensors_to_bytes
from federated.errors import MessageRefused, TooFewPods
from federated.links.in_process import InProcess
from federated.modeller import program as modeller
from federated.protocols.sides import TaskOutcome
from federated.rounds.coordinator import STAGES, Answer
from federated.rounds.journal import Event, Journal
from federated.task.envelope import Envelope, Header, signed
from federated.task.spec import Aggregation, TaskSpec, Unit
from secure_agg import Server
from secure_agg.keys import sign
from secure_agg.messages import ADVERT, FRAME, INVITATION, Invitation
from secure_agg.messages import encode as frame
from tests.federated.runtime.cast import NAMES, NOW, SECURE, Cast, identity, make_task
from tests.federated.runtime.training_stand_in import Parameters, model

MODELLER = "modeller"


EQUAL = Aggregation(name=SECURE, weights="equal", minimum_survivors=3)


class Talk:
    """A modeller that may cheat, and one pod that listens."""

    def __init__(self, cast: Cast, spec: TaskSpec | None = None) -> None:
        self.cast = cast
        self.spec = spec or make_task(aggregation=EQUAL)
        self.desk = cast.coordinator(self.spec, InProcess(cast.handlers()))

    async def offer(self, pod: str = "bath", **changed: Any) -> Answer:
        body = changed.pop("body", self.spec.to_bytes())
        note = {"signature": changed.pop("signature", self.cast.signature(self.spec))}
        return await self.desk.ask(pod, self.desk.request(pod, 1, "offer", note, body), 1)

    def round(self, seq: int = 1, cohort: tuple[str, ...] = NAMES, **changed: Any) -> tuple[bytes, bytes]:
        """An invitation to a round, and the model that goes with it."""
        tensors = changed.pop("tensors", model(Parameters()).tensors())
        layout = reals_layout(tensors, {"loss": 100.0, "auc": 1.0})
        body = tensors_to_bytes(tensors)
        terms = Terms(
            "update", seq, cohort, changed.pop("about", model_hash(self.spec.hash, layout.hash, body))
        )
        terms = replace(terms, previous=changed.pop("previous", bytes(32)))
        spec = round_spec(changed.pop("of", self.spec), layout, terms, changed.pop("number", seq))
        spec = msgspec.structs.replace(spec, **changed)
        data = spec.to_bytes()
        return frame(INVITATION, Invitation(data, sign(identity(MODELLER), INVITATION, data))), body

    async def compute(
        self, invitation: bytes, body: bytes, seq: int = 1, number: int = 0, **note: Any
    ) -> Answer:
        number = number or seq * STAGES + 1
        said = {"seq": seq, "purpose": "update", "round": seq, "amount": 1, "invitation": invitation} | note
        return await self.desk.ask("bath", self.desk.request("bath", number, "compute", said, body), number)


async def test_an_honest_round_is_entered(cast: Cast) -> None:
    talk = Talk(cast)
    assert (await talk.offer()).message is not None
    answer = await talk.compute(*talk.round())
    assert answer.message is not None
    assert answer.message.header.kind == "sum"


CHEATS: dict[str, dict[str, Any]] = {
    "a smaller cohort than the threshold allows": {"minimum_survivors": 2},
    "a lower threshold": {"threshold": 3},
    "a trusting mode": {"mode": "semi_honest"},
    "a wider clip": {"clip": 400.0},
    "another task": {"task": b"t" * 16},
    "another schema": {"schema_hash": b"s" * 32},
    "another length": {"length": 5},
}


@pytest.mark.parametrize("cheat", CHEATS)
async def test_a_round_that_is_not_the_task_s_is_refused_before_anything_is_computed(
    cast: Cast, cheat: str
) -> None:
    talk = Talk(cast)
    await talk.offer()
    changed = dict(CHEATS[cheat])
    if "clip" in changed:
        wide = msgspec.structs.replace(EQUAL, clip=changed.pop("clip"))
        changed["of"] = msgspec.structs.replace(talk.spec, aggregation=wide)
    invitation, body = talk.round(**changed)
    answer = await talk.compute(invitation, body)
    assert answer.message is None
    assert answer.code in ("TASK_SETUP_ERROR", "NO_ACCESS")
    assert not any(
        what.startswith("masked") for what, _ in cast.owners["bath"].left if what != "masked update"
    )


async def test_a_modeller_that_shrinks_the_cohort_is_refused(cast: Cast) -> None:
    cast.start("bath")
    cast.owners["bath"].floor = 5
    talk = Talk(cast)
    await talk.offer()
    answer = await talk.compute(*talk.round(cohort=("bath", "hull", "kent", "leeds")))
    assert answer.message is None
    assert answer.code == "NO_ACCESS"


async def test_a_modeller_that_swaps_a_key_is_refused(cast: Cast) -> None:
    spec = make_task(aggregation=EQUAL)
    pods = list(spec.participants)
    pods[1] = msgspec.structs.replace(pods[1], key=identity("the modeller's own pod").public.hex())
    talk = Talk(cast, msgspec.structs.replace(spec, participants=tuple(pods)))
    await talk.offer()
    terms = Terms("update", 1, NAMES, b"m" * 32)
    tensors = model(Parameters()).tensors()
    layout = reals_layout(tensors, {"loss": 100.0, "auc": 1.0})
    invitation = (
        Server(round_spec(talk.spec, layout, terms, 1), identity(MODELLER), talk.spec.pinned)
        .start(0.0)[0]
        .data
    )
    answer = await talk.compute(invitation, tensors_to_bytes(tensors))
    assert answer.message is None


async def test_a_repeated_round_is_refused_and_a_repeated_request_answered_again(cast: Cast) -> None:
    talk = Talk(cast)
    await talk.offer()
    invitation, body = talk.round()
    first = await talk.compute(invitation, body)
    again = await talk.compute(invitation, body)
    assert first.message is not None
    assert again.message is not None
    assert again.message.head == first.message.head
    assert bytes(again.message.body) == bytes(first.message.body)
    second = await talk.compute(invitation, body, number=5 * STAGES)
    assert second.message is None
    assert "already entered" in second.sentence


async def test_a_pod_started_again_does_not_enter_its_round_again(cast: Cast) -> None:
    talk = Talk(cast)
    await talk.offer()
    invitation, body = talk.round()
    assert (await talk.compute(invitation, body)).message is not None
    cast.start("bath")
    assert (await talk.compute(invitation, body)).message is None
    await_next = talk.round(
        2,
        tensors={k: v + 1 for k, v in model(Parameters()).tensors().items()},
        previous=model_hash(
            talk.spec.hash,
            reals_layout(model(Parameters()).tensors(), {"loss": 100.0, "auc": 1.0}).hash,
            body,
        ),
    )
    assert (await talk.compute(*await_next, seq=2)).message is not None


async def test_an_older_request_is_refused(cast: Cast) -> None:
    talk = Talk(cast)
    await talk.offer()
    invitation, body = talk.round()
    await talk.compute(invitation, body, number=90)
    late = await talk.compute(invitation, body, number=89)
    assert late.message is None
    assert "late" in late.sentence


async def test_nothing_runs_without_an_accepted_task(cast: Cast) -> None:
    talk = Talk(cast)
    answer = await talk.compute(*talk.round())
    assert (answer.message, answer.code) == (None, "NO_ACCESS")


async def test_an_expired_task_runs_no_round(cast: Cast) -> None:
    talk = Talk(cast)
    await talk.offer()
    late = NOW + timedelta(days=2)
    cast.pods["bath"].__dict__["clock"] = lambda: late
    answer = await talk.compute(*talk.round())
    assert (answer.message, answer.code) == (None, "TASK_TIMEOUT")


def changed_head(parcel: Envelope, change: Callable[[Header], Header], signer: str = MODELLER) -> Envelope:
    header = msgspec.msgpack.decode(parcel.head[64:], type=Header)
    return signed(identity(signer), change(header), parcel.body)


async def test_a_message_of_another_signer_pod_or_body_is_dropped(cast: Cast) -> None:
    talk = Talk(cast)
    pod = cast.pods["bath"]
    request = talk.desk.request("bath", 1, "offer", {}, b"x")
    for wrong in (
        changed_head(request, lambda header: header, "hull"),
        changed_head(request, lambda header: msgspec.structs.replace(header, recipient="hull")),
        Envelope(request.head, b"y"),
        Envelope(request.head, b"xx"),
        Envelope(request.head[:-1] + b"\0", b"x"),
        Envelope(b"", b"x"),
        Envelope(b"\0" * 70_000, b"x"),
        changed_head(request, lambda header: msgspec.structs.replace(header, kind="shell")),
        changed_head(request, lambda header: msgspec.structs.replace(header, sealed=True)),
        changed_head(request, lambda header: msgspec.structs.replace(header, version=2)),
    ):
        with pytest.raises(MessageRefused):
            await pod.handle(wrong)


async def test_the_modeller_takes_no_answer_of_another_task_pod_or_request(cast: Cast) -> None:
    talk = Talk(cast)
    honest = await cast.pods["bath"].handle(
        talk.desk.request(
            "bath", 1, "offer", {"signature": talk.cast.signature(talk.spec)}, talk.spec.to_bytes()
        )
    )
    changes: list[Callable[[Header], Header]] = [
        lambda header: msgspec.structs.replace(header, task=b"t" * 32),
        lambda header: msgspec.structs.replace(header, number=2),
        lambda header: msgspec.structs.replace(header, recipient="hull"),
        lambda header: msgspec.structs.replace(header, sender="hull"),
        lambda header: msgspec.structs.replace(header, sealed=True),
    ]
    for change in changes:

        async def lies(parcel: Envelope, change: Callable[[Header], Header] = change) -> Envelope:
            return changed_head(honest, change, "bath")

        talk.desk = cast.coordinator(talk.spec, InProcess({"bath": lies}))
        answer = await talk.desk.ask("bath", talk.desk.request("bath", 1, "offer", {}, b""), 1)
        assert answer.message is None


class Bends:
    """A link on which one pod's answers are changed on the way."""

    def __init__(self, cast: Cast, pod: str, change: Callable[[Envelope, int], Envelope]) -> None:
        self._link, self._pod, self._change = InProcess(cast.handlers()), pod, change
        self._answers = 0

    @property
    def connected(self) -> frozenset[str]:
        return self._link.connected

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        answer = await self._link.ask(pod, request)
        if pod == self._pod:
            self._answers += 1
            return self._change(answer, self._answers)
        return answer

    async def close(self) -> None:
        await self._link.close()


def cut(parcel: Envelope) -> Envelope:
    """A masked upload that is eight bytes too short, signed outside by its pod."""
    header = msgspec.msgpack.decode(parcel.head[64:], type=Header)
    return signed(identity("kent"), header, memoryview(parcel.body)[:-8])


@pytest.mark.parametrize("what", ["short", "signature", "stale"])
async def test_a_bad_upload_is_refused_and_the_others_finish(cast: Cast, what: str) -> None:
    spec = make_task(
        aggregation=EQUAL,
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 2}),),
    )
    seen: list[Envelope] = []

    def change(answer: Envelope, number: int) -> Envelope:
        header = msgspec.msgpack.decode(answer.head[64:], type=Header)
        if not header.sealed:
            return answer
        seen.append(answer)
        if len(seen) != 2:
            return answer
        if what == "short":
            return cut(answer)
        if what == "stale":
            return signed(identity("kent"), header, seen[0].body)
        return Envelope(b"\0" * 64 + answer.head[64:], answer.body)

    coordinator = cast.coordinator(spec, Bends(cast, "kent", change))
    outcome = await modeller.run(coordinator, cast.signature(spec))
    assert outcome.rounds[0].survivors == NAMES
    assert outcome.rounds[1].survivors == ("bath", "hull", "leeds", "york")
    assert set(outcome.rounds[1].lost) == {"kent"}


class Stopped(BaseException):
    """The modeller is no more."""


class Watched(Journal):
    """A log that is looked at, and that may end the modeller as soon as a pod is lost."""

    def __init__(self, folder: Path, stored: list[bytes], *, ends: bool) -> None:
        super().__init__(folder)
        self._stored, self._ends = stored, ends

    def note(self, seq: int, event: Event) -> None:
        super().note(seq, event)
        self._stored.append(event.data)
        if event.kind == "lost" and self._ends:
            raise Stopped


@pytest.mark.parametrize("ends", [False, True])
async def test_one_flipped_bit_in_a_first_message_costs_its_pod_alone_also_after_a_restart(
    cast: Cast, tmp_path: Path, ends: bool
) -> None:
    """The modeller's program ended with a KeyError here, and again at each of its starts."""
    spec = make_task(
        aggregation=EQUAL,
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 1}),),
    )
    flipped: list[bytes] = []
    stored: list[bytes] = []

    def change(answer: Envelope, number: int) -> Envelope:
        header = msgspec.msgpack.decode(answer.head[64:], type=Header)
        if bytes(answer.body[:5]) != FRAME + ADVERT:
            return answer
        flipped.append(bytes([*answer.body[:-1], answer.body[-1] ^ 1]))
        return signed(identity("kent"), header, flipped[-1])

    link = Bends(cast, "kent", change)
    journal = Watched(tmp_path / "modeller", stored, ends=ends)
    kept: list[TaskOutcome] = []
    with pytest.raises(Stopped) if ends else nullcontext():
        await modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec), kept.append)
    if ends:
        journal.close()
        journal = Watched(tmp_path / "modeller", stored, ends=False)
        await modeller.run(cast.coordinator(spec, link, journal), cast.signature(spec), kept.append)
    journal.close()
    (round_,) = kept[-1].rounds
    assert round_.survivors == ("bath", "hull", "leeds", "york")
    assert round_.lost["kent"].startswith("REFUSED")
    assert flipped
    assert not set(flipped) & set(stored), "what was refused is not kept"


@pytest.mark.parametrize("wrong", ["nan", "shape", "missing", "too large", "heavy"])
async def test_bad_input_is_refused_inside_its_pod_before_anything_is_sent(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    from tests.federated.runtime import training_stand_in as stand_in

    real = stand_in.Halfway.train

    def train(self: Any, tensors: Any, amount: int, number: int) -> Any:
        trained = real(self, tensors, amount, number)
        if self._place.pod != "kent":
            return trained
        update = dict(trained.update)
        if wrong == "nan":
            update["second"] = np.full((2, 2), np.nan)
        elif wrong == "shape":
            update["second"] = np.zeros((2, 3))
        elif wrong == "missing":
            del update["second"]
        elif wrong == "too large":
            update["first"] = update["first"] + 1e6
        return replace(trained, update=update)

    monkeypatch.setattr(stand_in.Halfway, "train", train)
    most = 25.0 if wrong == "heavy" else 1000.0
    pods = ("bath", "hull", "kent") if wrong == "heavy" else NAMES
    aggregation = Aggregation(name=SECURE, weights="rows", minimum_survivors=3, maximum_weight=most)
    spec = make_task(aggregation=aggregation)
    if wrong == "heavy":
        with pytest.raises(TooFewPods):
            await modeller.run(cast.coordinator(spec), cast.signature(spec))
        assert "rows is outside 0 to its bound" in str(cast.news)
        assert pods
        return
    outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert all(one.survivors == ("bath", "hull", "leeds", "york") for one in outcome.rounds)
    why = outcome.rounds[0].lost["kent"]
    assert why.startswith("INCOMPATIBLE_DATASOURCE")
    assert "nan" not in why.lower().replace("nan or infinity", "") or wrong == "nan"


async def test_a_pod_that_lies_within_the_clip_cannot_be_seen(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What masks hide from the modeller they also hide of a liar; the docs say so."""
    from tests.federated.runtime import training_stand_in as stand_in

    real = stand_in.Halfway.train

    def train(self: Any, tensors: Any, amount: int, number: int) -> Any:
        trained = real(self, tensors, amount, number)
        lie = {name: np.full_like(array, 3.9) for name, array in trained.update.items()}
        return replace(trained, update=lie) if self._place.pod == "kent" else trained

    monkeypatch.setattr(stand_in.Halfway, "train", train)
    spec = make_task(aggregation=EQUAL)
    outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert all(one.survivors == NAMES and not one.lost for one in outcome.rounds)
    assert float(outcome.model["first"][0]) > 1.2, "the lie is in the model, and nobody can say whose it was"


@pytest.mark.parametrize(
    "wrong",
    [{"name": "a\x1b[2Jb"}, {"name": ""}, {"name": "x" * 64}, {"project": "../up"}, {"project": "a\nb"}],
)
async def test_a_task_whose_name_is_none_is_refused_by_the_pod(cast: Cast, wrong: dict[str, str]) -> None:
    """A name is shown on the terminal of each pod's owner, and a project names a folder."""
    talk = Talk(cast, make_task(aggregation=EQUAL, **wrong))
    assert (await talk.offer()).code == "TASK_SETUP_ERROR"


async def test_the_pod_s_owner_is_told_what_was_asked_and_answered(cast: Cast) -> None:
    told: list[str] = []
    pod = cast.pods["bath"] = replace(cast.start("bath"), tell=told.append)
    await Talk(cast, make_task(aggregation=EQUAL, name="")).offer()
    assert told[-1].startswith("A task of modeller was refused (TASK_SETUP_ERROR): ")
    assert pod.task_ended.is_set()
    talk = Talk(cast)
    assert (await talk.offer()).message is not None
    assert told[-1] == "halfway: the task of modeller was accepted."
