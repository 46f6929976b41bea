"""A commented pod file to start from, with the keys that it names."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from string import Template

from ehr.auth.keys import write_owner_only
from federated.errors import UsageError
from federated.task.identity_file import Made, identity_at

KEY_FILE = "site.key"
IDENTITY_FILE = "pod.key"

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

# Tables that tasks may use; a pod that has some needs neither ehr nor site.
# data:
#   lung: {file: lung.csv}

# What may run here and what may leave. What is not named is not allowed: empty, it runs nothing.
policy:
  # protocols: [ResultsOnly]
  # algorithms: [TrialInclusionCriteriaMatchAlgorithm]
  # trials: [DIGEST]               # printed by: trialveil trial lock trial.yaml
  # models: [logistic_regression]  # built-in ones by name, others by the SHA-256 of their file
  # leaves: [counts]               # counts, updates, metrics, model_results, row_export
  # minimum_survivors: 5           # fewest pods in a sum; never below 3
  # cohort_minimum: 5              # fewest pods that a task may invite
  # smallest_cell: 11              # a smaller count never leaves; never below 5
  # maximum_weight: 1000           # of this pod in a weighted mean
  # maximum_rounds: 100
  # budgets: {epsilon: 3, inferences: {MODEL: 500}, tasks_per_day: 20}

# Who this pod is to others. Without it nobody can send a task.
# federation:
#   name: $slug                    # in tasks
#   key: {file: $identity}         # secret; its public key goes to the modeller and the peers
#   modeller: {name: MODELLER, key: PUBLIC-KEY, address: "tasks.example.org:7443"}
#   peers:                         # the pods that this one agrees to add up with
#     OTHER-POD: PUBLIC-KEY
#   state: state                   # folder of what the pod must remember
""")


def new_pod(path: Path, *, name: str, provider_name: str, base_url: str, zone: str) -> Made:
    """Write a commented pod file; a site key and an identity beside it where there are none.

    Raises:
        UsageError: the file exists, or the folder cannot be written.
        ConfigurationError: an identity lies there already, and cannot be read.
    """
    if path.exists():
        raise UsageError(f"{path.name} exists and is not overwritten; choose another name")
    values = {"name": name, "provider": provider_name, "base_url": base_url, "zone": zone}
    quoted = {key: _scalar(value) for key, value in values.items()}
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "my-pod"
    text = _EXAMPLE.substitute(quoted, file=path.name, key=KEY_FILE, identity=IDENTITY_FILE, slug=slug[:64])
    made: list[Path] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.parent / KEY_FILE).exists():
            write_owner_only(path.parent / KEY_FILE, secrets.token_hex(32).encode() + b"\n")
            made.append(path.parent / KEY_FILE)
        public, identity = identity_at(path.parent / IDENTITY_FILE)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path.name} cannot be written ({type(error).__name__}); choose another place"
        ) from None
    return Made(path, (*made, *identity), public.hex())


def _scalar(text: str) -> str:
    """One YAML scalar; in quotes where it could be read as anything but its own text."""
    plain = re.fullmatch(r"\w[\w ./:+-]*", text) and not re.search(r":(\s|\Z)|\s\Z", text)
    return text if plain else json.dumps(text, ensure_ascii=False)
