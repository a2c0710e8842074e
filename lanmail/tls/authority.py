"""Our own authority, and the certificate that it signs. Functions of bytes: nothing is read, written or asked.

Whoever trusts this authority trusts it with the names of one network and with private addresses, and with nothing else: its
constraints are part of it and critical, so that a stolen key opens no other site to anybody.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lanmail.network import IPAddress, IPNetwork
from lanmail.tls.certificate import Chain, NotACertificate, common_name, listed, names_of
from lanmail.tls.plan import LOCALHOST, Plan

# Apple's systems take at most 398 days from a public authority and 825 from one of a user's; 397 is what everybody takes.
LIFE = datetime.timedelta(days=397)
# A client's clock may be behind ours.
HEAD_START = datetime.timedelta(days=1)
# Long, since its end is work on every device of the network. Some of them count seconds in 32 bits, and their time ends in January 2038.
AUTHORITY_LIFE = datetime.timedelta(days=3650)
RENEW_BEFORE = datetime.timedelta(days=30)

# Private (RFC 1918, RFC 4193), of a provider's own network (RFC 6598), link-local and loopback: nobody's on the Internet.
OWN_NETWORKS: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)
_LONGEST_NAME = 64  # ub-common-name, RFC 5280, appendix A

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """left_out: what was wanted and may not be in it, names and addresses as text."""

    chain: Chain
    left_out: tuple[str, ...]


def make_authority(plan: Plan, now: datetime.datetime) -> Chain:
    """An authority (P-256) for the plan's domains, the networks that are nobody's, and the addresses that we have now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"lanmail authority of {plan.domain}"[:_LONGEST_NAME]),
            # Programs list authorities by their organisation. The date tells one from another that was made later.
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"lanmail, {now:%Y-%m-%d}"),
        ]
    )
    own = [ipaddress.ip_network(one) for one in plan.addresses]
    networks = [*OWN_NETWORKS, *(one for one in own if not _within(one.network_address, OWN_NETWORKS))]
    permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in plan.domains]
    permitted += [x509.IPAddress(network) for network in networks]
    usage = _usage(key_cert_sign=True, crl_sign=True)
    begin = _whole(now) - HEAD_START
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        # Windows trusts an authority of its store with signing programs too, unless the authority itself says what it is for.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(builder, key, key)


def issue(authority: Chain, plan: Plan, now: datetime.datetime, *, for_old_devices: bool = False) -> Issued:
    """The one certificate of this service, with a new key of its own. Raises NotACertificate for a broken authority.

    for_old_devices: with an RSA key, the only kind that most devices of TLS 1.0 know.
    """
    signer = authority.certificate
    signing = _key_of(authority)
    names, addresses, left_out = within(signer, plan)
    key: _Key = rsa.generate_private_key(65537, 2048) if for_old_devices else ec.generate_private_key(ec.SECP256R1())
    begin = max(_whole(now) - HEAD_START, signer.not_valid_before_utc)
    # The last second counts as well (RFC 5280, 4.1.2.5).
    end = min(begin + LIFE - datetime.timedelta(seconds=1), signer.not_valid_after_utc)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(address) for address in addresses]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _called(plan))]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_encipherment=for_old_devices), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_signed_by(signer), critical=False)
    )
    return Issued(_signed(builder, key, signing), left_out)


def allowed(authority: x509.Certificate, name: str | IPAddress) -> bool:
    """Whether the constraints of an authority let it sign for that name or address (RFC 5280, 4.2.1.10)."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    permitted = [one.value for one in constraints.permitted_subtrees or ()]
    if isinstance(name, str):
        return any(name == one or name.endswith(f".{one}") for one in permitted if isinstance(one, str))
    return _within(name, [one for one in permitted if isinstance(one, IPNetwork)])


def within(authority: x509.Certificate, plan: Plan) -> tuple[tuple[str, ...], tuple[IPAddress, ...], tuple[str, ...]]:
    """The plan's names and addresses that the authority may sign for; and the others, as text.

    One name outside of the constraints would make the certificate invalid for all of them.
    """
    names = tuple(name for name in plan.names if allowed(authority, name))
    addresses = tuple(address for address in plan.addresses if allowed(authority, address))
    outside = [name for name in plan.names if name not in names]
    outside += [str(address) for address in plan.addresses if address not in addresses]
    return names, addresses, tuple(outside)


def due(certificate: x509.Certificate, authority: x509.Certificate, plan: Plan, now: datetime.datetime) -> str:
    """Why a certificate should be made anew, as the end of a sentence; empty while it will do.

    Addresses that went away count like new ones: another machine may have them by now.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return f"it ended on {end:%Y-%m-%d}"
    # Where the authority ends first, no new certificate would last longer.
    if now > end - RENEW_BEFORE and end < authority.not_valid_after_utc:
        return f"it ends on {end:%Y-%m-%d}"
    if now < begin and authority.not_valid_before_utc <= now:
        return f"it begins only on {begin:%Y-%m-%d}"
    if not _issued_by(certificate, authority):
        return "another authority signed it"
    names, addresses, _ = within(authority, plan)
    had_names, had_addresses = names_of(certificate)
    new = [str(one) for one in (*names, *addresses) if one not in had_names and one not in had_addresses]
    gone = [str(one) for one in (*had_names, *had_addresses) if one not in names and one not in addresses]
    if new:
        return f"it does not name {listed(new)}"
    if gone:
        return f"it names {listed(gone)}, which we are not any more"
    return "" if common_name(certificate) == _called(plan) else f"it is not called {_called(plan)}"


def constraints_of(authority: x509.Certificate) -> tuple[str, ...]:
    """What an authority may speak for, as text."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(one.value) for one in constraints.permitted_subtrees or ())


def _called(plan: Plan) -> str:
    # A longer name has no room in a subject; every client looks at the alternative names anyhow.
    return next(name for name in (plan.host, plan.domain, LOCALHOST) if len(name) <= _LONGEST_NAME)


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # ValueError, TypeError, InvalidSignature: all of them say no
        return False
    return True


def _within(address: IPAddress, networks: tuple[IPNetwork, ...] | list[IPNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _whole(now: datetime.datetime) -> datetime.datetime:
    return now.astimezone(datetime.UTC).replace(microsecond=0)


def _usage(**said: bool) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: said.get(name, False) for name in every})


def _signed_by(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    known = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _key_of(authority: Chain) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(authority.key, None)
    except Exception:  # the text of any of them might quote the key
        raise NotACertificate("its key cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NotACertificate("its key is not one that lanmail makes")
    return key


def _signed(builder: x509.CertificateBuilder, key: _Key, signing: ec.EllipticCurvePrivateKey) -> Chain:
    certificate = builder.sign(signing, hashes.SHA256())
    return Chain(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate.public_bytes(Encoding.PEM)
    )
