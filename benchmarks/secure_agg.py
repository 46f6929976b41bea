"""How fast a sum is masked: against raw AES, a plain sum and a peer, on this machine and in one run.

``python benchmarks/secure_agg.py [--json] [--full] [--only PART]``. A part is a function that yields rows (`PARTS`):

* ``mask``: own and pairwise masks of one pod, expanded and added to one vector, one thread, nothing else of the
  client. ``share_of_limit`` is the time that raw AES-256-CTR takes for as many bytes, alternating with it, over ours.
  A pod of a cohort of n adds n masks. The result is checked by taking the masks off again before a time is shown.

Seconds are medians; CPU seconds count all threads. Each part runs in a process of its own, so that ``peak_bytes``
(its largest resident size, imports included) is its own. What the machine can do at best is measured beside it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

# This file is called like the package, which must be found before it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from secure_agg.keystream import CHUNK_BYTES, add_keystream, fastest
from secure_agg.masks import mask, pair_sign

SCHEMA = "trialveil/secure-agg-benchmark/1"
PODS = (10, 50, 100)
ME = "pod-5"


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Args:
        parameters: lengths of a vector.
        repetitions: of which the median is shown.
    """

    parameters: tuple[int, ...] = (1_000_000,)
    repetitions: int = 3

    @classmethod
    def full(cls) -> Options:
        return cls((1_000_000, 10_000_000), 5)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result, as other programs read it; see the interface's page."""

    part: str
    parameters: int
    pods: int
    dropped: float
    cpu_seconds: float
    wall_seconds: float
    speedup_over_flower: float | None
    share_of_limit: float | None
    bytes_up: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of one run."""

    cpu: float
    wall: float


def timed(work: Callable[[], object]) -> Timed:
    """Run once."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Timed(time.process_time() - cpu, time.perf_counter() - wall)


def alternating(works: dict[str, Callable[[], object]], repetitions: int) -> dict[str, Timed]:
    """Medians of runs in turn, so that a load that comes and goes falls on all; one run each is thrown away."""
    for work in works.values():
        work()
    runs = [{name: timed(work) for name, work in works.items()} for _ in range(repetitions)]
    return {
        name: Timed(
            statistics.median(run[name].cpu for run in runs),
            statistics.median(run[name].wall for run in runs),
        )
        for name in works
    }


def peak_bytes() -> int:
    """Largest resident size of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def raw_cipher(mode: Any, size: int) -> None:
    """``size`` bytes of keystream into one buffer, in chunks: what no mask can be faster than."""
    zeros, buffer = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES)
    context = Cipher(AES(bytes(32)), mode).encryptor()
    for left in range(size, 0, -CHUNK_BYTES):
        context.update_into(memoryview(zeros)[: min(left, CHUNK_BYTES)], buffer)


def raw_counter(size: int) -> None:
    raw_cipher(CTR(bytes(16)), size)


def pairs_of(pods: int) -> dict[str, bytes]:
    """A seed for each neighbour; about half of them sort before us."""
    names = [f"pod-{number}" for number in range(pods) if f"pod-{number}" != ME]
    return {name: os.urandom(32) for name in names}


def check_mask(length: int, pods: int) -> None:
    """Masks that are taken off one by one leave what was there.

    Raises:
        SystemExit: they do not.
    """
    plain = np.arange(length, dtype=np.uint32)
    vector, own, pairs = plain.copy(), os.urandom(32), pairs_of(pods)
    mask(vector, ME, own, pairs, threads=1)
    add_keystream(vector, own, -1, 0)
    for peer, seed in pairs.items():
        add_keystream(vector, seed, -1 if pair_sign(ME, peer) == 1 else 1, 0)
    if not np.array_equal(vector, plain):
        sys.exit("masks taken off again leave another vector; no time is shown")


def mask_rows(options: Options) -> Iterator[Row]:
    """Masking alone, against raw AES-256-CTR in the same run."""
    for length in options.parameters:
        for pods in PODS:
            check_mask(min(length, 100_000), pods)
            vector, own, pairs = np.zeros(length, np.uint32), os.urandom(32), pairs_of(pods)
            works: dict[str, Callable[[], object]] = {
                "limit": partial(raw_counter, vector.nbytes * pods),
                "ours": partial(mask, vector, ME, own, pairs, threads=1),
            }
            found = alternating(works, max(5, options.repetitions))
            yield Row(
                part="mask",
                parameters=length,
                pods=pods,
                dropped=0.0,
                cpu_seconds=found["ours"].cpu,
                wall_seconds=found["ours"].wall,
                speedup_over_flower=None,
                share_of_limit=found["limit"].cpu / found["ours"].cpu,
                bytes_up=vector.nbytes,
                peak_bytes=peak_bytes(),
            )


# A further part (client, server) is one function here and one line in `PARTS`.
PARTS: dict[str, Callable[[Options], Iterator[Row]]] = {"mask": mask_rows}


def run_part(name: str, options: Options) -> list[Row]:
    """All rows of a part, in this process."""
    return list(PARTS[name](options))


def machine() -> dict[str, Any]:
    """What this machine is, and what it can do at best, in GB per CPU second of one thread."""
    size = 64 * 1024 * 1024
    one, other = np.ones(size // 4, np.uint32), np.ones(size // 4, np.uint32)
    best: dict[str, Callable[[], object]] = {
        "aes_256_ctr": lambda: raw_counter(size),
        "aes_256_gcm": lambda: raw_cipher(GCM(bytes(12)), size),
        "plain_sum": lambda: np.add(one, other, out=one),
        "memory_copy": lambda: np.copyto(one, other),
    }
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cryptography": importlib.metadata.version("cryptography"),
        "keystream": fastest().value,
        "gigabytes_per_second": {
            name: round(size / found.cpu / 1e9, 2) for name, found in alternating(best, 5).items()
        },
        "wall_speedup_by_threads": speedup_by_threads(),
    }


def speedup_by_threads() -> dict[str, dict[str, float]]:
    """Of masking 4 million words, and of raw AES on as many threads: what the load of the machine leaves."""
    vector, pairs = np.zeros(4_000_000, np.uint32), pairs_of(10)
    counts = [count for count in (1, 2, 4) if count <= (os.cpu_count() or 1)]
    works: dict[str, Callable[[], object]] = {}
    for count in counts:
        works[f"mask {count}"] = partial(mask, vector, ME, bytes(32), pairs, threads=count)
        works[f"raw {count}"] = partial(raw_threads, count, vector.nbytes * 10)
    found = alternating(works, 7)
    return {
        kind: {str(n): round(found[f"{kind} 1"].wall / found[f"{kind} {n}"].wall, 2) for n in counts}
        for kind in ("mask", "raw")
    }


def raw_threads(count: int, size: int) -> None:
    """``size`` bytes of keystream in all."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(raw_counter, [size // count] * count))


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


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--full", action="store_true", help="longer vectors too, and more repetitions")
    parser.add_argument("--only", choices=list(PARTS), help="this part alone")
    chosen = parser.parse_args()
    options = Options.full() if chosen.full else Options()
    context = multiprocessing.get_context("spawn")
    rows: list[Row] = []
    for name in [chosen.only] if chosen.only else PARTS:
        with context.Pool(1) as process:
            rows += process.apply(run_part, (name, options))
    made = document(rows, machine())
    if chosen.json:
        print(json.dumps(made, indent=2))
        return
    for row in rows:
        print(shown(row))
    print(json.dumps(made["machine"], indent=2))


if __name__ == "__main__":
    main()
