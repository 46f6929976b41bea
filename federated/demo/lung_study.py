"""The demonstration's risk model: who of 227 people with advanced lung cancer dies within a year (`lung/LICENCE.md`).

Real data, split by its own institutions. All rules are here, as constants, so that nothing is tuned to a result:

* **Pods.** Institutions go in order of size (equal ones by number), each to the pod with fewest people so far.
* **Evaluation.** In each pod, every third person in the file's order is kept from training. The model is judged on
  all of them together.
* **Outcome.** Death within 365 days. Who was lost from sight earlier has no outcome and is left out of training, and
  counted. For judging nobody is left out: Harrell's C needs only who certainly died before whom.
* **Missing values** become the feature's centre, so they say nothing either way.
* **Scaling** by the constants of `FEATURES`, chosen from the scales themselves (a decade, ten points), not from data:
  no pod needs to tell its means.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federated.models.interface import Rows

PODS = 6
EVERY = 3
HORIZON_DAYS = 365
TARGET = "died_within_a_year"


@dataclass(frozen=True, slots=True)
class Feature:
    """A column, and how it is scaled: ``(value - centre) / spread``."""

    name: str
    centre: float
    spread: float


FEATURES = (
    Feature("age", 60, 10),
    Feature("sex", 1.5, 0.5),
    Feature("ph.ecog", 1, 1),
    Feature("ph.karno", 80, 10),
    Feature("pat.karno", 80, 10),
    Feature("meal.cal", 900, 400),
    Feature("wt.loss", 10, 10),
)
NAMES = tuple(feature.name for feature in FEATURES)


@dataclass(frozen=True, slots=True)
class Patients:
    """Some people of one pod, in the file's order.

    Attributes:
        inputs: shape ``(people, features)``: filled, not scaled.
        time_days: shape ``(people,)``: until death, or until last seen.
        died: shape ``(people,)``: whether ``time_days`` ends with death.
        filled: how many values were missing.
    """

    inputs: NDArray[np.float64] = field(repr=False)
    time_days: NDArray[np.int64] = field(repr=False)
    died: NDArray[np.bool_] = field(repr=False)
    filled: int = 0

    def __len__(self) -> int:
        return int(self.time_days.shape[0])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whose outcome at the horizon is known."""
        known: NDArray[np.bool_] = self.died | (self.time_days >= HORIZON_DAYS)
        return known

    @property
    def targets(self) -> NDArray[np.float64]:
        """1 for death within the horizon, else 0; of no meaning where not ``known``."""
        return (self.died & (self.time_days <= HORIZON_DAYS)).astype(np.float64)

    def rows(self, *, scale: bool = False) -> Rows:
        """Those whose outcome is known, for training."""
        known = self.known
        return Rows(self.inputs_as(scale=scale)[known], self.targets[known], NAMES)

    def inputs_as(self, *, scale: bool = False) -> NDArray[np.float64]:
        """The inputs of everybody: shape ``(people, features)``."""
        return scaled(self.inputs) if scale else self.inputs


@dataclass(frozen=True, slots=True)
class LungPod:
    """One pod of the study.

    Args:
        name: such as ``lung-1``.
        institutions: codes of the data's own column ``inst``.
        training, evaluation: its people.
    """

    name: str
    institutions: tuple[int, ...]
    training: Patients
    evaluation: Patients

    @property
    def left_out(self) -> int:
        """People of the training part without an outcome at the horizon."""
        return int(np.count_nonzero(~self.training.known))


def grouped(sizes: Mapping[int, int], pods: int = PODS) -> tuple[tuple[int, ...], ...]:
    """Institutions in pods: the largest first, each to the pod with fewest people so far (the first of equals)."""
    members: list[list[int]] = [[] for _ in range(pods)]
    people = [0] * pods
    for institution, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        place = min(range(pods), key=lambda pod: (people[pod], pod))
        members[place].append(institution)
        people[place] += size
    return tuple(tuple(sorted(group)) for group in members)


def study() -> tuple[LungPod, ...]:
    """The pods, from the packaged file."""
    text = files("federated.demo").joinpath("lung", "lung.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    groups = grouped(Counter(_institution(row) for row in rows))
    return tuple(_pod(number, group, rows) for number, group in enumerate(groups, start=1))


def scaled(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inputs by the constants of `FEATURES`.

    Args:
        inputs: shape ``(people, features)``.
    """
    centres = np.array([feature.centre for feature in FEATURES])
    made: NDArray[np.float64] = (inputs - centres) / np.array([feature.spread for feature in FEATURES])
    return made


def together(parts: Iterable[Patients]) -> Patients:
    """People of several pods as one group, in the order given."""
    held = list(parts)
    return Patients(
        np.concatenate([part.inputs for part in held]),
        np.concatenate([part.time_days for part in held]),
        np.concatenate([part.died for part in held]),
        sum(part.filled for part in held),
    )


def write_table(pod: LungPod, file: Path, *, scale: bool = False) -> None:
    """The pod's training rows as its own CSV file: the features, filled, and the outcome."""
    rows = pod.training.rows(scale=scale)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow((*rows.features, TARGET))
        for inputs, target in zip(rows.inputs.tolist(), rows.targets.tolist(), strict=True):
            writer.writerow((*(repr(value) for value in inputs), f"{target:g}"))


def _pod(number: int, group: tuple[int, ...], rows: Sequence[Mapping[str, str]]) -> LungPod:
    own = [row for row in rows if _institution(row) in group]
    judged = [row for place, row in enumerate(own) if place % EVERY == EVERY - 1]
    trained = [row for place, row in enumerate(own) if place % EVERY != EVERY - 1]
    return LungPod(f"lung-{number}", group, _patients(trained), _patients(judged))


def _patients(rows: Sequence[Mapping[str, str]]) -> Patients:
    values = [[float(row[f.name]) if row[f.name] else f.centre for f in FEATURES] for row in rows]
    return Patients(
        np.array(values, dtype=np.float64).reshape(len(rows), len(FEATURES)),
        np.array([int(row["time"]) for row in rows], dtype=np.int64),
        np.array([row["status"] == "1" for row in rows], dtype=np.bool_),
        sum(not row[feature.name] for row in rows for feature in FEATURES),
    )


def _institution(row: Mapping[str, str]) -> int:
    return int(float(row["inst"]))
