"""The security bar, S10 to S16: where requests go, with a second server that must never hear of them."""

from __future__ import annotations

import inspect
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ehr.auth.discovery import discover
from ehr.errors import (
    BadBody,
    BodyTooLarge,
    ConfigurationError,
    ConnectionFailed,
    DestinationRefused,
    EHRError,
)
from ehr.files.settings import EHRSection
from ehr.providers.registry import Provider, provider
from ehr.records.fetched import State
from ehr.records.patient import Attachment, DocumentReference, PatientRef
from ehr.site import ClockAndWire, open_site_async
from ehr.transport.client import Limits, Transport
from ehr.transport.foreign import ForeignHost, ForeignHosts
from tests.contract.wire import ANA as ANA_RECORD
from tests.contract.wire import TOKEN, Answer, condition, in_turn, page, said, token, wired
from tests.ehr.site_folder import Folder
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import MisbehavingServer, Received, answer, misbehaving, says
from tests.fakes.throwaway_ca import ThrowawayCA, throwaway_ca

ANA = PatientRef("ana")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


@pytest.fixture
def around() -> ClockAndWire:
    return ClockAndWire(clock=FakeClock().clock)


@pytest.fixture
async def evil() -> AsyncIterator[MisbehavingServer]:
    """Another server on this machine: the same address, another port."""
    async with misbehaving(says(page(condition("stolen")))) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCA:
    return throwaway_ca(tmp_path_factory.mktemp("ca"))


# --- S10: https, and http for this machine alone -----------------------------------------------------------


@pytest.mark.parametrize(
    "base",
    [
        *("http://ehr.example/r4", "http://localhost.evil.example/r4", "http://127.0.0.1.evil.example/r4"),
        *("http://0.0.0.0/r4", "http://127.1/r4", "http://2130706433/r4", "http://0x7f.1/r4"),
        *("http://[::]/r4", "http://[::ffff:10.0.0.1]/r4", "http://localhost.:80/r4", "http://10.0.0.1/r4"),
        *("http://localtest.me/r4", "HTTP://EHR.example/r4", "ftp://localhost/r4", "//localhost/r4"),
        *("http://user@localhost/r4", "http://localhost\\@evil.example/r4", "ws://localhost/r4"),
    ],
)
def test_s10_http_is_for_this_machine_s_loopback_and_with_the_flag_alone(base: str) -> None:
    """A name that only resolves to the loopback is no loopback: who answers for it may change."""
    with pytest.raises(ConfigurationError):
        Transport(base, allow_http_loopback=True)
    with pytest.raises(ConfigurationError):
        Transport("http://127.0.0.1:1/r4")


def test_s10_the_flag_has_one_value() -> None:
    assert EHRSection.model_fields["allow_http"].annotation.__args__[0].__args__ == ("loopback",)  # type: ignore[union-attr]  # Literal | None


async def test_s10_an_http_base_that_is_not_loopback_is_refused_before_any_lookup(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def looked_up(*args: object, **_: object) -> list[object]:
        asked.append(args)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    config = folder.write("http://rebound.example/r4")
    with pytest.raises(ConfigurationError, match="https"):
        async with open_site_async(config):
            pass
    assert asked == []


# --- S11, S12, S14: a second server gets nothing -----------------------------------------------------------

TRICKS = [
    "http://127.0.0.1:{evil}/r4/Condition?page=2",
    "http://localhost:{evil}/r4/Condition?page=2",
    "//127.0.0.1:{evil}/r4/Condition?page=2",
    "///127.0.0.1:{evil}/r4/Condition?page=2",
    "http:///127.0.0.1:{evil}/r4/Condition",
    "http:127.0.0.1:{evil}/r4/Condition",
    "http://127.0.0.1:{own}@127.0.0.1:{evil}/r4/Condition",
    "http://127.0.0.1:{own}%40127.0.0.1:{evil}/r4/Condition",
    "http://a:b@127.0.0.1:{own}/r4/Condition",
    "http://127.0.0.1:{own}\\@127.0.0.1:{evil}/r4/Condition",
    "http://127.0.0.1:{evil}\\.127.0.0.1:{own}/r4/Condition",
    "\\\\127.0.0.1:{evil}/r4/Condition",
    "/\\127.0.0.1:{evil}/r4/Condition",
    "http://127.0.0.1:{evil}/?http://127.0.0.1:{own}/r4/Condition",
    "http://127.0.0.1:{evil}/#http://127.0.0.1:{own}/r4/Condition",
    "http://127.0.0.1:{own}/r4/../Condition",
    "http://127.0.0.1:{own}/r4/%2e%2e/Condition",
    "http://127.0.0.1:{own}/r4/%252e%252e/Condition",
    "http://127.0.0.1:{own}/r4/.%2e/Condition",
    "http://127.0.0.1:{own}/r4/..;/Condition",
    "http://127.0.0.1:{own}/r4%2f..%2fCondition",
    "http://127.0.0.1:{own}/r4/%5c..%5cCondition",
    "http://127.0.0.1:{own}/r4evil/Condition",
    "http://127.0.0.1:{own}/R4/Condition",
    "../../Condition",
    "/Condition?page=2",
    "https://127.0.0.1:{own}/r4/Condition",
    "http://127.0.0.1/r4/Condition",
    "http://127.0.0.1:80/r4/Condition",
    "http://127.0.0.1.:{own}/r4/Condition",
    "http://127.1:{own}/r4/Condition",
    "http://[::1]:{own}/r4/Condition",
    "http://[::ffff:127.0.0.1]:{own}/r4/Condition",
    "http://localhost:{own}/r4/Condition",
    "http://xn--127-0-0-1-:{evil}/r4/Condition",
    "http://１２７.0.0.1:{evil}/r4/Condition",
    "http://127.0.0.1:{own}\t/r4/Condition",
    "http://127.0.0.1:{own}/r4/Condition\r\nX-Evil: 1",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:application/json,%7B%7D",
    "ws://127.0.0.1:{own}/r4/Condition",
]


@pytest.mark.parametrize("trick", TRICKS)
async def test_s11_s12_a_next_link_that_leads_elsewhere_ends_the_search_and_nobody_else_hears(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer, trick: str
) -> None:
    def first(received: Received) -> bytes:
        own = (received.header("host") or "").rpartition(":")[2]
        return page(condition(), next=trick.format(evil=evil.port, own=own))

    async with wired(Condition=first) as ehr:
        async with open_site_async(folder.write(ehr.base), around) as site:
            found = await site.conditions(ANA)
        assert found.state is State.PARTIAL
        assert [issue.code for issue in found.issues] == ["security:foreign-next-link"]
        assert len(ehr.asked("Condition")) == 1
    assert evil.connections == 0


async def test_s12_a_link_behind_a_space_is_a_path_at_home(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer
) -> None:
    first = page(condition(), next=f" {evil.base}/Condition")
    async with (
        wired(Condition=lambda _: first) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        assert not (await site.conditions(ANA)).complete
    assert evil.connections == 0


@pytest.mark.parametrize(
    "link",
    ["HTTP://127.0.0.1:{own}/r4/Condition?page=2", "?page=2", "Condition?page=2", "/r4/Condition?page=2"],
)
async def test_s12_a_link_of_the_same_origin_is_followed_however_it_is_written(
    folder: Folder, around: ClockAndWire, link: str
) -> None:
    def pages(received: Received) -> bytes:
        own = (received.header("host") or "").rpartition(":")[2]
        if "page=2" in received.target:
            return page(condition("c2"))
        return page(condition("c1"), next=link.format(own=own))

    async with wired(Condition=pages) as ehr, open_site_async(folder.write(ehr.base), around) as site:
        found = await site.conditions(ANA)
        assert (found.state, len(found.items)) == (State.OK, 2)


async def test_s11_the_default_port_may_be_said_or_left_out(authority: ThrowawayCA) -> None:
    named, plain = Transport("https://ehr.example:443/r4"), Transport("https://ehr.example/r4")
    for client in (named, plain):
        for url in ("https://EHR.example:443/r4/Patient", "https://ehr.example/r4/Patient"):
            assert client.resolve(url).lower() == url.lower()
        for url in ("https://ehr.example:80/r4/Patient", "https://ehr.example:4433/r4/Patient"):
            with pytest.raises(DestinationRefused):
                client.resolve(url)
        await client.aclose()


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
@pytest.mark.parametrize("where", ["smart-configuration", "token", "Condition", "_search", "ana"])
async def test_s14_no_redirect_is_followed_and_no_header_reaches_its_target(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer, status: str, where: str
) -> None:
    moved = said(
        {}, status, Location=f"{evil.base}/x", Set_Cookie="id=Canary; Path=/", Refresh=f"0;url={evil.base}"
    )
    async with wired(**{where: lambda _: moved}) as ehr:
        try:
            async with open_site_async(folder.write(ehr.base), around) as site:
                found = await (site.read("patient", ANA) if where == "ana" else site.conditions(ANA))
                assert not found.complete or where == "_search"
        except EHRError:
            pass
        assert not any(one.header("cookie") for one in ehr.server.requests)
    assert evil.connections == 0


MERGED = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "fatal", "code": "processing", "details": {"coding": [{"code": "4107"}]}}],
}


@pytest.mark.parametrize(
    "location",
    [
        "{evil}/Patient/new",
        "//127.0.0.1:{port}/r4/Patient/new",
        "{home}/../Patient/new",
        "{home}/Patient/%2e%2e/new",
        "{home}/Condition/new",
        "{home}/Patient/new/$everything",
        "{home}/Patient/ana",
        "{home}/Patient/",
        "javascript:Patient/new",
        "",
    ],
)
async def test_s14_a_merge_that_leads_elsewhere_is_not_followed(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer, location: str
) -> None:
    def moved(_: Received) -> bytes:
        target = location.format(evil=evil.base, port=evil.port, home=ehr.base)
        return said(MERGED, "302 Found", Location=target, Set_Cookie="id=Canary; Path=/")

    new = {**ANA_RECORD, "id": "new"}
    async with (
        wired(ana=moved, Condition=moved, new=lambda _: said(new)) as ehr,
        open_site_async(folder.write(ehr.base, provider="epic r4"), around) as site,
    ):
        for found in (await site.read("patient", ANA), await site.conditions(ANA)):
            assert not found.complete
            assert not found.items
        assert not ehr.asked("new")
        assert not ehr.asked("$everything")
    assert evil.connections == 0


async def test_s14_a_merge_is_followed_once_at_home_and_not_in_a_chain(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer
) -> None:
    def to(target: str) -> Answer:
        return lambda _: said(MERGED, "302 Found", Location=f"{ehr.base}/Patient/{target}")

    new = {**ANA_RECORD, "id": "new"}
    async with (
        wired(ana=to("new"), old=to("ana"), new=lambda _: said(new)) as ehr,
        open_site_async(folder.write(ehr.base, provider="epic r4"), around) as site,
    ):
        found = await site.read("patient", ANA)
        assert [one.id for one in found.require()] == ["new"]
        chained = await site.read("patient", PatientRef("old"))
        assert not chained.complete
        ehr.answers["ana"] = lambda _: said({}, "302 Found", Location=f"{ehr.base}/Patient/new")
        unsaid = await site.read("patient", ANA)
        assert not unsaid.complete, "a redirect that no outcome explains is none of ours"
        ehr.answers["ana"] = in_turn(
            [
                said(MERGED, "302 Found", Location="x"),
                said({}, "302 Found", Location=f"{ehr.base}/Patient/new"),
            ]
        )
        assert not (await site.read("patient", ANA)).items
    assert evil.connections == 0


@pytest.mark.parametrize("url", ["{evil}/Binary/b", "//127.0.0.1:{port}/r4/Binary/b", "../../Binary/b"])
async def test_s12_an_attachment_elsewhere_is_not_fetched_with_the_token(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer, url: str
) -> None:
    attachment = Attachment(content_type="application/pdf", url=url.format(evil=evil.base, port=evil.port))
    raw = {"resourceType": "DocumentReference", "content": [{"attachment": msgspec.to_builtins(attachment)}]}
    document = msgspec.convert(raw, DocumentReference)
    async with wired() as ehr, open_site_async(folder.write(ehr.base), around) as site:
        with pytest.raises(DestinationRefused):
            async with site.adapter.open_document(document):
                pass
    assert evil.connections == 0


async def test_s12_the_client_for_other_hosts_has_no_way_to_hold_a_credential() -> None:
    for method in (ForeignHosts.__init__, ForeignHosts.request, ForeignHosts.stream):
        names = set(inspect.signature(method).parameters)
        assert not names & {"auth", "headers", "cookies", "params", "token"}


@pytest.mark.parametrize("written", ["{evil}/Medication/m1", "//127.0.0.1:{port}/r4/Medication/m1"])
async def test_s12_a_reference_that_leads_elsewhere_is_read_at_home_or_not_at_all(
    folder: Folder, around: ClockAndWire, evil: MisbehavingServer, written: str
) -> None:
    drug = {
        "resourceType": "MedicationRequest",
        "id": "r1",
        "status": "active",
        "subject": {"reference": "Patient/ana"},
        "medicationReference": {"reference": written.format(evil=evil.base, port=evil.port)},
    }
    async with (
        wired(MedicationRequest=lambda _: page(drug), m1=lambda _: said({}, "404 No")) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        await site.medications(ANA)
        assert all(one.header("host") == f"127.0.0.1:{ehr.server.port}" for one in ehr.server.requests)
    assert evil.connections == 0


def _rewriting(name: str) -> Provider:
    found = provider(name)
    return replace(found, profile=replace(found.profile, next_link="rewrite"))


@pytest.mark.parametrize(
    ("link", "followed"),
    [
        ("http://127.0.0.1:{evil}/inner/api/v1/Condition?page=2", True),
        ("http://app-server-7:889/NextGen.Api.Edge/6.0/fhir/Condition?page=2", True),
        ("http://127.0.0.1:{evil}/inner/../Condition?page=2", False),
        ("http://127.0.0.1:{evil}/inner/%2e%2e/admin/Condition?page=2", False),
        ("http://a@127.0.0.1:{evil}/Condition?page=2", False),
        ("javascript:Condition?page=2", False),
    ],
)
async def test_s12_a_declared_rule_puts_a_link_on_our_own_base_and_asks_nobody_else(
    folder: Folder, evil: MisbehavingServer, link: str, followed: bool
) -> None:
    """For vendors whose links name an inner host: only the path after its base and the query are used."""

    def pages(received: Received) -> bytes:
        if "page=2" in received.target:
            return page(condition("c2"))
        return page(condition("c1"), next=link.format(evil=evil.port))

    around = ClockAndWire(clock=FakeClock().clock, providers=_rewriting)
    async with wired(Condition=pages) as ehr, open_site_async(folder.write(ehr.base), around) as site:
        found = await site.conditions(ANA)
        assert len(found.items) == (2 if followed else 1)
        assert found.complete is followed
        assert not followed or ehr.asked("Condition")[1].target == "/r4/Condition?page=2"
    assert evil.connections == 0


# --- S13: addresses of other hosts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
        ),
        *(
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "224.0.0.1",
        ),
    ],
)
async def test_s13_a_public_host_that_turns_out_to_be_inside_is_not_called(address: str) -> None:
    lookups = 0

    async def lookup(host: str, port: int) -> list[str]:
        nonlocal lookups
        lookups += 1
        return ["93.184.216.34", address] if lookups == 1 else [address]

    limits = Limits(attempts=1, connect_s=1)
    async with ForeignHosts([ForeignHost("files.example")], lookup=lookup, limits=limits) as other:
        with pytest.raises(DestinationRefused):
            await other.request("https://files.example/export/1.ndjson")
        assert lookups == 1


async def test_s13_what_is_checked_is_what_is_called(authority: ThrowawayCA) -> None:
    """A name that changes its address between the look-up and the connection gains nothing."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def lookup(host: str, port: int) -> list[str]:
        return next(answers)

    tls = authority.server("files.example")
    async with misbehaving(says(answer(b"{}", kind="application/fhir+ndjson")), tls=tls) as server:
        host = ForeignHost("files.example", "private", ("127.0.0.1",), server.port)
        async with ForeignHosts([host], lookup=lookup, ca_file=authority.ca_file) as other:
            got = await other.request(f"https://files.example:{server.port}/1.ndjson")
            assert got.body == b"{}"
        assert [
            name.lower() for name, _ in server.requests[0].headers if name.lower() == "authorization"
        ] == []
        assert server.requests[0].header("cookie") is None


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"])
async def test_s13_a_metadata_service_is_refused_even_where_it_is_declared(address: str) -> None:
    host = ForeignHost("files.example", "private", (address,))

    async def lookup(name: str, port: int) -> list[str]:
        return [address]

    async with ForeignHosts([host], lookup=lookup, limits=Limits(attempts=1, connect_s=1)) as other:
        with pytest.raises(DestinationRefused):
            await other.request("https://files.example/1.ndjson")


async def test_s13_a_private_host_is_exactly_the_declared_addresses(authority: ThrowawayCA) -> None:
    async with misbehaving(says(answer()), tls=authority.server("files.example")) as server:
        for declared, found, refused in (
            ("127.0.0.1", ["127.0.0.1"], False),
            ("127.0.0.2", ["127.0.0.1"], True),
            ("10.0.0.0/8", ["127.0.0.1"], True),
            ("127.0.0.1", ["127.0.0.1", "10.0.0.1"], True),  # one bad address spoils the answer
        ):

            async def lookup(name: str, port: int, found: list[str] = found) -> list[str]:
                return found

            host = ForeignHost("files.example", "private", (declared,), server.port)
            async with ForeignHosts([host], lookup=lookup, ca_file=authority.ca_file) as other:
                try:
                    await other.request(f"https://files.example:{server.port}/1.ndjson")
                except DestinationRefused:
                    assert refused
                else:
                    assert not refused


async def test_s13_no_redirect_no_other_type_and_no_larger_size_from_a_listed_host(
    authority: ThrowawayCA, evil: MisbehavingServer
) -> None:
    async def lookup(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    moved = said({}, "302 Found", Location=f"{evil.base}/x")
    answers = [
        moved,
        answer(b"<html>", kind="text/html"),
        answer(b"x" * 5000, kind="application/fhir+ndjson"),
    ]
    async with misbehaving(says(*answers), tls=authority.server("files.example")) as server:
        kinds = ("application/fhir+ndjson",)
        host = ForeignHost("files.example", "private", ("127.0.0.1",), server.port, kinds)
        url = f"https://files.example:{server.port}/1.ndjson"
        async with ForeignHosts([host], lookup=lookup, ca_file=authority.ca_file) as other:
            assert (await other.request(url)).status == 302
            with pytest.raises(BadBody):
                await other.request(url)
            with pytest.raises(BodyTooLarge):
                await other.request(url, limit_bytes=1000)
    assert evil.connections == 0


# --- S15: whose token endpoint -----------------------------------------------------------------------------


async def test_s15_a_token_endpoint_elsewhere_comes_from_discovery_and_sees_no_bearer(
    folder: Folder, around: ClockAndWire, tmp_path: Path
) -> None:
    async with misbehaving(says(token())) as login, wired() as ehr:
        ehr.answers["smart-configuration"] = lambda _: said({"token_endpoint": f"{login.base}/token"})
        async with open_site_async(folder.write(ehr.base), around) as site:
            assert (await site.conditions(ANA)).state is State.OK
        assert len(login.requests) == 1
        assert login.requests[0].header("authorization") is None
        assert TOKEN not in str(login.requests)
        assert "patient=ana" not in login.requests[0].target + login.requests[0].body.decode()


@pytest.mark.parametrize(
    "endpoint",
    [
        *(
            "http://login.example/token",
            "http://10.0.0.1/token",
            "ftp://127.0.0.1/token",
            "https://a@b.example/t",
        ),
        *(
            "https://b.example\\t",
            "https:///t",
            "javascript:1",
            "https://b.example/../t",
            "https://b.example/%2e%2e",
        ),
        *("https://b.exämple/t", "http://localhost.evil.example/t"),
    ],
)
async def test_s15_a_token_endpoint_that_cannot_be_trusted_is_refused_before_any_assertion(
    folder: Folder, around: ClockAndWire, endpoint: str
) -> None:
    config_of = said({"token_endpoint": endpoint})
    async with wired(**{"smart-configuration": lambda _: config_of}) as ehr:
        with pytest.raises(EHRError):
            async with open_site_async(folder.write(ehr.base), around) as site:
                await site.conditions(ANA)
        assert not any(b"assertion" in one.body for one in ehr.server.requests)


async def test_s15_loopback_http_is_no_token_endpoint_of_an_https_base(authority: ThrowawayCA) -> None:
    tls = authority.server()
    document = said({"token_endpoint": "http://127.0.0.1:1/token"})
    async with (
        misbehaving(says(document), tls=tls) as server,
        Transport(server.base, ca_file=authority.ca_file, allow_http_loopback=True) as client,
    ):
        with pytest.raises(ConfigurationError, match="https"):
            await discover(client, server.base)


# --- S16: TLS ----------------------------------------------------------------------------------------------


def test_s16_no_setting_and_no_parameter_turns_verification_off() -> None:
    names = {*EHRSection.model_fields, *inspect.signature(Transport).parameters}
    assert not {name for name in names if "verify" in name or "insecure" in name or "check" in name}


@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "TLS 1.0", "TLS 1.1", "expired"])
async def test_s16_a_server_that_is_not_proved_gets_no_request(
    authority: ThrowawayCA, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file: Path | None = authority.ca_file
    tls = authority.server("other.example") if fault == "wrong name" else authority.server()
    if fault == "unknown authority":
        (tmp_path / "other").mkdir()
        ca_file = throwaway_ca(tmp_path / "other").ca_file
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    if fault.startswith("TLS"):
        tls.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            tls.minimum_version = ssl.TLSVersion.TLSv1
            tls.maximum_version = ssl.TLSVersion.TLSv1 if fault == "TLS 1.0" else ssl.TLSVersion.TLSv1_1
    if fault == "expired":
        tls = _expired(authority)
    async with misbehaving(says(answer()), tls=tls) as server:
        async with Transport(server.base, ca_file=ca_file, limits=Limits(attempts=3)) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.request("GET", "Patient", headers={"authorization": f"Bearer {TOKEN}"})
        assert server.requests == []
    assert failed.value.__suppress_context__


def _expired(authority: ThrowawayCA) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "late")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(names, False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False)
        .sign(authority.key, hashes.SHA256())
    )
    path = authority.folder / "expired.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_s16_nothing_of_the_environment_changes_where_or_how_we_connect(
    authority: ThrowawayCA, evil: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary password canary\ndefault login canary password canary\n")
    netrc.chmod(0o600)
    keylog = tmp_path / "keys.log"
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.setenv(spelled, f"http://127.0.0.1:{evil.port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keylog))
    (tmp_path / ".netrc").write_bytes(netrc.read_bytes())
    async with misbehaving(says(answer()), tls=authority.server()) as server:
        async with Transport(server.base, ca_file=authority.ca_file) as client:
            assert (await client.request("GET", "Patient")).status == 200
        assert server.requests[0].header("authorization") is None
        assert server.requests[0].header("proxy-authorization") is None
    assert evil.connections == 0
    assert not keylog.exists()


async def test_s16_one_more_authority_may_be_named(authority: ThrowawayCA) -> None:
    async with AsyncExitStack() as held:
        server = await held.enter_async_context(misbehaving(says(answer()), tls=authority.server()))
        client = await held.enter_async_context(Transport(server.base, ca_file=authority.ca_file))
        assert (await client.request("GET", "Patient")).status == 200
