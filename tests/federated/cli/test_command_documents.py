"""What the commands print as JSON is what their models say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from ehr.providers.probe import Check, ProbeReport
from federated.cli import ehr as ehr_commands
from federated.cli import frame
from federated.cli.command_documents import CheckDocument, ProbeDocument, QueryDocument


def _reread(model: type[BaseModel], document: dict[str, Any]) -> BaseModel:
    return model.model_validate_json(json.dumps(document))


@pytest.mark.parametrize("report", [ProbeReport("epic r4", ()), ProbeReport("epic r4", (), refused=True)])
def test_an_empty_probe_fits_its_model(report: ProbeReport) -> None:
    _reread(ProbeDocument, ehr_commands._probe_document(report))


def test_a_probe_with_a_failed_step_fits_and_is_not_ok() -> None:
    checks = (Check("discovery", "ok", "found"), Check("login", "failed", "refused", "register the key"))
    document = _reread(ProbeDocument, ehr_commands._probe_document(ProbeReport("epic r4", checks)))
    assert isinstance(document, ProbeDocument)
    assert not document.ok
    assert [step.advice for step in document.checks] == [None, "register the key"]


def test_a_checked_pod_file_fits_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pod.yaml").write_text("name: north\nehr: 3\nsurplus: 1\n", encoding="utf-8")
    assert frame.run(["pod", "check", str(tmp_path / "pod.yaml"), "--json"]) == 5
    document = CheckDocument.model_validate_json(capsys.readouterr().out)
    assert not document.ok
    assert any(problem.severity == "error" for problem in document.problems)


def test_an_unknown_key_is_a_mistake_of_ours() -> None:
    document = {"schema": "trialveil/query/1", "match": "matched", "match_detail": "", "kinds": {}}
    _reread(QueryDocument, document)
    with pytest.raises(ValidationError):
        _reread(QueryDocument, {**document, "name": "x"})
