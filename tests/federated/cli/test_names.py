"""`trialveil list`: one JSON document with 59 names, or a table that says the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from federated.cli import frame
from federated.cli.names import NamesDocument

KEYS = ["name", "value", "kind", "state", "component", "variant", "alias_of", "extra", "waits_for"]


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert frame.run(["list", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return dict(json.loads(shown.out))


def test_the_document_has_59_names_with_the_promised_keys(document: dict[str, Any]) -> None:
    assert list(document) == ["schema", "names"]
    assert document["schema"] == "trialveil/names/1"
    assert len(document["names"]) == len({name["name"] for name in document["names"]}) == 59
    assert all(list(name) == KEYS for name in document["names"])


def test_the_document_fits_its_model(document: dict[str, Any]) -> None:
    assert TypeAdapter(NamesDocument).validate_python(document).schema == "trialveil/names/1"


def test_a_name_waits_if_and_only_if_it_says_for_what(document: dict[str, Any]) -> None:
    for name in document["names"]:
        assert (name["state"] == "waiting") == (name["waits_for"] is not None)


def test_an_alias_has_what_it_stands_for(document: dict[str, Any]) -> None:
    by_name = {name["name"]: name for name in document["names"]}
    aliases = [name for name in document["names"] if name["alias_of"]]
    assert len(aliases) == 6
    for alias in aliases:
        target = by_name[alias["alias_of"]]
        for key in ("kind", "state", "component", "variant", "extra"):
            assert alias[key] == target[key]


def test_the_bare_criteria_name_waits_and_says_how_it_runs_today(document: dict[str, Any]) -> None:
    (name,) = (n for n in document["names"] if n["name"] == "TrialInclusionCriteriaMatchAlgorithm")
    assert (name["state"], name["alias_of"]) == ("waiting", "TrialInclusionCriteriaMatchAlgorithmJade")
    assert "trial:" in name["waits_for"]


def test_the_table_cuts_no_name(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["list"]) == 0
    shown = capsys.readouterr()
    for name in document["names"]:
        assert name["name"] in shown.out
    assert "alias of CSVReportGeneratorOphthalmologyAlgorithm; waits for" in shown.out
    assert shown.err == "59 names: 9 available, 50 waiting.\n"
