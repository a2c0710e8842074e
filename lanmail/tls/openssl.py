"""OpenSSL's contexts: which versions and ciphers a connection may have, and which certificate it shows. Knows nothing of Twisted."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from OpenSSL._util import lib as _openssl

from lanmail.tls.certificate import Chain

# Mozilla's "intermediate" list for TLS 1.2, without its three of finite-field Diffie-Hellman, which no mail program needs and which cost a
# server the most. The suites of TLS 1.3 are OpenSSL's own.
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
# TLS 1.0 signs with MD5 and SHA-1, which OpenSSL allows at its security level 0 only. Many devices of that age have nothing but RSA key
# exchange.
OLD_CIPHERS = CIPHERS + b":ECDHE+AES:kRSA+AES:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0"

# Mozilla's, once with what a quantum computer would not undo, which came with OpenSSL 3.5. Its own list has finite-field Diffie-Hellman
# too, at which a client that computes nothing makes a server work ten times as long (CVE-2002-20001).
GROUPS = (b"X25519MLKEM768:X25519:P-256:P-384", b"X25519:P-256:P-384")

Told = Callable[[SSL.Connection, int, int], None]
"""OpenSSL's info callback (SSL_CTX_set_info_callback(3)): the connection, where it is, and a code."""


class Versions(enum.Enum):
    """Of TLS, the lowest and the highest."""

    TODAY = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
    ONLY_1_2 = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
    ONLY_1_3 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
    OLD = (SSL.TLS1_VERSION, SSL.TLS1_3_VERSION)
    """For tls_legacy_clients alone."""

    @classmethod
    def of(cls, names: Collection[str]) -> Versions:
        """From the names ``TLSv1.2`` and ``TLSv1.3``, of which there is at least one."""
        if len(names) == 2:
            return cls.TODAY
        return cls.ONLY_1_2 if "TLSv1.2" in names else cls.ONLY_1_3


class CannotServe(Exception):
    """OpenSSL does not take it; the text says what."""


def make_context(chains: Sequence[Chain], versions: Versions, told: Told | None = None) -> SSL.Context:
    """A server's context that shows the chain whose kind of key the client knows. Raises CannotServe.

    There is no compression (CRIME), no renegotiation (a client could have us do the costly half again and again), and no resumption: a
    ticket's key would open what passed yesterday, and saves less than a millisecond for each mailbox that is looked into.
    """
    try:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        lowest, highest = versions.value
        context.set_min_proto_version(lowest)
        context.set_max_proto_version(highest)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
        # A client that closes without close_notify lost nothing: our protocols say themselves where they end.
        context.set_options(SSL.OP_IGNORE_UNEXPECTED_EOF)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(SSL.VERIFY_NONE)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KiB less for each idle connection
        context.set_cipher_list(OLD_CIPHERS if versions is Versions.OLD else CIPHERS)
        _choose_groups(context)
        for chain in chains:
            _show(context, chain)
        if told is not None:
            context.set_info_callback(told)
    # Where they read the same octets, cryptography, pyOpenSSL and OpenSSL do not stumble over the same things, and each has its own word.
    except (SSL.Error, crypto.Error, UnsupportedAlgorithm, x509.InvalidVersion, ValueError, TypeError) as error:
        raise CannotServe(_reason(error)) from None
    return context


def _choose_groups(context: SSL.Context) -> None:
    """pyOpenSSL has no method for it, but what it is made of has a function (Twisted's own contexts reach for that in the same way)."""
    choose = getattr(_openssl, "SSL_CTX_set1_curves_list", None)
    if choose is not None:
        any(choose(context._context, names) for names in GROUPS)  # the first that it knows; else it keeps its own
        _openssl.ERR_clear_error()


def _show(context: SSL.Context, chain: Chain) -> None:
    own, *others = x509.load_pem_x509_certificates(chain.certificates)
    key = load_pem_private_key(chain.key, None)
    context.use_certificate(crypto.X509.from_cryptography(own))
    context.use_privatekey(crypto.PKey.from_cryptography_key(key))  # type: ignore[arg-type]
    context.check_privatekey()
    # OpenSSL has one list of these for all keys of a context: with two chains each client is sent both, and takes what it needs.
    for other in others:
        context.add_extra_chain_cert(crypto.X509.from_cryptography(other))


def trouble_with(chain: Chain) -> str:
    """Why OpenSSL would not serve it (a short key, a digest that is too old); empty where it would."""
    try:
        make_context([chain], Versions.TODAY)
    except CannotServe as reason:
        return str(reason)
    return ""


def check_old(chain: Chain) -> None:
    """Raises CannotServe where this OpenSSL does not speak TLS 1.0 any more: tried, since a build may lack it without a word."""
    server = SSL.Connection(make_context([chain], Versions.OLD), None)
    try:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_VERSION)
        context.set_cipher_list(OLD_CIPHERS)
        client = SSL.Connection(context, None)
        server.set_accept_state()
        client.set_connect_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                step(one, other)
        if client.get_protocol_version() == SSL.TLS1_VERSION and client.get_cipher_name():
            return
    except (SSL.Error, ValueError):
        pass
    version = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii", "replace")
    raise CannotServe(f"tls_legacy_clients: {version}, which Python uses here, has no TLS 1.0 any more")


def step(one: SSL.Connection, other: SSL.Connection) -> None:
    """Of a handshake in memory: what ``one`` can say now, and to the other with it."""
    try:
        one.do_handshake()
    except SSL.WantReadError:
        pass
    try:
        other.bio_write(one.bio_read(1 << 16))
    except SSL.WantReadError:
        pass


def _reason(error: Exception) -> str:
    """OpenSSL's own words, of which pyOpenSSL gives a list of triples."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(one[-1]) for one in reasons) or "it cannot be read"
