"""What an exit status means: one table for every command."""

from __future__ import annotations

import asyncio
from enum import IntEnum

import ehr.errors
from federated import errors


class ExitCode(IntEnum):
    """Exit status of every command; `MEANINGS` has them in words."""

    DONE = 0
    FAULT = 1
    USAGE = 2
    SOME_UNREAD = 3
    LOGIN_REFUSED = 4
    BAD_FILE = 5
    POLICY_REFUSED = 6
    TOO_FEW_PODS = 7
    BUDGET_SPENT = 8
    STOPPED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAULT: "a fault of ours, or a check that did not hold",
    ExitCode.USAGE: "wrong usage",
    ExitCode.SOME_UNREAD: "done, but some patients or pods could not be read",
    ExitCode.LOGIN_REFUSED: "the EHR or a pod refused the login",
    ExitCode.BAD_FILE: "a configuration, trial or task file is wrong",
    ExitCode.POLICY_REFUSED: "policy refused it",
    ExitCode.TOO_FEW_PODS: "too few pods answered",
    ExitCode.BUDGET_SPENT: "a budget or quota is spent",
    ExitCode.STOPPED: "stopped by the user",
}

# The first class that fits decides, so the more special ones stand first.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (KeyboardInterrupt, ExitCode.STOPPED),
    (asyncio.CancelledError, ExitCode.STOPPED),
    (errors.InvalidArgument, ExitCode.USAGE),
    (errors.UsageError, ExitCode.USAGE),
    (ehr.errors.ConfigurationError, ExitCode.BAD_FILE),
    (errors.CheckFailed, ExitCode.FAULT),
    (errors.SomeUnread, ExitCode.SOME_UNREAD),
    (errors.PolicyRefused, ExitCode.POLICY_REFUSED),
    (errors.TooFewPods, ExitCode.TOO_FEW_PODS),
    (errors.BudgetSpent, ExitCode.BUDGET_SPENT),
    (errors.LinkLost, ExitCode.TOO_FEW_PODS),
    (errors.MessageRefused, ExitCode.POLICY_REFUSED),
    # The base URL or an allow-list of pod.yaml does not fit what the server says.
    (ehr.errors.DestinationRefused, ExitCode.BAD_FILE),
    (ehr.errors.AuthError, ExitCode.LOGIN_REFUSED),
    (ehr.errors.QuotaSpent, ExitCode.BUDGET_SPENT),
    (ehr.errors.TransportError, ExitCode.SOME_UNREAD),
    (ehr.errors.HttpStatusError, ExitCode.SOME_UNREAD),
    (ehr.errors.ReadError, ExitCode.SOME_UNREAD),
    (ehr.errors.Unavailable, ExitCode.SOME_UNREAD),
    (ehr.errors.NotMatched, ExitCode.SOME_UNREAD),
)


def exit_code_for(error: BaseException) -> ExitCode:
    """The exit status that an error ends a command with; `ExitCode.FAULT` for one nobody expected."""
    if isinstance(error, ehr.errors.HttpStatusError) and error.status == 401:
        return ExitCode.LOGIN_REFUSED
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAULT)


def is_expected(error: BaseException) -> bool:
    """True if the error's message is a sentence of ours that may be shown to the user."""
    return isinstance(error, errors.FederatedError | ehr.errors.EHRError)
