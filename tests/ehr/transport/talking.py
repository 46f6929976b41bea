"""A transport and a misbehaving server, talking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ehr.errors import (
    EHRError,
)
from ehr.transport.client import Limits, Transport
from tests.ehr.transport.conftest import ROOMY
from tests.fakes.misbehaving_server import (
    MisbehavingServer,
    Script,
    misbehaving,
)


@asynccontextmanager
async def talking(
    script: Script, limits: Limits = ROOMY
) -> AsyncIterator[tuple[Transport, MisbehavingServer]]:
    async with (
        misbehaving(script) as server,
        Transport(server.base, limits=limits, allow_http_loopback=True) as client,
    ):
        yield client, server


async def failure(
    script: Script, limits: Limits = ROOMY, **how: object
) -> tuple[EHRError, MisbehavingServer]:
    """The error of one GET, checked for silence about where and what."""
    async with talking(script, limits) as (client, server):
        with pytest.raises(EHRError) as failed:
            await client.request("GET", "Patient?name=Canary", **how)  # type: ignore[arg-type] # passed on as given
    error = failed.value
    assert error.__cause__ is None and error.__suppress_context__
    for text in (str(error), repr(error)):
        assert "Canary" not in text and "127.0.0.1" not in text and str(server.port) not in text
    return error, server
