"""What Twisted makes TLS connections with: a context whose certificate can be replaced while connections run."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IDelayedCall, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from lanmail.tls.certificate import Chain
from lanmail.tls.openssl import Versions, check_old, make_context


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """For ``transport.startTLS`` and for ``TLSMemoryBIOFactory``, on any number of ports.

    chains: of which each client is shown one; several differ in the kind of their keys. handshake_limit: seconds in which a handshake
    must be done; a client that takes longer is cut off, whatever the protocol above thinks.
    Raises CannotServe: a chain that OpenSSL does not take, or for Versions.OLD an OpenSSL without TLS 1.0.
    """

    def __init__(
        self, chains: Sequence[Chain], versions: Versions, *, clock: IReactorTime, handshake_limit: float
    ) -> None:
        self._versions = versions
        self._clock = clock
        self._limit = handshake_limit
        # Weak references: a client that left is not kept in memory until its time would have been over. (A connection's app data
        # would be the place for its timer, but there Twisted puts the protocol.)
        self._shaking: dict[weakref.ref[SSL.Connection], IDelayedCall] = {}
        self.use(chains)

    def use(self, chains: Sequence[Chain]) -> None:
        """From now on show these; connections that there are keep what they have. Raises CannotServe, and then all is as before."""
        if self._versions is Versions.OLD:
            for chain in chains:
                check_old(chain)
        self._context = make_context(chains, self._versions, self._told)

    def adopt(self, chains: Sequence[Chain], other: ServerTls) -> None:
        """A reload: serve as ``other``, which has been made with these, would."""
        self._versions, self._limit = other._versions, other._limit
        self.use(chains)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """IOpenSSLServerConnectionCreator."""
        connection = SSL.Connection(self._context, None)
        timer = self._clock.callLater(self._limit, _cut_off, weakref.ref(protocol))
        # Twisted lets go of it when it is lost, and then this is called too.
        self._shaking[weakref.ref(connection, self._over)] = timer
        return connection

    def _told(self, connection: SSL.Connection, where: int, _code: int) -> None:
        """OpenSSL's info callback."""
        if where & SSL.SSL_CB_HANDSHAKE_DONE:
            self._over(weakref.ref(connection))

    def _over(self, connection: weakref.ref[SSL.Connection]) -> None:
        timer = self._shaking.pop(connection, None)
        if timer is not None and timer.active():
            timer.cancel()


def _cut_off(reference: weakref.ref[TLSMemoryBIOProtocol]) -> None:
    protocol = reference()
    if protocol is not None and protocol.connected:
        protocol.abortConnection()


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a connection agreed on: ``TLSv1.3``, ``TLS_AES_256_GCM_SHA384``."""

    version: str
    cipher: str


def spoken(transport: Any) -> Spoken | None:
    """Of a transport under TLS whose handshake is done; None of any other."""
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, SSL.Connection):
        return None
    cipher = handle.get_cipher_name()
    return None if cipher is None else Spoken(handle.get_protocol_version_name(), cipher)
