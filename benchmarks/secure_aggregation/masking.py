"""Masking alone, and the most that this machine can do."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from benchmarks.secure_aggregation.measuring import Options, Row, alternating, peak_bytes
from secure_agg.keystream import CHUNK_BYTES, Backend, add_keystream, fastest
from secure_agg.masks import mask, pair_sign

ME = "pod-5"


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
        for pods in options.pods:
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


def machine(part: int = 1) -> dict[str, Any]:
    """What this machine is, and what it can do at best, in GB per CPU second of one thread.

    Args:
        part: sizes are divided by it, where figures are not the point.
    """
    size = 64 * 1024 * 1024 // part
    one, other = np.ones(size // 4, np.uint32), np.ones(size // 4, np.uint32)
    best: dict[str, Callable[[], object]] = {
        "aes_256_ctr": lambda: raw_counter(size),
        "aes_256_gcm": lambda: raw_cipher(GCM(bytes(12)), size),
        "plain_sum": lambda: np.add(one, other, out=one),
        "memory_copy": lambda: np.copyto(one, other),
        "sha_256": lambda: hashlib.sha256(one.data).digest(),
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
        "wall_speedup_by_threads": speedup_by_threads(10_000_000 // part),
    }


def speedup_by_threads(words: int) -> dict[str, dict[str, float]]:
    """Of masking so many words, and of the same cipher alone: what machine and load leave for a second thread."""
    vector, pairs = np.zeros(words, np.uint32), pairs_of(10)
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
    """``size`` bytes of keystream in all, by the backend that masks are made with."""
    mode: Any = GCM(bytes(12)) if fastest() is Backend.GCM else CTR(bytes(16))
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(partial(raw_cipher, mode), [size // count] * count))
