"""The same without ``async``: one event loop in a thread of its own, for notebooks and plain scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ehr.errors import ConfigurationError
from ehr.files.settings import SiteFile
from ehr.people.identity import MatchResult, Person
from ehr.people.people_file import Row
from ehr.providers.probe import ProbeReport
from ehr.reading.query import QueryResult
from ehr.records.patient import Fetched, Kind, PatientRef
from ehr.site import REAL, ClockAndWire, KindsByName, Site, open_site_async

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a thread until it is closed; works inside a notebook's own loop too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="trialveil-ehr", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it; Ctrl-C cancels it.

        Raises:
            ConfigurationError: the loop is closed.
        """
        if not self._thread.is_alive():
            work.close()
            raise ConfigurationError("the EHR is closed; use it inside its with block.")
        future: Future[T] | None = None
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            return future.result()
        except BaseException:
            if future is not None:
                future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and end the loop."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also where a notebook's own loop runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    thread = LoopThread()
    try:
        return thread.run(work)
    finally:
        thread.close()


class SyncSite(KindsByName):
    """An open EHR; each method is that of `ehr.site.Site`, and waits for its answer."""

    def __init__(self, site: Site, loop: LoopThread) -> None:
        self._site = site
        self._loop = loop

    def __repr__(self) -> str:
        return f"<SyncSite {self._site.file.ehr.provider}>"

    def _repr_html_(self) -> str:
        return f"<code>{self!r}</code>"

    def find(self, person: Person) -> MatchResult:
        """Find one person; never a guess."""
        return self._loop.run(self._site.find(person))

    def read(self, kind: Kind | str, ref: PatientRef) -> Fetched[Any]:
        """One kind of record of one patient."""
        return self._loop.run(self._site.read(kind, ref))

    def probe(self) -> ProbeReport:
        """Try each step that a screening run needs."""
        return self._loop.run(self._site.probe())

    def rows(self, patients: Path | None = None) -> tuple[Row, ...]:
        """Whom to read: a patients file, or the cohort of ``pod.yaml``."""
        return self._loop.run(self._site.rows(patients))

    def query(self, people: Iterable[Person], kinds: Sequence[Kind | str]) -> QueryResult:
        """Find and read some people."""
        return self._loop.run(self._site.query(people, kinds))


@contextmanager
def open_site(config: str | Path | SiteFile, surroundings: ClockAndWire = REAL) -> Iterator[SyncSite]:
    """Open one hospital's EHR; see `ehr.site.open_site_async`, also for what it raises."""
    loop = LoopThread()
    try:
        opened: AbstractAsyncContextManager[Site] = open_site_async(config, surroundings)
        site = loop.run(opened.__aenter__())
        try:
            yield SyncSite(site, loop)
        finally:
            loop.run(opened.__aexit__(None, None, None))
    finally:
        loop.close()
