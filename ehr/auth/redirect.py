"""Listens on this machine for the one address that a browser is sent back to after a login.

RFC 8252, 7.3 and 8.3: the literal loopback address, never a name; a port of the moment or a registered one; closed
as soon as the answer is there. The page that the person sees holds nothing of the answer.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from ehr.errors import ConfigurationError, EHRError, LoginRefused

HOST = "127.0.0.1"
PATH = "/callback"
_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 18px/1.5 system-ui, sans-serif; color: #1c2733; background: #f4f6f8; margin: 0; }}
main {{ max-width: 34rem; margin: 12vh auto 0; padding: 2rem 2.5rem; background: #fff; border-radius: 8px;
  border-top: 6px solid {colour}; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}
p {{ margin: .5rem 0 0; }}
</style>
</head>
<body><main><h1>{title}</h1><p>{text}</p><p>You may close this window.</p></main></body>
</html>
"""
_GOOD = (
    "The EHR has answered",
    "#1f7a4d",
    "trialveil goes on in the terminal; what was granted is shown there.",
)
_BAD = ("The login did not succeed", "#b3261e", "trialveil says why in the terminal.")


@dataclass(frozen=True, slots=True, repr=False)
class Redirect:
    """Where an answer is listened for.

    Args:
        uri: to be registered and sent with the login.
        code: the code, once an answer came.
    """

    uri: str
    code: asyncio.Future[str]

    def __repr__(self) -> str:
        return "<Redirect>"

    async def wait(self, seconds: float) -> str:
        """The code of the one answer.

        Raises:
            LoginRefused: the answer is a no, does not belong here, or did not come in time.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.code
        except TimeoutError:
            raise LoginRefused(
                f"nobody finished the login in the browser within {seconds:.0f} s. Log in again."
            ) from None


@asynccontextmanager
async def listening(port: int, judge: Callable[[str], str]) -> AsyncIterator[Redirect]:
    """Listen for one answer, on this machine only.

    Args:
        port: 0 takes a free one; RFC 8252 asks servers to allow any port of a loopback address.
        judge: turns the query of the answer into a code, or raises; called once.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    listener = _bound(port)
    place = f"{HOST}:{listener.getsockname()[1]}"
    redirect = Redirect(f"http://{place}{PATH}", asyncio.get_running_loop().create_future())

    async def answer(request: web.BaseRequest) -> web.Response:
        # A name that leads to this machine (DNS rebinding) is not this address.
        if request.method != "GET" or request.path != PATH or request.headers.get("Host") != place:
            return web.Response(status=404, text="There is nothing here.", headers=_HEADERS)
        if redirect.code.done():
            return _page(_BAD)
        try:
            redirect.code.set_result(judge(request.rel_url.raw_query_string))
        except EHRError as error:
            redirect.code.set_exception(error)
            return _page(_BAD)
        return _page(_GOOD)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield redirect
    finally:
        await runner.cleanup()
        listener.close()
        redirect.code.cancel()
        if redirect.code.done() and not redirect.code.cancelled():
            redirect.code.exception()  # it was seen, or nobody waits for it any more


def _page(text: tuple[str, str, str]) -> web.Response:
    title, colour, words = text
    return web.Response(
        status=200 if text is _GOOD else 400,
        text=_PAGE.format(title=title, colour=colour, text=words),
        content_type="text/html",
        headers=_HEADERS,
    )


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere this option would let another program listen beside us
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(8)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"auth.browser.redirect_port cannot be listened on ({type(error).__name__}): another program uses it, or "
            "it needs rights. Take another port and register it, or 0."
        ) from None
    return listener
