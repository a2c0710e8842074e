"""The queue's clock: seconds for which the service has run, all its runs together.

A clock on the wall jumps: a machine without a battery starts in 1970, and NTP sets it right an hour later; another is switched off for
a week. By this clock neither makes mail expire, nor makes all of it due at once.
"""

from __future__ import annotations

from collections.abc import Callable


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
