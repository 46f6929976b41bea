"""Paging sessions: order is kept, links are opaque, sessions end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from ehr.sandbox import SandboxApp, Skin, Store, build_app, skin_named, store_of
from tests.ehr.sandbox.synthetic import FakeClock, observation, small_store


def link(answer: httpx.Response, relation: str) -> str | None:
    found = [item["url"] for item in answer.json()["link"] if item["relation"] == relation]
    return found[0] if found else None


async def pages(client: httpx.AsyncClient, url: str | None) -> list[list[str]]:
    found: list[list[str]] = []
    while url is not None:
        answer = await client.get(url)
        assert answer.status_code == 200
        assert answer.json()["total"] == 7
        found.append([entry["resource"]["id"] for entry in answer.json()["entry"]])
        url = link(answer, "next")
    return found


async def test_every_match_comes_once_and_in_order(client: httpx.AsyncClient) -> None:
    found = await pages(client, "Observation?patient=ana&_count=3&_sort=-date")
    assert found == [["o07", "o06", "o05"], ["o04", "o03", "o02"], ["o01"]]


async def test_a_page_size_over_the_limit_is_cut_and_said_so(clock: FakeClock) -> None:
    skin = skin_named("smarthealthit")
    small = replace(skin, paging=replace(skin.paging, max_count=2, default_count=1))
    app = build_app(small_store(), small, clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        answer = await client.get("Observation?patient=ana&_count=500")
        assert len(answer.json()["entry"]) == 2
        assert "_count=2" in str(link(answer, "self"))
        assert len((await client.get("Observation?patient=ana")).json()["entry"]) == 1


async def test_first_leads_back_to_the_beginning(client: httpx.AsyncClient) -> None:
    start = await client.get("Observation?patient=ana&_count=3")
    second = await client.get(str(link(start, "next")))
    again = await client.get(str(link(second, "first")))
    assert again.json()["entry"] == start.json()["entry"]
    assert link(second, "self") == link(start, "next")


async def test_an_answer_of_one_page_has_no_next_link(client: httpx.AsyncClient) -> None:
    assert link(await client.get("Observation?patient=ana&_count=7"), "next") is None


async def test_a_session_ends_after_its_life(client: httpx.AsyncClient, clock: FakeClock) -> None:
    following = str(link(await client.get("Observation?patient=ana&_count=3"), "next"))
    clock.forward(3600)
    assert (await client.get(following)).status_code == 200
    clock.forward(1)
    gone = await client.get(following)
    assert (gone.status_code, gone.json()["issue"][0]["code"]) == (410, "expired")


@pytest.mark.parametrize("number", ["0", "9", "-1", "x", "", "99999999999999999999"])
async def test_a_page_that_does_not_exist_is_refused(client: httpx.AsyncClient, number: str) -> None:
    following = str(link(await client.get("Observation?patient=ana&_count=3"), "next"))
    assert (await client.get(following.replace("_page=2", f"_page={number}"))).status_code == 400


async def test_an_unknown_session_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("?_getpages=nothing&_page=2")).status_code == 410


async def test_the_session_keeps_what_was_found(clock: FakeClock) -> None:
    store = small_store()
    app = build_app(store, clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        start = await client.get("Observation?patient=ana&_count=3")
        store.add(observation("o00", "ana", "2023-01-01"))
        second = await client.get(str(link(start, "next")))
        assert [entry["resource"]["id"] for entry in second.json()["entry"]] == ["o04", "o05", "o06"]


async def test_links_may_lie_under_the_type(store: Store) -> None:
    skin: Skin = skin_named("smarthealthit")
    app: SandboxApp = build_app(
        store, replace(skin, paging=replace(skin.paging, links_at="type")), origin="http://e.t"
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        start = await client.get("Observation?patient=ana&_count=3")
        assert str(link(start, "next")).startswith(f"{app.base_url}/Observation?_getpages=")
        assert (await client.get(str(link(start, "next")))).status_code == 200


async def test_an_unstated_total_is_left_out() -> None:
    skin = skin_named("smarthealthit")
    app = build_app(small_store(), replace(skin, paging=replace(skin.paging, total=False)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        assert "total" not in (await client.get("Patient")).json()


async def test_old_sessions_are_forgotten_before_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehr.sandbox.pages._SESSIONS", 2)
    resources: list[dict[str, Any]] = [observation(f"o{n}", "ana", "2020") for n in range(4)]
    app = build_app(store_of(resources), origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        links = [str(link(await client.get("Observation?_count=1"), "next")) for _ in range(3)]
        assert [(await client.get(url)).status_code for url in links] == [410, 200, 200]
