"""The TLS settings: verification always on, TLS 1.2 or newer, nothing taken from the environment."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import certifi

from ehr.errors import ConfigurationError
from ehr.transport.settings import ClientCertificate


def tls_context(ca_file: Path | None = None, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """A context that verifies certificate and host name.

    Made by hand: ``ssl.create_default_context`` writes session keys where ``SSLKEYLOGFILE`` says so,
    and reads ``SSL_CERT_FILE``.

    Args:
        ca_file: PEM file with further authorities, beside those of the system and of certifi.
        certificate: shown to servers that ask for one.

    Raises:
        ConfigurationError: a file cannot be read or is not PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=certifi.where())
    system = ssl.get_default_verify_paths()
    if Path(system.openssl_cafile).is_file():
        context.load_verify_locations(cafile=system.openssl_cafile)
    if Path(system.openssl_capath).is_dir():
        context.load_verify_locations(capath=system.openssl_capath)
    if ca_file is not None:
        _load("CA file", lambda: context.load_verify_locations(cafile=ca_file))
    if certificate is not None:
        chain, key, password = certificate.certificate, certificate.key, certificate.password or ""
        _load("client certificate", lambda: context.load_cert_chain(chain, key, password))
    return context


def _load(what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError):
        raise ConfigurationError(f"The {what} cannot be read; expected an existing PEM file.") from None
