"""Processes that are killed or stopped: what was asked is answered when they are back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from federated.links.sockets import Modeller
from federated.task.envelope import Envelope
from tests.federated.links.cast import LEEDS, MODELLER, SEEDS, dialled, hub_at, until
from tests.repository.sources import ROOT

BODY = os.urandom(2_000_000)


@contextmanager
def _program(role: str, **given: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.federated.links.program", role]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdin
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def _pod(port: int, hold: Path, silence_s: float = 15.0) -> AbstractContextManager[subprocess.Popen[str]]:
    given = {"port": port, "hold": str(hold), "silence_s": silence_s}
    return _program("pod", **given, seed=SEEDS["leeds"].hex(), modeller=MODELLER.public.hex())


def _hub(port: int) -> AbstractContextManager[subprocess.Popen[str]]:
    return _program("hub", port=port, seed=SEEDS["modeller"].hex(), pod=LEEDS.public.hex())


async def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return (await asyncio.to_thread(process.stdout.readline)).strip()


async def test_w16_a_pod_killed_with_a_request_out_comes_back_and_answers_it(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    async with hub_at() as hub:
        with _pod(hub.address[1], hold) as first:
            asked = asyncio.create_task(hub.ask("leeds", Envelope(b"1", BODY)))
            assert await _line(first) == "asked"
            first.send_signal(signal.SIGKILL)
            await until(lambda: not hub.connected)
        assert not asked.done()
        hold.unlink()
        with _pod(hub.address[1], hold):
            answer = await asked
            assert (answer.head, answer.body) == (b"1", BODY)


async def test_w17_a_pod_that_stands_still_is_away_and_answers_when_it_goes_on(tmp_path: Path) -> None:
    async with hub_at(silence_s=0.6) as hub:
        with _pod(hub.address[1], tmp_path / "no-hold", 0.6) as pod:
            await hub.ask("leeds", Envelope(b"1"))
            pod.send_signal(signal.SIGSTOP)  # its sockets stay open: only its silence tells
            asked = asyncio.create_task(hub.ask("leeds", Envelope(b"2", BODY)))
            await until(lambda: not hub.connected)
            assert not asked.done()
            pod.send_signal(signal.SIGCONT)
            assert (await asked).body == BODY


async def test_a_killed_hub_that_starts_again_on_its_port_finds_its_pods() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    heard: list[bytes] = []

    async def handle(request: Envelope) -> Envelope:
        heard.append(request.head)
        return request

    where = Modeller("127.0.0.1", port, MODELLER.public)
    async with dialled(None, handle, modeller=where) as said:
        for times in (1, 2):
            with _hub(port) as hub:
                assert [await _line(hub) for _ in range(3)] == ["answered"] * 3
                hub.send_signal(signal.SIGKILL)
                hub.wait()
            assert sum(text.startswith("Connected") for text in said) == times
    assert len(heard) >= 6
