"""The benchmark of secure aggregation checks its masks before its times, and prints what was promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import environment
from benchmarks.secure_aggregation import command, flower, masking, rounds
from benchmarks.secure_aggregation.measuring import Options, Timed
from federated.cli.command_documents import AggregationBenchmark
from tests.repository.sources import ROOT

FILE = ROOT / "benchmarks" / "secure_agg.py"
SMALL = rounds.Setting(parameters=300, pods=10, dropped=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A round of ten small pods, kept message by message."""
    rounds.record(SMALL, tmp_path)
    return tmp_path


def test_the_mask_rows_are_as_promised() -> None:
    rows = list(masking.mask_rows(Options((70_000,), repetitions=1)))
    made = json.loads(json.dumps(command.document(rows, {"cores": 2})))
    AggregationBenchmark.model_validate_json(json.dumps(made))
    assert [(row["part"], row["pods"], row["parameters"]) for row in made["rows"]] == [
        ("mask", 10, 70_000),
        ("mask", 50, 70_000),
        ("mask", 100, 70_000),
    ]
    assert all(row["share_of_limit"] > 0 and row["bytes_up"] == 280_000 for row in made["rows"])
    assert all("of raw AES-256-CTR" in command.shown(row) for row in rows)


def test_no_time_is_shown_where_masks_do_not_come_off(monkeypatch: pytest.MonkeyPatch) -> None:
    masking.check_mask(5000, 10)

    def scalar_mask(vector: np.ndarray, *_: object, **__: object) -> None:
        vector += np.uint32(7)

    monkeypatch.setattr(masking, "mask", scalar_mask)
    with pytest.raises(SystemExit, match="no time is shown"):
        masking.check_mask(5000, 10)


def test_raw_keystream_is_as_long_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Context:
        def encryptor(self) -> Context:
            return self

        def update_into(self, data: bytes, buffer: bytearray) -> None:
            made.append(len(data))

    monkeypatch.setattr(masking, "Cipher", lambda *_: Context())
    masking.raw_counter(600_000)
    assert sum(made) == 600_000


def test_the_file_does_not_hide_the_package_of_its_name() -> None:
    done = subprocess.run([sys.executable, str(FILE), "--help"], capture_output=True, check=True, timeout=60)
    assert b"--full" in done.stdout


def test_a_pod_and_the_server_live_through_a_kept_round_again(folder: Path) -> None:
    assert [path.suffix for path in sorted(folder.iterdir())].count(".tick") == 1  # one pod of ten was lost
    client, server = rounds.client_again(SMALL, folder, 1), rounds.server_again(SMALL, folder, 1)
    every = [path.read_bytes() for path in folder.glob("*.up")]
    assert server.bytes_up == sum(map(len, every))
    assert 4 * SMALL.parameters < client.bytes_up < server.bytes_up / 8
    assert client.timed.cpu > 0 < server.timed.cpu


def test_a_rows_speedup_is_the_peers_time_over_ours() -> None:
    life = rounds.Life(Timed(0.5, 1.0), 100, 1000)
    row = command._row("client", SMALL, life, 2.0)
    assert (row.speedup_over_flower, row.share_of_limit, row.bytes_up) == (4.0, None, 100)
    assert command._row("client", SMALL, life, None).speedup_over_flower is None


def test_a_peer_that_cannot_be_installed_gives_nulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "runs", lambda command: False)
    assert environment.environment("flwr", flower.VERSION, tmp_path) is None
    assert flower.measure(None, SMALL, 1) is None
    assert "null" in capsys.readouterr().err


def test_no_time_is_shown_where_the_mean_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rounds.Scene.update
    monkeypatch.setattr(rounds.Scene, "update", lambda scene, name: right(scene, name) * 0.5)
    kept = rounds._check

    def check_against_others(scene: rounds.Scene, *given: object) -> None:
        monkeypatch.setattr(rounds.Scene, "update", right)
        kept(scene, *given)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(rounds, "_check", check_against_others)
    with pytest.raises(SystemExit, match="no time is shown"):
        rounds.record(SMALL, tmp_path)
