"""From page to page, by the server's own links and never for ever."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ehr.fhir.paging import Budget
from ehr.records.fetched import Fetched, Severity, State, complete, joined
from ehr.records.patient import Condition, PatientRef
from ehr.transport.settings import Limits
from tests.ehr.fhir.server import BASE, Server, answer, bundle, condition, entry, opened, outcome

P1 = PatientRef("p1")


async def search(answers: dict[str, Any], **options: Any) -> Fetched[Condition]:
    server = Server(answers)
    async with opened(server, **options) as session:
        return await session.search(Condition, patient=P1)


def ids(fetched: Fetched[Condition]) -> list[str | None]:
    return [record.id for record in fetched.items]


def codes(fetched: Fetched[Condition]) -> list[str]:
    return [issue.code for issue in fetched.issues]


async def test_all_pages_are_collected_in_order_without_repeats() -> None:
    """page_all_pages_collected_in_order_without_duplicates"""
    found = await search(
        {
            "Condition": bundle(condition("a"), condition("b"), next=f"{BASE}/Condition?page=2", total=4),
            "Condition?page=2": bundle(
                condition("b"), condition("c"), next=f"{BASE}/Condition?page=3", total=4
            ),
            "Condition?page=3": bundle(condition("d"), total=4),
        }
    )
    assert (found.state, ids(found)) == (State.OK, ["a", "b", "c", "d"])
    assert (found.pages, found.received, found.repeats, found.expected) == (3, 5, 1, 4)
    assert codes(found) == []


async def test_a_repeat_with_a_higher_version_replaces_the_first() -> None:
    for first, second, kept in [
        ({"versionId": "9"}, {"versionId": "10"}, "second"),
        ({"versionId": "10"}, {"versionId": "9"}, "first"),
        ({"versionId": "1"}, {"versionId": "1"}, "first"),
        ({"lastUpdated": "2020-01-01T00:00:00Z"}, {"lastUpdated": "2021-01-01T00:00:00Z"}, "second"),
        ({"lastUpdated": "2021-01-01T00:00:00Z"}, {"lastUpdated": "2020-01-01T00:00:00Z"}, "first"),
        (None, {"versionId": "2"}, "first"),
        ({"versionId": "9"}, {"versionId": "W/10", "lastUpdated": "2021-01-01T00:00:00Z"}, "second"),
        ({"lastUpdated": "2021-01-01T00:00:00Z"}, {"lastUpdated": "2021-01-01T00:00:00Z"}, "first"),
    ]:
        old = condition("a", meta=first, onsetString="first")
        new = condition("a", meta=second, onsetString="second")
        found = await search({"Condition": bundle(old, new, condition("b"))})
        assert [record.onset_string for record in found.items] == [kept, None]
        assert found.repeats == 1


@pytest.mark.parametrize("link", ["Condition?page=2", "?page=2", "/api/r4/Condition?page=2"])
async def test_relative_links_are_followed(link: str) -> None:
    """page_relative_next_link"""
    found = await search(
        {"Condition": bundle(condition("a"), next=link), "Condition?page=2": bundle(condition("b"))}
    )
    assert (found.state, ids(found)) == (State.OK, ["a", "b"])


async def test_an_empty_page_in_the_middle_is_no_end() -> None:
    """page_empty_middle_page_continues"""
    found = await search(
        {
            "Condition": bundle(condition("a"), next="Condition?page=2"),
            "Condition?page=2": bundle(next="Condition?page=3"),
            "Condition?page=3": bundle(next="Condition?page=4"),
            "Condition?page=4": bundle(condition("b")),
        }
    )
    assert (found.state, ids(found), found.pages) == (State.OK, ["a", "b"], 4)


@pytest.mark.parametrize("link", ["Condition?page=2", "Condition?page=1"])
async def test_a_circle_of_links_is_noticed(link: str) -> None:
    """page_loop_detected"""
    found = await search(
        {
            "Condition": bundle(condition("a"), next="Condition?page=1"),
            "Condition?page=1": bundle(condition("b"), next="Condition?page=2"),
            "Condition?page=2": bundle(condition("c"), next=link),
        }
    )
    assert (found.state, ids(found)) == (State.PARTIAL, ["a", "b", "c"])
    assert codes(found) == ["paging:loop"]


def _endless(request: httpx.Request) -> httpx.Response:
    page = int(request.url.params.get("page", "0"))
    return bundle(condition(f"c{page}"), next=f"Condition?page={page + 1}")


async def test_the_number_of_pages_is_bounded() -> None:
    """page_max_pages_gives_partial"""
    found = await search({"Condition": _endless}, budget=Budget(pages=3))
    assert (found.state, ids(found)) == (State.PARTIAL, ["c0", "c1", "c2"])
    assert codes(found) == ["paging:page-limit"]


async def test_the_number_of_entries_is_bounded() -> None:
    found = await search({"Condition": _endless}, budget=Budget(entries=2))
    assert (found.state, ids(found)) == (State.PARTIAL, ["c0", "c1"])
    assert codes(found) == ["paging:entry-limit"]


async def test_pages_that_bring_nothing_new_end_the_search() -> None:
    def same(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params.get("page", "0"))
        return bundle(condition("a"), next=f"Condition?page={page + 1}")

    found = await search({"Condition": same}, budget=Budget(unproductive=3))
    assert (found.state, ids(found), found.pages) == (State.PARTIAL, ["a"], 4)
    assert codes(found) == ["paging:no-progress"]


async def test_empty_pages_between_new_entries_do_not_add_up() -> None:
    """Vendors filter after paging: only pages without news in a row say that a search leads nowhere."""
    brings = [["a"], [], [], ["b"], [], [], ["c"], [], [], ["d"]]
    pages = {
        f"Condition?page={number}": bundle(*map(condition, names), next=f"Condition?page={number + 1}")
        for number, names in enumerate(brings)
    }
    last = {f"Condition?page={len(brings)}": bundle(condition("e"))}
    found = await search(
        {"Condition": pages["Condition?page=0"]} | pages | last, budget=Budget(unproductive=3)
    )
    assert (found.state, ids(found), codes(found)) == (State.OK, ["a", "b", "c", "d", "e"], [])


async def test_a_link_back_to_the_first_page_is_noticed_before_it_is_followed() -> None:
    """It was asked for by its parameters and not by a link, and is an address like any other."""

    def pages(request: httpx.Request) -> httpx.Response:
        if "page" in request.url.params:
            return bundle(condition("b"), next=f"{BASE}/Condition?patient=p1&_count=100")
        return bundle(condition("a"), next="Condition?page=2")

    server = Server({"Condition": pages})
    async with opened(server) as session:
        found = await session.search(Condition, patient=P1)
    assert server.asked == ["Condition?patient=p1&_count=100", "Condition?page=2"]
    assert (found.state, ids(found), codes(found)) == (State.PARTIAL, ["a", "b"], ["paging:loop"])


async def test_only_the_first_page_is_compared_with_what_was_asked() -> None:
    """The own address of a later page names where it is, and no parameters."""
    found = await search(
        {
            "Condition": bundle(
                condition("a"), next="Condition?page=2", self_=f"{BASE}/Condition?patient=p1"
            ),
            "Condition?page=2": bundle(condition("b"), self_=f"{BASE}/Condition?page=2"),
        }
    )
    assert (found.state, codes(found)) == (State.OK, [])


async def test_a_request_of_a_search_ends_by_the_deadline_of_the_session() -> None:
    sent = []
    for deadline_s in (None, 0.1):
        server = Server({"Condition": answer({}, 503)})
        async with opened(server, deadline_s=deadline_s) as session:
            assert (await session.search(Condition, patient=P1)).state is State.UNAVAILABLE
        sent.append(len(server.requests))
    assert sent[1] < sent[0]


async def test_pages_of_one_type_keep_to_the_rate_of_the_type() -> None:
    pages = {
        "Condition": bundle(condition("a"), next="Condition?page=2"),
        "Condition?page=2": bundle(next="Condition?page=3"),
        "Condition?page=3": bundle(),
    }
    async with opened(Server(pages), limits=Limits(class_requests_per_s=0.1)) as session:
        began = session.clock.monotonic()
        await session.search(Condition, patient=P1)
        assert session.clock.monotonic() - began >= 20


EXPIRED = {"change": {"outcome_states": {"4113": "RESTART"}}}


@pytest.mark.parametrize(
    "gone",
    [
        answer(outcome("error", "processing", "4113"), 400),
        answer({}, 410),
        answer({}, 404),
        answer(outcome("fatal", "processing", "4113")),
        bundle(entry(outcome("error", "processing", "4113"), "outcome")),
    ],
)
async def test_an_expired_paging_session_is_begun_again_once(gone: httpx.Response) -> None:
    """page_expired_session_restarts_once"""
    first = bundle(condition("a"), next="Condition?page=2", total=2)
    again = {"Condition": first, "Condition?page=2": [gone, bundle(condition("b"), total=2)]}
    found = await search(again, **EXPIRED)
    assert (found.state, ids(found)) == (State.OK, ["a", "b"])
    assert (found.received, found.repeats) == (2, 0)
    assert codes(found) == ["paging:restarted"]
    twice = {"Condition": first, "Condition?page=2": gone}
    found = await search(twice, **EXPIRED)
    assert (found.state, ids(found)) == (State.PARTIAL, ["a"])
    assert "paging:session-expired" in codes(found)
    assert found.again is True


async def test_what_came_before_a_restart_counts_for_nothing() -> None:
    """Neither as a repeat nor as an entry that could not be read, in whatever order it comes again."""
    bad = [condition(f"bad{number}", code="x") for number in range(3)]
    gone = [answer({}, 410), bundle(condition("c"), total=6)]
    first = bundle(condition("a"), condition("b"), condition("a"), *bad, next="Condition?page=2")
    other = bundle(condition("b"), condition("a"), *bad, next="Condition?page=2")
    found = await search({"Condition": [first, other], "Condition?page=2": gone}, quarantine_rate=0.5)
    assert (found.state, ids(found)) == (State.PARTIAL, ["b", "a", "c"])
    assert (found.received, found.quarantined, found.repeats) == (6, 3, 0)
    mended = bundle(condition("b"), condition("a"), next="Condition?page=2")
    found = await search({"Condition": [first, mended], "Condition?page=2": [*gone[:1], bundle()]})
    assert (found.state, ids(found)) == (State.OK, ["b", "a"])


@pytest.mark.parametrize(
    "failure",
    [
        answer({}, 500),
        answer({}, 403),
        answer({}, 429),
        answer('{"resourceType": "Bundle", "entry": [{"res'),
        answer("<html>maintenance</html>"),
        answer(""),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        answer({"resourceType": "Patient", "id": "x"}),
        answer([]),
    ],
)
async def test_a_failure_midway_leaves_a_part_and_never_a_whole(failure: Any) -> None:
    """page_failure_midway_is_partial_not_ok"""
    found = await search(
        {"Condition": bundle(condition("a"), next="Condition?page=2"), "Condition?page=2": failure}
    )
    assert (found.state, ids(found)) == (State.PARTIAL, ["a"])
    assert found.issues


async def test_a_search_that_failed_is_not_blamed_for_a_low_count_too() -> None:
    cut = bundle(condition("a"), next="Condition?page=2", total=9)
    found = await search({"Condition": cut, "Condition?page=2": answer({}, 403)})
    assert (found.state, codes(found)) == (State.PARTIAL, ["http-403"])


async def test_a_total_beside_nothing_is_no_empty_record() -> None:
    for pages in ({"Condition": bundle(total=3)}, {"Condition": bundle(total=1, next="Condition?page=2")}):
        found = await search(pages | {"Condition?page=2": bundle()})
        assert (found.state, codes(found)) == (State.PARTIAL, ["fewer-than-total"])
    remark = entry(outcome("warning", "not-found"), "outcome")
    for empty in (bundle(total=0), bundle(remark, total=1)):
        assert (await search({"Condition": empty})).state is State.EMPTY


@pytest.mark.parametrize(("status", "again"), [(503, True), (429, True), (403, False), (422, False)])
async def test_a_part_that_an_outage_left_is_to_be_asked_again(status: int, again: bool) -> None:
    pages = {
        "Condition": bundle(condition("a"), next="Condition?page=2"),
        "Condition?page=2": answer({}, status),
    }
    found = await search(pages)
    assert (found.state, found.again) == (State.PARTIAL, again)
    assert joined([complete(found.items), found]).again is again


async def test_a_part_with_an_entry_that_nobody_can_read_is_asked_again_after_an_outage_too() -> None:
    pages = {
        "Condition": bundle(condition("a"), condition("bad", code="x"), next="Condition?page=2"),
        "Condition?page=2": answer({}, 503),
    }
    assert (await search(pages)).again is True
    assert (await search(pages | {"Condition?page=2": bundle()})).again is False


async def test_one_of_several_searches_that_an_outage_cut_is_asked_again() -> None:
    """Where a vendor wants each category by itself, the parts become one answer, and none of it is lost."""
    whole = bundle(condition("a"), condition("b"))
    pages = {
        "Condition?patient=p1&category=x&_count=100": whole,
        "Condition?patient=p1&category=y&_count=100": bundle(condition("b"), next="Condition?page=2"),
        "Condition?page=2": answer({}, 503),
    }
    apart = {"fan_out": {"Condition": ("category", ("x", "y"))}}
    found = await search(pages, change=apart)
    assert (found.state, ids(found), found.repeats) == (State.PARTIAL, ["a", "b"], 1)
    assert found.again is True
    found = await search(pages | {"Condition?page=2": bundle(condition("c"))}, change=apart)
    assert (found.state, ids(found), found.again) == (State.OK, ["a", "b", "c"], False)


async def test_records_without_an_id_are_all_kept() -> None:
    """Nobody can tell whether they are repeats, so none is taken for one."""
    nameless = [condition(None, onsetString=text) for text in "pqr"]
    pages = {
        "Condition": bundle(condition("a"), *nameless[:2], condition("a"), next="Condition?page=2"),
        "Condition?page=2": bundle(nameless[2]),
    }
    found = await search(pages)
    assert (ids(found), found.repeats) == (["a", None, None, None], 1)
    assert [record.onset_string for record in found.items] == [None, "p", "q", "r"]


async def test_a_link_to_another_host_is_refused_and_nothing_is_sent() -> None:
    for link in (
        "https://evil.example/api/r4/Condition?page=2",
        f"https://evil.example/?x={BASE}",
        "https://ehr.example:8443/api/r4/Condition?page=2",
        "http://ehr.example/api/r4/Condition?page=2",
        "https://ehr.example/other/Condition?page=2",
        "https://ehr.example@evil.example/api/r4/Condition",
        "//evil.example/api/r4/Condition",
    ):
        server = Server({"Condition": bundle(condition("a"), next=link)})
        async with opened(server) as session:
            found = await session.search(Condition, patient=P1)
        assert (found.state, ids(found)) == (State.PARTIAL, ["a"])
        assert codes(found) == ["security:foreign-next-link"]
        assert found.issues[0].severity is Severity.SECURITY
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:889/NextGen.Api.Edge/6.0/api/Condition?page=2",
        "http://inner.lan/Condition?page=2",
        "http://inner.lan:8080/FHIR/api/r4/Condition?page=2",
    ],
)
async def test_a_link_to_an_inner_host_is_put_on_our_base_where_the_profile_says_so(link: str) -> None:
    """page_next_link_to_internal_host_rewritten"""
    answers = {"Condition": bundle(condition("a"), next=link), "Condition?page=2": bundle(condition("b"))}
    found = await search(answers, change={"next_link": "rewrite"})
    assert (found.state, ids(found)) == (State.OK, ["a", "b"])
    refused = await search(answers)
    assert refused.state is State.PARTIAL


async def test_a_stored_search_of_an_inner_host_is_put_on_our_base() -> None:
    answers = {
        "Condition": bundle(condition("a"), next="http://inner/fhir?_getpages=x"),
        "?_getpages=x": bundle(),
    }
    found = await search(answers, change={"next_link": "rewrite"})
    assert (found.state, ids(found)) == (State.OK, ["a"])


async def test_the_bytes_of_a_link_are_kept() -> None:
    """page_plus_and_percent_preserved"""
    link = "Condition?cursor=a%2Bb+c%3D%25&d=%7C"
    server = Server(
        {"Condition": bundle(condition("a"), next=f"{BASE}/{link}"), link: bundle(condition("b"))}
    )
    async with opened(server) as session:
        found = await session.search(Condition, patient=P1)
    assert server.asked[1] == link
    assert ids(found) == ["a", "b"]


async def test_a_page_is_never_larger_than_the_vendor_allows() -> None:
    """page_size_within_provider_limit"""
    for size, largest, name, sent in [(500, 50, "_count", "50"), (20, 50, "_maxresults", "20")]:
        server = Server({"Condition": bundle()})
        change = {"page_size": size, "page_size_max": largest, "page_parameter": name}
        async with opened(server, change=change) as session:
            await session.search(Condition, patient=P1)
        assert server.params()[name] == sent


@pytest.mark.parametrize("total", [None, 0, 1, 7, "2", 2.5, True])
async def test_a_total_that_is_missing_or_wrong_decides_nothing_alone(total: Any) -> None:
    """search_total_missing_or_wrong_ignored"""
    found = await search({"Condition": bundle(condition("a"), condition("b"), total=total)})
    assert (found.state, ids(found)) == (State.OK, ["a", "b"])
    assert codes(found) == (["fewer-than-total"] if total == 7 else [])


async def test_fewer_than_the_total_of_every_page_is_a_part() -> None:
    short = {
        "Condition": bundle(condition("a"), next="Condition?page=2", total=5),
        "Condition?page=2": bundle(condition("b"), total=5),
    }
    found = await search(short)
    assert (found.state, found.expected, found.received) == (State.PARTIAL, 5, 2)
    assert codes(found) == ["fewer-than-total"]
    bare = dict(short) | {"Condition?page=2": bundle()}
    assert (await search(bare)).state is State.PARTIAL
    estimates = dict(short) | {"Condition?page=2": bundle(condition("b"), total=4)}
    assert (await search(estimates)).state is State.OK


async def test_a_full_last_page_without_a_link_is_a_part_if_the_total_is_higher() -> None:
    answers = {"Condition": bundle(condition("a"), condition("b"), total=3)}
    assert (await search(answers, change={"page_size": 2})).state is State.PARTIAL
    assert (await search(answers, change={"page_size": 3})).state is State.OK
    exact = {"Condition": bundle(condition("a"), condition("b"), total=2)}
    assert (await search(exact, change={"page_size": 2})).state is State.OK


async def test_repeats_do_not_make_up_for_missing_entries() -> None:
    unstable = {
        "Condition": bundle(condition("a"), next="Condition?page=2", total=2),
        "Condition?page=2": bundle(condition("a"), total=2),
    }
    assert (await search(unstable)).state is State.PARTIAL


def _page_of(count: int, filler: str) -> str:
    entries = ",".join(['{"resource":{"resourceType":"Condition"' + filler + "}}"] * count)
    return '{"resourceType":"Bundle","type":"searchset","entry":[' + entries + "]}"


@pytest.mark.parametrize("filler", ["", ',"subject":{"reference":"Patient/p1"}'])
async def test_a_page_with_more_entries_than_allowed_is_not_read(filler: str) -> None:
    """S18: it is decoded in one pass, and still never with more entries than allowed."""
    async with opened(Server({"Condition": answer(_page_of(10_001, filler))})) as session:
        found = await session.search(Condition, patient=PatientRef("p1"))
        assert (found.state, codes(found)) == (State.ERROR, ["body-too-large"])
        assert session.transport.counters["failures.BodyTooLarge"] == 1


@pytest.mark.parametrize(
    "page",
    ["{" * 2000, _page_of(2, ',"subject":{"reference":"Patient/p1"}')[:-1], _page_of(2, "")[:-9] + "}}}]}x"],
)
async def test_a_page_that_is_not_json_is_counted_as_such(page: str) -> None:
    async with opened(Server({"Condition": answer(page)})) as session:
        found = await session.search(Condition, patient=PatientRef("p1"))
        assert (found.state, codes(found)) == (State.ERROR, ["body-not-json"])
        assert session.transport.counters["failures.BadBody"] == 1


async def test_a_page_of_entries_that_hold_nothing_is_bounded_too() -> None:
    """S18: small entries are many before a page is large."""
    page = '{"resourceType":"Bundle","type":"searchset","entry":[' + ",".join(["{}"] * 10_001) + "]}"
    async with opened(Server({"Condition": answer(page)})) as session:
        found = await session.search(Condition, patient=PatientRef("p1"))
    assert (found.state, codes(found)) == (State.ERROR, ["body-too-large"])
