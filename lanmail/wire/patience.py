"""The time that a client has for what it owes us, of which only its own counts: what we take costs it nothing.

So Postfix measures with smtpd_per_request_deadline: not from one octet to the next, or one octet a minute would hold a connection for
ever, but for everything together that ends a request; and a message must come at some least rate on the whole (smtpd_min_data_rate).
"""

from __future__ import annotations

from collections.abc import Callable


class Patience:
    """One connection's. clock: monotonic seconds. It runs, or stands still: ``run`` and ``rest`` may be called at any time, again too."""

    __slots__ = ("_clock", "_since", "_spent")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spent = 0.0
        self._since: float | None = None

    def run(self) -> None:
        """It is the client's turn."""
        if self._since is None:
            self._since = self._clock()

    def rest(self) -> None:
        """It is ours."""
        self._spent = self.spent
        self._since = None

    def renew(self) -> None:
        """What the client owed is here: whatever it owes next, it has all the time for that."""
        self._spent = 0.0
        if self._since is not None:
            self._since = self._clock()

    def credit(self, seconds: float) -> None:
        """So much of the time spent is forgiven, for what came in it. Nothing is saved up."""
        self._spent = max(0.0, self.spent - seconds)
        if self._since is not None:
            self._since = self._clock()

    @property
    def spent(self) -> float:
        """Seconds of the client's own time since the last ``renew``."""
        return self._spent if self._since is None else self._spent + self._clock() - self._since
