"""The contract cases of every adapter, one group a module, in the order of their numbers.

Numbers and names never change: reports and other programs refer to them.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ehr.testing.case import Case


def _found() -> tuple[Case, ...]:
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    cases = [value for module in modules for value in vars(module).values() if isinstance(value, Case)]
    return tuple(sorted(cases, key=lambda case: case.number))


CASES = _found()


def case_named(name: str) -> Case:
    """One case by its name.

    Raises:
        KeyError: there is none.
    """
    return {case.name: case for case in CASES}[name]
