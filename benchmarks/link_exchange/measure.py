"""One exchange over sockets against a bare TLS copy of the same bytes, in one run on loopback.

``python -m benchmarks.link_exchange.measure``. The pod is a process of its own that gives each request back. The bare
copy has the same two processes, the same TLS and blocking sockets, and nothing else: no frames, no greeting, no
event loop, and its buffers are made before the clock starts. Both take turns;
seconds are medians of whole exchanges, there and back.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from federated.links.pinned_tls import hub_context, pod_context
from federated.links.sockets import Modeller, dial, listen
from federated.task.envelope import Envelope
from secure_agg import Identity

SIZES = (4_000, 40_000, 40_000_000)
TINY = (4_000, 40_000, 400_000)
ROUNDS = 7


@dataclass(frozen=True)
class Exchange:
    """Medians.

    Attributes:
        size: bytes of the request's body, and of the answer's.
        seconds: of `Hub.ask`.
        bare_seconds: of the bare copy.
    """

    size: int
    seconds: float
    bare_seconds: float

    @property
    def times_bare(self) -> float:
        """Ours over the bare copy's: 1 is as fast."""
        return self.seconds / self.bare_seconds


async def _give_back(request: Envelope) -> Envelope:
    return request


def _pod(address: tuple[str, int], modeller: bytes, seed: bytes) -> None:
    asyncio.run(dial(Modeller(*address, modeller), Identity(seed), "pod", _give_back))


def _fill(tls: Any, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = tls.recv_into(view[done:])
        if not count:
            raise EOFError
        done += count


def _bare_pod(address: tuple[str, int], sizes: tuple[int, ...], own: Connection) -> None:
    plain = socket.create_connection(address)
    own.send(plain.getsockname())
    with pod_context().wrap_socket(plain) as tls:
        tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size in sizes:
            view = memoryview(bytearray(size))
            for _ in range(ROUNDS):
                _fill(tls, view)
                tls.sendall(view)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _bare(tls: Any, body: bytes, view: memoryview) -> None:
    tls.sendall(body)
    _fill(tls, view)


def measure(sizes: tuple[int, ...] = SIZES) -> list[Exchange]:
    """An `Exchange` for each size, after checking that what came back is what was sent."""
    return asyncio.run(_measure(sizes))


async def _measure(sizes: tuple[int, ...]) -> list[Exchange]:
    context = multiprocessing.get_context("spawn")
    modeller, seed = Identity(os.urandom(32)), os.urandom(32)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await listen(modeller, {"pod": Identity(seed).public}) as hub:
            theirs, own = context.Pipe(duplex=False)
            pod = context.Process(target=_pod, args=(hub.address, modeller.public, seed))
            bare = context.Process(target=_bare_pod, args=(listener.getsockname(), sizes, own))
            try:
                pod.start()
                bare.start()
                await hub.ask("pod", Envelope(b"ready"))
                plain = await asyncio.to_thread(_accepted, listener, theirs)
                with hub_context()[0].wrap_socket(plain, server_side=True) as tls:
                    tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return [await _one_size(hub, tls, size) for size in sizes]
            finally:  # a pod dials for ever, and Python waits for its children
                for process in (pod, bare):
                    process.kill()
                    process.join()


def _accepted(listener: socket.socket, theirs: Connection) -> socket.socket:
    """The connection of the bare copy: somebody else may still dial a port that was another program's."""
    expected = theirs.recv()
    while True:
        plain, peer = listener.accept()
        if peer == expected:
            return plain
        plain.close()


async def _one_size(hub: Any, tls: Any, size: int) -> Exchange:
    body, view = os.urandom(size), memoryview(bytearray(size))
    ours, bare = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        answer = await hub.ask("pod", Envelope(b"h", body))
        ours.append(time.perf_counter() - start)
        bare.append(_timed(partial(_bare, tls, body, view)))
        if answer.body != body or view != body:
            raise AssertionError("what came back is not what was sent")
    return Exchange(size, statistics.median(ours), statistics.median(bare))


def _command() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link_exchange.measure", description=__doc__)
    parser.add_argument(
        "--tiny", action="store_true", help="small bodies, to see that it runs; no figures to quote"
    )
    for each in measure(TINY if parser.parse_args().tiny else SIZES):
        times = f"{each.times_bare:5.2f} times a bare copy"
        print(f"{each.size:>12,} bytes  {each.seconds * 1e3:8.2f} ms  {times}")


if __name__ == "__main__":
    _command()
