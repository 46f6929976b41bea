"""Sandboxes for the tests here: in process, and on a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from ehr.sandbox import Sandbox, SandboxApp, Store, build_app
from tests.ehr.sandbox.synthetic import FakeClock, small_store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def store() -> Store:
    return small_store()


@pytest.fixture
def app(store: Store, clock: FakeClock) -> SandboxApp:
    """Open to all, in process."""
    return build_app(store, clock=clock, origin="http://ehr.test")


@pytest.fixture
async def client(app: SandboxApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=app.base_url) as made:
        yield made


@pytest.fixture
def ehr(store: Store, clock: FakeClock) -> Iterator[Sandbox]:
    """Open to all, on a socket."""
    with Sandbox(store, login=False, clock=clock) as running:
        yield running
