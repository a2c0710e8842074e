"""When the mailboxes are flushed to the disk: about a second after they were written to, all together; and when the clock is kept."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.bell import Bell
from lanmail.interfaces import InThread
from lanmail.queue.clock import KeptClock
from lanmail.queue.under_way import UnderWay
from lanmail.status import TemporaryFailure

# Seconds between two times at which an idle service keeps the queue's clock. After a crash, deferred mail waits so much longer at most.
CLOCK_KEPT = 60.0
# Seconds until the next try, where a checkpoint failed for a reason that is not the journal's.
AFTER_FAILURE = 10.0


class Checkpoints(Protocol):
    """spool.checkpoint.Checkpoints, as far as it is wanted here."""

    @property
    def wanted(self) -> bool:
        """Whether mailboxes were written to that are not flushed."""

    def run(self) -> None:
        """Flush them. Blocks."""


class Flushing:
    """Runs checkpoints, one at a time.

    interval: seconds after which it is looked whether one is wanted. messages: so many copies delivered make it at once, which bounds
    what recovery may have to look for.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        bell: Bell,
        in_thread: InThread,
        clock: IReactorTime,
        queue_clock: KeptClock,
        *,
        interval: float,
        messages: int,
    ) -> None:
        self._checkpoints = checkpoints
        self._bell = bell
        self._in_thread = in_thread
        self._clock = clock
        self._queue_clock = queue_clock
        self._interval = interval
        self._messages = messages
        self._count = 0  # delivered since the last one began
        self._under_way = UnderWay()
        self._next: IDelayedCall | None = None
        self._well = True
        self._stopped = True

    def start(self) -> None:
        self._stopped = False
        self._after(self._interval)

    def delivered(self, count: int) -> None:
        """So many more copies stand in mailboxes."""
        self._count += count
        if self._count >= self._messages and not self._under_way and self._well and not self._stopped:
            self._look()

    async def stop(self) -> None:
        """A last one, when nothing is delivered any more. Raises nothing: what it did not flush is looked for at the next start."""
        self._stopped = True
        call, self._next = self._next, None
        if call is not None:
            call.cancel()
        await self._under_way.ended()
        self._under_way(self._run(), "flushing the mailboxes")
        await self._under_way.ended()
        try:
            await self._bell.outcome(self._queue_clock.keep())
        except TemporaryFailure:
            pass  # the journal has said so itself

    def _after(self, seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = None if self._stopped else self._clock.callLater(seconds, self._due)

    def _due(self) -> None:
        self._next = None
        self._look()

    def _look(self) -> None:
        """When none is under way."""
        call, self._next = self._next, None
        if call is not None:
            call.cancel()
        if self._checkpoints.wanted:
            self._queue_clock.keep()  # asked for before the rows are forgotten, so their flush keeps it as well
            self._under_way(self._run(), "flushing the mailboxes", self._over)
        else:
            self._queue_clock.keep_sometimes(CLOCK_KEPT)
            self._after(self._interval)

    async def _run(self) -> None:
        self._count = 0
        self._well = False
        try:
            await self._in_thread(self._checkpoints.run)
        except TemporaryFailure:
            pass  # the journal's trouble, and it has said so itself
        self._well = True

    def _over(self) -> None:
        if self._well and self._count >= self._messages and not self._stopped:
            self._look()
        else:
            self._after(self._interval if self._well else AFTER_FAILURE)
