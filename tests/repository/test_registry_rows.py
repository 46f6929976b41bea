"""Every row that can be used imports and is a component."""

from __future__ import annotations

import inspect

import pytest

from federated.task import registry
from federated.task.registry import Row

USABLE = sorted(
    {entry.row for entry in registry.built_in().values() if entry.state == "available"}
    | set(registry.WITH_ARGUMENT.values()),
    key=lambda row: row.component,
)


@pytest.mark.parametrize("row", USABLE, ids=lambda row: row.component)
def test_a_usable_row_imports_and_has_both_sides(row: Row) -> None:
    component = registry.load(row)
    assert callable(component.worker)
    assert callable(component.modeller)
    assert inspect.isclass(component.Parameters)
