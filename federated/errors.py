"""The errors of `federated`, one small tree.

    FederatedError
    ├── InvalidArgument       an argument has the wrong shape (also a ValueError)
    │   └── UnknownName           no algorithm, protocol or aggregator has this name
    ├── UsageError            options of a command contradict each other (also a ValueError)
    ├── ConfigurationError    a pod, trial, task or patients file is wrong (also an ehr.ConfigurationError)
    │   ├── NameWaits             a name that is known but not part of this release
    │   └── MissingExtra          a feature needs a package that is not installed
    ├── CheckFailed           something that must hold did not
    ├── SomeUnread            some patients or pods could not be read
    ├── PolicyRefused         the pod's owner does not allow it
    │   └── TaskRefused           a pod's answer to a task or a message of it, with its code
    ├── TooFewPods            fewer pods answered than the task needs
    ├── BudgetSpent           a privacy budget or a quota is used up
    └── MessageRefused        a message between pod and modeller is not what was agreed
        └── LinkLost              the other side cannot be reached

Messages are our own: they name the field, the shape of what came, what was expected and what to do;
never a value, a name, a URL or a token. What each means as exit status is in `exit_codes`. Errors of a masked round
are also `secure_agg`'s, where the meaning is one; they stand where they are raised, in `federated.aggregators`.
"""

from __future__ import annotations

from typing import Any

import ehr.errors


class FederatedError(Exception):
    """Root of the tree."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have required keywords; a plain pickle would call them with the message alone.
        return _rebuilt, (type(self), str(self), dict(vars(self)))


def _rebuilt(kind: type[FederatedError], message: str, attributes: dict[str, Any]) -> FederatedError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    vars(error).update(attributes)
    return error


class InvalidArgument(FederatedError, ValueError):
    """An argument has the wrong shape; nothing was done."""


class UnknownName(InvalidArgument):
    """No algorithm, protocol or aggregator has this name."""


class UsageError(FederatedError, ValueError):
    """Options of a command contradict each other, or one is missing; nothing was done."""


class ConfigurationError(ehr.errors.ConfigurationError, FederatedError):
    """A file of a pod, trial, task or patients, or this installation, is wrong: an `ehr.ConfigurationError` too."""


class NameWaits(ConfigurationError):
    """A name that is known, but whose component is not part of this release.

    Attributes:
        name: the bare name.
        waits_for: what it waits for, in words.
    """

    def __init__(self, name: str, waits_for: str) -> None:
        super().__init__(
            f"{name} is not part of this release: it waits for {waits_for}. Nothing was run. "
            'See "trialveil list" for the names that are available.'
        )
        self.name = name
        self.waits_for = waits_for


class MissingExtra(ConfigurationError):
    """A feature needs a package that is not installed.

    Attributes:
        extra: the extra of this distribution that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': pip install 'trialveil[{extra}]'")
        self.extra = extra


class CheckFailed(FederatedError):
    """Something that must hold did not: a contract case, or two ways that must agree."""


class SomeUnread(FederatedError):
    """The work is done, but some patients or pods could not be read."""


class PolicyRefused(FederatedError):
    """The pod's owner does not allow it."""


class TaskRefused(PolicyRefused):
    """A pod refuses a task, or a message of one.

    Attributes:
        code: name of a `federated.names._PodResponseType`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooFewPods(FederatedError):
    """Fewer pods answered than the task needs; there is no result."""


class BudgetSpent(FederatedError):
    """A privacy budget or a quota is used up."""


class MessageRefused(FederatedError):
    """A message between a pod and the modeller is not what was agreed; it had no effect."""


class LinkLost(MessageRefused):
    """The other side cannot be reached, or did not answer in time."""


# All are public; a plug-in raises TaskRefused and InvalidArgument (docs/write-a-plugin.md).
__all__ = [
    "BudgetSpent",
    "CheckFailed",
    "ConfigurationError",
    "FederatedError",
    "InvalidArgument",
    "LinkLost",
    "MessageRefused",
    "MissingExtra",
    "NameWaits",
    "PolicyRefused",
    "SomeUnread",
    "TaskRefused",
    "TooFewPods",
    "UnknownName",
    "UsageError",
]
