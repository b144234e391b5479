"""The cluster's own certificate authority: server and client certificates, and the kubeconfig that carries one.

Files below one directory: ca.crt, ca.key, service-account.key, and NAME.crt, NAME.key for each certificate kept.
Keys are ECDSA P-256, readable by the owner alone. All functions block; they run at start, on a worker thread.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kit.atomic_file import write_atomic

_CA_DAYS = 3650
_LEAF_DAYS = 365
_RENEW_DAYS = 30
_SKEW = timedelta(hours=1)


class Certificate(Value):
    """A certificate and its key, PEM."""

    certificate_pem: bytes
    key_pem: bytes

    @property
    def expires_at(self) -> datetime:
        """NotAfter."""
        return x509.load_pem_x509_certificate(self.certificate_pem).not_valid_after_utc


class CertificateAuthority:
    """Signs certificates for one cluster. Made by `open`."""

    def __init__(self, directory: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._directory = directory
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, directory: Path, *, now: datetime, common_name: str = "pullet-ca") -> CertificateAuthority:
        """The authority kept in `directory`, made there if there is none. Blocking."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
        if certificate_path.exists() and key_path.exists():
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            return cls(directory, certificate, _load_key(key_path.read_bytes()))
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            _builder(name, name, key, now, _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_atomic(key_path, _key_pem(key))
        write_atomic(certificate_path, _certificate_pem(certificate), mode=0o644)
        return cls(directory, certificate, key)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""
        return _certificate_pem(self._certificate)

    @property
    def certificate_path(self) -> Path:
        """The file that holds it."""
        return self._directory / "ca.crt"

    def ensure_client(
        self, file_name: str, *, common_name: str, organizations: Sequence[str], now: datetime
    ) -> Certificate:
        """The client certificate kept as `file_name`, made or renewed when it must be. Blocking."""
        kept = self._load(file_name, now)
        return kept or self._save(file_name, self.issue_client(common_name, organizations, now=now))

    def ensure_server(self, file_name: str, *, hosts: Iterable[str], now: datetime) -> Certificate:
        """The server certificate kept as `file_name`, for just these names and addresses. Blocking."""
        wanted = sorted(set(hosts))
        kept = self._load(file_name, now)
        if kept is not None and _hosts_of(kept) == wanted:
            return kept
        return self._save(file_name, self.issue_server(wanted, now=now))

    def issue_client(self, common_name: str, organizations: Sequence[str], *, now: datetime) -> Certificate:
        """A certificate that names a user and its groups."""
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        return self._issue(x509.Name(names), ExtendedKeyUsageOID.CLIENT_AUTH, (), now)

    def issue_server(self, hosts: Sequence[str], *, now: datetime) -> Certificate:
        """A certificate for names and addresses."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, hosts, now)

    def _issue(self, name: x509.Name, usage: x509.ObjectIdentifier, hosts: Sequence[str], now: datetime) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(name, self._certificate.subject, key, now, _LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        return Certificate(_certificate_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))

    def _load(self, file_name: str, now: datetime) -> Certificate | None:
        certificate_path, key_path = self._directory / f"{file_name}.crt", self._directory / f"{file_name}.key"
        if not (certificate_path.exists() and key_path.exists()):
            return None
        kept = Certificate(certificate_path.read_bytes(), key_path.read_bytes())
        certificate = x509.load_pem_x509_certificate(kept.certificate_pem)
        is_ours = certificate.issuer == self._certificate.subject
        return kept if is_ours and kept.expires_at - now > timedelta(days=_RENEW_DAYS) else None

    def _save(self, file_name: str, certificate: Certificate) -> Certificate:
        write_atomic(self._directory / f"{file_name}.key", certificate.key_pem)
        write_atomic(self._directory / f"{file_name}.crt", certificate.certificate_pem, mode=0o644)
        return certificate

    def paths(self, file_name: str) -> tuple[Path, Path]:
        """Where the certificate and key called `file_name` are kept."""
        return self._directory / f"{file_name}.crt", self._directory / f"{file_name}.key"

    def service_account_key(self) -> ec.EllipticCurvePrivateKey:
        """The key ServiceAccount tokens are signed with, made if there is none. Blocking."""
        path = self._directory / "service-account.key"
        if path.exists():
            return _load_key(path.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomic(path, _key_pem(key))
        return key


def kubeconfig(
    *, server: str, authority_pem: bytes, client: Certificate, cluster: str = "pullet", user: str = "admin"
) -> JsonObject:
    """A kubeconfig with everything inside it."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": text(authority_pem)}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": text(client.certificate_pem),
                    "client-key-data": text(client.key_pem),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
        "preferences": {},
    }


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: Certificate) -> list[str]:
    names = (
        x509.load_pem_x509_certificate(certificate.certificate_pem)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    return sorted(str(name.value) for name in names)


def _load_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(data, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an elliptic-curve key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
