"""A commented task file to start from, with the modeller's identity."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Literal

from federated.errors import UsageError
from federated.task.identity_file import Made, identity_at

IDENTITY_FILE = "modeller.key"

_COUNTING = """\
# How many patients pass each criterion of a trial, over all pods. Check it with:  trialveil task check $file
name: feasibility
protocol: ResultsOnly
algorithm:
  name: TrialInclusionCriteriaMatchAlgorithm
  arguments: {trial: trial}        # the trial file below; each pod's policy allows it by its digest
trial: trial.yaml                  # travels inside the task

aggregator:
  secure: true                     # only the sum is seen
  minimum_survivors: 5             # fewest pods in it; never below 3
"""
_TRAINING = """\
# A model trained on the tables of all pods. Check it with:  trialveil task check $file
name: risk-model
protocol:
  name: FederatedAveraging
  arguments: {epochs_between_parameter_updates: 1}     # epochs of one round
algorithm:
  name: FederatedModelTraining
  model: {name: logistic_regression}
  arguments:
    epochs: 20
    data:
      include: [age, sex]          # columns of the pods' tables, and how they become numbers
      target: status
      codes: {sex: {"1": 0, "2": 1}} # a column of categories needs its codes here
      center: {age: 62}            # constants of the task, never fitted to one pod's rows
      scale: {age: 9}

aggregator:
  secure: true                     # only the sum is seen
  weights: rows                    # a pod counts by its training rows; "equal": every pod the same
  maximum_weight: 500              # a pod with more rows takes no part
  clip: 4.0                        # largest absolute value of a coordinate of an update
  minimum_survivors: 5             # fewest pods in a sum; never below 3
"""
_REST = """
pods:                              # each prints its public key: trialveil pod key
  - {name: leeds, key: PUBLIC-KEY$data}
  - {name: york, key: PUBLIC-KEY$data}
  - {name: hull, key: PUBLIC-KEY$data}
  - {name: bath, key: PUBLIC-KEY$data}
  - {name: kent, key: PUBLIC-KEY$data}
modeller:
  name: my-university              # as the pods have pinned it
  key: {file: $identity}       # secret; its public key goes to the pods
  # listen: tasks.example.org:7443 # where pods dial to

quorum: 5                          # fewest pods that must take part
cohort_minimum: 5
deadlines: {accept: 5 min, compute: 1 h, step: 2 min}
valid_for: 7 d                     # after this no pod begins a round
"""
_KINDS = {"counting": (_COUNTING, ""), "training": (_TRAINING, ", data: lung")}


def new_task(path: Path, kind: Literal["counting", "training"]) -> Made:
    """Write a commented task file, and an identity beside it where there is none.

    Raises:
        UsageError: the file exists, or the folder cannot be written.
        ConfigurationError: an identity lies there already, and cannot be read.
    """
    if path.exists():
        raise UsageError(f"{path.name} exists and is not overwritten; choose another name")
    text, data = _KINDS[kind]
    text = Template(text + _REST).substitute(file=path.name, data=data, identity=IDENTITY_FILE)
    public, made = identity_at(path.parent / IDENTITY_FILE)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path.name} cannot be written ({type(error).__name__}); choose another place"
        ) from None
    return Made(path, made, public.hex())
