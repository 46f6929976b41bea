"""Programs for tests that kill: ``python -m tests.federated.links.program pod|hub`` and JSON on stdin.

A pod echoes, and waits before it answers while the file ``hold`` exists. A hub asks the pod over and over and
prints each answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from federated.links.sockets import Backoff, LinkSettings, Modeller, dial, listen
from federated.task.envelope import Envelope
from secure_agg import Identity

SOON = Backoff(first_s=0.02, cap_s=0.05)


async def pod(given: dict[str, Any]) -> None:
    hold = Path(given["hold"])

    async def handle(request: Envelope) -> Envelope:
        sys.stdout.write("asked\n")
        sys.stdout.flush()
        while hold.exists():
            await asyncio.sleep(0.01)
        return request

    modeller = Modeller("127.0.0.1", given["port"], bytes.fromhex(given["modeller"]))
    key = Identity(bytes.fromhex(given["seed"]))
    await dial(modeller, key, "leeds", handle, LinkSettings(silence_s=given["silence_s"]), backoff=SOON)


async def hub(given: dict[str, Any]) -> None:
    key = Identity(bytes.fromhex(given["seed"]))
    pods = {"leeds": bytes.fromhex(given["pod"])}
    async with await listen(key, pods, port=given["port"]) as link:
        while True:
            await link.ask("leeds", Envelope(b"1"))
            sys.stdout.write("answered\n")
            sys.stdout.flush()
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run({"pod": pod, "hub": hub}[sys.argv[1]](json.loads(sys.stdin.readline())))
