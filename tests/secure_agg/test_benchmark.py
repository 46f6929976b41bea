"""The benchmark of secure aggregation checks its masks before its times, and prints what was promised."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from federated.cli.documents import AggregationBenchmark
from tests.repository.sources import ROOT

FILE = ROOT / "benchmarks" / "secure_agg.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("secure_agg_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_mask_rows_are_as_promised(benchmark: Any) -> None:
    rows = list(benchmark.mask_rows(benchmark.Options((70_000,), 1)))
    made = json.loads(json.dumps(benchmark.document(rows, {"cores": 2})))
    AggregationBenchmark.model_validate_json(json.dumps(made))
    assert [(row["part"], row["pods"], row["parameters"]) for row in made["rows"]] == [
        ("mask", 10, 70_000),
        ("mask", 50, 70_000),
        ("mask", 100, 70_000),
    ]
    assert all(row["share_of_limit"] > 0 and row["bytes_up"] == 280_000 for row in made["rows"])
    assert all("of raw AES-256-CTR" in benchmark.shown(row) for row in rows)


def test_no_time_is_shown_where_masks_do_not_come_off(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark.check_mask(5000, 10)

    def scalar_mask(vector: np.ndarray, *_: object, **__: object) -> None:
        vector += np.uint32(7)

    monkeypatch.setattr(benchmark, "mask", scalar_mask)
    with pytest.raises(SystemExit, match="no time is shown"):
        benchmark.check_mask(5000, 10)


def test_raw_keystream_is_as_long_as_it_was_asked_for(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Context:
        def encryptor(self) -> Context:
            return self

        def update_into(self, data: bytes, buffer: bytearray) -> None:
            made.append(len(data))

    monkeypatch.setattr(benchmark, "Cipher", lambda *_: Context())
    benchmark.raw_counter(600_000)
    assert sum(made) == 600_000


def test_the_file_does_not_hide_the_package_of_its_name() -> None:
    done = subprocess.run([sys.executable, str(FILE), "--help"], capture_output=True, check=True, timeout=60)
    assert b"--full" in done.stdout
