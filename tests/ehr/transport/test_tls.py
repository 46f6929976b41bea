"""TLS on real sockets with a throw-away authority (S10, S16)."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from ehr.errors import ConfigurationError, ConnectionFailed, ProtocolViolation
from ehr.transport.client import ClientCertificate, Transport
from ehr.transport.tls import tls_context
from tests.ehr.transport.conftest import ROOMY
from tests.fakes.misbehaving_server import Received, answer, misbehaving, says
from tests.fakes.throwaway_ca import ThrowawayCA, throwaway_ca

LIMITS = ROOMY


async def test_a_private_authority_is_accepted_when_its_file_is_named(authority: ThrowawayCA) -> None:
    """S16."""
    async with misbehaving(says(answer()), tls=authority.server()) as server:
        async with Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client:
            assert (await client.request("GET", "x")).status == 200
            assert (await client.request("GET", "y")).status == 200
        assert server.connections == 1


async def test_an_unknown_authority_is_refused_at_once_and_nothing_is_sent(authority: ThrowawayCA) -> None:
    """S16; a certificate failure is final, not repeated like an outage."""
    async with misbehaving(says(answer()), tls=authority.server()) as server:
        async with Transport(server.base, limits=replace(LIMITS, attempts=5)) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.request("GET", "x")
            assert client.counters["requests"] == 1
        assert not server.requests and "certificate" in str(failed.value)


async def test_another_authority_of_the_same_name_is_refused(authority: ThrowawayCA, tmp_path: Path) -> None:
    other = throwaway_ca(tmp_path)
    async with misbehaving(says(answer()), tls=other.server()) as server:
        async with Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client:
            with pytest.raises(ConnectionFailed):
                await client.request("GET", "x")
        assert not server.requests


async def test_a_certificate_for_another_host_is_refused(authority: ThrowawayCA) -> None:
    tls = authority.server("other.example")
    async with misbehaving(says(answer()), tls=tls) as server:
        async with Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client:
            with pytest.raises(ConnectionFailed):
                await client.request("GET", "x")
        assert not server.requests


async def test_the_host_name_is_sent_for_sni(authority: ThrowawayCA) -> None:
    seen: list[str | None] = []
    tls = authority.server()
    tls.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with (
        misbehaving(says(answer()), tls=tls, host="localhost") as server,
        Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client,
    ):
        await client.request("GET", "x")
    assert seen == ["localhost"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_older_than_1_2_is_refused(authority: ThrowawayCA) -> None:
    old = authority.server(maximum=ssl.TLSVersion.TLSv1_1)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with misbehaving(says(answer()), tls=old) as server:
        async with Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client:
            with pytest.raises(ConnectionFailed):
                await client.request("GET", "x")
        assert not server.requests


async def test_a_server_that_speaks_no_tls_is_a_failed_connection(authority: ThrowawayCA) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer(status="400 Bad Request"))
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    base = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, Transport(base, limits=LIMITS, ca_file=authority.ca_file) as client:
        with pytest.raises(ConnectionFailed):
            await client.request("GET", "x")


async def test_a_client_certificate_is_shown(authority: ThrowawayCA) -> None:
    mine = ClientCertificate(authority.issue("client"))
    async with misbehaving(says(answer()), tls=authority.server(client_ca=authority.ca_file)) as server:
        async with Transport(
            server.base, limits=LIMITS, ca_file=authority.ca_file, client_certificate=mine
        ) as client:
            assert (await client.request("GET", "x")).status == 200
        async with Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client:
            with pytest.raises(ConnectionFailed):
                await client.request("GET", "x")


async def test_a_tls_connection_cut_in_the_body_is_a_protocol_violation(authority: ThrowawayCA) -> None:
    async def cut(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b'{"a":1}', length=5000))
        await writer.drain()
        writer.transport.abort()

    async with (
        misbehaving(cut, tls=authority.server()) as server,
        Transport(server.base, limits=LIMITS, ca_file=authority.ca_file) as client,
    ):
        with pytest.raises((ProtocolViolation, ConnectionFailed)):
            await client.request("GET", "x")


def test_verification_cannot_be_turned_off() -> None:
    """S16: no argument of the transport or of the context is about it."""
    for made in (Transport.__init__, tls_context):
        names = set(inspect.signature(made).parameters)
        assert not [name for name in names if "verif" in name or "insecure" in name]
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_environment_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, authority: ThrowawayCA, tmp_path: Path
) -> None:
    """``SSLKEYLOGFILE`` would write session keys to disk; ``SSL_CERT_FILE`` would add authorities."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    context = tls_context()
    assert context.keylog_filename is None and not (tmp_path / "keys").exists()
    throwaway = [one for one in context.get_ca_certs() if "throwaway" in str(one["subject"])]
    assert not throwaway


@pytest.mark.parametrize("text", [None, "not a certificate"])
def test_a_file_that_is_no_authority_is_a_configuration_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    for how in ({"ca_file": path}, {"client_certificate": ClientCertificate(path)}):
        with pytest.raises(ConfigurationError) as failed:
            Transport("https://fhir.example.org", **how)  # type: ignore[arg-type] # one of two arguments
        assert str(tmp_path) not in str(failed.value)


def test_a_key_password_is_not_in_the_repr() -> None:
    assert "Canary" not in repr(ClientCertificate(Path("c.pem"), password="Canary"))
