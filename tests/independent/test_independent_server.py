"""Login, search, paging and a screening run against a server that nobody here wrote.

`make proof` installs the pinned server into an environment of its own and points here; everywhere else these tests
skip. Only loopback is used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ehr.auth.keys import Algorithm
from ehr.errors import AuthError
from ehr.providers import registry
from federated.screening.run import Options, screen_async
from tests.independent import sekmet
from tests.independent.server_run import (
    FIXTURE,
    Ran,
    differences,
    note,
    on_sandbox,
    people,
    ring,
    screened,
    trial,
)

PROGRAM = os.environ.get("TRIALVEIL_SEKMET")
FIGURES = Path(os.environ["TRIALVEIL_PROOF_FIGURES"]) if "TRIALVEIL_PROOF_FIGURES" in os.environ else None
pytestmark = [
    pytest.mark.skipif(
        PROGRAM is None,
        reason="needs the independent server sekmet-fhir; `make proof` installs and runs it",
    ),
    pytest.mark.timeout(600),
]


@dataclass(frozen=True, slots=True)
class Stage:
    """The filled server's folder, the trial, and what our own sandbox makes of the same people."""

    folder: Path
    trial: Path
    expected: Ran

    @property
    def program(self) -> Path:
        assert PROGRAM is not None
        return Path(PROGRAM)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("independent")
    assert PROGRAM is not None
    with sekmet.running(Path(PROGRAM), folder / "server") as base:
        count = sekmet.fill(base, FIXTURE)
    sekmet.analyse(folder / "server")
    rules = trial(folder)
    expected = on_sandbox(folder / "sandbox", rules)
    note(FIGURES, "data", {"resources": count, "rows": len(expected.verdicts)})
    yield Stage(folder, rules, expected)


def _screen(stage: Stage, name: str, algorithm: Algorithm, scopes: str = "system/*.*") -> Ran:
    pod = stage.folder / name
    with sekmet.running(stage.program, stage.folder / "server", ring(pod, algorithm), scopes) as base:
        return screened(pod, base, sekmet.CLIENT, stage.trial)


def test_the_comparison_is_worth_something(stage: Stage) -> None:
    assert len(stage.expected.verdicts) == 40
    assert set(stage.expected.decisions) == {"eligible", "undecided", "not_eligible"}
    verdicts = {verdict for _, criteria in stage.expected.verdicts.values() for verdict in criteria.values()}
    assert verdicts == {"pass", "fail", "unknown"}


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_both_servers_lead_to_the_same_verdicts(stage: Stage, algorithm: Algorithm) -> None:
    before, _ = sekmet.requests(stage.folder / "server")
    found = _screen(stage, algorithm, algorithm)
    requests, _ = sekmet.requests(stage.folder / "server")
    assert differences(stage.expected, found) == {}
    assert set(found.states) <= {"OK", "EMPTY"}
    figures = {"decisions": dict(found.decisions), "requests": requests - before}
    cells = sum(len(criteria) for _, criteria in found.verdicts.values())
    note(FIGURES, f"screening, {algorithm}", {**figures, "cells": cells, "differences": 0})


def test_small_pages_lead_to_the_same_verdicts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = registry.shipped_profile
    monkeypatch.setattr(registry, "shipped_profile", lambda name: replace(shipped(name), page_size=7))
    _, before = sekmet.requests(stage.folder / "server")
    found = _screen(stage, "pages", "ES384")
    _, further = sekmet.requests(stage.folder / "server")
    assert differences(stage.expected, found) == {}
    assert set(found.states) <= {"OK", "EMPTY"}
    assert further - before > 500
    note(FIGURES, "paging, 7 entries a page", {"further pages": further - before, "differences": 0})


def test_a_kind_outside_the_scope_is_unknown_and_never_a_finding(stage: Stage) -> None:
    scopes = "system/Patient.rs system/Observation.rs system/Encounter.rs system/Procedure.rs"
    found = _screen(stage, "scope", "ES384", scopes)
    changed = 0
    for row, (_, criteria) in found.verdicts.items():
        for name, verdict in criteria.items():
            before = stage.expected.verdicts[row][1][name]
            if verdict != before:
                changed += 1
                assert verdict == "unknown", f"row {row}, {name}: {before} became {verdict}"
        for name in ("risk", "insulin", "stroke", "pregnant"):
            assert criteria.get(name, "unknown") == "unknown"
    assert changed > 0
    note(FIGURES, "scope without conditions and medication", {"verdicts that became unknown": changed})


def test_a_key_that_is_not_registered_is_refused(stage: Stage) -> None:
    pod, other = stage.folder / "stranger", stage.folder / "registered"
    ring(pod, "ES384")
    with (
        sekmet.running(stage.program, stage.folder / "server", ring(other, "ES384")) as base,
        pytest.raises(AuthError) as caught,
    ):
        from tests.end_to_end.clinics import CLIENT, make_pod

        made = make_pod(pod, base, people())
        text = made.config.read_text(encoding="utf-8").replace(
            f"client_id: {CLIENT}", f"client_id: {sekmet.CLIENT}"
        )
        made.config.write_text(text, encoding="utf-8")
        asyncio.run(screen_async(made.config, stage.trial, Options()))
    assert "eyJ" not in str(caught.value)
    note(FIGURES, "a key that is not registered", {"refused": True})
