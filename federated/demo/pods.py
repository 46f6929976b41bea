"""The demonstration's clinics, and the folders of their pods: pod file, keys, site key, patients."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from ehr.auth.keys import Algorithm, make_ring, write_owner_only
from ehr.sandbox.oauth import RegisteredClient

_POD = """\
name: {title}
ehr:
  provider: {provider}
  base_url: {base_url}
  allow_http: loopback
{ehr}site:
  time_zone: Europe/London
{site}  key: {{file: site.key}}
cohort:
  patients: patients.csv
"""

_SMART = """\
  auth:
    backend: {client_id: CLIENT, keys: keys, scope: system/*.rs}
"""
# Epic's rights come from the app's record, so no scope is asked for; the client id travels as a header of its own.
_EPIC = """\
  auth:
    backend: {client_id: CLIENT, keys: keys}
  headers: {client_id: CLIENT}
  # Five a second is for a hospital's EHR; this one is on the same machine and nobody waits for it.
  rate: {requests_per_s: 2000}
"""
# Epic's five categories hold all that this trial asks for (docs/connect-an-ehr.md).
_EPIC_SITE = """\
  world: {observation: recorded}
"""


@dataclass(frozen=True, slots=True)
class Ways:
    """What differs between two providers in a pod file and in the registration of a pod.

    Args:
        provider: as the pod file names it.
        skin: of the sandbox that plays it.
        ehr, site: lines of the pod file under ``ehr:`` and ``site:``; CLIENT stands for the client id.
        algorithm: of the pod's keys.
        title: of the provider, for people.
    """

    provider: str
    skin: str
    ehr: str
    site: str
    algorithm: Algorithm
    title: str


SMART = Ways("smarthealthit r4", "smarthealthit", _SMART, "", "ES384", "a plain SMART on FHIR server")
EPIC = Ways("epic r4", "epic", _EPIC, _EPIC_SITE, "RS384", "an EHR with Epic's ways")


@dataclass(frozen=True, slots=True)
class Clinic:
    """One clinic: its folder's name, its title, its EHR."""

    name: str
    title: str
    ways: Ways

    @property
    def client_id(self) -> str:
        """Under which the pod is registered with the EHR."""
        return f"{self.name}-pod"


CLINICS = (
    Clinic("riverside", "Riverside Eye Clinic", SMART),
    Clinic("meadow", "Meadow Street Surgery", SMART),
    Clinic("lakeside", "Lakeside Eye Hospital", EPIC),
    Clinic("hilltop", "Hilltop Retina Centre", EPIC),
)


def register(clinic: Clinic, folder: Path) -> RegisteredClient:
    """Make the pod's keys in its folder; what the EHR is given of them.

    Args:
        clinic: whose pod.
        folder: the pod's; made if absent.
    """
    ring = make_ring(folder / "keys", clinic.ways.algorithm)
    return RegisteredClient(ring.jwks(), ("system/*.rs",))


def write_pod(clinic: Clinic, folder: Path, base_url: str, patients: Path, sections: str = "") -> Path:
    """Write the rest of the pod's folder.

    Args:
        clinic: whose pod.
        folder: the pod's; its keys are there.
        base_url: of the EHR.
        patients: the patients file to copy.
        sections: further sections of the pod file, as YAML.

    Returns:
        The pod file.
    """
    ways = clinic.ways
    lines = ways.ehr.replace("CLIENT", clinic.client_id)
    text = _POD.format(
        title=clinic.title, provider=ways.provider, base_url=base_url, ehr=lines, site=ways.site
    )
    write_owner_only(folder / "site.key", secrets.token_hex(32).encode())
    shutil.copyfile(patients, folder / "patients.csv")
    file = folder / "pod.yaml"
    file.write_text(text + sections, encoding="utf-8")
    return file
