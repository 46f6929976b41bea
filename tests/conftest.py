"""What every test gets: no network but loopback, and no telemetry from libraries."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no bug: examples have no time limit, tests have one (pytest-timeout).
settings.register_profile("everyday", deadline=None)
settings.load_profile("everyday")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex


class NetworkUsed(AssertionError):
    """A test tried to reach something that is not on this machine."""


def _is_loopback(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves the machine."""

    def connect(self: socket.socket, address: Any) -> None:
        if not _is_loopback(address):
            raise NetworkUsed("a test opened a connection that leaves the machine")
        _connect(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        if not _is_loopback(address):
            raise NetworkUsed("a test opened a connection that leaves the machine")
        return _connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)


_LEVELS = {name: logging.getLogger(name).level for name in ("ehr", "secure_agg", "federated")}


@pytest.fixture(autouse=True)
def own_log_levels() -> Iterator[None]:
    """Our own loggers as in a new process: a command with ``-q`` sets them for the whole of it, a fixture's too."""
    _put_back_levels()
    yield
    _put_back_levels()


def _put_back_levels() -> None:
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
