"""Runs inside the peer's own environment: Flower's SecAgg+ functions for one client and the server, no network.

``python flower_program.py PARAMETERS PODS LOST REPETITIONS`` prints one JSON object. The complete graph, a threshold
of two thirds plus one, and the ranges that its workflow takes by default. Timed: all stages of one client; on the
server the sum, recovery of secrets, unmasking and decoding, as its workflow does them. What other clients send is
made beforehand and not timed; for the server, every client's vector has the same bytes, which costs the same time.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat

# The package hides this module behind a function of the same name.
pod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
CLIP, LEVELS, MODULUS, MAX_WEIGHT = 8.0, 2**22, 2**32, 1000.0


def timed(work: Callable[[], Any], repetitions: int) -> tuple[float, Any]:
    """Median CPU seconds, and what the last run gave."""
    seconds, found = [], None
    for _ in range(repetitions):
        began = time.process_time()
        found = work()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds), found


class Cohort:
    """Keys of all clients but the one that is timed (number 0)."""

    def __init__(self, count: int) -> None:
        self.count, self.threshold = count, 2 * count // 3 + 1
        pairs = {nid: (pod.generate_key_pairs(), pod.generate_key_pairs()) for nid in range(1, count)}
        self.private = {nid: one[0] for nid, (one, _) in pairs.items()}
        self.channel = {nid: other[0] for nid, (_, other) in pairs.items()}
        self.public = {
            str(nid): [pod.public_key_to_bytes(one[1]), pod.public_key_to_bytes(other[1])]
            for nid, (one, other) in pairs.items()
        }

    def configuration(self) -> dict[str, Any]:
        return {
            Key.SAMPLE_NUMBER: self.count,
            Key.SHARE_NUMBER: self.count,
            Key.THRESHOLD: self.threshold,
            Key.CLIPPING_RANGE: CLIP,
            Key.TARGET_RANGE: LEVELS,
            Key.MOD_RANGE: MODULUS,
            Key.MAX_WEIGHT: MAX_WEIGHT,
        }


def client(cohort: Cohort, values: Any, lost: int) -> tuple[float, int, list[bytes]]:
    """Seconds of all stages, bytes sent, and the masked vector."""
    state, spent = pod.SecAggPlusState(), 0.0
    state.nid = 0
    parameters = ndarrays_to_parameters([values])
    began = time.process_time()
    keys = pod._setup(state, cohort.configuration())
    spent += time.process_time() - began
    every = {"0": [keys[Key.PUBLIC_KEY_1], keys[Key.PUBLIC_KEY_2]], **cohort.public}
    began = time.process_time()
    shares = pod._share_keys(state, every)
    spent += time.process_time() - began
    received = {Key.SOURCE_LIST: list(cohort.private), Key.CIPHERTEXT_LIST: letters(cohort, state)}
    began = time.process_time()
    masked = pod._collect_masked_vectors(state, received, 100, parameters)
    live, gone = list(range(cohort.count - lost)), list(range(cohort.count - lost, cohort.count))
    told = pod._unmask(state, {Key.ACTIVE_NODE_ID_LIST: live, Key.DEAD_NODE_ID_LIST: gone})
    spent += time.process_time() - began
    lists = shares[Key.CIPHERTEXT_LIST], masked[Key.MASKED_PARAMETERS], told[Key.SHARE_LIST], keys.values()
    sent = sum(len(each) for some in lists for each in some)
    return spent, sent, masked[Key.MASKED_PARAMETERS]


def letters(cohort: Cohort, state: Any) -> list[bytes]:
    """What the others seal for the client; shares of its own length stand for theirs."""
    mine = pod.bytes_to_public_key(state.pk2)
    seed, key = state.rd_seed_share_dict[0], state.sk1_share_dict[0]
    return [
        pod.encrypt(pod.generate_shared_key(channel, mine), share_keys_plaintext_concat(nid, 0, seed, key))
        for nid, channel in cohort.channel.items()
    ]


def collected(cohort: Cohort, live: set[int]) -> dict[int, list[bytes]]:
    """Shares that the survivors reveal: of the own seed of each survivor, of the key of each that was lost."""
    found = {}
    for nid in range(cohort.count):
        key = cohort.private.get(nid)
        secret = os.urandom(32) if nid in live or key is None else pod.private_key_to_bytes(key)
        found[nid] = create_shares(secret, cohort.threshold, cohort.count)[: len(live)]
    return found


def server(cohort: Cohort, vector: list[bytes], live: set[int], shares: dict[int, list[bytes]]) -> Any:
    """The sum, and the masks off again."""
    total: Any = None
    for _ in live:
        one = [bytes_to_ndarray(part) for part in vector]
        total = one if total is None else arithmetic.parameters_addition(total, one)
    total = arithmetic.parameters_mod(total, MODULUS)
    shapes = arithmetic.get_parameters_shape(total)
    for nid, held in shares.items():
        secret = combine_shares(held)
        if nid in live:
            total = arithmetic.parameters_subtraction(total, pod.pseudo_rand_gen(secret, MODULUS, shapes))
            continue
        for peer in range(1, cohort.count):
            if peer != nid:
                key = pod.generate_shared_key(
                    pod.bytes_to_private_key(secret), pod.bytes_to_public_key(cohort.public[str(peer)][0])
                )
                mask = pod.pseudo_rand_gen(key, MODULUS, shapes)
                combine = arithmetic.parameters_addition if nid > peer else arithmetic.parameters_subtraction
                total = combine(total, mask)
    _, parts = arithmetic.factor_extract(arithmetic.parameters_mod(total, MODULUS))
    mean = dequantize(parts, CLIP, LEVELS)
    for part in mean:
        part += -(len(live) - 1) * CLIP
        part *= LEVELS / 1000
    return mean


def main() -> None:
    """Measure and print."""
    length, count, lost, repetitions = (int(given) for given in sys.argv[1:5])
    logging.getLogger("flwr").setLevel(logging.ERROR)
    values = np.clip(np.random.default_rng(1).standard_normal(length, np.float32), -4, 4)
    cohort, live = Cohort(count), set(range(count - lost))
    runs = [client(cohort, values, lost) for _ in range(repetitions + 1)]
    shares = collected(cohort, live)
    seconds, _ = timed(lambda: server(cohort, runs[-1][2], live, shares), repetitions)
    found = {
        "client_cpu_seconds": statistics.median(run[0] for run in runs[1:]),
        "server_cpu_seconds": seconds,
        "client_bytes_up": runs[-1][1],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
