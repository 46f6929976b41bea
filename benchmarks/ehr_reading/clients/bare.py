"""The limit: download the same pages and decode them into the same records. Nothing is checked."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[:1] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3])]

import aiohttp
import measured
import msgspec
import yarl

from ehr.records.elements import Element
from ehr.records.patient import Appointment, Condition, Observation, Patient, Procedure


class Entry(Element, frozen=True):
    """An entry of any of the five types."""

    resource: Condition | Procedure | Observation | Appointment | Patient


class Link(Element, frozen=True):
    """A link of a page."""

    relation: str
    url: str


class Bundle(msgspec.Struct):
    """A page."""

    entry: list[Entry] = []
    link: list[Link] = []


DECODER = msgspec.json.Decoder(Bundle)


def read(asked: measured.Asked) -> Counter[str]:
    """Read the cohort; 16 patients at a time, each one page after the other."""
    return asyncio.run(_read(asked))


async def _read(asked: measured.Asked) -> Counter[str]:
    found: Counter[str] = Counter()
    left = iter(asked.people)
    headers = {"authorization": f"Bearer {measured.TOKEN}"}
    connector = aiohttp.TCPConnector(limit=asked.in_flight)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for person in left:
                await _person(session, asked, person, found)

        await asyncio.gather(*(work() for _ in range(asked.in_flight)))
    return found


async def _person(
    session: aiohttp.ClientSession, asked: measured.Asked, person: str, found: Counter[str]
) -> None:
    for name in ("Patient", *measured.KINDS):
        key = "_id" if name == "Patient" else "patient"
        url: str | None = f"{asked.base}/{name}?{key}={person}&_count={asked.page_size}"
        while url is not None:
            async with session.get(yarl.URL(url, encoded=True)) as response:
                page = DECODER.decode(await response.read())
            found[name] += len(page.entry)
            url = next((link.url for link in page.link if link.relation == "next"), None)


if __name__ == "__main__":
    measured.run(read)
