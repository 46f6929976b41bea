"""A certificate authority for one test run; its keys never leave the temporary folder."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class ThrowawayCA:
    """An authority whose certificates are PEM files in ``folder``."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *names: str) -> Path:
        """A PEM file with key and certificate for host names and IP addresses; good for both sides."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(name, self.certificate.subject, key).add_extension(
            x509.SubjectAlternativeName([_general(one) for one in (names or ("localhost", "127.0.0.1"))]),
            False,
        )
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        built = built.add_extension(usages, False).add_extension(issuer, False)
        certificate = built.sign(self.key, hashes.SHA256())
        path = self.folder / f"{name}.pem"
        path.write_bytes(_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def server(
        self, *names: str, client_ca: Path | None = None, maximum: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """A server's context; ``client_ca`` demands certificates of clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue("server-" + "-".join(names or ("loopback",)), *names))
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=client_ca)
        if maximum is not None:
            context.maximum_version = maximum
        return context


def throwaway_ca(folder: Path) -> ThrowawayCA:
    """Make an authority and write its certificate to ``ca.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throwaway")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    built = _builder("throwaway", name, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), True
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = built.add_extension(usage, True).add_extension(identifier, False).sign(key, hashes.SHA256())
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return ThrowawayCA(folder, certificate, key)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=12))
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
