"""A modeller and two pods with keys made at run time, and short patience."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from federated.links.link import Handler
from federated.links.sockets import Backoff, Hub, LinkSettings, Modeller, dial, listen
from federated.task.envelope import Envelope
from secure_agg import Identity

SEEDS = {name: os.urandom(32) for name in ("modeller", "leeds", "york")}
MODELLER, LEEDS, YORK = (Identity(seed) for seed in SEEDS.values())
PODS = {"leeds": LEEDS.public, "york": YORK.public}
SOON = Backoff(first_s=0.01, cap_s=0.02)
WAIT_S = 10.0


async def echo(request: Envelope) -> Envelope:
    return request


@asynccontextmanager
async def hub_at(port: int = 0, **settings: float) -> AsyncIterator[Hub]:
    async with (
        asyncio.timeout(60),
        await listen(MODELLER, PODS, port=port, settings=LinkSettings(**settings)) as hub,
    ):
        yield hub


@asynccontextmanager
async def dialled(
    hub: Hub | None, handler: Handler = echo, name: str = "leeds", key: Identity = LEEDS, **others: object
) -> AsyncIterator[list[str]]:
    """A pod in this process; what it was told."""
    said: list[str] = []
    options = {"backoff": SOON, "told": said.append} | others
    modeller = options.pop("modeller", None) or Modeller(*hub.address, MODELLER.public)
    task = asyncio.create_task(dial(modeller, key, name, handler, **options))
    try:
        yield said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.005)
