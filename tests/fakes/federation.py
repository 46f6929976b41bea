"""A whole federation on the disk: pod files with tables, keys and policies, and the task file of their modeller.

The rows are invented: two measurements and whether something happened, drawn so that a logistic model fits.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehr.auth.keys import write_owner_only
from secure_agg import Identity

TRAINING = ("bitfount.FederatedAveraging", "bitfount.FederatedModelTraining")


def seed_of(name: str) -> bytes:
    """The private key of a name: the same in every test, and of no use elsewhere."""
    return hashlib.sha256(f"identity of {name}".encode()).digest()


def public_of(name: str) -> str:
    """Its public key, hexadecimal."""
    return Identity(seed_of(name)).public.hex()


@dataclass(frozen=True, slots=True)
class Federation:
    """Where everything lies.

    Attributes:
        folder: of it all.
        pods: name to pod file.
        task: the task file.
    """

    folder: Path
    pods: Mapping[str, Path]
    task: Path


def write_rows(path: Path, rows: int, seed: int) -> None:
    """A table with the columns ``dose``, ``age``, ``event`` and ``part``."""
    dice = np.random.default_rng(seed)
    dose, age = dice.normal(size=rows), dice.normal(60, 10, size=rows)
    risk = 1 / (1 + np.exp(-(1.5 * dose + 0.08 * (age - 60))))
    event = (dice.random(rows) < risk).astype(int)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dose", "age", "event", "part"])
        for number in range(rows):
            part = "validation" if number % 5 == 4 else "train"
            writer.writerow([f"{dose[number]:.6f}", f"{age[number]:.3f}", event[number], part])


def make_federation(
    folder: Path,
    names: tuple[str, ...] = ("bath", "hull", "kent", "leeds"),
    *,
    epochs: int = 4,
    listen: str = "",
    more_task: str = "",
    deadlines: str = "{accept: 30 s, compute: 30 s, step: 30 s}",
) -> Federation:
    """Write it all.

    Args:
        folder: made if it is missing.
        names: of the pods; pod number i has 30 + 10 i rows.
        epochs: of training, one a round.
        listen: ``host:port`` of the modeller, for pods in other processes.
        more_task: further lines of the task file.
        deadlines: of the task.
    """
    pods = {}
    for number, name in enumerate(names):
        home = folder / name
        home.mkdir(parents=True)
        write_rows(home / "rows.csv", 30 + 10 * number, number)
        write_owner_only(home / "pod.key", seed_of(name).hex().encode())
        pods[name] = home / "pod.yaml"
        pods[name].write_text(_pod(name, names, listen), encoding="utf-8")
    write_owner_only(folder / "modeller.key", seed_of("modeller").hex().encode())
    task = folder / "task.yaml"
    task.write_text(_task(names, epochs, listen, deadlines) + more_task, encoding="utf-8")
    return Federation(folder, pods, task)


def _pod(name: str, names: tuple[str, ...], listen: str) -> str:
    peers = "\n".join(f"    {other}: {public_of(other)}" for other in names if other != name)
    address = f", address: '{listen}'" if listen else ""
    return f"""\
name: Hospital of {name}
data:
  events:
    file: rows.csv
    columns: {{dose: continuous, age: continuous, event: continuous, part: categorical}}
    split: {{column: part}}
policy:
  protocols: [FederatedAveraging]
  algorithms: [FederatedModelTraining]
  models: [logistic_regression]
  leaves: [updates, metrics]
  minimum_survivors: 3
  cohort_minimum: 3
federation:
  name: {name}
  key: {{file: pod.key}}
  modeller: {{name: modeller, key: {public_of("modeller")}{address}}}
  peers:
{peers}
"""


def _task(names: tuple[str, ...], epochs: int, listen: str, deadlines: str) -> str:
    pods = "\n".join(f"  - {{name: {name}, key: {public_of(name)}, data: events}}" for name in names)
    where = f", listen: '{listen}'" if listen else ""
    return f"""\
name: events
protocol: FederatedAveraging
algorithm:
  name: FederatedModelTraining
  model: {{name: logistic_regression, settings: {{learning_rate: 0.5}}}}
  arguments:
    epochs: {epochs}
    data:
      include: [dose, age]
      target: event
      center: {{age: 60}}
      scale: {{age: 10}}
aggregator: {{weights: rows, maximum_weight: 500, minimum_survivors: 3}}
pods:
{pods}
modeller: {{name: modeller, key: {{file: modeller.key}}{where}}}
quorum: 3
deadlines: {deadlines}
"""
