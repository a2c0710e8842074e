"""Failed logins are answered late, later each time, for the address and for the name they came with.

Only the answer waits, on the clock: no thread, no helper and no lock is held meanwhile. A right password is never
delayed and never refused, however many others failed, so nobody can be locked out of their own mail by a stranger.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

MEMORY = 600.0
"""Seconds after which an address's or a name's failures are forgotten, from the last one."""
ROOM = 10_000


class Failures(Protocol):
    """How often each failed lately: an address, or a name."""

    def another(self, key: str, now: float) -> int:
        """One more: how many there are now. now: monotonic seconds."""


class Throttle:
    """Counts failures and says how late each is answered.

    first: seconds from the beginning of a login to its refusal, when it is the first. It hides how long the check took, and
        with it whether the name exists: PAM takes 33 ms for a known name and 1 ms for an unknown one.
    most: the longest such time; each failure doubles the one before, from ``first`` up to this.
    addresses, names: where their failures are counted; None: in this process.
    """

    def __init__(
        self,
        clock: IReactorTime,
        addresses: Failures | None = None,
        names: Failures | None = None,
        *,
        first: float = 1.0,
        most: float = 8.0,
    ) -> None:
        self._clock = clock
        self._first = first
        self._most = most
        self._addresses = FailuresHere() if addresses is None else addresses
        self._names = FailuresHere() if names is None else names

    def now(self) -> float:
        """The moment a login begins; give it back to ``failed``."""
        return self._clock.seconds()

    async def failed(self, began: float, host: str, name: str) -> None:
        """A login that began then was refused: count it, and return when the client may know.

        host: the client's address (Peer.block); loopback is slowed like any other, since others may stand behind it.
        name: the canonical name, or empty where what was written cannot be one.
        """
        now = self._clock.seconds()
        count = max(self._addresses.another(host, now), self._names.another(name, now) if name else 1)
        # min first: a count of thousands would make a power with thousands of digits.
        until = began + min(self._most, self._first * 2.0 ** min(count - 1, 32))
        if until > now:
            late: Deferred[None] = Deferred()
            self._clock.callLater(until - now, late.callback, None)
            await late


class FailuresHere:
    """Failures in this process alone. room: how many keys are remembered; the longest unseen are forgotten first."""

    def __init__(self, memory: float = MEMORY, room: int = ROOM) -> None:
        self._memory = memory
        self._room = room
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the longest unseen first

    def another(self, key: str, now: float) -> int:
        count, last = self._seen.pop(key, (0, now))
        count = 1 if now - last > self._memory else count + 1
        self._seen[key] = (count, now)
        if len(self._seen) > self._room:
            self._seen.popitem(last=False)
        return count

    def __len__(self) -> int:
        return len(self._seen)
