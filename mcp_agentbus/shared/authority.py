# SPDX-License-Identifier: Apache-2.0
"""A certificate authority of one's own, and the certificate by which a shared server is known.

    >>> key = new_key()
    >>> authority = self_signed("bus", key)
    >>> issued = issue(authority, key, new_key(), ["bus.example.org", "10.0.0.7"])
    >>> about(issued).names
    ('10.0.0.7', 'bus.example.org')

All as PEM, in and out; keys without a passphrase, since nobody is there to type one when a server
starts. `cryptography` is loaded where one is made or read: a start that makes none does without.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mcp_agentbus.core import text

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# Whoever has its certificate pins this authority; it is renewed by making another bus.
_AUTHORITY_LASTS: Final = timedelta(days=3650)
# The most that macOS takes of a server's, also of a private authority.
_SERVER_LASTS: Final = timedelta(days=825)
# A clock that is a little behind takes it all the same.
_BEGINS_BEFORE: Final = timedelta(hours=1)
_NAME_MAX_CHARS: Final = 64  # of a common name, see RFC 5280


@dataclass(frozen=True)
class About:
    """What a certificate says."""

    #: The names and addresses that it is for, sorted.
    names: tuple[str, ...]
    begins_at: datetime
    expires_at: datetime


def new_key() -> bytes:
    """Make a key."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_signed(host: str, key: bytes) -> bytes:
    """Return the certificate of an authority for the bus on one host; it signs servers only."""
    from cryptography import x509

    own = _key(key)
    name = _named(f"agentbus of {host}")
    built = _begun(name, name, own, _AUTHORITY_LASTS)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _signed(built.add_extension(_usage(signs=True), critical=True), own)


def issue(
    authority: bytes,
    authority_key: bytes,
    key: bytes,
    names: Sequence[str],
    *,
    to_others: bool = False,
) -> bytes:
    """Return a server's certificate for these names and addresses, signed by an authority.

    With `to_others` it is known by it also to the servers to which it connects.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    signer, signer_key, own = _certificate(authority), _key(authority_key), _key(key)
    lasts = min(_SERVER_LASTS, signer.not_valid_after_utc - text.now())
    built = _begun(_named(names[0]), signer.subject, own, lasts)
    built = built.add_extension(
        x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
    )
    built = built.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False
    )
    usage = [ExtendedKeyUsageOID.SERVER_AUTH]
    if to_others:
        usage.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    built = built.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return _signed(built.add_extension(_usage(signs=False), critical=True), signer_key)


def is_certificate(pem: bytes) -> bool:
    """Tell whether a file's content is a certificate."""
    try:
        _certificate(pem)
    except ValueError:
        return False
    return True


def is_key(pem: bytes) -> bool:
    """Tell whether a file's content is a key as `new_key` makes it."""
    try:
        _key(pem)
    except (ValueError, TypeError):  # as one with a passphrase
        return False
    return True


def about(certificate: bytes) -> About:
    """Return what a certificate says."""
    from cryptography import x509

    read = _certificate(certificate)
    lasts = read.not_valid_before_utc, read.not_valid_after_utc
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return About((), *lasts)
    return About(tuple(sorted(str(name.value) for name in names)), *lasts)


def belongs(certificate: bytes, key: bytes, authority: bytes) -> bool:
    """Tell whether a certificate is of a key, and signed by an authority."""
    from cryptography.exceptions import InvalidSignature

    read = _certificate(certificate)
    try:
        read.verify_directly_issued_by(_certificate(authority))
    except (InvalidSignature, TypeError, ValueError):
        return False
    return bool(read.public_key() == _key(key).public_key())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, lasts: timedelta
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = text.now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEGINS_BEFORE)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed(built: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_NAME_MAX_CHARS])])


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certificate(pem: bytes) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem)


def _key(pem: bytes) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ValueError("it is of another kind")  # noqa: TRY004  # as every other fault of a file
    return key
