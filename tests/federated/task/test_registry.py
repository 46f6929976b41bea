"""The registry: every name once, waiting ones refused by name, plug-ins beside and never instead."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest

from federated.errors import ConfigurationError, MissingExtra, NameWaits, UnknownName
from federated.task import registry
from federated.task.registry import AGGREGATORS, ALGORITHMS, ALIASES, PROTOCOLS, Row
from federated.types import AggregatorType, AlgorithmType, ProtocolType

AVAILABLE = {
    "EHRPatientQueryAlgorithm",
    "FederatedModelTraining",
    "ModelTrainingAndEvaluation",
    "ModelEvaluation",
    "ModelInference",
    "FederatedAveraging",
    "ResultsOnly",
    "Aggregator",
    "SecureAggregator",
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[EntryPoint]]]:
    """Entry points by group, as if other distributions had brought them."""
    points: dict[str, list[EntryPoint]] = {}
    monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, []))
    registry.plugins.cache_clear()
    yield points
    registry.plugins.cache_clear()


def test_rows_and_entries_cannot_be_changed() -> None:
    entry = registry.find("ResultsOnly")
    for value, field in ((entry, "kind"), (entry.row, "waits_for")):
        with pytest.raises(AttributeError):
            setattr(value, field, None)


def test_every_member_is_a_row_or_an_alias_and_never_both() -> None:
    tables: list[tuple[type[Enum], Any]] = [
        (AlgorithmType, ALGORITHMS),
        (ProtocolType, PROTOCOLS),
        (AggregatorType, AGGREGATORS),
    ]
    for names, rows in tables:
        assert all((member in rows) != (member in ALIASES) for member in names)
    assert (len(ALGORITHMS), len(PROTOCOLS), len(AGGREGATORS), len(ALIASES)) == (35, 16, 2, 6)
    assert len(registry.built_in()) == 59


def test_an_alias_points_at_a_row_of_its_own_kind() -> None:
    for alias, target in ALIASES.items():
        assert target not in ALIASES
        assert type(alias) is type(target)


def test_the_aliases_are_those_of_the_reference() -> None:
    assert {alias.name: target.name for alias, target in ALIASES.items()} == {
        "CSVReportGeneratorAlgorithm": "CSVReportGeneratorOphthalmologyAlgorithm",
        "GATrialCalculationAlgorithm": "GATrialCalculationAlgorithmJade",
        "GATrialPDFGeneratorAlgorithm": "GATrialPDFGeneratorAlgorithmJade",
        "TrialInclusionCriteriaMatchAlgorithm": "TrialInclusionCriteriaMatchAlgorithmJade",
        "BasicOCTProtocol": "RetinalDiseaseProtocolCobalt",
        "GAScreeningProtocol": "GAScreeningProtocolJade",
    }


def test_about_twenty_modules_run_all_names() -> None:
    rows = [*ALGORITHMS.values(), *PROTOCOLS.values(), *AGGREGATORS.values()]
    assert len({row.component for row in rows}) <= 22
    assert max(Counter((row.component, row.variant) for row in rows).values()) == 1


def test_a_variant_is_named_wherever_a_module_runs_several_names() -> None:
    rows = [*ALGORITHMS.values(), *PROTOCOLS.values(), *AGGREGATORS.values()]
    count = Counter(row.component for row in rows)
    assert all(row.variant is not None for row in rows if count[row.component] > 1)


@pytest.mark.parametrize("prefix", ["", "bitfount."])
def test_the_available_name_resolves_with_and_without_its_prefix(prefix: str) -> None:
    for name in AVAILABLE:
        assert registry.resolve(prefix + name).waits_for is None


@pytest.mark.parametrize("name", sorted({*registry.built_in()} - AVAILABLE))
def test_a_waiting_name_is_refused_with_a_sentence_that_names_it(name: str) -> None:
    with pytest.raises(NameWaits) as caught:
        registry.resolve(f"bitfount.{name}")
    assert name in str(caught.value)
    assert caught.value.waits_for in str(caught.value)
    assert (caught.value.name, isinstance(caught.value, ValueError)) == (name, True)
    assert registry.find(name).state == "waiting"


def test_a_trial_file_takes_the_place_of_the_colour() -> None:
    row = registry.resolve("TrialInclusionCriteriaMatchAlgorithm", {"trial": "ga.yaml"})
    assert row == Row("federated.algorithms.criteria_match")
    for arguments in ({}, {"trial": None}, {"other": "x"}):
        with pytest.raises(NameWaits, match="'trial:' file"):
            registry.resolve("TrialInclusionCriteriaMatchAlgorithm", arguments)
    with pytest.raises(NameWaits):
        registry.resolve("TrialInclusionCriteriaMatchAlgorithmJade", {"trial": "ga.yaml"})


@pytest.mark.parametrize("name", ["", "EHRPatientQueryAlgoritm", "bitfount.Nothing", "Smith, Ana 1970-01-01"])
def test_an_unknown_name_is_refused_as_it_was_typed(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        registry.resolve(name)
    assert str(caught.value).startswith(f'"{name}" is not a name; ')


def test_an_unknown_name_cannot_steer_a_terminal() -> None:
    with pytest.raises(UnknownName) as caught:
        registry.resolve("\x1b[2J" + "x" * 1000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 150


def test_a_typing_error_is_answered_with_the_nearest_name() -> None:
    for name, nearest in (
        ("EHRPatientQueryAlgoritm", "EHRPatientQueryAlgorithm"),
        ("bitfount.ResultOnly", "ResultsOnly"),
        ("SecureAgregator", "SecureAggregator"),
    ):
        with pytest.raises(UnknownName) as caught:
            registry.resolve(name)
        assert str(caught.value) == f'"{name}" is not a name; did you mean "{nearest}"?'


def test_a_later_name_of_an_algorithm_is_found() -> None:
    assert registry.find("EHRPatientInfoDownloadAlgorithm").name == "NextGenPatientInfoDownloadAlgorithm"


def test_a_plug_in_adds_a_name(installed: dict[str, list[EntryPoint]]) -> None:
    point = EntryPoint("acme.Count", "json", "trialveil.algorithms")
    installed["trialveil.algorithms"] = [point]
    entry = registry.find("acme.Count")
    assert (entry.kind, entry.state, entry.alias_of) == ("algorithm", "available", None)
    assert registry.resolve("acme.Count").component == "json"
    assert len(registry.entries()) == 60


@pytest.mark.parametrize("group", registry.PLUGIN_GROUPS)
@pytest.mark.parametrize("name", ["EHRPatientQueryAlgorithm", "GAScreeningProtocol", "bitfount.New"])
def test_a_plug_in_cannot_take_a_built_in_name(
    name: str, group: str, installed: dict[str, list[EntryPoint]], caplog: pytest.LogCaptureFixture
) -> None:
    installed[group] = [EntryPoint(name, "json", group)]
    with caplog.at_level(logging.WARNING, logger=registry.logger.name):  # commands set a level of their own
        assert registry.plugins() == {}
    assert "is taken" in caplog.text
    assert registry.resolve("EHRPatientQueryAlgorithm").component == "federated.algorithms.ehr_query"


def test_a_name_brought_twice_is_nobody_s(installed: dict[str, list[EntryPoint]]) -> None:
    group = "trialveil.algorithms"
    installed[group] = [EntryPoint("acme.Count", "json", group), EntryPoint("acme.Count", "csv", group)]
    with pytest.raises(UnknownName):
        registry.resolve("acme.Count")


def test_a_component_that_lacks_a_part_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no worker, modeller, Parameters"):
        registry.load(Row("json"))


def test_a_plug_in_that_cannot_be_imported_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="plug-in"):
        registry.load(Row("no_such_module_anywhere"))


def test_a_missing_package_is_one_sentence_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(registry, "import_module", fail)
    with pytest.raises(MissingExtra, match=r"pip install 'trialveil\[retina\]'"):
        registry.load(Row("federated.algorithms.retina_metrics", extra="retina"))
    with pytest.raises(ImportError):  # our own fault, and shown as one
        registry.load(Row("federated.algorithms.ehr_query"))


def test_a_whole_component_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SimpleNamespace(worker=len, modeller=len, Parameters=dict)
    monkeypatch.setattr(registry, "import_module", lambda name: whole)
    assert registry.load(Row("anything")) is whole


def test_reading_the_registry_imports_no_component() -> None:
    code = (
        "import sys; from federated.task import registry; registry.entries();"
        "print(*(n for n in sys.modules if n.startswith(('federated.', 'ehr.'))))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(seen.stdout.split()) <= {
        "federated.task",
        "ehr.errors",
        "federated.task.registry",
        "federated.errors",
        "federated.names",
    }
