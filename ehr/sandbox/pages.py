"""Pages of a searchset, and the sessions that keep their order."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from ehr.sandbox.instants import Clock
from ehr.sandbox.outcomes import Refused, outcome
from ehr.sandbox.search import SearchRequest, included
from ehr.sandbox.skin import Skin
from ehr.sandbox.store import Store, Stored

_SESSIONS = 10_000  # the oldest is forgotten; a sandbox does not grow without end


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One entry of a page: its resource as bytes, its address and its search mode."""

    body: bytes
    url: str
    mode: str


@dataclass(frozen=True, slots=True)
class BundlePage:
    """One page before it is written out.

    Args:
        number: 1 for the first.
        entries: in order.
        links: relation and address.
        total: number of matches over all pages; None if the server does not say.
    """

    number: int
    entries: tuple[PageEntry, ...]
    links: tuple[tuple[str, str], ...]
    total: int | None

    def with_link(self, relation: str, url: str) -> BundlePage:
        """The same page with one link set."""
        kept = tuple(link for link in self.links if link[0] != relation)
        return replace(self, links=(*kept, (relation, url)))

    def encoded(self) -> bytes:
        """The searchset Bundle as JSON; resources are copied in as the bytes they already are."""
        head: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
        if self.total is not None:
            head["total"] = self.total
        head["link"] = [{"relation": relation, "url": url} for relation, url in self.links]
        if self.entries:
            head["entry"] = [
                ({"fullUrl": entry.url} if entry.url else {})
                | {"resource": msgspec.Raw(entry.body), "search": {"mode": entry.mode}}
                for entry in self.entries
            ]
        return msgspec.json.encode(head)


@dataclass(slots=True, eq=False, repr=False)
class Session:
    """One search as it stood when it was asked; later pages are cut from it.

    Args:
        query: what was asked.
        matches: in order.
        client_id: whose it is.
        made_at: when it was asked.
        sieve: what must hold of an entry, looked at after a page was cut: pages may be short or empty.
        expired: it is over.
        key: stands in its links.
    """

    query: SearchRequest
    matches: Sequence[Stored]
    client_id: str | None
    made_at: datetime
    sieve: Callable[[Stored], bool] | None = None
    expired: bool = False
    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))


class Sessions:
    """Searches with more than one page, by an opaque key; safe to use from several threads."""

    def __init__(self, skin: Skin, clock: Clock) -> None:
        self._skin = skin
        self._clock = clock
        self._held: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, session: Session) -> None:
        with self._lock:
            self._held[session.key] = session
            while len(self._held) > _SESSIONS:
                self._held.popitem(last=False)

    def peek(self, key: str) -> Session | None:
        """The session if it is known, expired or not."""
        return self._held.get(key)

    def find(self, key: str, client_id: str | None) -> Session:
        """The session of a link.

        Raises:
            Refused: unknown, too old, or another client's.
        """
        session = self._held.get(key)
        life = timedelta(seconds=self._skin.paging.session_life_s)
        if session is None or session.expired or self._clock() - session.made_at > life:
            raise Refused(
                self._skin.paging.expired_status,
                "session-expired",
                "this paging session is over; search again",
            )
        if session.client_id != client_id:
            raise Refused(403, "forbidden", "this paging session belongs to another client")
        return session


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts pages from sessions.

    Args:
        base_url: FHIR base, without a slash at the end.
        skin: whose rules hold.
        store: where included resources are found.
        sessions: where sessions with more pages are kept.
    """

    base_url: str
    skin: Skin
    store: Store
    sessions: Sessions

    def page(self, session: Session, number: int, visible: Callable[[str], bool]) -> BundlePage:
        """Page ``number`` (from 1) of a session; only ``visible`` types are included beside the matches.

        Raises:
            Refused: there is no such page.
        """
        query = session.query
        start = (number - 1) * query.count
        matches = [] if query.only_total else session.matches[start : start + query.count]
        if number < 1 or (number > 1 and not matches):
            raise Refused(400, "bad-parameter", "there is no such page")
        if session.sieve is not None:
            matches = [stored for stored in matches if session.sieve(stored)]
        more = not query.only_total and start + query.count < len(session.matches)
        if more and number == 1:
            self.sessions.keep(session)
        entries = [self._entry(stored, "match") for stored in matches]
        beside = [stored for stored in included(matches, query, self.store) if visible(stored.type)]
        entries += [self._entry(stored, "include") for stored in beside]
        entries += self._remarks(session, number)
        total = len(session.matches) if self.skin.paging.total or query.only_total else None
        return BundlePage(number, tuple(entries), self._links(session, number, more=more), total)

    def _entry(self, stored: Stored, mode: str) -> PageEntry:
        return PageEntry(stored.body, f"{self.base_url}/{stored.type}/{stored.id}", mode)

    def _links(self, session: Session, number: int, *, more: bool) -> tuple[tuple[str, str], ...]:
        first = self._first(session.query)
        own = first if number == 1 else self._link(session, number)
        links = [("self", own), ("first", first)]
        if more:
            links.append(("next", self._link(session, number + 1)))
        return tuple(links)

    def _first(self, query: SearchRequest) -> str:
        applied = urlencode(query.applied)
        return f"{self.base_url}/{query.resource_type}" + (f"?{applied}" if applied else "")

    def _link(self, session: Session, number: int) -> str:
        place = "" if self.skin.paging.links_at == "base" else f"/{session.query.resource_type}"
        asked = urlencode({"_getpages": session.key, "_page": number, "_bundletype": "searchset"})
        return f"{self.base_url}{place}?{asked}"

    def _remarks(self, session: Session, number: int) -> list[PageEntry]:
        """OperationOutcome entries: ignored parameters, and an empty answer where the skin says so."""
        remarks = []
        if session.query.ignored and number == 1:
            names = ", ".join(dict.fromkeys(session.query.ignored))
            code = self.skin.code_of("unknown-parameter")
            remarks.append(outcome(code, f"ignored: {names}", severity="warning"))
        if self.skin.searching.no_results_outcome and not session.matches:
            remarks.append(outcome(self.skin.code_of("no-results"), "no results"))
        return [PageEntry(msgspec.json.encode(remark), "", "outcome") for remark in remarks]
