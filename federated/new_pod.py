"""A commented pod file to start from, with the keys that it names."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from string import Template

from ehr.auth.keys import write_owner_only
from federated.errors import UsageError

KEY_FILE = "site.key"

_EXAMPLE = Template("""\
# One hospital's pod. Check it with:  trialveil pod check $file
name: $name

ehr:
  provider: $provider
  base_url: $base_url
  # How to log in: exactly one of backend, browser, external, none (docs/connect-an-ehr.md).
  auth:
    backend:
      client_id: my-client-id      # as registered with the EHR
      keys: keys                   # made by: trialveil ehr keys new --out keys
      # scope: system/*.rs         # default: read rights on the types that are asked for
      # token_url: https://…       # only where the EHR announces none
  # allow_http: loopback           # only for a sandbox on this machine
  # ca_file: hospital-ca.pem       # a private certificate authority
  # rate: {concurrency: 4, requests_per_s: 5}

site:
  time_zone: $zone
  key: {file: $key}                # secret of the pseudonyms; keep it, and keep it here
  # care_since: 2015-01-01         # silence before this day is unknown
  # world: {medication: open}      # what silence means, per kind: closed, recorded, open

cohort:
  patients: patients.csv           # columns: any of id, mrn, family, given, birth_date
  # group: GROUP-ID                # or a FHIR Group, or list: LIST-ID
""")


def new_pod(
    path: Path, *, name: str, provider_name: str, base_url: str, zone: str
) -> tuple[Path, Path | None]:
    """Write a commented pod file, and a site key beside it where there is none.

    Returns:
        The pod file, and the key file if it was made.

    Raises:
        UsageError: the file exists, or the folder cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path.name} exists and is not overwritten; choose another name")
    values = {"name": name, "provider": provider_name, "base_url": base_url, "zone": zone}
    quoted = {key: _scalar(value) for key, value in values.items()}
    text = _EXAMPLE.substitute(quoted, file=path.name, key=KEY_FILE)
    key = path.parent / KEY_FILE
    made = None if key.exists() else key
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if made is not None:
            write_owner_only(made, secrets.token_hex(32).encode() + b"\n")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path.name} cannot be written ({type(error).__name__}); choose another place"
        ) from None
    return path, made


def _scalar(text: str) -> str:
    """One YAML scalar; in quotes where it could be read as anything but its own text."""
    plain = re.fullmatch(r"\w[\w ./:+-]*", text) and not re.search(r":(\s|\Z)|\s\Z", text)
    return text if plain else json.dumps(text, ensure_ascii=False)
