"""The policy at its edges: what is just inside it runs, and what only looks like something allowed does not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from federated.errors import TaskRefused
from federated.names import _PodResponseType as Code
from federated.owner.decide import TaskDecision, check_release, leaving, rounds_planned
from federated.task.spec import Aggregation, TaskDocument, Unit, moment
from tests.fakes.tasks import NOW, TRIAL, counting, policy, task
from tests.federated.owner.test_decide import FACTS, aggregation, unit, verdict

OPEN = {"secure_aggregation": "optional"}
NOBODY = replace(FACTS, peers={})


def rules(found: TaskDecision) -> list[str]:
    return [reason.rule for reason in found.reasons]


def test_a_modellers_clock_may_be_five_minutes_ahead_and_no_more() -> None:
    assert verdict(task(created=moment(NOW + timedelta(minutes=5)))) == TaskDecision()
    assert rules(verdict(task(created=moment(NOW + timedelta(minutes=5, seconds=1))))) == ["created"]


@pytest.mark.parametrize(
    "name", ["bitfount.FederatedModelTraining", "bitfount.FederatedAveraging", "nobodys.Mean"]
)
def test_only_an_aggregator_adds_up(name: str) -> None:
    """Also where sums without masks are allowed, so that no other rule is in the way."""
    assert (
        verdict(task(aggregation=Aggregation(name="bitfount.Aggregator")), policy(**OPEN), NOBODY)
        == TaskDecision()
    )
    assert rules(verdict(task(aggregation=Aggregation(name=name)), policy(**OPEN), NOBODY)) == ["aggregator"]


def test_a_document_is_allowed_as_what_it_is() -> None:
    """A trial's digest on the list does not let the same text run as steps, nor the other way round."""
    steps = TaskDocument(kind="steps", digest=hashlib.sha256(b"steps").hexdigest(), text="steps")
    spec = counting(documents={"steps.yaml": steps, "trial.yaml": TRIAL})
    both = {TRIAL.digest, steps.digest}
    assert verdict(spec, policy(steps=frozenset({steps.digest}))) == TaskDecision()
    assert rules(verdict(spec, policy(trials=frozenset(both)))) == ["steps"]
    assert rules(verdict(spec, policy(steps=frozenset(both), trials=frozenset()))) == ["trial"]


@pytest.mark.parametrize("trial", [5, True, ["trial.yaml"], {"name": "trial.yaml"}, "", "other.yaml"])
def test_an_algorithm_names_its_trial_by_the_name_of_a_document(trial: Any) -> None:
    spec = counting(algorithms=(Unit(name=counting().algorithms[0].name, arguments={"trial": trial}),))
    assert rules(verdict(spec)) == ["trial"]


def test_a_model_in_a_form_that_cannot_be_checked_is_refused_where_none_is_needed_too() -> None:
    arguments = {"trial": "trial.yaml", "checkpoint_path": ["weights.bin"]}
    assert rules(
        verdict(counting(algorithms=(Unit(name=counting().algorithms[0].name, arguments=arguments),)))
    ) == ["model"]


def test_no_owner_can_say_that_the_server_is_trusted() -> None:
    assert rules(verdict(task(aggregation=aggregation(mode="semi_honest")))) == ["mode"]


def test_a_weight_is_bounded_where_rows_are_counted() -> None:
    owner = policy(maximum_weight=100.0)
    for weights, most, refused in (
        ("rows", 100.0, []),
        ("rows", 100.5, ["maximum_weight"]),
        ("equal", 1e6, []),
    ):
        chosen = aggregation(weights=weights, maximum_weight=most)
        assert rules(verdict(task(aggregation=chosen), owner)) == refused


def test_the_longest_of_some_algorithms_says_how_many_rounds_there_are() -> None:
    training = (
        *unit(model="logistic", epochs=3),
        *unit(model="logistic", epochs=100),
        *unit(model="logistic"),
    )
    assert rounds_planned(task(algorithms=training)) == 100
    assert rules(verdict(task(algorithms=training), policy(maximum_rounds=99))) == ["maximum_rounds"]


@pytest.mark.parametrize("between", [0, -3, "x", None, 1])
def test_an_update_is_never_further_apart_than_the_task_says_in_a_number(between: Any) -> None:
    protocol = Unit(
        name="bitfount.FederatedAveraging", arguments={"epochs_between_parameter_updates": between}
    )
    assert rounds_planned(task(algorithms=unit(model="logistic", epochs=7), protocol=protocol)) == 7


def test_peers_need_no_key_where_nothing_is_masked() -> None:
    plain = Aggregation(name="bitfount.Aggregator")
    assert verdict(task(aggregation=plain), policy(**OPEN), NOBODY) == TaskDecision()
    assert set(rules(verdict(task(), facts=NOBODY))) == {"peers"}


def test_a_protocol_that_nobody_knows_is_taken_to_let_everything_leave() -> None:
    unknown = task(protocol=Unit(name="nobody.knows"))
    assert leaving(unknown) == {"updates", "metrics"}
    with pytest.raises(TaskRefused, match="leaves"):
        check_release(policy(leaves=frozenset(), secure_aggregation="optional"), unknown, "plain update")


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (counting(aggregation=None), "counts"),
        (
            task(
                aggregation=None,
                algorithms=(Unit(name="bitfount.ModelEvaluation", arguments={"model": "logistic"}),),
            ),
            "metrics",
        ),
        (task(aggregation=None), "updates"),
    ],
)
def test_a_pods_own_numbers_never_leave_alone_unless_the_owner_says_so(spec: Any, kind: str) -> None:
    allowed = {"leaves": leaving(spec), "algorithms": frozenset({*policy().algorithms, "ModelEvaluation"})}
    assert kind in leaving(spec)
    assert rules(verdict(spec, policy(**allowed))) == ["secure_aggregation"]
    assert verdict(spec, policy(secure_aggregation="optional", **allowed)) == TaskDecision()


def test_noise_counts_only_under_a_mask_and_is_needed_only_where_something_leaves() -> None:
    owner = {"budgets": {"epsilon": 4.0, "delta": 1e-6}}
    noisy = {"noise": 1.0, "l2_clip": 1.0, "delta": 1e-6}
    plain = task(aggregation=Aggregation(name="bitfount.Aggregator", **noisy))
    assert rules(verdict(plain, policy(**owner, **OPEN), NOBODY)) == ["epsilon"]
    stays = counting(
        aggregation=None, protocol=Unit(name="ResultsOnly", arguments={"save_location": ["Worker"]})
    )
    assert verdict(stays, policy(**owner)) == TaskDecision()


def test_an_algorithm_that_reads_the_ehr_needs_one() -> None:
    found = verdict(counting(), facts=replace(FACTS, has_ehr=False))
    assert (found.code, rules(found)) == (Code.MISSING_EHR_CONNECTION, ["ehr"])
    assert verdict(task(), facts=replace(FACTS, has_ehr=False)) == TaskDecision()
