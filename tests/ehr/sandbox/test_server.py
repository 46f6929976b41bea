"""The sandbox on a socket: quick to start, over TLS, from async code, and in the foreground."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ehr.errors import ConfigurationError
from ehr.sandbox import TLS, Registration, Sandbox, Store, load, serve
from ehr.sandbox.listener import listening
from ehr.sandbox.server import PEOPLE
from tests.ehr.sandbox.signing import CLIENT, ec_key, jwks


def test_it_starts_and_stops_quickly(store: Store) -> None:
    began = time.process_time()  # of all threads; a busy machine does not count
    with Sandbox(store, login=False) as ehr, httpx.Client() as http:
        assert http.get(f"{ehr.base_url}/metadata").status_code == 200
    assert time.process_time() - began < 1
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-ehr"]


def test_small_answers_are_sent_at_once() -> None:
    """asyncio turns Nagle's algorithm off (TCP_NODELAY) only where the socket names its protocol."""
    with listening(0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_it_runs_beside_async_code(store: Store) -> None:
    async with Sandbox(store, login=False) as ehr, httpx.AsyncClient() as http:
        answer = await http.get(f"{ehr.base_url}/Patient/ana")
        assert answer.json()["id"] == "ana"


def test_two_run_side_by_side(store: Store) -> None:
    with Sandbox(store, login=False) as one, Sandbox(store, login=False) as two, httpx.Client() as http:
        assert one.origin != two.origin
        http.get(f"{two.base_url}/Patient")
        assert (len(one.witness.requests), len(two.witness.requests)) == (0, 1)


def test_many_requests_at_once_are_all_answered(store: Store) -> None:
    with Sandbox(store, login=False) as ehr, httpx.Client() as http:
        found: list[int] = []

        def ask() -> None:
            found.extend(http.get(f"{ehr.base_url}/Condition?patient=ana").json()["total"] for _ in range(10))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [3] * 80
        assert [seen.number for seen in ehr.witness.requests] == list(range(1, 81))


def certificate(folder: Path) -> TLS:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ec_key().public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ec_key(), hashes.SHA256())
    )
    paths = TLS(folder / "cert.pem", folder / "key.pem")
    paths.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        ec_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def test_it_speaks_tls(store: Store, tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(tls.certificate))
    with Sandbox(store, login=False, tls=tls) as ehr, httpx.Client(verify=trusting) as http:
        assert ehr.base_url.startswith("https://127.0.0.1:")
        body = http.get(f"{ehr.base_url}/Patient/ana").json()
        assert body["id"] == "ana"


def test_tls_files_that_do_not_fit_are_refused_at_once(store: Store, tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    for wrong in (TLS(tls.certificate, tls.certificate), TLS(tmp_path / "missing.pem", tls.key)):
        with pytest.raises(ConfigurationError, match="TLS"):
            Sandbox(store, login=False, tls=wrong).start()


def test_a_port_in_use_is_named_as_the_reason(store: Store) -> None:
    with Sandbox(store, login=False) as ehr:
        port = int(ehr.origin.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match="port"):
            serve(None, "smarthealthit", port, announce=print)


def test_an_unknown_skin_is_refused_with_the_known_ones(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="smarthealthit"):
        Sandbox(store, skin="../other")


def test_the_builtin_people_load_and_are_valid() -> None:
    people = load(PEOPLE, validate=True)
    assert {"Patient", "Condition", "Observation"} <= people.types()
    assert Sandbox(login=False).app.store.types() == people.types()


def test_serve_announces_its_base_url_and_ends_on_interrupt(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(jwks()))
    program = (
        "import signal, sys; from pathlib import Path; from ehr.sandbox import Registration, serve\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "try: serve(None, 'smarthealthit', 0, announce=lambda url: print(url, flush=True), login=True,\n"
        f"    registrations=[Registration({CLIENT!r}, Path(sys.argv[1]))])\n"
        "except KeyboardInterrupt: print('stopped')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "jwks.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.Client() as http:
            assert http.get(f"{url}/.well-known/smart-configuration").status_code == 200
            assert http.get(f"{url}/Patient").status_code == 401
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0


def test_serve_with_login_needs_somebody_who_may_log_in() -> None:
    with pytest.raises(ConfigurationError, match="JWKS"):
        serve(None, "smarthealthit", 0, announce=print, login=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys":[]}', "\xff"])
def test_a_jwks_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError):
        Registration(CLIENT, path).client()
    with pytest.raises(ConfigurationError):
        Registration(CLIENT, tmp_path / "missing.json").client()
