"""A certificate and its key, and what a certificate says: names, dates, fingerprint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtensionOID, NameOID

from lanmail.network import IPAddress

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n.*?-----END \1-----", re.DOTALL)

_TOLD = 20


class NotACertificate(ValueError):
    """The text says what there is instead; it never contains what was in the file."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What a server shows, and what it proves it with.

    key: the private key, PEM, not encrypted. certificates: PEM, its own first, then those between it and an authority.
    """

    key: bytes = field(repr=False)
    certificates: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """Its own. Raises NotACertificate."""
        return certificate_in(self.certificates)

    @property
    def text(self) -> bytes:
        """Both, in the order that Postfix wants in smtpd_tls_chain_files: the key, then its certificates."""
        return self.key.rstrip(b"\n") + b"\n" + self.certificates


def chains_in(text: bytes) -> list[Chain]:
    """Every private key with the certificates that follow it. Certificates before the first key belong to nobody and are passed over.

    Whether a key fits its certificate is not looked at.
    """
    found: list[tuple[bytes, list[bytes]]] = []
    for kind, block in _blocks(text):
        if kind.endswith(b"PRIVATE KEY"):
            found.append((block, []))
        elif kind == b"CERTIFICATE" and found:
            found[-1][1].append(block)
    return [Chain(key, b"".join(certificates)) for key, certificates in found]


def keys_in(text: bytes) -> bytes:
    """The first private key; empty where there is none."""
    return next((block for kind, block in _blocks(text) if kind.endswith(b"PRIVATE KEY")), b"")


def certificates_in(text: bytes) -> bytes:
    """Every certificate, one behind the other, without what stands around them."""
    return b"".join(block for kind, block in _blocks(text) if kind == b"CERTIFICATE")


def _blocks(text: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[0] + b"\n") for match in _BLOCK.finditer(text)]


def certificate_in(text: bytes) -> x509.Certificate:
    """The first. Raises NotACertificate."""
    try:
        return x509.load_pem_x509_certificate(text)
    except (ValueError, x509.InvalidVersion):
        raise NotACertificate("no certificate in it") from None


def fits(chain: Chain) -> bool:
    """Whether the key is that of the certificate. Raises NotACertificate where one of them cannot be read."""
    certificate = chain.certificate
    try:
        key = load_pem_private_key(chain.key, None)
    except TypeError:
        raise NotACertificate("its key is encrypted; a service has nobody to ask for the password") from None
    except Exception:  # ValueError, UnsupportedAlgorithm; the text of either might quote the file
        raise NotACertificate("its key cannot be read") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        certified = certificate.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):
        raise NotACertificate("the key that it certifies is of no kind that is known here") from None
    return key.public_key().public_bytes(*form) == certified


def is_rsa(chain: Chain) -> bool:
    """Whether the key is one of RSA's. Raises NotACertificate."""
    return isinstance(chain.certificate.public_key(), rsa.RSAPublicKey)


def names_of(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[IPAddress, ...]]:
    """The names and the addresses that it is for. The common name counts for nobody any more (RFC 9525, 2)."""
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return (), ()
    assert isinstance(found, x509.SubjectAlternativeName)
    addresses = [one for one in found.get_values_for_type(x509.IPAddress) if hasattr(one, "packed")]
    return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName)), tuple(addresses)  # type: ignore[arg-type]


def covers(pattern: str, name: str) -> bool:
    """Whether a name in a certificate, perhaps ``*.example.com``, stands for ``name`` (RFC 9525, 6.3)."""
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def common_name(certificate: x509.Certificate) -> str:
    """Whom it calls itself; empty where it has no such name."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def listed(names: Sequence[object]) -> str:
    """For a sentence: all of a few, the first of many."""
    # What a stranger's certificate calls itself may hold anything.
    told = "".join(char if char.isprintable() else "?" for char in ", ".join(map(str, names[:_TOLD])))
    return told if len(names) <= _TOLD else f"{told} and {len(names) - _TOLD} more"


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, as mail programs show it: ``A1:B2:…``."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()
