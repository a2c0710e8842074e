"""A message leaves the queue with the last of its recipients, and the log says so once, as Postfix's does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from lanmail.interfaces import InThread
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.mail import Mail
from lanmail.spool.journal import Journal
from lanmail.status import TemporaryFailure

# So many are remembered: of two recipients who are done in the same moment each finds that nobody is left.
REMEMBERED = 10_000


class Departures:
    """Counts in memory, for a message all of whose recipients are there; for others the journal is asked, after a delivery or a report."""

    def __init__(self, journal: Journal, in_thread: InThread, chronicle: Chronicle) -> None:
        self._journal = journal
        self._in_thread = in_thread
        self._chronicle = chronicle
        self._told: OrderedDict[str, None] = OrderedDict()  # of those that were asked for

    def delivered(self, mail: Mail) -> bool:
        """One more recipient of it. False: the journal must be asked whether it was the last."""
        if mail.left is None:
            return False
        mail.left -= 1
        if not mail.left:
            self._chronicle.removed(mail.message.queue_id)
        return True

    async def ask(self, queue_ids: Collection[str]) -> None:
        """Each has just had a recipient less. Raises nothing: it is one line of the log."""
        try:
            gone = await self._in_thread(self._gone, queue_ids)
        except TemporaryFailure:
            return
        for queue_id in gone:
            if queue_id not in self._told:
                self._told[queue_id] = None
                self._chronicle.removed(queue_id)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _gone(self, queue_ids: Collection[str]) -> list[str]:
        left = self._journal.unfinished(queue_ids)
        return [queue_id for queue_id in queue_ids if queue_id not in left]
