"""The listener: one address, one answer, a plain page."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ehr.auth.redirect import listening
from ehr.errors import ConfigurationError, LoginRefused
from tests.ehr.auth.door import Page, get


def judge(query: str) -> str:
    if "good" not in query:
        raise LoginRefused("our own words about Canary")
    return query


async def asked(address: str, **how: object) -> Page:
    return await asyncio.to_thread(get, address, **how)  # type: ignore[arg-type]  # as `get` takes them


async def test_the_answer_comes_once_and_the_page_holds_nothing_of_it() -> None:
    async with listening(0, judge) as redirect:
        page = await asked(redirect.uri + "?code=good-Canary&state=Canarystate")
        assert await redirect.wait(5) == "code=good-Canary&state=Canarystate"
        again = await asked(redirect.uri + "?code=good-2")
    assert page.status == 200
    assert "You may close this window" in page.text
    assert "Canary" not in page.text + repr(page.headers)
    assert again.status == 400
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "script" not in page.text


async def test_a_bad_answer_is_the_answer() -> None:
    async with listening(0, judge) as redirect:
        page = await asked(redirect.uri + "?code=bad")
        assert (page.status, "Canary" in page.text) == (400, False)
        with pytest.raises(LoginRefused, match="our own words"):
            await redirect.wait(5)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ("", {"method": "POST"}),
        ("", {"method": "HEAD"}),
        ("", {"headers": {"Host": "evil.example"}}),
        ("", {"headers": {"Host": "localhost"}}),
        ("/", {}),
        ("/../callback", {}),
        ("x", {}),
    ],
)
async def test_what_is_not_the_one_address_is_not_listened_to(change: str, how: dict[str, object]) -> None:
    async with listening(0, judge) as redirect:
        page = await asked(redirect.uri + change + "?code=good", **how)
        assert page.status == 404
        assert not redirect.code.done()
        assert (await asked(redirect.uri + "?code=good")).status == 200
        assert await redirect.wait(5) == "code=good"


async def test_it_listens_on_this_machine_alone_and_not_after_the_end() -> None:
    async with listening(0, judge) as redirect:
        assert redirect.uri.startswith("http://127.0.0.1:")
        port = int(redirect.uri.rpartition(":")[2].partition("/")[0])
        with socket.socket() as other, pytest.raises(OSError):  # nobody else can take the port meanwhile
            other.bind(("127.0.0.1", port))
    with pytest.raises(OSError):
        await asked(redirect.uri)


async def test_a_registered_port_is_used_and_a_taken_one_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=r"auth\.browser\.redirect_port"):
            async with listening(port, judge):
                pass
    async with listening(port, judge) as redirect:
        assert redirect.uri == f"http://127.0.0.1:{port}/callback"


async def test_an_open_connection_does_not_hold_the_end_up() -> None:
    began = asyncio.get_running_loop().time()
    async with listening(0, judge) as redirect:
        port = int(redirect.uri.rpartition(":")[2].partition("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /callback?code=g")
        await writer.drain()
        with pytest.raises(LoginRefused, match="within 0 s"):
            await redirect.wait(0.05)
    writer.close()
    assert asyncio.get_running_loop().time() - began < 30  # a minute, if it waited for the connection's end


async def test_a_header_without_end_is_cut() -> None:
    async with listening(0, judge) as redirect:
        page = await asked(redirect.uri + "?code=" + "x" * 100_000)
        assert page.status == 400
        assert not redirect.code.done()
