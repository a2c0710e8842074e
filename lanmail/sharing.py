"""A listening socket that several processes share: each takes from it no more than its part.

All that have nothing to do are woken by a new client, and whoever comes first would take all that are there, as Twisted does: of
twenty clients that came at once and stayed, all were one process's in three tries of ten. So one that has more clients than another
leaves the next to it for a moment. (Had the kernel wake only one, by EPOLLEXCLUSIVE, nobody would be there to leave them to.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.tcp import Port
from twisted.python.failure import Failure
from zope.interface import implementer

# Clients that a process takes in one turn of its event loop; and by so many more than another it leaves the next to that one.
PART = 2
# Seconds for which it does. Who has fewer may be at work, or dead.
MOMENT = 0.001


@implementer(IReadDescriptor)
class Shared:
    """Reads in the place of a port that listens, until the port stops.

    ahead: how many clients this process has more than that with the fewest.
    """

    def __init__(self, port: Port, reactor: Any, ahead: Callable[[], int]) -> None:
        self._port = port
        self._reactor = reactor
        self._ahead = ahead
        self._waited = False
        port.stopReading()
        # The reactor knows who reads by the descriptor alone, so the port takes us out when it stops.
        reactor.addReader(self)

    def doRead(self) -> None:
        if self._ahead() >= PART and not self._waited:
            self._reactor.removeReader(self)
            self._reactor.callLater(MOMENT, self._go_on)
            return
        self._waited = False
        self._port.numberAccepts = PART
        self._port.doRead()

    def _go_on(self) -> None:
        if self._port.connected and not self._port.disconnecting:
            self._waited = True
            self._reactor.addReader(self)

    def fileno(self) -> int:
        return int(self._port.fileno())

    def logPrefix(self) -> str:
        return str(self._port.logPrefix())

    def connectionLost(self, reason: Failure) -> None:
        self._port.connectionLost(reason)
