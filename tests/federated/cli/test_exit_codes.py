"""Every error of ours has an exit status, and the statuses are those that were promised."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ehr
import ehr.errors
import federated
import secure_agg
from ehr.files.problems import FileErrors, Problem
from federated import errors
from federated.aggregators.secure_pod import refused
from federated.aggregators.secure_rounds import TooFewAnswered
from federated.cli.exit_codes import MEANINGS, ExitCode, exit_code_for, is_expected


def test_the_numbers_are_the_promised_ones() -> None:
    assert sorted(MEANINGS) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
        (RuntimeError("x"), 1),
        (ValueError("x"), 1),
        (errors.CheckFailed("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.UnknownName("x"), 2),
        (errors.SomeUnread("x"), 3),
        (errors.ConfigurationError("x"), 5),
        (FileErrors([Problem("a.yaml", 1, 1, "TV001", "x")]), 5),
        (errors.NameWaits("ResultsOnly", "tasks"), 5),
        (errors.MissingExtra("x", "bulk"), 5),
        (errors.PolicyRefused("x"), 6),
        (errors.TooFewPods("x"), 7),
        (errors.BudgetSpent("x"), 8),
        (ehr.errors.ConfigurationError("x"), 5),
        (ehr.errors.LoginRefused("x"), 4),
        (ehr.errors.ClockWrong("x"), 4),
        (ehr.errors.ScopeMissing("x"), 4),
        (ehr.errors.HttpStatusError("x", status=401), 4),
        (ehr.errors.HttpStatusError("x", status=503), 3),
        (ehr.errors.TimedOut("x"), 3),
        (ehr.errors.QuotaSpent("x"), 8),
        (ehr.errors.Unavailable("x", state="UNAVAILABLE"), 3),
        (ehr.errors.NotMatched("x"), 3),
    ],
)
def test_an_error_ends_with_its_status(error: BaseException, code: int) -> None:
    assert exit_code_for(error) == code


def _leaves(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    below = [each for each in kind.__subclasses__() if each.__module__ == kind.__module__]
    for each in below:
        yield from _leaves(each)
    if not below:
        yield kind


@pytest.mark.parametrize(
    "kind",
    [*_leaves(ehr.errors.EHRError), *_leaves(errors.FederatedError)],
    ids=lambda kind: kind.__qualname__,
)
def test_no_error_of_ours_is_forgotten(kind: type[BaseException]) -> None:
    error = kind.__new__(kind)
    vars(error).update(status=500)
    assert is_expected(error)
    assert isinstance(error, errors.CheckFailed) or exit_code_for(error) != ExitCode.FAULT


@pytest.mark.parametrize(
    "error",
    [
        errors.NameWaits("ResultsOnly", "tasks"),
        errors.MissingExtra("x", "bulk"),
        FileErrors([Problem("a", 1, 0, "TV001", "b"), Problem("b", 1, 0, "TV001", "b")]),
        TooFewAnswered("x", ("reveal", 1, 2, 3)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_a_pickle(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_errors_caused_by_an_argument_or_file_are_value_errors() -> None:
    for kind in (errors.InvalidArgument, errors.UsageError, errors.ConfigurationError):
        assert issubclass(kind, ValueError)


def test_one_except_catches_a_wrong_pod_file_and_a_wrong_trial_file(tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").write_text(
        "trialveil: 1\nid: any\ntitle: A\nversion: '1'\n"
        "status: final\ninclusion:\n"
        "  - {id: age, text: Adults, source: nowhere, where: {age: {is: '>= 18', unit: a}}}\n"
    )
    for trial, said in (("trial.yaml", "pod file"), ("nope.yaml", "trial file")):
        with pytest.raises(ehr.ConfigurationError, match=f"{said}: there is no such file"):
            federated.screen(tmp_path / "nope.yaml", tmp_path / trial)
    with pytest.raises(ehr.ConfigurationError):
        raise federated.MissingExtra("x", "bulk")


def test_an_error_of_a_masked_round_is_caught_under_the_name_of_either_package() -> None:
    of_round = secure_agg.CohortRefused("Too few.")
    assert isinstance(refused(of_round), federated.PolicyRefused)
    assert isinstance(refused(of_round), secure_agg.PolicyRefused)
    assert exit_code_for(refused(of_round)) == ExitCode.POLICY_REFUSED
    spent = refused(secure_agg.BudgetRefused("Spent."))
    assert isinstance(spent, federated.BudgetSpent) and isinstance(spent, secure_agg.PolicyRefused)
    assert exit_code_for(spent) == ExitCode.BUDGET_SPENT
    assert not isinstance(refused(secure_agg.BadSignature("x")), secure_agg.SecureAggError)
    too_few = TooFewAnswered("3 of 5.", ("reveal", 3, 4, 5))
    assert isinstance(too_few, federated.TooFewPods) and isinstance(too_few, secure_agg.TooFewPods)
    assert (str(too_few), exit_code_for(too_few)) == ("3 of 5.", ExitCode.TOO_FEW_PODS)


def test_the_errors_of_federated_bring_nothing_of_masking() -> None:
    code = (
        "import sys, federated.errors, federated.cli.exit_codes; print('secure_agg' in ''.join(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
