"""An access check joins signature, policy, ledger and clock, and whatever goes wrong is no access."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from federated.errors import InvalidArgument
from federated.names import _PodResponseType as Code
from federated.owner.access import AccessContext, check_access
from federated.task.spec import Aggregation, TaskDocument, TaskSpec, moment
from federated.types import InferenceLimits, ModelURLs
from tests.fakes.tasks import NOW, PODS, TRIAL, counting, gate, identity, participant, policy, signed, task


def code(spec: TaskSpec, at: AccessContext, now: Any = NOW) -> Code:
    result, verdict = check_access(*signed(spec), at, now)
    assert result["response_type"] is verdict.code
    return verdict.code


@pytest.fixture
def at(tmp_path: Path) -> AccessContext:
    return gate(tmp_path)


@pytest.mark.parametrize("spec", [task(), counting()])
def test_a_task_that_is_allowed_is_accepted_again_and_again(spec: TaskSpec, at: AccessContext) -> None:
    assert [code(spec, at) for _ in range(3)] == [Code.ACCEPT] * 3


def test_a_task_without_a_signature_or_with_another_ones_is_refused(at: AccessContext) -> None:
    data, signature = signed(task())
    stranger = signed(task(), identity("stranger"))[1]
    wrong = [b"", stranger, signature[:-1], bytes(64), signed(counting())[1]]
    found = [check_access(data, each, at, NOW)[1].code for each in wrong]
    assert found == [Code.NO_PROOF_OF_IDENTITY, *[Code.INVALID_PROOF_OF_IDENTITY] * 4]
    assert check_access(data, signature, replace(at, modellers={}), NOW)[1].code is Code.UNAUTHORISED


def _mutations(value: Any) -> Iterator[Any]:
    """The same JSON with one value changed, once for each of its values, and once without each key."""
    if isinstance(value, dict):
        for key in value:
            yield {other: value[other] for other in value if other != key}
            for changed in _mutations(value[key]):
                yield {**value, key: changed}
        yield {**value, "more": 1}
    elif isinstance(value, list):
        yield [*value, "more"]
        for place, each in enumerate(value):
            for changed in _mutations(each):
                yield [*value[:place], changed, *value[place + 1 :]]
    elif isinstance(value, str):
        yield value[:-1] + ("1" if value[-1:] != "1" else "2")
    elif isinstance(value, bool) or value is None:
        yield not value
    else:
        yield value + 1


@pytest.mark.parametrize("spec", [task(), counting(project="heart")])
def test_w11_w12_no_field_of_a_task_can_be_changed_after_it_was_signed(
    spec: TaskSpec, at: AccessContext
) -> None:
    data, signature = signed(spec)
    changed = [
        json.dumps(each, sort_keys=True, separators=(",", ":")).encode()
        for each in _mutations(json.loads(data))
    ]
    assert len(changed) > 60
    for each in [*changed, data + b" ", data[:-1], b"", b"[]"]:
        found = check_access(each, signature, at, NOW)[1].code
        assert found in {Code.INVALID_PROOF_OF_IDENTITY, Code.TASK_SETUP_ERROR, Code.UNAUTHORISED}
    assert code(spec, at) is Code.ACCEPT


def test_w12_a_nonce_holds_for_one_task(at: AccessContext) -> None:
    assert code(task(), at) is Code.ACCEPT
    assert code(task(name="another"), at) is Code.NO_ACCESS
    assert code(task(name="another", nonce="1" * 32), at) is Code.ACCEPT


def test_w12_a_task_has_an_end(at: AccessContext) -> None:
    assert code(task(), at, NOW + timedelta(days=2)) is Code.TASK_TIMEOUT
    assert code(task(), at, NOW - timedelta(hours=2)) is Code.NO_ACCESS


def test_a_refused_task_leaves_no_trace_in_the_ledger(at: AccessContext) -> None:
    poor = replace(at, policy=policy(protocols=()))
    assert code(task(), poor) is Code.NO_ACCESS
    assert code(task(name="another"), at) is Code.ACCEPT


def test_tasks_of_one_day_are_counted(tmp_path: Path) -> None:
    at = gate(tmp_path, policy(budgets={"tasks_per_day": 2}))
    tasks = [task(nonce=str(number) * 32) for number in range(3)]
    assert [code(each, at) for each in tasks] == [Code.ACCEPT, Code.ACCEPT, Code.NO_ACCESS]
    assert code(tasks[0], at) is Code.ACCEPT
    assert code(tasks[2], at, NOW + timedelta(hours=13)) is Code.ACCEPT


def test_w10_a_modeller_cannot_shrink_the_cohort_from_task_to_task(at: AccessContext) -> None:
    six = (*PODS, "oban")
    at = replace(at, peers={name: identity(name).public for name in six})
    wide = task(participants=tuple(participant(name) for name in sorted(six)))
    assert code(wide, at) is Code.ACCEPT
    assert code(task(nonce="1" * 32), at) is Code.NO_ACCESS
    assert code(counting(nonce="2" * 32), at) is Code.ACCEPT  # over other data


def test_w10_a_data_source_that_nothing_reads_makes_no_other_data(at: AccessContext) -> None:
    """The same patients of the EHR would be counted with one hospital and without it."""
    six = (*PODS, "oban")
    at = replace(at, peers={name: identity(name).public for name in six})
    assert code(counting(), at) is Code.ACCEPT
    wide = tuple(participant(name, "heart") for name in sorted(six))
    assert code(counting(nonce="1" * 32, participants=wide), at) is Code.NO_ACCESS


def test_a_clock_that_went_back_gives_no_tasks_out_again(tmp_path: Path) -> None:
    at = gate(tmp_path, policy(budgets={"tasks_per_day": 1}))
    assert code(task(), at) is Code.ACCEPT
    yesterday = NOW - timedelta(days=1)
    early = task(nonce="1" * 32, created=moment(yesterday), expires=moment(NOW))
    assert code(early, at, yesterday) is Code.NO_ACCESS


def test_limits_are_read_from_an_accepted_answer(tmp_path: Path) -> None:
    at = gate(tmp_path, policy(budgets={"inferences": {"logistic": 10}}))
    assert at.budgets.reserve("logistic", 4) == 4
    result, _ = check_access(*signed(task()), at, NOW)
    assert InferenceLimits.from_access_check_result(result) == {
        "logistic": InferenceLimits(limit=10, total_usage=4)
    }
    assert ModelURLs.from_access_check_result(result) == {}  # no pod file says where a model is fetched from
    assert at.budgets.reserve("logistic", 50) == 6
    result, verdict = check_access(*signed(task()), at, NOW)
    assert (verdict.code, result["limits"]) == (Code.NO_ACCESS, None)


def test_whatever_goes_wrong_inside_is_no_access_and_nothing_is_told(
    at: AccessContext, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(document: TaskDocument) -> str:
        raise RuntimeError("Shaw, Amy, /srv/keys/pod.seed")

    with caplog.at_level(logging.DEBUG):
        result, verdict = check_access(*signed(counting()), replace(at, digest_of=breaks), NOW)
    assert result == {"response_type": Code.NO_ACCESS, "limits": None}
    said = caplog.text + verdict.message + verdict.reasons[0].text
    assert "RuntimeError" in said
    assert "Shaw" not in said and "/srv" not in said


def test_a_document_that_cannot_be_read_is_refused(at: AccessContext) -> None:
    def refuses(document: TaskDocument) -> str:
        raise InvalidArgument("no trial")

    assert code(counting(), replace(at, digest_of=refuses)) is Code.NO_ACCESS
    assert code(counting(), replace(at, digest_of=None)) is Code.NO_ACCESS


def test_without_its_ledger_a_pod_refuses_every_task(at: AccessContext) -> None:
    at.budgets.close()
    assert code(task(), at) is Code.TASK_SETUP_ERROR


def test_an_allowed_digest_does_not_open_the_door_for_another_trial(at: AccessContext) -> None:
    lie = TaskDocument(kind="trial", digest=TRIAL.digest, text="trialveil: 1\ntitle: everybody\n")
    assert code(counting(documents={"trial.yaml": lie}), at) is Code.NO_ACCESS


def test_a_task_that_does_not_hold_together_is_no_task(at: AccessContext) -> None:
    spec = task(aggregation=Aggregation(name="bitfount.SecureAggregator", minimum_survivors=2))
    assert code(spec, at) is Code.TASK_SETUP_ERROR
