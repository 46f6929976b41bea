"""Every error of ours has an exit status, and the statuses are those that were promised."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator

import pytest

import ehr.errors
from federated import errors
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
        (errors.FileRejected(["a.yaml:1:1: TV001 x"]), 5),
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
        errors.FileRejected(["a", "b"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_a_pickle(error: errors.FederatedError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_errors_caused_by_an_argument_or_file_are_value_errors() -> None:
    for kind in (errors.InvalidArgument, errors.UsageError, errors.ConfigurationError):
        assert issubclass(kind, ValueError)
