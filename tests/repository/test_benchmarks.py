"""The benchmarks run, compare results before times, and print what the interface promises."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from federated.cli.command_documents import (
    AggregationBenchmark,
    FaultsBenchmark,
    ReadingBenchmark,
    RuntimeBenchmark,
    ScreeningBenchmark,
)
from tests.repository.sources import ROOT

COMMANDS: dict[str, tuple[type[BaseModel], str]] = {
    "ehr": (ReadingBenchmark, "--no-peers --patients 2 --many 0 --rounds 1 --latency 0"),
    "faults": (FaultsBenchmark, "--no-peers"),
    "runtime": (RuntimeBenchmark, "--tiny"),
    "screening": (ScreeningBenchmark, "--patients 40"),
    "secure_agg": (AggregationBenchmark, "--tiny"),
}
"""Each benchmark's document, and the options that make it as small as it can be."""


@pytest.fixture(scope="module")
def screening() -> ModuleType:
    spec = importlib.util.spec_from_file_location("screening_benchmark", ROOT / "benchmarks" / "screening.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(screening: Any) -> dict[str, Any]:
    return {name: engine(80) for name, engine in screening.ENGINES.items()}


def test_a_plain_loop_over_dictionaries_and_the_engine_agree_on_every_cell(found: dict[str, Any]) -> None:
    assert found["dicts"].verdicts == found["closures"].verdicts
    assert {value for row in found["dicts"].verdicts for value in row} == {0, 1, 2}


def test_the_document_is_as_promised(screening: Any, found: dict[str, Any]) -> None:
    made = screening.document(found)
    ScreeningBenchmark.model_validate_json(json.dumps(made))
    assert [row["engine"] for row in made["rows"]] == ["dicts", "closures"]
    assert {(row["patients"], row["criteria"]) for row in made["rows"]} == {(80, 10)}
    assert made["rows"][0]["speedup_over_dicts"] == 1


def test_no_time_is_shown_where_two_engines_differ(screening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Process:
            return self

        def __exit__(self, *_: object) -> None: ...
        def apply(self, engine: Any, arguments: tuple[int]) -> Any:
            return engine(*arguments)

    class Context:
        Pool = Process

    monkeypatch.setattr(screening.multiprocessing, "get_context", lambda method: Context())
    wrong = screening.Measured(1.0, ((2,), (0,)), 1)
    right = screening.Measured(1.0, ((2,), (1,)), 1)
    monkeypatch.setattr(screening, "ENGINES", {"dicts": lambda n: right, "closures": lambda n: wrong})
    with pytest.raises(SystemExit, match="patient 2"):
        screening.measure(2)


def test_patients_are_repeated_under_ids_of_their_own(screening: Any) -> None:
    made = list(screening.replicas(90))
    ids = [json.loads(kinds["Patient"][0])["id"] for kinds in made]
    assert len(set(ids)) == 90
    for own, kinds in zip(ids, made, strict=True):
        for name in screening.TYPES[1:]:
            assert all(json.loads(line)["subject"]["reference"] == f"Patient/{own}" for line in kinds[name])


def _run(*command: str) -> bytes:
    """What a command of the documents prints: called in the root of the repository, and helped by no path."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=alone, stdout=subprocess.PIPE, check=True, timeout=100
    )
    return done.stdout


def test_every_benchmark_is_called_below() -> None:
    assert {file.stem for file in (ROOT / "benchmarks").glob("*.py")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_runs_by_its_documented_command(name: str) -> None:
    shape, options = COMMANDS[name]
    made = shape.model_validate_json(_run(f"benchmarks/{name}.py", "--json", *options.split()))
    assert made.model_dump()["rows"]


def test_exchanges_over_sockets_are_timed_by_their_documented_command() -> None:
    assert _run("-m", "benchmarks.link_exchange.measure", "--tiny").count(b"times a bare copy") == 3


def test_each_benchmark_says_how_it_is_called() -> None:
    for file in (ROOT / "benchmarks").glob("*.py"):
        assert "--json" in file.read_text(encoding="utf-8"), Path(file).name


def test_a_round_of_the_runtime_is_timed_over_both_links() -> None:
    from benchmarks.runtime_rounds.command import row

    rows = [row(3, 500, 1, kind) for kind in ("in process", "sockets")]
    exchange = {"parameters": 1, "milliseconds": 1.0, "times_a_bare_tls_copy": 1.0}
    made = {"schema": "trialveil/runtime-benchmark/1", "machine": {}, "rows": rows, "exchanges": [exchange]}
    RuntimeBenchmark.model_validate_json(json.dumps(made))


def test_no_time_of_a_round_is_shown_where_a_mean_is_wrong() -> None:
    from benchmarks.runtime_rounds.command import bare, check

    names = ("pod-000", "pod-001", "pod-002")
    mean = bare(names, 500)
    check(mean, names, 1)
    with pytest.raises(AssertionError, match="no time is shown"):
        check(mean + 1e-5, names, 1)
