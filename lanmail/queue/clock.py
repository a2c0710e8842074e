"""The queue's clock: seconds for which the service has run, all its runs together.

A clock on the wall jumps: a machine without a battery starts in 1970, and NTP sets it right an hour later; another is switched off for
a week. By this clock neither makes mail expire, nor makes all of it due at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from lanmail.spool.journal import Journal

# Seconds for which the clock is kept in advance while mail comes in.
AHEAD = 1.0


class QueueClock:
    """Goes on where the last run ended.

    at_start: the seconds that were kept then (Journal.clock_at_start). monotonic: seconds that never jump: time.monotonic, which
    stands still while the machine sleeps. Whoever has the journal keeps ``seconds()`` in it from time to time.
    """

    def __init__(self, at_start: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._offset = at_start - monotonic()

    def seconds(self) -> float:
        return self._offset + self._monotonic()


class KeptClock:
    """That clock, and what the journal keeps of it."""

    def __init__(self, clock: QueueClock, journal: Journal) -> None:
        self._journal = journal
        self.seconds = clock.seconds
        self._kept = float("-inf")

    def at_admission(self) -> float:
        """Now, for what is admitted next.

        Nothing is ever admitted behind what is kept: after a crash it would not be due before the clock has got there again.
        """
        now = self.seconds()
        if now > self._kept:
            self._keep(now + AHEAD)
        return now

    def keep(self) -> Future[None]:
        """As it is now."""
        return self._keep(self.seconds())

    def keep_sometimes(self, every: float) -> None:
        """Where that was not done for so many seconds."""
        if self.seconds() - self._kept >= every:
            self.keep()

    def _keep(self, seconds: float) -> Future[None]:
        self._kept = seconds
        return self._journal.clock(seconds)
