"""The harnesses of the shipped providers, one vendor a file; each holds ``HARNESS``."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ehr.errors import ConfigurationError
from ehr.testing.harness import ProviderHarness

PLAINEST = "smarthealthit r4"
"""The provider that differs least from the standard."""


@cache
def shipped_harnesses() -> tuple[ProviderHarness, ...]:
    """All of them, by the provider's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: list[ProviderHarness] = [import_module(f"{__name__}.{name}").HARNESS for name in names]
    return tuple(sorted(found, key=lambda harness: harness.provider))


def shipped_harness(provider: str) -> ProviderHarness:
    """The harness of one shipped provider.

    Raises:
        ConfigurationError: there is none; the message lists them.
    """
    for harness in shipped_harnesses():
        if harness.provider == provider:
            return harness
    known = ", ".join(harness.provider for harness in shipped_harnesses())
    raise ConfigurationError(f"there is no contract harness for this provider. There is one for: {known}.")
