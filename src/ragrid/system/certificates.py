"""The grid's own certificate authority: pure makers of certificates, as PEM bytes.

EC P-256 throughout: every TLS 1.2 and 1.3 client knows it, and a handshake costs a tenth of RSA-2048's signing time.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
#: Apple's platforms refuse leaf certificates of more than 398 days, public or private.
LEAF_LIFETIME = timedelta(days=397)
#: A certificate with less than this left is made anew at the next `up`.
RENEW_BEFORE = timedelta(days=30)
#: Clocks of clients may be a little behind ours.
BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM; `key` is a secret."""

    certificate: bytes
    key: bytes


def make_authority(name: str, *, now_s: float) -> KeyPair:
    """Return a new self-signed authority that may sign leaves only (path length 0)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), now_s, AUTHORITY_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return KeyPair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def make_leaf(authority: KeyPair, common_name: str, names: Sequence[str], *, now_s: float) -> KeyPair:
    """Return a certificate for `names` (DNS names and IP addresses), good for both ends of a TLS connection."""
    authority_key = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError("an authority of ours has an EC key")
    authority_certificate = x509.load_pem_x509_certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    builder = _builder(subject, authority_certificate.subject, key.public_key(), now_s, LEAF_LIFETIME)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
    )
    return KeyPair(_pem(builder.sign(authority_key, hashes.SHA256())), _key_pem(key))


def still_serves(certificate: bytes, names: Sequence[str], *, now_s: float) -> bool:
    """Tell whether `certificate` covers exactly `names` and has more than RENEW_BEFORE to live."""
    parsed = x509.load_pem_x509_certificate(certificate)
    left = parsed.not_valid_after_utc - datetime.fromtimestamp(now_s, UTC)
    covered = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return left > RENEW_BEFORE and list(covered) == [_general_name(name) for name in names]


def ends_s(certificate: bytes) -> float:
    """Return when the first certificate of a PEM file ends, seconds since 1970. Raises ValueError when it is none."""
    return x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc.timestamp()


def check_pair(pair: KeyPair, *, name: str, now_s: float) -> None:
    """Check that a server may show `pair` under `name` now.

    Raises ValueError that says what was found and what was wanted.
    """
    try:
        certificate = x509.load_pem_x509_certificates(pair.certificate)[0]
    except ValueError as error:
        raise ValueError("certificate: got no certificate, wanted PEM") from error
    try:
        key = serialization.load_pem_private_key(pair.key, None)
    except TypeError as error:
        raise ValueError("key: got one with a passphrase, wanted one without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("key: got no private key, wanted PEM") from error
    if certificate.public_key() != key.public_key():
        raise ValueError("key: got that of another certificate, wanted the certificate's own")
    now = datetime.fromtimestamp(now_s, UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        lives = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
        raise ValueError(f"certificate: got one that is good from {lives}, wanted one that is good now")
    if not _covers(certificate, name):
        raise ValueError(f"certificate: got one for other names, wanted one for {name!r} (`gateway.name`)")


def _covers(certificate: x509.Certificate, name: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    wanted = _general_name(name)
    if isinstance(wanted, x509.IPAddress):
        return wanted in list(names)
    known = {one.lower() for one in names.get_values_for_type(x509.DNSName)}
    return not known.isdisjoint({name.lower(), "*." + name.lower().partition(".")[2]})


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_s, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
