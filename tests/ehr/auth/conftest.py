"""A sandbox that wants a login, on a socket, and a transport to it on one clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from ehr.sandbox import Sandbox, Store
from ehr.transport.client import Transport
from tests.ehr.auth.login import registered
from tests.ehr.sandbox.synthetic import small_store
from tests.fakes.clock import FakeClock


@pytest.fixture(scope="session")
def store() -> Store:
    return small_store()


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ehr(store: Store, time: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(store, clients=registered(), clock=time.now) as running:
        yield running


@pytest.fixture
async def transport(ehr: Sandbox, time: FakeClock) -> AsyncIterator[Transport]:
    async with Transport(ehr.base_url, clock=time.clock, allow_http_loopback=True) as made:
        yield made
