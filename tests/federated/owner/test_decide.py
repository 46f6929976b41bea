"""What a pod's owner has not allowed is refused, whoever asks and whatever else is in the task."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from federated.errors import InvalidArgument, TaskRefused
from federated.names import _PodResponseType as Code
from federated.owner.budgets import largest_rho, pod_policy
from federated.owner.decide import Facts, TaskDecision, check_release, decide, leaving, rounds_planned
from federated.owner.disclosure import DISCLOSURES, canonical
from federated.owner.federation_section import FederationSection
from federated.owner.policy import MINIMUM_CHANGE, PolicySection
from federated.task import registry
from federated.task.spec import Aggregation, Participant, TaskDocument, TaskSpec, Unit, moment
from secure_agg.privacy import epsilon
from tests.fakes.tasks import (
    MODELLER,
    MODELLERS,
    NOW,
    PEERS,
    POD,
    PODS,
    TRIAL,
    counting,
    identity,
    participant,
    policy,
    task,
)

FACTS = Facts(
    pod=POD,
    key=identity(POD).public,
    now=NOW,
    modellers=MODELLERS,
    peers=PEERS,
    sources={"heart": "tables", "scans": "images"},
    has_ehr=True,
    digests={"trial.yaml": TRIAL.digest},
)
STRANGER = identity("stranger").public


def verdict(spec: TaskSpec, owner: PolicySection | None = None, facts: Facts = FACTS) -> TaskDecision:
    return decide(policy() if owner is None else owner, spec, facts)


def aggregation(**changes: Any) -> Aggregation:
    return Aggregation(**({"name": "bitfount.SecureAggregator"} | changes))


def unit(**arguments: Any) -> tuple[Unit, ...]:
    return (Unit(name="bitfount.FederatedModelTraining", arguments=arguments),)


@pytest.mark.parametrize("spec", [task(), counting()])
def test_what_is_allowed_runs(spec: TaskSpec) -> None:
    assert verdict(spec) == TaskDecision()
    assert verdict(spec).code is Code.ACCEPT


@pytest.mark.parametrize("spec", [task(), counting()])
def test_an_empty_policy_runs_nothing(spec: TaskSpec) -> None:
    assert verdict(spec, PolicySection(), replace(FACTS, modellers={})).code is Code.UNAUTHORISED
    nobody = replace(FACTS, peers={})
    assert {reason.rule for reason in verdict(spec, PolicySection(), nobody).reasons} >= {
        "protocol",
        "algorithm",
        "leaves",
        "peers",
    }


def _under_another_key(name: str) -> Participant:
    return Participant(name=name, key=STRANGER.hex(), data="heart") if name == POD else participant(name)


REFUSED: dict[str, tuple[TaskSpec, Code, str]] = {
    "a modeller nobody knows": (
        task(modeller=Participant(name="eve", key=MODELLER.public.hex())),
        Code.UNAUTHORISED,
        "modeller",
    ),
    "a modeller whose key was swapped": (
        task(modeller=Participant(name="ana", key=STRANGER.hex())),
        Code.INVALID_PROOF_OF_IDENTITY,
        "modeller",
    ),
    "a pod that is not invited": (
        task(participants=tuple(participant(name) for name in (*PODS[:3], "oban", "york"))),
        Code.NO_ACCESS,
        "participants",
    ),
    "a pod that is invited under another key": (
        task(participants=tuple(_under_another_key(name) for name in PODS)),
        Code.NO_ACCESS,
        "participants",
    ),
    "an expired task": (task(expires=moment(NOW)), Code.TASK_TIMEOUT, "expires"),
    "a task of the future": (task(created=moment(NOW + timedelta(minutes=6))), Code.NO_ACCESS, "created"),
    "a protocol that is not allowed": (
        task(protocol=Unit(name="bitfount.GAScreeningProtocol")),
        Code.NO_ACCESS,
        "protocol",
    ),
    "an algorithm that is not allowed": (
        task(algorithms=(Unit(name="bitfount.ModelInference", arguments={"model": "logistic"}),)),
        Code.NO_ACCESS,
        "algorithm",
    ),
    "a forbidden algorithm behind an allowed one": (
        task(algorithms=(*task().algorithms, Unit(name="SqlQuery"))),
        Code.NO_ACCESS,
        "algorithm",
    ),
    "a protocol in an algorithm's place": (
        task(algorithms=(Unit(name="FederatedAveraging"),)),
        Code.NO_ACCESS,
        "algorithm",
    ),
    "a name that nobody knows": (task(protocol=Unit(name="x" * 5000)), Code.NO_ACCESS, "protocol"),
    "a model that is not allowed": (task(algorithms=unit(model="deep")), Code.NO_ACCESS, "model"),
    "no model at all": (task(algorithms=unit()), Code.NO_ACCESS, "model"),
    "an allowed model with another file": (
        task(algorithms=unit(model={"name": "logistic", "sha256": "b" * 64})),
        Code.NO_ACCESS,
        "model",
    ),
    "an allowed model with other weights": (
        task(algorithms=unit(model="logistic", pretrained_file="weights.safetensors")),
        Code.NO_ACCESS,
        "model",
    ),
    "code instead of a model": (task(algorithms=unit(model=["import os"])), Code.NO_ACCESS, "model"),
    "a plain aggregator": (
        task(aggregation=Aggregation(name="bitfount.Aggregator")),
        Code.NO_ACCESS,
        "secure_aggregation",
    ),
    "a name that only ends like the secure one": (
        task(aggregation=aggregation(name="evil.SecureAggregator")),
        Code.NO_ACCESS,
        "aggregator",
    ),
    "too few survivors": (
        task(aggregation=aggregation(minimum_survivors=4)),
        Code.NO_ACCESS,
        "minimum_survivors",
    ),
    "a sum that trusts the server": (
        task(aggregation=aggregation(mode="semi_honest")),
        Code.NO_ACCESS,
        "mode",
    ),
    "too large a weight": (
        task(aggregation=aggregation(weights="rows", maximum_weight=2e6)),
        Code.NO_ACCESS,
        "maximum_weight",
    ),
    "results of single pods": (counting(aggregation=None), Code.NO_ACCESS, "secure_aggregation"),
    "a data source that is not here": (
        task(participants=tuple(participant(name, "lungs") for name in PODS)),
        Code.NO_DATA,
        "data",
    ),
    "no data source": (
        task(participants=tuple(participant(name, None) for name in PODS)),
        Code.NO_DATA,
        "data",
    ),
    "a data source of another kind": (
        task(participants=tuple(participant(name, "scans") for name in PODS)),
        Code.INCOMPATIBLE_DATASOURCE,
        "data",
    ),
    "a trial that is not allowed": (
        counting(documents={"trial.yaml": TaskDocument(kind="trial", digest="c" * 64, text="x")}),
        Code.NO_ACCESS,
        "trial",
    ),
    "steps that are not allowed": (
        counting(
            documents={
                "trial.yaml": TRIAL,
                "steps.yaml": TaskDocument(kind="steps", digest=hashlib.sha256(b"x").hexdigest(), text="x"),
            }
        ),
        Code.NO_ACCESS,
        "steps",
    ),
    "a trial that does not travel in the task": (
        counting(documents={}),
        Code.NO_ACCESS,
        "trial",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_its_code_and_rule(what: str) -> None:
    spec, code, rule = REFUSED[what]
    found = verdict(
        spec, facts=replace(FACTS, digests={"trial.yaml": TRIAL.digest} if spec.documents else {})
    )
    assert found.code is code
    assert rule in {reason.rule for reason in found.reasons}
    assert found.reasons[0].rule in found.message


def test_w4_a_cohort_of_one_or_two_is_refused_by_the_pod() -> None:
    for pods in (("leeds",), ("leeds", "york")):
        spec = task(
            participants=tuple(participant(name) for name in pods),
            aggregation=Aggregation(name="bitfount.Aggregator", minimum_survivors=1),
        )
        found = verdict(spec, policy(secure_aggregation="optional", cohort_minimum=3, minimum_survivors=3))
        assert [reason.rule for reason in found.reasons] == ["cohort_minimum"]
    for least in ("cohort_minimum", "minimum_survivors"):
        with pytest.raises(ValidationError, match=least):
            policy(**{least: 2})


@pytest.mark.parametrize("kept", [4, 6])
def test_w10_a_cohort_that_differs_by_one_pod_is_refused(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = frozenset(identity(name).public for name in (*PODS, "oban")[:kept])
    found = verdict(task(), facts=replace(FACTS, cohorts=(earlier,)))
    assert [reason.rule for reason in found.reasons] == ["minimum_change"]
    assert (
        verdict(task(), facts=replace(FACTS, cohorts=(frozenset(task().pinned.values()),))) == TaskDecision()
    )
    monkeypatch.setattr("federated.owner.decide.MINIMUM_CHANGE", 1)
    assert verdict(task(), facts=replace(FACTS, cohorts=(earlier,))) == TaskDecision()


@pytest.mark.parametrize("peers", [{}, dict.fromkeys(PODS, STRANGER)])
def test_w10_a_peer_that_the_owner_has_not_pinned_is_refused(peers: dict[str, bytes]) -> None:
    found = verdict(task(), facts=replace(FACTS, peers=peers))
    assert {reason.rule for reason in found.reasons} == {"peers"}
    assert len(found.reasons) == len(PODS) - 1


@pytest.mark.parametrize(
    "name", ["GAScreeningProtocol", "bitfount.GAScreeningProtocol", "GAScreeningProtocolJade"]
)
def test_an_alias_means_what_it_runs(name: str) -> None:
    spec = task(protocol=Unit(name=name))
    assert "protocol" in {reason.rule for reason in verdict(spec).reasons}
    jade = policy(protocols=("GAScreeningProtocolJade",))
    assert verdict(spec, jade) == TaskDecision()


def test_a_document_is_what_its_text_is_and_not_what_it_says() -> None:
    lie = TaskDocument(kind="trial", digest=TRIAL.digest, text="another trial")
    spec = counting(documents={"trial.yaml": lie})
    found = verdict(spec, facts=replace(FACTS, digests={"trial.yaml": "d" * 64}))
    assert [reason.rule for reason in found.reasons] == ["trial"]
    assert verdict(spec, facts=replace(FACTS, digests={})).code is Code.NO_ACCESS


@pytest.mark.parametrize(
    ("total", "between", "rounds"),
    [
        ({"epochs": 100}, {}, 100),
        ({"steps": 1001}, {"steps": 10}, 101),
        ({"epochs": "100"}, {}, 100),
        ({"epochs": 100.0}, {"epochs": "2"}, 50),
        ({}, {}, 1),
    ],
)
def test_more_rounds_than_the_owner_allows_are_refused_before_the_first(
    total: dict[str, Any], between: dict[str, Any], rounds: int
) -> None:
    arguments = {f"{name}_between_parameter_updates": count for name, count in between.items()}
    protocol = Unit(name="bitfount.FederatedAveraging", arguments=arguments)
    spec = task(algorithms=unit(model={"name": "logistic"}, **total), protocol=protocol)
    assert rounds_planned(spec) == rounds
    assert verdict(spec, policy(maximum_rounds=rounds)) == TaskDecision()
    if rounds > 1:
        found = verdict(spec, policy(maximum_rounds=rounds - 1))
        assert [reason.rule for reason in found.reasons] == ["maximum_rounds"]


def test_w21_a_budget_without_noise_in_the_task_is_refused() -> None:
    budgets = {"epsilon": 4.0, "delta": 1e-6}
    owner = policy(budgets=budgets)
    noisy = {"noise": 1.0, "l2_clip": 1.0, "delta": 1e-6}
    assert verdict(task(aggregation=aggregation(**noisy)), owner) == TaskDecision()
    for wrong in ({"noise": 0.0}, {"l2_clip": 0.0}, {"delta": 1e-5}, {"weights": "rows"}):
        found = verdict(task(aggregation=aggregation(**(noisy | wrong))), owner)
        assert {reason.rule for reason in found.reasons} <= {"epsilon", "delta"}
        assert found.code is Code.NO_ACCESS, wrong
    plain = policy(budgets=budgets, secure_aggregation="optional")
    assert verdict(counting(aggregation=None), plain).code is Code.NO_ACCESS


def test_w15_only_models_by_name_or_digest_run() -> None:
    for model in ({"code": "print()"}, {"name": ""}, {"name": 5}, {}, 5, True, ["logistic"]):
        assert verdict(task(algorithms=unit(model=model))).code is Code.NO_ACCESS
    digest = "e" * 64
    owner = policy(models=("logistic", digest))
    assert (
        verdict(task(algorithms=unit(model={"name": "logistic", "sha256": digest})), owner) == TaskDecision()
    )
    assert verdict(task(algorithms=unit(model=digest)), owner) == TaskDecision()


def test_a_spent_quota_refuses_the_task() -> None:
    found = verdict(task(), facts=replace(FACTS, left={"logistic": 0}))
    assert [reason.rule for reason in found.reasons] == ["inferences"]
    assert verdict(task(), facts=replace(FACTS, left={"logistic": 1})) == TaskDecision()


def test_what_nobody_knows_is_taken_to_let_everything_leave() -> None:
    spec = task(algorithms=(Unit(name="somebody.else"),))
    assert leaving(spec) == {"counts", "updates", "metrics", "model_results", "row_export"}


def test_results_that_stay_in_the_pod_need_no_leave() -> None:
    owner = policy(leaves=(), secure_aggregation="required")
    stays = counting(
        aggregation=None, protocol=Unit(name="ResultsOnly", arguments={"save_location": ["Worker"]})
    )
    assert verdict(stays, owner) == TaskDecision()
    for places in (["Modeller"], ["Worker", "Modeller"], "Worker", None):
        returned = msgspec.structs.replace(
            stays, protocol=Unit(name="ResultsOnly", arguments={"save_location": places})
        )
        assert "leaves" in {reason.rule for reason in verdict(returned, owner).reasons}


def test_every_algorithm_of_the_table_stands_under_the_name_that_it_is_looked_up_by() -> None:
    assert all(canonical(registry.built_in()[name]) == name for name in DISCLOSURES)


names = st.one_of(
    st.sampled_from(sorted(registry.built_in())),
    st.sampled_from([f"bitfount.{name}" for name in sorted(registry.built_in())]),
    st.text(max_size=40),
)
units = st.builds(
    Unit, name=names, arguments=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
)
aggregations = st.one_of(
    st.none(),
    st.builds(
        Aggregation,
        name=names,
        minimum_survivors=st.integers(1, 5),
        noise=st.floats(0, 5),
        weights=st.sampled_from(["equal", "rows"]),
    ),
)


@given(protocol=units, algorithms=st.lists(units, min_size=1, max_size=4).map(tuple), chosen=aggregations)
def test_a_task_outside_the_list_is_refused_whatever_else_is_in_it(
    protocol: Unit, algorithms: tuple[Unit, ...], chosen: Aggregation | None
) -> None:
    owner = policy(leaves=("counts", "updates", "metrics", "model_results", "row_export"))
    allowed = {
        "protocol": {canonical(registry.find(name)) for name in owner.protocols},
        "algorithm": {canonical(registry.find(name)) for name in owner.algorithms},
    }
    inside = all(
        (entry := _entry(each.name)) is not None and entry.kind == kind and canonical(entry) in allowed[kind]
        for kind, units in (("protocol", (protocol,)), ("algorithm", algorithms))
        for each in units
    )
    spec = task(protocol=protocol, algorithms=algorithms, aggregation=chosen)
    if not inside:
        assert verdict(spec, owner).code is not Code.ACCEPT


def _entry(name: str) -> registry.RegisteredName | None:
    try:
        return registry.find(name)
    except InvalidArgument:
        return None


@pytest.mark.parametrize("what", REFUSED)
def test_no_sentence_holds_a_key_a_value_or_a_path(what: str) -> None:
    found = verdict(REFUSED[what][0])
    for text in (found.message, *(reason.text for reason in found.reasons)):
        assert not re.search(r"[0-9a-f]{16}|/|\\|import|stranger|lungs|weights\.|x{9}", text), text
        assert len(text) < 200
    assert not re.search(r"\d", found.message)


@pytest.mark.parametrize("spec", [task(), counting()])
def test_no_repr_shows_a_key(spec: TaskSpec) -> None:
    shown = repr((policy(), FACTS, verdict(spec, PolicySection())))
    assert not any(repr(identity(name).public) in shown for name in PODS)
    assert repr(MODELLER.public) not in shown


def test_what_leaves_is_checked_again_when_it_leaves() -> None:
    check_release(policy(), task(), "masked update", 99)
    for what, number, rule in (
        ("masked update", 100, "maximum_rounds"),
        ("plain update", 0, "secure_aggregation"),
        ("postcard", 0, "leaves"),
    ):
        with pytest.raises(TaskRefused, match=rule):
            check_release(policy(), task(), what, number)
    with pytest.raises(TaskRefused, match="leaves"):
        check_release(policy(leaves=()), counting(), "result")
    with pytest.raises(TaskRefused, match="secure_aggregation"):
        check_release(policy(), counting(), "result")


def test_masked_rounds_get_the_owners_floors() -> None:
    rules = pod_policy(policy(minimum_survivors=7, maximum_rounds=3))
    assert (rules.minimum_survivors, rules.maximum_rounds, rules.minimum_change) == (7, 3, MINIMUM_CHANGE)
    assert rules.epsilon_budget is None and not rules.semi_honest


def test_masked_rounds_get_what_other_releases_have_left_of_the_budget() -> None:
    owner = policy(budgets={"epsilon": 3.0, "delta": 1e-6})
    whole = largest_rho(3.0, 1e-6)
    assert epsilon(whole, 1e-6) == pytest.approx(3.0)
    assert epsilon(whole, 1e-6) <= 3.0
    assert pod_policy(owner).epsilon_budget == pytest.approx(3.0)
    half = pod_policy(owner, whole / 2).epsilon_budget
    assert half == pytest.approx(epsilon(whole / 2, 1e-6))
    assert pod_policy(owner, 2 * whole).epsilon_budget == 0.0


def test_the_section_of_a_pod_file_is_the_policy() -> None:
    section = PolicySection.model_validate(
        {
            "protocols": ["GAScreeningProtocol"],
            "algorithms": ["ModelInference"],
            "trials": ["sha256:" + "A" * 64],
            "models": ["logistic"],
            "leaves": ["counts"],
            "maximum_weight": 10,
            "budgets": {"inferences": {"logistic": 5}, "tasks_per_day": 2},
        }
    )
    federation = FederationSection.model_validate(
        {
            "name": "leeds",
            "key": {"file": "pod.key"},
            "modeller": {"name": "ana", "key": MODELLER.public.hex()},
            "peers": {"york": STRANGER.hex()},
        }
    )
    assert [reason.rule for reason in verdict(task(), section).reasons].count("protocol") == 1
    for name in ("GAScreeningProtocol", "GAScreeningProtocolJade"):
        found = verdict(task(protocol=Unit(name=name)), section)
        assert "protocol" not in {reason.rule for reason in found.reasons}
    assert (federation.modeller.public, federation.pinned) == (MODELLER.public, {"york": STRANGER})
    assert (section.budgets.inferences, section.budgets.tasks_per_day) == ({"logistic": 5}, 2)
    assert (section.maximum_weight, section.secure_aggregation) == (10.0, "required")
    assert (section.trials, section.models) == (("a" * 64,), ("logistic",))
