"""TLS 1.3 without certificate authorities: which key is at the other end is proved by `greeting`, not by a chain.

The hub makes a fresh Ed25519 key and a certificate for it each time it starts. The modeller's long-term key signs
that certificate's hash in the greeting and is needed for nothing else, so it is never given to the TLS library and
never lies in a file, and may be held by a device.

Python's TLS reads a key from a file only. The fresh key is therefore written to a temporary file that only its
owner may read, encrypted under a password that exists in memory alone, and the file is deleted before the first
connection. Whoever finds its bytes on the disk finds nothing.
"""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

_ALWAYS = (datetime(2000, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001  # X.509 times have no zone; nobody looks


def _certificate(key: Ed25519PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trialveil link")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), *_ALWAYS)
    return builder.sign(key, None)


def certificate_hash(der: bytes) -> bytes:
    """SHA-256 of a certificate: what binds the greeting to the TLS connection it came over. 32 bytes."""
    return hashlib.sha256(der).digest()


def hub_context() -> tuple[ssl.SSLContext, bytes]:
    """The hub's side, with a fresh key, and the hash of its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # no session is taken up again: each connection proves everything anew
    key, password = Ed25519PrivateKey.generate(), token_hex(32)
    certificate = _certificate(key)
    secret = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode("ascii"))
    )
    with tempfile.TemporaryDirectory(prefix="trialveil-") as folder:  # mode 0700
        file = Path(folder, "hub.pem")
        file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
        context.load_cert_chain(file, password=password)
    return context, certificate_hash(certificate.public_bytes(Encoding.DER))


def pod_context() -> ssl.SSLContext:
    """The pod's side. It takes any certificate: nothing is said or believed before the greeting has ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
