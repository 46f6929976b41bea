"""Names of models: built in, or a plug-in's, and never instead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from federated.errors import ConfigurationError, TaskRefused
from federated.models import catalogue
from federated.models.catalogue import GROUP, ModelChoice, made
from federated.models.linear import LinearModel
from federated.models.selection import Selection

COLUMNS = Selection(include=("age",))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points as if other distributions had brought them."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points if group == GROUP else [])
    catalogue.plugins.cache_clear()
    yield points
    catalogue.plugins.cache_clear()


def test_a_plug_in_brings_a_model_by_its_name(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("acme.linear", "federated.models.linear:linear_regression", GROUP))
    assert "acme.linear" in catalogue.names()
    assert isinstance(made(ModelChoice("acme.linear", {"l2": 1}), COLUMNS), LinearModel)


@pytest.mark.parametrize("name", ["logistic_regression", "torch_module", "bitfount.New"])
def test_a_plug_in_cannot_take_a_built_in_name(
    name: str, installed: list[EntryPoint], caplog: pytest.LogCaptureFixture
) -> None:
    installed.append(EntryPoint(name, "json", GROUP))
    with caplog.at_level(logging.WARNING, logger=catalogue.logger.name):
        assert catalogue.plugins() == {}
    assert "is taken" in caplog.text
    model = made(ModelChoice("logistic_regression"), COLUMNS)
    assert set(model.metrics) == {"loss", "accuracy", "auc"}


def test_a_name_that_is_brought_twice_is_nobody_s(installed: list[EntryPoint]) -> None:
    for module in ("federated.models.linear:linear_regression", "json"):
        installed.append(EntryPoint("acme.linear", module, GROUP))
    assert catalogue.plugins() == {}


@pytest.mark.parametrize("value", ["no_such_module", "json"])
def test_a_plug_in_that_is_no_model_is_a_mistake_of_this_installation(
    value: str, installed: list[EntryPoint]
) -> None:
    installed.append(EntryPoint("acme.linear", value, GROUP))
    with pytest.raises(ConfigurationError, match=r"plug-in|model's module"):
        made(ModelChoice("acme.linear"), COLUMNS)


@pytest.mark.parametrize("settings", [{"l2": "much"}, {"L2": 1}, {"batch_size": 1.5}])
def test_settings_that_are_wrong_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(TaskRefused, match=next(iter(settings))) as caught:
        made(ModelChoice("linear_regression", settings), COLUMNS)
    assert "much" not in str(caught.value)
