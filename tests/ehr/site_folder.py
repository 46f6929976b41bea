"""A hospital's folder for a test: pod.yaml, keys, site key, patients file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ehr.auth.keys import KeyRing
from ehr.sandbox import RegisteredClient
from tests.ehr.auth.login import CLIENT, key, owner_only, pem

SECRET = b"s" * 32


def clients(*scopes: str, narrows: bool = False) -> dict[str, RegisteredClient]:
    """Who may log in: the key that `folder` writes."""
    return {CLIENT: RegisteredClient(KeyRing((key(),)).jwks(), scopes or ("system/*.rs",), narrows=narrows)}


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a site's files are."""

    path: Path

    @property
    def config(self) -> Path:
        """The pod file."""
        return self.path / "pod.yaml"

    def write(
        self,
        base_url: str,
        auth: str = "",
        *,
        provider: str = "smarthealthit r4",
        ehr: str = "",
        site: str = "",
        more: str = "",
    ) -> Path:
        """Write everything; ``auth`` is one line under ``ehr:``, backend services without it."""
        self.path.mkdir(exist_ok=True)
        owner_only(self.path / "site.key", SECRET)
        owner_only(self.path / "key.pem", pem("ES384"))
        (self.path / "patients.csv").write_text(
            "mrn,family,given,birth_date\n,Núñez,Ana María,1950-02-03\n,Nobody,At,1999-09-09\n"
        )
        login = auth or f"auth: {{backend: {{client_id: {CLIENT}, keys: key.pem}}}}"
        self.config.write_text(
            f"name: north\nehr:\n  provider: {provider}\n  base_url: {base_url}\n  {login}\n"
            f"{'' if base_url.startswith('https') else '  allow_http: loopback'}\n{ehr}"
            f"site:\n  time_zone: America/New_York\n  key: {{file: site.key}}\n{site}{more}"
        )
        return self.config
