"""What goes out: no byte more than was asked, and nothing to anybody else (S11, S14, S22)."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from ehr.errors import (
    ConfigurationError,
    DestinationRefused,
    EHRError,
)
from ehr.transport.client import Transport
from ehr.transport.engine import AiohttpTransport
from tests.ehr.transport.conftest import ROOMY
from tests.ehr.transport.talking import talking
from tests.fakes.misbehaving_server import (
    answer,
    misbehaving,
    says,
)


async def test_redirects_are_not_followed_and_nothing_leaks() -> None:
    """S14."""
    async with misbehaving(says(answer())) as elsewhere:
        raw = answer(status="302 Found", headers=(("Location", elsewhere.base + "/Patient"),))
        async with talking(says(raw)) as (client, server):
            response = await client.request("GET", "Patient", headers={"Epic-Client-ID": "Canary"})
            assert response.status == 302 and len(server.requests) == 1
        assert not elsewhere.requests


async def test_no_cookie_is_kept() -> None:
    raw = answer(headers=(("Set-Cookie", "session=Canary; Path=/"),))
    # By name: a usual cookie jar keeps none for IP addresses.
    async with misbehaving(says(raw), host="localhost") as server:
        async with Transport(server.base, limits=ROOMY, allow_http_loopback=True) as client:
            await client.request("GET", "a")
            await client.request("GET", "b")
        assert len(server.requests) == 2
        assert all(received.header("cookie") is None for received in server.requests)


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``trust_env`` is off."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password Canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with talking(says(answer())) as (client, server):
        await client.request("GET", "x")
        assert server.requests[0].header("authorization") is None


@pytest.mark.parametrize(
    "target",
    [
        "Patient?code=a%7Cb%2Cc%3A%2F",
        "Patient?x=a|b,c:/$'()*",
        "Binary/a%2Fb",
        "Patient?_sort=-date&x=%e4",
        "x//y?z=%zz",
    ],
)
async def test_url_bytes_reach_the_wire_as_they_were_checked(target: str) -> None:
    async with talking(says(answer())) as (client, server):
        await client.request("GET", target)
        assert server.requests[0].target == "/r4/" + target


async def test_headers_on_the_wire_are_ours_and_no_more() -> None:
    async with talking(says(answer())) as (client, server):
        await client.request("GET", "x", headers={"Accept-Encoding": "br", "Prefer": "handling=strict"})
        names = {name.lower(): value for name, value in server.requests[0].headers}
    assert names.pop("host").startswith("127.0.0.1:")
    assert names == {
        "user-agent": "trialveil",
        "accept-encoding": "gzip",
        "accept": "application/fhir+json",
        "prefer": "handling=strict",
    }


async def test_a_caller_cannot_change_host_or_framing() -> None:
    wrong = {
        "Host": "evil.example",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Connection": "upgrade",
    }
    async with talking(says(answer())) as (client, server):
        await client.request("POST", "Patient/_search", form={"family": "abc"}, headers=wrong)
    received = server.requests[0]
    assert received.header("host") == f"127.0.0.1:{server.port}" and received.body == b"family=abc"
    assert received.header("content-length") == "10"
    assert received.header("transfer-encoding") is None and received.header("connection") is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET / HTTP/1.1\r\nX: y\r\n\r\nGET", {}),
        ("GET\n", {}),
        ("GET", {"x": "a\r\nInjected: 1"}),
        ("GET", {"x": "a\nb"}),
        ("GET", {"x\r\ny": "1"}),
        ("GET", {"x y": "1"}),
        ("GET", {"x": "\x00"}),
    ],
)
async def test_nothing_can_be_injected_through_method_or_headers(
    method: str, headers: dict[str, str]
) -> None:
    async with talking(says(answer())) as (client, server):
        with pytest.raises(ConfigurationError):
            await client.request(method, "x", headers=headers)
        assert not server.requests


@pytest.mark.parametrize("url", ["ftp://a.example/x", "https://a.example:443:1/x"])
async def test_a_url_that_cannot_be_sent_as_it_was_read_is_refused(url: str) -> None:
    engine = AiohttpTransport()
    with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
        await engine.handle_async_request(httpx.Request("GET", url))
    await engine.aclose()


async def test_a_request_outside_the_pin_is_never_sent() -> None:
    """S11."""
    async with talking(says(answer())) as (client, server):
        for url in (
            "http://127.0.0.1:1/r4/x",
            f"http://127.0.0.1:{server.port}/admin",
            "/admin",
            "//127.0.0.2/r4",
        ):
            with pytest.raises(DestinationRefused):
                await client.request("GET", url)
        assert server.connections == 0


async def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """S22, S23: canaries in URL, headers, bodies and answers; every logger at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "httpx", "httpcore", "ehr.transport"):
        caplog.set_level(logging.DEBUG, name)  # is put back afterwards
    raws = (
        answer(b'{"family":"Canary"}'),
        answer(b"Canary", status="500 Canary", kind="text/plain"),
        answer(b"Canary", kind="text/html"),
        b"",
    )
    async with talking(says(*raws)) as (client, _):
        for _ in range(5):
            try:
                await client.request(
                    "POST",
                    "Patient/_search?x=Canary",
                    form={"family": "Canary"},
                    headers={"authorization": "Bearer Canary"},
                )
            except EHRError as error:
                assert "Canary" not in str(error) + repr(error)
    text = "\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records)
    assert "http.answered request=1 status=200" in text and "http.failed request=3 type=BadBody" in text
    assert "Canary" not in text and "127.0.0.1" not in text
