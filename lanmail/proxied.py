"""Clients that come through a proxy (``smtp_endpoint = haproxy:tcp:25``): who they are is known before they are served.

Twisted's wrapper begins the conversation at once and learns the client's address from the PROXY header afterwards. Until then
every client would be the proxy, and a stranger whatever ``mynetworks`` lets the proxy be.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

PREFIX = "haproxy:"
# A proxy sends the header with the connection itself; what does not is no proxy, or somebody who got past it.
HEADER_TIME = 10.0


class _Early(Protocol):
    """Stands where the client's protocol will stand; keeps what came in one piece with the header."""

    octets = b""

    def dataReceived(self, data: bytes) -> None:
        self.octets += data


class Proxied(HAProxyProtocolWrapper):
    """One connection. Without a header within HEADER_TIME, or with a wrong one, it is dropped without a word."""

    factory: Any
    transport: Any

    def __init__(self, factory: Any, wrappedProtocol: Any) -> None:
        self._early = _Early()
        self._served = wrappedProtocol
        self._patience: IDelayedCall | None = None
        super().__init__(factory, self._early)

    def makeConnection(self, transport: Any) -> None:
        # ProtocolWrapper's own, but for its last line, which begins the conversation.
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self._patience = self.factory.clock.callLater(HEADER_TIME, transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.wrappedProtocol is self._early and self._proxyInfo is not None:
            self._stop_waiting()
            self.wrappedProtocol = self._served
            self._served.makeConnection(self)
            if self._early.octets:
                self._served.dataReceived(self._early.octets)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._stop_waiting()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _stop_waiting(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()


class ProxiedFactory(HAProxyWrappingFactory):
    """Puts a Proxied before each of ``factory``'s protocols."""

    protocol: Any = Proxied
    noisy = False

    def __init__(self, factory: ServerFactory, clock: IReactorTime) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self.clock = clock
