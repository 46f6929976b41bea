"""The errors of `secure_agg`, one small tree.

    SecureAggError
    ├── ParameterError            a size, bound or argument is wrong, said with the arithmetic (also a ValueError)
    │   ├── BadMaskInput              masking was asked for with seeds or arrays that cannot be right
    │   ├── GraphNotCertified         no bound shows that a sparse graph of this degree is safe
    │   └── MemoryRefused             the vectors would not fit into the memory that was allowed
    ├── InputRefused              a pod's own update cannot be masked; nothing was sent (also a ValueError)
    │   ├── NonFiniteUpdateError      NaN or infinity
    │   ├── SchemaMismatchError       wrong name, shape, order or type
    │   ├── RangeError                a value beyond the clip
    │   └── WeightError               a weight that is not above 0, not finite or above the agreed maximum
    ├── PolicyRefused             this pod's own rules forbid the round; nothing was sent
    │   ├── CohortRefused             too few, changed too little, or unknown pods
    │   ├── RoundRepeated             this round, or this model, was already answered
    │   └── BudgetRefused             the privacy budget of this pod is spent
    ├── ProtocolError             a message breaks the protocol; the round is over for who received it
    │   ├── MalformedMessage          not a message, too large, unknown fields, wrong type
    │   ├── OutOfOrder                a message that this state does not expect, or a second one
    │   ├── BadSignature              not signed by the pinned key
    │   ├── SpecRefused               the specification does not hold together
    │   ├── RosterRefused             the roster names unknown, doubled or changed keys
    │   ├── SharesRefused             a share could not be opened, or is for somebody else
    │   └── SurvivorsRefused          the survivor sets do not agree
    ├── TooFewPods                fewer pods than the threshold; there is no sum
    ├── BadShare                  shares that do not give back what was committed to
    ├── UnmaskIntegrityError      canaries or the header lane show a wrong mask; there is no sum
    └── ExtraMissing              an optional package is needed; the message has the install line

Messages never hold an update, a weight, a seed, a share or a key.
"""

from __future__ import annotations


class SecureAggError(Exception):
    """Root of the tree; messages never hold an update, a seed, a share or a key."""


class ParameterError(SecureAggError, ValueError):
    """A size, bound or argument is wrong; the message shows the arithmetic."""


class BadMaskInput(ParameterError):
    """Seeds or arrays that masking cannot use.

    Args:
        field: name of the argument.
        came: the shape of what came, never its content.
        expected: what the argument must be.
    """

    def __init__(self, field: str, came: str, expected: str) -> None:
        super().__init__(f"{field} is {came}; expected {expected}. Nothing was sent.")
        self.parts = (field, came, expected)

    def __reduce__(self) -> tuple[type[BadMaskInput], tuple[str, str, str]]:
        return type(self), self.parts


class GraphNotCertified(ParameterError):
    """No bound shows that a sparse graph with these numbers is private and alive."""


class MemoryRefused(ParameterError):
    """The vectors would not fit into the memory that was allowed."""


class InputRefused(SecureAggError, ValueError):
    """A pod's own update cannot be masked. Nothing was sent; the pod is a dropout of this round."""


class NonFiniteUpdateError(InputRefused):
    """NaN or infinity in an update."""


class SchemaMismatchError(InputRefused):
    """An update with a wrong name, shape, order or type."""


class RangeError(InputRefused):
    """A value lies beyond the clip, and the policy is to refuse."""


class WeightError(InputRefused):
    """A weight that is not above 0, not finite, or above the agreed maximum."""


class PolicyRefused(SecureAggError):
    """This pod's own rules forbid the round. Nothing was sent."""


class CohortRefused(PolicyRefused):
    """Too few pods, unknown pods, or a cohort that differs by too few pods from the last one."""


class RoundRepeated(PolicyRefused):
    """This round, or this model, was already answered."""


class BudgetRefused(PolicyRefused):
    """The privacy budget of this pod does not allow the round."""


class ProtocolError(SecureAggError):
    """A message breaks the protocol; the round is over for the one who received it."""


class MalformedMessage(ProtocolError):
    """Bytes that are no message of this version: size, fields, types or ranges."""


class OutOfOrder(ProtocolError):
    """A message that the present state does not expect, or one that came twice."""


class BadSignature(ProtocolError):
    """A signature that the pinned key did not make over these bytes."""


class SpecRefused(ProtocolError):
    """A round's specification that does not hold together, or is not the one that was agreed."""


class RosterRefused(ProtocolError):
    """A roster with unknown, doubled or changed pods or keys."""


class SharesRefused(ProtocolError):
    """A sealed share that does not open, is malformed, or belongs to somebody else.

    Args:
        message: what is wrong.
        sender: the pod whose share it is, where known (a pod's name is no secret within a cohort).
    """

    def __init__(self, message: str, sender: str | None = None) -> None:
        super().__init__(message)
        self.sender = sender


class SurvivorsRefused(ProtocolError):
    """Survivor sets that overlap, shrink below the floor, or differ from the one that was signed."""


class TooFewPods(SecureAggError):
    """Fewer pods answered than the task needs. There is no sum; the round can be started again.

    Args:
        stage: where the round ended.
        answered: pods that answered.
        needed: pods that the task needs.
        invited: pods that could have answered.
    """

    def __init__(self, stage: str, answered: int, needed: int, invited: int) -> None:
        super().__init__(
            f"{answered} of {invited} pods answered at {stage!r}; the task needs {needed}. "
            "There is no sum. The round can be started again."
        )
        self.parts = (stage, answered, needed, invited)

    def __reduce__(self) -> tuple[type[TooFewPods], tuple[str, int, int, int]]:
        return type(self), self.parts


class BadShare(SecureAggError):
    """Shares that do not give back what their owner committed to."""


class UnmaskIntegrityError(SecureAggError):
    """Canaries or the header lane are not what they must be after unmasking; there is no sum."""


class ExtraMissing(SecureAggError, ImportError):
    """An optional package is needed; the message has the `pip install` line."""
