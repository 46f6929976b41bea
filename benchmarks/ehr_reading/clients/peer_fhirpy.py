"""fhirpy's asynchronous client; as many patients at a time as ours has requests in flight."""

from __future__ import annotations

import asyncio
from collections import Counter

import measured
from fhirpy import AsyncFHIRClient


def read(asked: measured.Asked) -> Counter[str]:
    """Read the cohort."""
    return asyncio.run(_read(asked))


async def _read(asked: measured.Asked) -> Counter[str]:
    found: Counter[str] = Counter()
    client = AsyncFHIRClient(asked.base, authorization=f"Bearer {measured.TOKEN}")
    left = iter(asked.people)

    async def work() -> None:
        for person in left:
            for name in ("Patient", *measured.KINDS):
                key = "_id" if name == "Patient" else "patient"
                async for _ in client.resources(name).search(**{key: person}).limit(asked.page_size):
                    found[name] += 1

    await asyncio.gather(*(work() for _ in range(asked.in_flight)))
    return found


if __name__ == "__main__":
    measured.run(read)
