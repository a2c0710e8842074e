"""Clients that come through a proxy: nothing is said to them, and nothing of theirs understood, before it is known who they are.

From then on the client has the address that the proxy announced, for limits, trust and the log. The proxy's own counts for nothing:
it is often one of ours, and a stranger would be whatever we let it be.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from lanmail.maillog import Logger
from lanmail.network import NOBODY_KNOWS, IPAddress, Networks, Peer
from lanmail.wire.proxy_header import Header, HeaderReader, NotAHeader

# At an endpoint written so, everybody who comes is a proxy.
PREFIX = "haproxy:"
# So many may be about to send their header at once, at one door. A proxy sends it with the connection itself; what only holds on to
# a connection must not use up our descriptors.
WAITING = 1000

log = Logger("proxy")


@implementer(IHandshakeListener, IHalfCloseableProtocol)
class Proxied(ProtocolWrapper):
    """One connection from a proxy. Without a right header in time it is dropped without a word to the client; the log hears of it."""

    factory: Any  # a ProxiedFactory
    transport: Any
    wrappedProtocol: Any

    def __init__(self, factory: ProxiedFactory, served: IProtocol) -> None:
        super().__init__(factory, served)  # type: ignore[arg-type]  # it is generic, and ours is not
        self._reader: HeaderReader | None = HeaderReader()
        self._ends: tuple[IAddress, IAddress] | None = None
        self._patience: IDelayedCall | None = None

    # until the header is there

    def makeConnection(self, transport: Any) -> None:
        # ProtocolWrapper's own, but for its last line, which begins the conversation.
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self._proxy = _peer(transport.getPeer())
        if self.factory.waiting >= WAITING:
            self._refuse("is one of too many that have sent no PROXY header")
            return
        self.factory.waiting += 1
        self._patience = self.factory.clock.callLater(self.factory.patience, self._too_late)

    def dataReceived(self, data: bytes) -> None:
        if self._reader is None:
            self.wrappedProtocol.dataReceived(data)
            return
        if self._patience is None:
            return  # refused already
        try:
            header = self._reader.feed(data)
        except NotAHeader as why:
            self._stop_waiting()
            self._refuse(str(why))
            return
        if header is not None:
            self._begin(header)

    def _begin(self, header: Header) -> None:
        self._reader = None
        self._stop_waiting()
        self._ends = self._announced(header)
        self.wrappedProtocol.makeConnection(self)
        if header.rest:
            self.wrappedProtocol.dataReceived(header.rest)

    def _announced(self, header: Header) -> tuple[IAddress, IAddress]:
        """Client and proxy, each as the client's connection has it."""
        announced = header.announced
        # Another machine's loopback is not ours: what may be said in clear here, and who is trusted, is not for programs there.
        if announced is None or (announced.source.is_loopback and not self._proxy.is_local):
            return IPv4Address("TCP", NOBODY_KNOWS, 0), self.transport.getHost()
        return (
            _end(announced.source, announced.source_port),
            _end(announced.destination, announced.destination_port),
        )

    def _too_late(self) -> None:
        self._stop_waiting()
        self._refuse(f"has sent no whole PROXY header within {self.factory.patience:g} s")

    def _refuse(self, why: str) -> None:
        log.warn("warning: {proxy} is in proxy_networks, and {why}", proxy=self._proxy.host or "local", why=why)
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self.factory.waiting -= 1
            if self._patience.active():
                self._patience.cancel()
            self._patience = None

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._stop_waiting()
        self.factory.unregisterProtocol(self)
        if self._reader is None:
            self.wrappedProtocol.connectionLost(reason)

    # what the served protocol asks of its transport, and what the transport asks of it

    def getPeer(self) -> Any:
        return self.transport.getPeer() if self._ends is None else self._ends[0]

    def getHost(self) -> Any:
        return self.transport.getHost() if self._ends is None else self._ends[1]

    def handshakeCompleted(self) -> None:
        """TLS behind STARTTLS: Twisted tells whoever stands next to it."""
        if self._serves(IHandshakeListener):
            self.wrappedProtocol.handshakeCompleted()

    def readConnectionLost(self) -> None:
        if self._reader is None and self._serves(IHalfCloseableProtocol):
            self.wrappedProtocol.readConnectionLost()
        else:
            self.transport.loseConnection()

    def _serves(self, interface: Any) -> bool:
        # Asked of the class: what speaks TLS says of itself that it provides whatever its transport does, which is us.
        return bool(interface.implementedBy(type(self.wrappedProtocol)))

    def writeConnectionLost(self) -> None:
        """We never close our half alone."""


class ProxiedFactory(WrappingFactory):
    """Puts a Proxied before those of ``factory``'s protocols whose clients are proxies; the others are served as they are.

    networks: ``proxy_networks``. patience: seconds for a header (smtpd_upstream_proxy_timeout). only: nobody else than proxies may
    come at all, and those of a UNIX socket are some (``haproxy:`` endpoints).
    """

    protocol: Any = Proxied
    noisy = False

    def __init__(
        self,
        factory: IProtocolFactory | ServerFactory,
        clock: IReactorTime,
        networks: Networks = Networks(),  # noqa: B008
        *,
        patience: float = 5.0,
        only: bool = False,
    ) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._networks = networks
        self._only = only
        self.clock = clock
        self.patience = patience
        self.waiting = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        peer = _peer(addr)
        if peer.host in self._networks or (self._only and not peer.host):
            return self.protocol(self, self.wrappedFactory.buildProtocol(addr))
        if self._only:
            log.warn(
                "warning: {client} is not in proxy_networks, and comes to an endpoint for proxies", client=peer.host
            )
            return None
        return self.wrappedFactory.buildProtocol(addr)


def _peer(address: object) -> Peer:
    return Peer(str(getattr(address, "host", "")))


def _end(address: IPAddress, port: int) -> IPv4Address | IPv6Address:
    kind = IPv4Address if address.version == 4 else IPv6Address
    return kind("TCP", str(address), port)
