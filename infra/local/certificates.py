"""TLS certificates of the local servers: an authority of the deployment, and one server key.

Files below `<var>/tls`: `ca.pem` (what clients trust), `ca.key`, `server.key`, `server.crt`, and
`server.pem` with both of the server. Keys are RSA of 2048 bits in PKCS #8, without a password, and
only their owner can read them. Loaded only where a server has TLS.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from infra.local.locks import exclusive
from infra.local.state_files import write_text

AUTHORITY_DAYS, SERVER_DAYS = 3650, 730
RENEWAL = timedelta(days=365)
"""A start renews a certificate that ends within this time."""
LOCK_SECONDS = 60.0
AUTHORITY, SERVER = "storelake local authority", "storelake local server"


def ensure_certificates(folder: Path, host: str) -> None:
    """Make the authority and the server's certificate, where missing, old or for another host.

    Args:
        folder: of the files.
        host: loopback address of the server; localhost, 127.0.0.1 and ::1 are named, too.

    Raises:
        ServiceError: another process holds the lock of the folder.
    """
    with exclusive(folder / "lock", "the certificates", LOCK_SECONDS):
        if not _serves(folder / "ca.pem"):
            _make_authority(folder)
            (folder / "server.pem").unlink(missing_ok=True)
        if not _serves(folder / "server.crt", host) or not (folder / "server.pem").is_file():
            _make_server(folder, host)


def _serves(file: Path, host: str | None = None) -> bool:
    """Whether a certificate is there, names the host, and does not end soon."""
    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    soon = datetime.now(timezone.utc) + RENEWAL
    return found.not_valid_after_utc > soon and (host is None or host in _hosts(found))


def _hosts(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*names.get_values_for_type(x509.DNSName), *map(str, addresses)}


def _make_authority(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = _builder(AUTHORITY, key, AUTHORITY_DAYS)
    limits = x509.BasicConstraints(ca=True, path_length=0)
    write_text(folder / "ca.key", _text_of(key))
    write_text(folder / "ca.pem", _signed(builder.add_extension(limits, critical=True), key))


def _make_server(folder: Path, host: str) -> None:
    signer = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    numeric = sorted({"127.0.0.1", "::1", host} - {"localhost"})
    addresses = [x509.IPAddress(ipaddress.ip_address(one)) for one in numeric]
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = _builder(SERVER, key, SERVER_DAYS).add_extension(names, critical=False)
    certificate = _signed(builder, cast("rsa.RSAPrivateKey", signer))
    write_text(folder / "server.key", _text_of(key))
    write_text(folder / "server.crt", certificate)
    write_text(folder / "server.pem", _text_of(key) + certificate)


def _builder(subject: str, key: rsa.RSAPrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _text_of(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _signed(builder: x509.CertificateBuilder, signer: rsa.RSAPrivateKey) -> str:
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
