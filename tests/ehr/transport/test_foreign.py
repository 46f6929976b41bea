"""Listed foreign hosts, without credentials (S12, S13)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import BadBody, BodyTooLarge, ConfigurationError, DestinationRefused
from ehr.transport.addresses import allowed, blocks
from ehr.transport.engine import AddressRefused
from ehr.transport.foreign import ForeignHost, ForeignHosts, Lookup, _checked_sockets, _CheckedResolver, _rule
from tests.ehr.transport.conftest import ROOMY
from tests.fakes.misbehaving_server import answer, misbehaving, says
from tests.fakes.throwaway_ca import ThrowawayCA

LIMITS = ROOMY
LOOPBACK = ("127.0.0.0/8",)


def lookup(*addresses: str) -> Lookup:
    async def found(host: str, port: int) -> Sequence[str]:
        return addresses

    return found


async def test_a_private_host_is_called_at_its_checked_address_with_its_name(authority: ThrowawayCA) -> None:
    """S13: Host and SNI stay the name."""
    names: list[str | None] = []
    tls = authority.server("files.example")
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with misbehaving(says(answer(b"data", kind="text/plain")), tls=tls) as server:
        host = ForeignHost("files.example", "private", LOOPBACK, server.port)
        async with ForeignHosts(
            [host], limits=LIMITS, ca_file=authority.ca_file, lookup=lookup("127.0.0.1")
        ) as foreign:
            response = await foreign.request(f"https://files.example:{server.port}/a%2Fb?sig=x%3D%3D")
            assert response.body == b"data"
        received = server.requests[0]
        assert received.target == "/a%2Fb?sig=x%3D%3D" and names == ["files.example"]
        assert received.header("host") == f"files.example:{server.port}"
        assert received.header("authorization") is None and received.header("cookie") is None


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["93.184.215.14", "10.0.0.1"],
        [],
    ],
)
async def test_a_public_name_that_leads_inside_is_refused(found: list[str]) -> None:
    """S13: `sec_private_and_metadata_addresses_blocked_for_attachments`; one bad address spoils the answer."""
    async with ForeignHosts([ForeignHost("files.example")], limits=LIMITS, lookup=lookup(*found)) as foreign:
        with pytest.raises(DestinationRefused):
            await foreign.request("https://files.example/x")


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/x",
        "https://files.example:8443/x",
        "http://files.example/x",
        "http://files.example:443/x",
        "https://files.example@other.example/x",
        "https://files.example/../x",
        "https://127.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "ftp://files.example/x",
        "x",
    ],
)
async def test_what_is_not_listed_is_refused_before_any_lookup(url: str) -> None:
    """S12."""

    async def never(host: str, port: int) -> Sequence[str]:
        raise AssertionError("was looked up")

    async with ForeignHosts([ForeignHost("files.example")], lookup=never) as foreign:
        with pytest.raises(DestinationRefused):
            await foreign.request(url)


@pytest.mark.parametrize("literal", ["127.0.0.1", "169.254.169.254", "10.0.0.1"])
async def test_a_listed_literal_is_checked_too(literal: str) -> None:
    hosts = [ForeignHost(literal, "private", ("192.168.7.0/24",))]
    async with ForeignHosts(hosts, limits=LIMITS) as foreign:
        with pytest.raises(DestinationRefused):
            await foreign.request(f"https://{literal}/x")


async def test_numeric_names_are_checked_after_resolution() -> None:
    """S13: ``0x7f.1`` is 127.0.0.1 to a resolver."""
    async with ForeignHosts([ForeignHost("0x7f.1")], limits=LIMITS) as foreign:
        with pytest.raises(DestinationRefused):
            await foreign.request("https://0x7f.1/x")


async def test_no_redirect_no_other_type_no_larger_size(authority: ThrowawayCA, tmp_path: Path) -> None:
    """S13."""
    raws = (
        answer(b"x" * 50, kind="application/pdf"),
        answer(b"", status="302 Found", headers=(("Location", "https://files.example/y"),)),
        answer(b"x", kind="text/html"),
        answer(b"x" * 51, kind="application/pdf"),
    )
    async with misbehaving(says(*raws), tls=authority.server()) as server:
        host = ForeignHost("127.0.0.1", "private", LOOPBACK, server.port, ("application/pdf",))
        url = f"https://127.0.0.1:{server.port}/x"
        async with ForeignHosts([host], limits=LIMITS, ca_file=authority.ca_file) as foreign:
            async with foreign.stream(url, limit_bytes=50) as download:
                assert (await download.write_to(tmp_path / "x")).size == 50
            assert (await foreign.request(url)).status == 302
            with pytest.raises(BadBody):
                await foreign.request(url)
            with pytest.raises(BodyTooLarge):
                await foreign.request(url, limit_bytes=50)
        assert len(server.requests) == 4


async def test_two_hosts_share_one_client() -> None:
    seen: list[str] = []

    async def answering(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, content=b"x")

    hosts = [ForeignHost("a.example"), ForeignHost("b.example")]
    async with ForeignHosts(hosts, inner=httpx.MockTransport(answering)) as foreign:
        await foreign.request("https://a.example/1")
        await foreign.request("https://b.example/2?x=%2F")
    assert seen == ["https://a.example/1", "https://b.example/2?x=%2F"]
    assert repr(foreign) == "ForeignHosts(2)"


async def test_one_bad_address_spoils_the_whole_answer() -> None:
    """S13."""
    rules = {"files.example": _rule(ForeignHost("files.example"))}
    resolver = _CheckedResolver(rules, lookup("93.184.215.14", "10.0.0.1"))
    with pytest.raises(AddressRefused):
        await resolver.resolve("files.example", 443)
    with pytest.raises(AddressRefused):
        await _CheckedResolver(rules, lookup("93.184.215.14")).resolve("other.example", 443)
    found = await _CheckedResolver(rules, lookup("93.184.215.14")).resolve("files.example", 443)
    assert [(one["host"], one["hostname"], one["port"]) for one in found] == [
        ("93.184.215.14", "files.example", 443)
    ]


def test_the_socket_factory_sees_the_final_address() -> None:
    """S13: the last guard, whatever way an address came in."""
    make = _checked_sockets((_rule(ForeignHost("files.example")),))
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
        with pytest.raises(OSError, match="not allowed"):
            make((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443)))
    with make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("93.184.215.14", 443))) as made:
        assert made.family == socket.AF_INET


@pytest.mark.parametrize(
    "host",
    [
        ForeignHost("files.example", "private"),
        ForeignHost("files.example", "public", ("10.0.0.1",)),
        ForeignHost("files.example", "private", ("10.0.0.1/8",)),
        ForeignHost("files.example", "private", ("inside",)),
        ForeignHost("files.example/x?"),
        ForeignHost("user@files.example"),
        ForeignHost("files.example", "any"),  # type: ignore[arg-type] # wrong on purpose
    ],
)
def test_a_badly_declared_host_is_a_configuration_error(host: ForeignHost) -> None:
    with pytest.raises(ConfigurationError):
        ForeignHosts([host])


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_are_refused_even_when_declared(address: str) -> None:
    """S13."""
    everything = blocks(["0.0.0.0/0", "::/0"])
    assert not allowed(address, "private", everything)
    assert not allowed(address, "public", ())


@given(st.ip_addresses())
def test_a_public_host_never_leads_to_an_address_that_is_not_global(address: ipaddress.IPv4Address) -> None:
    if allowed(str(address), "public", ()):
        assert address.is_global and not address.is_private and not address.is_multicast


@given(st.ip_addresses(v=4), st.ip_addresses(v=4, network="10.7.0.0/16"))
def test_a_private_host_leads_to_what_was_declared_only(
    one: ipaddress.IPv4Address, inside: ipaddress.IPv4Address
) -> None:
    declared = blocks(["10.7.0.0/16"])
    assert allowed(str(inside), "private", declared)
    assert allowed(str(one), "private", declared) == (one in ipaddress.ip_network("10.7.0.0/16"))


@pytest.mark.parametrize(
    "text", ["", "files.example", "fe80::1%eth0", "1.2.3", "224.0.0.1", "0.0.0.0", "::", "100.64.0.1"]
)
def test_odd_addresses_are_refused(text: str) -> None:
    assert not allowed(text, "public", ())
