"""The command line of ``benchmarks/secure_agg.py``: parts, processes, and what is printed."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import environment
from benchmarks.secure_aggregation import flower
from benchmarks.secure_aggregation.masking import machine, mask_rows
from benchmarks.secure_aggregation.measuring import Options, Row
from benchmarks.secure_aggregation.rounds import (
    Life,
    Setting,
    client_again,
    peak_of_imports,
    record,
    server_again,
)

SCHEMA = "trialveil/secure-agg-benchmark/1"
PARTS = ("mask", "client", "server")
FULL = Options((1_000_000, 10_000_000), dropped=(0.0, 0.05, 0.3), repetitions=5)
TINY = Options((1_000,), pods=(10,), repetitions=1, flower=False)
PEER_PODS_OFTEN = 10  # beyond, the peer's round takes minutes and is run once


def masked(options: Options) -> list[Row]:
    """The mask rows, for a process of their own."""
    return list(mask_rows(options))


def round_rows(options: Options, context: SpawnContext) -> Iterator[Row]:
    """One client row and one server row for each setting."""
    python = environment("flwr", flower.VERSION) if options.flower else None
    for length in options.parameters:
        for pods in options.pods:
            for dropped in options.dropped:
                setting = Setting(length, pods, dropped)
                sys.stderr.write(f"round: {length:,} parameters, {pods} pods, {setting.lost} lost\n")
                yield from _round(setting, options, python, context)


def _round(setting: Setting, options: Options, python: Path | None, context: SpawnContext) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="trialveil-benchmark-") as name:
        folder = Path(name)
        alone(context, record, setting, folder)
        client: Life = alone(context, client_again, setting, folder, options.repetitions)
        server: Life = alone(context, server_again, setting, folder, options.repetitions)
    often = setting.pods <= PEER_PODS_OFTEN
    peer = flower.measure(python, setting, options.repetitions if often else 1)
    yield _row("client", setting, client, peer.client_cpu_seconds if peer else None)
    yield _row("server", setting, server, peer.server_cpu_seconds if peer else None)


def _row(part: str, setting: Setting, life: Life, peer: float | None) -> Row:
    return Row(
        part=part,
        parameters=setting.parameters,
        pods=setting.pods,
        dropped=setting.dropped,
        cpu_seconds=life.timed.cpu,
        wall_seconds=life.timed.wall,
        speedup_over_flower=None if peer is None else peer / life.timed.cpu,
        share_of_limit=None,
        bytes_up=life.bytes_up,
        peak_bytes=life.peak_bytes,
    )


def alone(context: SpawnContext, work: Callable[..., Any], *given: Any) -> Any:
    """Run in a process of its own, so that its memory is its own."""
    with context.Pool(1) as process:
        return process.apply(work, given)


def document(rows: list[Row], at_best: dict[str, Any]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"schema": SCHEMA, "machine": at_best, "rows": [asdict(row) for row in rows]}


def shown(row: Row) -> str:
    """One row for people."""
    text = (
        f"{row.part:>6}: {row.parameters:>10,} parameters, {row.pods:>3} pods, {row.dropped:4.0%} lost, "
        f"{row.cpu_seconds:8.4f} CPU s, {row.wall_seconds:8.4f} s, {row.bytes_up / 1e6:8.2f} MB up, "
        f"peak {row.peak_bytes / 2**20:.0f} MiB"
    )
    if row.share_of_limit is not None:
        text += f", {row.share_of_limit:.0%} of raw AES-256-CTR"
    if row.speedup_over_flower is not None:
        text += f", {row.speedup_over_flower:.1f} × the peer"
    return text


def options_of(given: argparse.Namespace) -> Options:
    """What was asked for."""
    chosen = FULL if given.full else TINY if given.tiny else Options()
    pods = tuple(given.pods) if given.pods else chosen.pods
    return Options(
        chosen.parameters, pods, chosen.dropped, chosen.repetitions, chosen.flower and not given.no_flower
    )


def main(about: str) -> None:
    """Run it; ``about`` is what ``--help`` says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--full", action="store_true", help="longer vectors, more losses and repetitions; hours"
    )
    size.add_argument("--tiny", action="store_true", help="see that it runs, no peer; its times say nothing")
    parser.add_argument("--only", choices=("mask", "rounds"), help="these rows alone")
    parser.add_argument(
        "--pods", type=int, action="append", help="this size of cohort alone; may be given twice"
    )
    parser.add_argument("--no-flower", action="store_true", help="leave the peer out; its figures are null")
    given = parser.parse_args()
    options, context = options_of(given), multiprocessing.get_context("spawn")
    rows: list[Row] = [] if given.only == "rounds" else alone(context, masked, options)
    if given.only != "mask":
        rows += round_rows(options, context)
    at_best = machine(1000 if given.tiny else 1)
    made = document(rows, {**at_best, "bytes_of_imports": alone(context, peak_of_imports)})
    if given.json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
        return
    for row in rows:
        sys.stdout.write(shown(row) + "\n")
    sys.stdout.write(json.dumps(made["machine"], indent=2) + "\n")
