"""What the tests of TLS begin with: a network, a day, its authority; and certificates that nobody of ours would make."""

from __future__ import annotations

import datetime
import functools
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from lanmail.tls.authority import issue, make_authority
from lanmail.tls.certificate import Chain
from lanmail.tls.plan import Plan, plan_for

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)  # other programs judge these certificates too, by their own clocks

ADDRESSES = ("127.0.0.1", "::1", "192.168.1.10", "fd00::10")


def plan(
    host: str = "srv.lan.example",
    domain: str = "lan.example",
    destinations: tuple[str, ...] = ("lan.example", "srv.lan.example", "localhost"),
    addresses: tuple[str, ...] = ADDRESSES,
) -> Plan:
    """The network of these tests."""
    return plan_for(host, domain, destinations, addresses)


@functools.cache
def authority() -> Chain:
    return make_authority(plan(), NOW)


@functools.cache
def chain(*, for_old_devices: bool = False) -> Chain:
    return issue(authority(), plan(), NOW, for_old_devices=for_old_devices).chain


def foreign(
    *names: str,
    addresses: tuple[str, ...] = (),
    begin: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + 90 * DAY,
    bits: int = 0,
) -> Chain:
    """As somebody else would make one, signed by itself. bits: of an RSA key; 0 for P-256."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
        rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    )
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    others: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    others += [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return Chain(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
    )
