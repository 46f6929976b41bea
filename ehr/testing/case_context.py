"""Where one case plays: an EHR, a second origin that must never be asked, a hospital that opens the adapter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from ehr.auth.keys import Algorithm, write_owner_only
from ehr.config import ProviderProfile
from ehr.connect.opening import AtKeyboard, ClockAndWire
from ehr.fhir.paging import Budget
from ehr.files.settings import SiteFile
from ehr.providers.registry import Provider, provider
from ehr.records.clinical import Condition, Procedure
from ehr.records.fetched import Fetched, Issue, Severity
from ehr.site import Site, open_site_async
from ehr.testing.clock import StandingClock
from ehr.testing.expect import expect
from ehr.testing.harness import ProviderHarness, auth_mode
from ehr.testing.server import CLIENT_ID, CaseServer
from ehr.testing.server_pool import Backend, ServerPool
from ehr.testing.synthetic import ANA, WHO, Resource, patient
from ehr.transport.settings import Limits

SITE_KEY = b"the contract kit's key of pseudonyms, for tests alone"


class CaseContext:
    """One case's EHR and hospital.

    Attributes:
        harness: the provider under test.
        backend: ``mocks`` or ``socket``.
        clock: time of both sides; nothing waits.
        ehr: the provider's server.
        elsewhere: a server of somebody else; a case asks what reached it.
        folder: the hospital's; owner-only.
        limits, budget: of the client; set them before opening.
        mode: how it logs in.
        zone: the site's time zone.
        algorithm: of the key that signs.
    """

    def __init__(self, harness: ProviderHarness, backend: Backend, pool: ServerPool, folder: Path) -> None:
        self.harness = harness
        self.backend = backend
        self.clock = StandingClock()
        self.folder = folder
        self.limits = Limits()
        self.budget = Budget()
        self.zone = "Europe/London"
        self._pool = pool
        self._provider = harness.found()
        self.mode = auth_mode(self.profile)
        known = self.profile.assertion_algorithms
        self.algorithm: Algorithm = "ES384" if "ES384" in known else "RS384"
        jwks = {"keys": [pool.key(self.algorithm).public_jwk()]}
        self.ehr = CaseServer(harness.skin, self.clock, jwks)
        self.elsewhere = CaseServer(harness.skin, self.clock, jwks)
        self.ehr.dress = harness.dress
        self.ehr.login = self.mode != "none"
        self._wire = pool.wire(backend)
        self._wire.connect((self.ehr, self.elsewhere))

    @property
    def profile(self) -> ProviderProfile:
        """The vendor's ways."""
        return self._provider.profile

    @property
    def ca_file(self) -> Path | None:
        """The authority's certificate; None on mocks."""
        return self._wire.ca_file

    def sign_with(self, algorithm: Algorithm) -> None:
        """Register and use a key of this kind; before the EHR is first asked."""
        self.algorithm = algorithm
        self.ehr.jwks = {"keys": [self._pool.key(algorithm).public_jwk()]}

    def dressed(self, *resources: Resource) -> list[Resource]:
        """Resources as this vendor sends them, for answers that a case writes itself."""
        return [self.harness.dress(resource) for resource in resources]

    def people(self, *resources: Resource) -> None:
        """Put the usual person and further resources into the EHR."""
        self.ehr.put(patient(), *resources)

    def wire(self) -> httpx.AsyncBaseTransport:
        """What requests of one opening are sent with."""
        return self._wire.transport(self.limits)

    @property
    def surroundings(self) -> ClockAndWire:
        """Clock, wire and limits for one opening, with nobody at the keyboard."""
        return self.around()

    def around(self, person: AtKeyboard | None = None) -> ClockAndWire:
        """The same with a person."""
        return ClockAndWire(
            clock=self.clock.clock,
            wire=self.wire(),
            limits=self.limits,
            budget=self.budget,
            providers=self._lookup,
            person=person,
        )

    def _lookup(self, name: str) -> Provider:
        return self._provider if name == self.harness.provider else provider(name)

    def settings(self, *, site: dict[str, Any] | None = None, **ehr: Any) -> dict[str, Any]:
        """What the pod file says, as plain data; arguments replace keys of ``ehr:`` and of ``site:``."""
        section = {
            "provider": self.harness.provider,
            "base_url": self.ehr.base_url,
            "auth": self.auth(),
            **self.harness.settings,
            **ehr,
        }
        named = {"time_zone": self.zone, "key": {"file": str(self._file("site.key", SITE_KEY))}}
        return {
            "name": "contract-kit",
            "ehr": {name: value for name, value in section.items() if value is not None},
            "site": named | (site or {}),
        }

    def auth(self, **parts: Any) -> dict[str, Any]:
        """The section ``auth:`` of the usual login; arguments replace its keys."""
        if self.mode == "none":
            return {"none": {}}
        return {"backend": {"client_id": CLIENT_ID, "keys": str(self.key_file)} | parts}

    @property
    def key_file(self) -> Path:
        """The private key, as the hospital keeps it."""
        key = self._pool.key(self.algorithm)
        return self._file(f"{key.kid}.pem", bytes(key.key.as_pem(private=True)))

    @property
    def kid(self) -> str:
        """Key id of the signing key: the one that a key file's name or content gives."""
        return self._pool.key(self.algorithm).kid

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        if not path.exists():
            write_owner_only(path, content)
        return path

    def pod_file(self, **ehr: Any) -> Path:
        """The settings as a file; JSON is YAML."""
        path = self.folder / "pod.yaml"
        path.write_text(json.dumps(self.settings(**ehr)), encoding="utf-8")
        return path

    @asynccontextmanager
    async def open(self, person: AtKeyboard | None = None, **ehr: Any) -> AsyncIterator[Site]:
        """Open the adapter as a hospital does; ``person`` may log in, further arguments as for `settings`."""
        file = SiteFile.model_validate(self.settings(**ehr))
        async with open_site_async(file, self.around(person)) as site:
            yield site

    async def conditions(self, person: AtKeyboard | None = None, **ehr: Any) -> Fetched[Condition]:
        """The usual person's conditions, in an opening of their own; arguments as for `open`."""
        async with self.open(person, **ehr) as site:
            return await site.conditions(ANA)

    async def procedures(self, **ehr: Any) -> Fetched[Procedure]:
        """The usual person's procedures, likewise."""
        async with self.open(**ehr) as site:
            return await site.procedures(ANA)

    def nothing_went_elsewhere(self) -> None:
        """No request reached the other origin.

        Raises:
            ContractBroken: one did.
        """
        count = len(self.elsewhere.requests)
        expect(not count, f"{count} requests reached a foreign origin")


def security_issues(issues: tuple[Issue, ...]) -> list[Issue]:
    """The issues that somebody has to look at."""
    return [
        issue for issue in issues if issue.severity is Severity.SECURITY or issue.code.startswith("security:")
    ]


__all__ = ["SITE_KEY", "WHO", "CaseContext", "security_issues"]
