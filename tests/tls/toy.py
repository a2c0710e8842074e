"""A mail server of a few lines, under TLS from the start or after STARTTLS, that knows no mail and makes clients content."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from lanmail.tls.certificate import Chain
from lanmail.tls.contexts import ServerTls, Spoken, spoken
from lanmail.tls.openssl import Versions
from tests.tls.made import chain


class Toy(LineReceiver):
    """Answers each line; remembers in its factory what it saw."""

    factory: ToyFactory

    def connectionMade(self) -> None:
        self.factory.open.append(self)
        self.sendLine(b"220 toy ESMTP")

    def lineReceived(self, line: bytes) -> None:
        match line.upper().split():
            case [b"EHLO", *_]:
                self.sendLine(b"250-toy\r\n250-STARTTLS\r\n250 AUTH PLAIN")
            case [b"STARTTLS"]:
                self.sendLine(b"220 go ahead")
                self.transport.startTLS(self.factory.tls)  # type: ignore[union-attr]
            case [b"QUIT"]:
                self.factory.seen.append(spoken(self.transport))
                self.sendLine(b"221 bye")
                self.transport.loseConnection()  # type: ignore[union-attr]
            case _:
                self.sendLine(b"250 " + line[:100])

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.factory.open.remove(self)
        self.factory.lost += 1


class ToyFactory(Factory):
    """tls: the context to be tried. seen: what each session that was ended by QUIT had agreed on."""

    protocol = Toy

    def __init__(
        self,
        reactor: IReactorTime,
        chains: tuple[Chain, ...] = (),
        versions: Versions = Versions.TODAY,
        handshake_limit: float = 60.0,
    ) -> None:
        self._clock = reactor
        self.tls = ServerTls(chains or (chain(),), versions, clock=reactor, handshake_limit=handshake_limit)
        self.seen: list[Spoken | None] = []
        self.open: list[Toy] = []
        self.lost = 0

    @property
    def wrapped(self) -> TLSMemoryBIOFactory:
        """The same, under TLS from the start."""
        return TLSMemoryBIOFactory(self.tls, False, self, self._clock)
