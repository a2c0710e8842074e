"""Turns at something of which little can be done at once: addresses take turns, so that nobody's flood keeps another waiting long."""

from __future__ import annotations

from collections import OrderedDict, deque

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class TooMany(Exception):
    """So many wait that this one cannot."""


class Turns:
    """at_once: how many have their turn together. waiting: how many may wait; then whoever has most waiting loses its last."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._room = waiting
        self._queue: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()  # by address; the next turn is the first's
        self._waiting = 0

    async def take(self, address: str) -> None:
        """Wait for a turn, which ends with ``done``. Raises TooMany, and then there is none."""
        if self._free:
            self._free -= 1
            return
        if self._waiting >= self._room and not self._make_room(len(self._queue.get(address, ()))):
            raise TooMany
        turn: Deferred[None] = Deferred(lambda turn: self._leave(address, turn))
        self._queue.setdefault(address, deque()).append(turn)
        self._waiting += 1
        await turn

    def done(self) -> None:
        """A turn is over; the next may begin."""
        if not self._queue:
            self._free += 1
            return
        address, line = next(iter(self._queue.items()))
        turn = line[0]
        self._leave(address, turn)
        if line:
            self._queue.move_to_end(address)
        turn.callback(None)

    def _make_room(self, mine: int) -> bool:
        address, longest = max(self._queue.items(), key=lambda item: len(item[1]), default=("", deque()))
        if len(longest) <= mine + 1:
            return False
        crowded_out = longest[-1]
        self._leave(address, crowded_out)
        crowded_out.errback(Failure(TooMany()))
        return True

    def _leave(self, address: str, turn: Deferred[None]) -> None:
        line = self._queue[address]
        line.remove(turn)
        self._waiting -= 1
        if not line:
            del self._queue[address]
