"""How a case says that something does not hold.

Not ``assert``: the kit is shipped, so it must hold under ``python -O`` and speak without pytest's rewriting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ContractBroken(AssertionError):
    """The adapter does not keep the contract; the message says what was seen and what was expected."""


def expect(held: bool, otherwise: str) -> None:
    """Go on where something holds.

    Raises:
        ContractBroken: it does not; ``otherwise`` says what was seen.
    """
    if not held:
        raise ContractBroken(otherwise)


def equal(seen: object, wanted: object, what: str) -> None:
    """Go on where two values are equal.

    Raises:
        ContractBroken: they are not.
    """
    if seen != wanted:
        raise ContractBroken(f"{what}: saw {seen!r}, expected {wanted!r}")


@contextmanager
def raises(kind: type[BaseException] | tuple[type[BaseException], ...], when: str) -> Iterator[None]:
    """The block ends with an error of this kind.

    Raises:
        ContractBroken: it ends without.
    """
    try:
        yield
    except kind:
        return
    names = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
    raise ContractBroken(f"{when}: no error came, expected {names}")
