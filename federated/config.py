"""The files that describe a hospital's pod, read whole and checked.

`ehr.site` reads the parts ``ehr``, ``site`` and ``cohort`` of ``pod.yaml`` and ignores the rest; here every key of
the file is known. What a later release brings (``data``, ``policy``) is accepted as a section and not looked into.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

from pydantic import ConfigDict, Field

from ehr.auth.keys import read_ring, write_owner_only
from ehr.errors import ConfigurationError as EHRConfigurationError
from ehr.people_file import read_people
from ehr.pod_file import checked, place, read_bytes, secret_bytes
from ehr.problems import FileErrors, Mark, Problem, Problems
from ehr.providers.registry import provider
from ehr.settings import Browser, SiteFile
from ehr.site import read_secret
from ehr.store_key import store_secret
from ehr.yaml_nodes import Table, read_yaml
from federated.errors import UsageError

KEY_FILE = "site.key"


class PodFile(SiteFile):
    """A whole pod file.

    Args:
        data: named data sources; not used in this release.
        policy: what may run and leave; not used in this release, and nothing leaves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data: dict[str, Any] = Field(default_factory=dict)
    policy: dict[str, Any] = Field(default_factory=dict)


def check_pod(path: Path) -> tuple[PodFile, tuple[Problem, ...]]:
    """Read a pod file and try what it names: the provider, the keys, the patients file. Asks no server.

    Returns:
        The file and the warnings.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    data = read_bytes(path, "pod file")
    pod = checked(data, path.name, PodFile)
    problems = Problems()
    root = read_yaml(data, path.name, problems)
    if isinstance(root, Table):
        _try_parts(pod, path.parent, root, problems)
    if problems.failed:
        raise FileErrors(problems.found)
    return pod, tuple(problems.found)


def _try_parts(pod: PodFile, folder: Path, root: Table, problems: Problems) -> None:
    def mark(*keys: str) -> Mark:
        return place(root, keys)[0]

    try:
        provider(pod.ehr.provider)
    except EHRConfigurationError as error:
        problems.error(mark("ehr", "provider"), "PV120", str(error))
    if pod.ehr.auth.backend is not None:
        try:
            read_ring(folder / pod.ehr.auth.backend.keys)
        except EHRConfigurationError as error:
            problems.error(mark("ehr", "auth", "backend", "keys"), "PV121", str(error))
    if pod.ehr.auth.browser is not None:
        _try_browser(pod.ehr.auth.browser, folder, mark, problems)
    try:
        read_secret(pod.site.key, folder)
    except EHRConfigurationError as error:
        problems.error(mark("site", "key"), "PV122", str(error))
    if pod.cohort is None:
        problems.warn(mark(), "PV123", 'there is no "cohort"; each screening needs --patients FILE.')
    elif pod.cohort.patients is not None:
        try:
            read_people(read_bytes(folder / pod.cohort.patients, "patients file"))
        except EHRConfigurationError as error:
            problems.error(mark("cohort", "patients"), "PV124", str(error))
    if pod.ehr.auth.mode == "none" and pod.ehr.allow_http is None:
        problems.warn(mark("ehr", "auth"), "PV125", "no login: right for open sandboxes only.")
    for section in ("data", "policy"):
        if getattr(pod, section):
            problems.warn(mark(section), "PV126", f'"{section}" is not used in this release.')


def _try_browser(browser: Browser, folder: Path, mark: Callable[..., Mark], problems: Problems) -> None:
    """What a login in a browser names; nobody is asked for anything, and no keyring is opened."""
    parts: list[tuple[str, Callable[[], object]]] = []
    if browser.keys is not None:
        ring = folder / browser.keys
        parts.append(("keys", lambda: read_ring(ring)))
    if browser.client_secret is not None:
        secret = browser.client_secret
        parts.append(("client_secret", lambda: secret_bytes(secret, folder, "auth.browser.client_secret")))
    store = browser.store
    if store is not None and (store.key.file or store.key.env):
        parts.append(("store", lambda: store_secret(store.key, folder / store.file, folder, None)))
    for name, attempt in parts:
        try:
            attempt()
        except EHRConfigurationError as error:
            problems.error(mark("ehr", "auth", "browser", name), "PV127", str(error))


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
