"""What the kit must know to try one provider's adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ehr.config import AuthMode, ProviderProfile
from ehr.providers.registry import Provider, provider
from ehr.sandbox.skin import Skin

Resource = dict[str, Any]


def _as_it_is(resource: Resource) -> Resource:
    return resource


@dataclass(frozen=True, slots=True)
class ProviderHarness:
    """One provider under test. Which capabilities it has is said by its profile, nowhere else.

    Args:
        provider: its name, as in ``pod.yaml``.
        skin: how its server behaves: the name of a sandbox skin, or a `Skin`.
        settings: further keys of ``ehr:`` that it needs, such as ``headers``.
        dress: makes of a plain FHIR R4 resource what this vendor sends (a category, a spelling); must keep
            type and id.
        adapter: the adapter under test where it is not found by its name.
        skip: names of cases that are not to be run. A case whose capability the profile claims fails then.
    """

    provider: str
    skin: Skin | str
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    dress: Callable[[Resource], Resource] = _as_it_is
    adapter: Provider | None = None
    skip: frozenset[str] = frozenset()

    def found(self) -> Provider:
        """The provider with its profile and what makes its adapter.

        Raises:
            ConfigurationError: nobody knows the name.
        """
        return self.adapter or provider(self.provider)

    @property
    def profile(self) -> ProviderProfile:
        """The vendor's ways, as the adapter claims them."""
        return self.found().profile


def auth_mode(profile: ProviderProfile) -> AuthMode:
    """How cases log in unless they say otherwise."""
    usual: tuple[AuthMode, ...] = ("backend", "none")
    return next((mode for mode in usual if mode in profile.auth_modes), profile.auth_modes[0])
