"""One pod's table and task, for tests of what trains, measures and predicts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from federated.algorithms.step_context import StepContext
from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.modeller import program as modeller
from federated.protocols.sides import TaskOutcome
from federated.task.spec import TaskSpec, Unit
from federated.types import AccessCheckResult, DatasourceContainer, ProtocolContext
from tests.federated.runtime.cast import NAMES, Cast, OpenOwner, make_task

DATA: Mapping[str, Any] = {
    "include": ["age", "sex"],
    "target": "dead",
    "center": {"age": 60},
    "scale": {"age": 10},
    "codes": {"sex": {"F": 0, "M": 1}},
}
MODEL: Mapping[str, Any] = {"name": "logistic_regression", "settings": {"learning_rate": 0.5, "l2": 0.01}}
TRAINING: Mapping[str, Any] = {"model": MODEL, "data": DATA, "epochs": 4}
COLUMNS = {"age": "continuous", "sex": "categorical", "dead": "continuous"}
SHARES = {"train": 60, "validation": 20, "test": 20}


def people(count: int, seed: int) -> str:
    """A table of invented people; the older ones and the men die more often."""
    chance = np.random.default_rng(seed)
    lines = ["age,sex,dead"]
    for number in range(count):
        age, man = round(float(chance.normal(62, 9)), 3), int(chance.integers(2))
        dead = int(chance.random() < 1 / (1 + np.exp(-(age - 60) / 5 - man)))
        lines.append(f"{age},{'FM'[man]},{dead}" if number else f",F,{dead}")
    return "\n".join(lines) + "\n"


def source(folder: Path, count: int = 120, seed: int = 1, **settings: Any) -> DatasourceContainer:
    """That table as a pod's data source."""
    folder.mkdir(exist_ok=True)
    (folder / "lung.csv").write_text(people(count, seed))
    given = {"file": "lung.csv", "columns": COLUMNS, "split": SHARES} | settings
    return open_table("lung", SourceSettings.model_validate(given), folder)


def place(
    data: DatasourceContainer | None, algorithm: str, arguments: Mapping[str, Any] = TRAINING, **more: Any
) -> StepContext:
    """A pod called "hull" with a task of one algorithm."""
    spec = make_task(algorithms=(Unit(name=f"bitfount.{algorithm}", arguments=dict(arguments)),))
    context = more.pop("context", ProtocolContext(task_id=spec.hash.hex()))
    return StepContext("hull", spec, context, bytes(32), data=data, **more)


@dataclass
class OwnerWithTable(OpenOwner):
    """Allows everything, and has a table."""

    tables: dict[str, DatasourceContainer] = field(default_factory=dict)

    def workplace(self, spec: TaskSpec, access: AccessCheckResult, secret: bytes) -> StepContext:
        context = ProtocolContext(task_id=spec.hash.hex())
        return StepContext(self.name, spec, context, secret, data=self.tables[self.name])


def run(folder: Path, spec: TaskSpec, tables: dict[str, DatasourceContainer]) -> TaskOutcome:
    """A task over pods with these tables, in this process."""
    (folder / "state").mkdir(exist_ok=True)
    cast = Cast(folder / "state")
    for name in NAMES:
        object.__setattr__(cast.start(name), "owner", OwnerWithTable(name=name, tables=tables))
    try:
        return asyncio.run(modeller.run(cast.coordinator(spec), cast.signature(spec)))
    finally:
        cast.close()
