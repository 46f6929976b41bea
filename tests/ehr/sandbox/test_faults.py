"""Each fault does what it says, on a real socket, and only where it is meant to."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import ConfigurationError
from ehr.sandbox import (
    Alien,
    Body,
    Duplicate,
    ExpireSession,
    Fault,
    FaultScript,
    Hang,
    LostPage,
    NextLink,
    Oversize,
    RegisteredClient,
    Remark,
    Reset,
    RevokeToken,
    Sandbox,
    Status,
    Store,
    Trickle,
    When,
    WrongTotal,
)
from ehr.sandbox.faults import FaultRunner
from ehr.sandbox.witness import RequestTarget
from tests.ehr.sandbox.signing import CLIENT, claims, jwks, signed, token_form
from tests.ehr.sandbox.synthetic import NOW, FakeClock
from tests.ehr.sandbox.test_pages import link

OBSERVATIONS = "Observation?patient=ana&_count=3"


@pytest.fixture
def http(ehr: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ehr.base_url, timeout=10) as made:
        yield made


def ids(answer: httpx.Response) -> list[str]:
    return [entry["resource"].get("id", "") for entry in answer.json()["entry"]]


def test_a_status_comes_so_many_times_and_then_no_more(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Status(503), When(resource_type="Condition"), skip=1, times=2)]
    assert [http.get("Condition?patient=ana").status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert http.get("Patient/ana").status_code == 200


def test_a_fault_can_be_for_one_patient_method_or_page(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [
        Fault(Status(500), When(patient="bea")),
        Fault(Status(502), When(method="POST")),
        Fault(Status(504), When(resource_type="Observation", page=2)),
    ]
    assert http.get("Condition?patient=Patient/bea").status_code == 500
    assert http.get("Condition/c4").status_code == 500
    assert http.get("Patient?_id=bea").status_code == 500
    assert http.get("Condition?patient=ana").status_code == 200
    assert http.post("Patient/_search", data={"family": "x"}).status_code == 502
    start = http.get(OBSERVATIONS)
    assert http.get(str(link(start, "next"))).status_code == 504


@pytest.mark.parametrize(
    ("value", "header"),
    [
        (7, "7"),
        (-1, "-1"),
        ("soon", "soon"),
        (timedelta(seconds=30), "Mon, 01 Jun 2026 12:00:30 GMT"),
        (datetime(2027, 1, 1, tzinfo=UTC), "Fri, 01 Jan 2027 00:00:00 GMT"),
    ],
)
def test_retry_after_takes_every_form(
    ehr: Sandbox, http: httpx.Client, value: int | str | timedelta | datetime, header: str
) -> None:
    ehr.faults = [Fault(Status(429, retry_after=value))]
    answer = http.get("Patient/ana")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, header)


def test_a_connection_is_reset(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Reset(), times=1)]
    with pytest.raises(httpx.ReadError):  # an orderly end would be a RemoteProtocolError
        http.get("Patient/ana")
    assert http.get("Patient/ana").status_code == 200


def test_a_connection_is_reset_in_the_middle_of_a_body(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Reset(after_bytes=10))]
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        http.get("Patient/ana")


async def test_without_a_socket_a_reset_is_an_error_of_the_application(ehr: Sandbox) -> None:
    ehr.faults = [Fault(Reset())]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=ehr.app), base_url=ehr.base_url) as client:
        with pytest.raises(ConnectionResetError):
            await client.get("Patient/ana")


@pytest.mark.parametrize("kind", ["truncated", "html", "empty", "deep", "not-utf8"])
def test_a_bad_body_comes_under_200_and_cannot_be_read(ehr: Sandbox, http: httpx.Client, kind: str) -> None:
    ehr.faults = [Fault(Body(kind))]  # type: ignore[arg-type]  # the parameters above are the literals
    answer = http.get("Condition?patient=ana")
    assert answer.status_code == 200
    with pytest.raises((ValueError, RecursionError)):
        answer.json()
    assert answer.headers["content-type"].startswith("text/html") == (kind == "html")
    assert (answer.content == b"") == (kind == "empty")


def test_a_good_body_can_come_under_a_wrong_type(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Body("wrong-type"))]
    answer = http.get("Condition?patient=ana")
    assert answer.headers["content-type"].startswith("text/plain")
    assert ids(answer) == ["c1", "c2", "c3"]


def test_an_oversize_body_is_sent_whole_or_packed(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Oversize(3_000_000), times=1), Fault(Oversize(3_000_000, packed=True), skip=1)]
    assert len(http.get("Patient").json()["padding"]) == 3_000_000
    with http.stream("GET", "Patient") as answer:
        assert answer.headers["content-encoding"] == "gzip"
        sent = b"".join(answer.iter_raw())
    assert len(sent) < 10_000
    assert len(zlib.decompress(sent, 16 + zlib.MAX_WBITS)) > 3_000_000


def test_a_trickle_is_slow_and_whole(ehr: Sandbox, http: httpx.Client) -> None:
    good = http.get("Patient/ana")
    ehr.faults = [Fault(Trickle(piece_bytes=20, interval_s=0.01))]
    slow = http.get("Patient/ana")
    assert slow.content == good.content
    assert slow.elapsed.total_seconds() > 0.02


def test_a_hanging_request_waits_until_it_is_released(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Hang(), times=1)]
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(http.get("Patient/ana").status_code))
    waiting.start()
    while not ehr.app.held.waiting:
        waiting.join(0.005)
    assert not answers
    ehr.release()
    waiting.join(5)
    assert answers == [503]


def test_a_hanging_request_ends_with_its_client(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Hang())]
    with pytest.raises(httpx.ReadTimeout):
        http.get("Patient/ana", timeout=0.1)


def test_next_links_are_spoilt(ehr: Sandbox, http: httpx.Client) -> None:
    good = str(link(http.get(OBSERVATIONS), "next"))
    ehr.faults = [Fault(NextLink("relative"))]
    relative = str(link(http.get(OBSERVATIONS), "next"))
    assert relative.startswith("/v/r4/fhir?_getpages=")
    ehr.faults = [Fault(NextLink("foreign", "http://127.0.0.1:9"))]
    assert str(link(http.get(OBSERVATIONS), "next")).startswith("http://127.0.0.1:9/v/r4/fhir?_getpages=")
    ehr.faults = [Fault(NextLink("loop"), When(page=2)), Fault(NextLink("none"), When(page=1), skip=1)]
    start = http.get(OBSERVATIONS)
    second = http.get(str(link(start, "next")))
    assert link(second, "next") == link(start, "next")
    assert link(http.get(OBSERVATIONS), "next") is None
    ehr.faults = [Fault(NextLink("first"), When(page=2))]
    second = http.get(str(link(http.get(OBSERVATIONS), "next")))
    assert link(second, "next") == link(second, "first")
    ehr.faults = []
    assert http.get(good).status_code == 200


def test_entries_of_a_page_are_spoilt(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Alien())]
    assert ids(http.get("Condition?patient=ana")) == ["c1", "c2", "c3", "c4"]
    assert ids(http.get("Condition?patient=ana&_count=1")) == ["c1", "c4"]
    ehr.faults = [Fault(Duplicate())]
    assert ids(http.get("Condition?patient=ana")) == ["c1", "c1", "c2", "c3"]
    ehr.faults = [Fault(Remark("fatal", vendor_code="4119"))]
    last = http.get("Condition?patient=ana").json()["entry"][-1]
    assert (last["search"]["mode"], last["resource"]["issue"][0]["severity"]) == ("outcome", "fatal")
    assert last["resource"]["issue"][0]["details"]["coding"][0]["code"] == "4119"
    ehr.faults = [Fault(LostPage())]
    lost = http.get(OBSERVATIONS)
    assert "entry" not in lost.json()
    assert link(lost, "next") is not None
    ehr.faults = [Fault(WrongTotal(99)), Fault(Duplicate())]
    both = http.get("Condition?patient=ana")
    assert (both.json()["total"], len(ids(both))) == (99, 4)


def test_a_paging_session_is_lost(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(ExpireSession(), When(page=2), times=1)]
    assert http.get(str(link(http.get(OBSERVATIONS), "next"))).status_code == 410
    assert http.get(str(link(http.get(OBSERVATIONS), "next"))).status_code == 200


def test_a_new_script_starts_its_counts_anew(ehr: Sandbox, http: httpx.Client) -> None:
    script = FaultScript((Fault(Status(500), times=1),))
    ehr.faults = script
    assert [http.get("Patient/ana").status_code for _ in range(2)] == [500, 200]
    ehr.faults = script
    assert ehr.faults is script
    assert http.get("Patient/ana").status_code == 500


def test_login_faults_need_to_be_named(store: Store, clock: FakeClock) -> None:
    clients = {CLIENT: RegisteredClient(jwks())}
    with Sandbox(store, clients=clients, clock=clock) as ehr, httpx.Client() as http:

        def token(jti: str) -> httpx.Response:
            form = token_form(signed(claims(ehr.token_url, clock(), jti=jti)))
            return http.post(ehr.token_url, data=form)

        ehr.faults = [Fault(Status(500)), Fault(Status(400, body=b""), When(endpoint="token"), times=1)]
        bare = token("1")
        assert (bare.status_code, bare.content) == (400, b"")
        good = token("1")
        assert good.status_code == 200
        bearer = {"authorization": "Bearer " + good.json()["access_token"]}
        ehr.faults = [Fault(RevokeToken(), skip=1, times=1)]
        patient = f"{ehr.base_url}/Patient/ana"
        assert [http.get(patient, headers=bearer).status_code for _ in range(3)] == [200, 401, 401]
        again = {"authorization": "Bearer " + token("2").json()["access_token"]}
        assert http.get(patient, headers=again).status_code == 200
        ehr.faults = [Fault(RevokeToken(every=True), times=1)]
        assert http.get(patient).status_code == 401
        assert http.get(patient, headers=again).status_code == 401
        ehr.faults = [Fault(Status(404), When(endpoint="discovery"))]
        assert http.get(f"{ehr.base_url}/.well-known/smart-configuration").status_code == 404


def test_the_clock_offset_moves_the_date_header(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = FaultScript(clock_offset=-timedelta(hours=1))
    assert http.get("Patient/ana").headers["date"] == "Mon, 01 Jun 2026 11:00:00 GMT"
    assert http.get("metadata").headers["date"] == "Mon, 01 Jun 2026 11:00:00 GMT"
    assert ehr.app.now() == NOW - timedelta(hours=1)


def test_a_redirect_can_be_asked_for(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Status(302, body=b"", location="http://127.0.0.1:9/"))]
    assert http.get("Patient/ana").headers["location"] == "http://127.0.0.1:9/"


def test_a_vendors_code_stands_in_the_outcome(ehr: Sandbox, http: httpx.Client) -> None:
    ehr.faults = [Fault(Status(400, vendor_code="59108"))]
    assert http.get("Condition?patient=ana").json()["issue"][0]["details"]["coding"][0]["code"] == "59108"


@given(st.integers(0, 6), st.none() | st.integers(0, 6), st.integers(0, 20))
def test_skip_and_times_count_exactly(skip: int, times: int | None, asked: int) -> None:
    runner = FaultRunner(FaultScript((Fault(Reset(), skip=skip, times=times),)))
    hits = [bool(runner.actions(RequestTarget("search", "Patient"), "GET")) for _ in range(asked)]
    expected = [n >= skip and (times is None or n < skip + times) for n in range(asked)]
    assert hits == expected


@pytest.mark.parametrize(("skip", "times"), [(-1, None), (0, -1)])
def test_a_fault_with_a_negative_count_is_refused(skip: int, times: int | None) -> None:
    with pytest.raises(ConfigurationError):
        Fault(Reset(), skip=skip, times=times)
