"""The connections that are open at one door, and how a stop ends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime

# How long a stop waits for messages that are coming in or being written, in seconds.
STOP_LIMIT = 10.0


class Connection(Protocol):
    """One client's connection."""

    @property
    def closed(self) -> Deferred[None]:
        """Fires when it is gone and nothing is under way for it."""

    def stop(self) -> None:
        """An idle client is told and let go; a busy one after its command."""

    def cut(self, why: str) -> None:
        """Drop the connection at once."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """Those that are open. ``stopping``: no more should come in."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._open: set[C] = set()
        self._limit: IDelayedCall | None = None
        self.stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[C]:
        """As they are now: one that goes meanwhile disturbs nobody."""
        return iter(list(self._open))

    def opened(self, connection: C) -> None:
        self._open.add(connection)

    def gone(self, connection: C) -> None:
        self._open.discard(connection)

    def stop(self, time_limit: float = STOP_LIMIT) -> Deferred[None]:
        """Idle clients are told, busy ones finish their command; fires when all are gone. Listening is stopped by whoever began it.

        After ``time_limit`` seconds those that are left are cut, and it fires without waiting for the work they began:
        that may be a wait for a mailbox which another program holds.
        """
        self.stopping = True
        over: Deferred[None] = Deferred()
        leaving = list(self._open)
        for connection in leaving:
            connection.stop()
        limit = self._limit = self._clock.callLater(time_limit, self._give_up, over)

        def all_gone(_: object) -> None:
            if limit.active():
                limit.cancel()
                over.callback(None)

        DeferredList([connection.closed for connection in leaving]).addCallback(all_gone)
        return over

    def hurry(self) -> None:
        """A stop that is under way waits no longer."""
        if self._limit is not None and self._limit.active():
            self._limit.reset(0)

    def _give_up(self, over: Deferred[None]) -> None:
        for connection in self:
            connection.cut("the service stops")
        over.callback(None)
