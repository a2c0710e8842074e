"""The journal: every message that we answer for, and how each of its recipients stands, in one SQLite file.

Whatever changes it goes through one writer thread, and all that waits at one moment is one transaction: many messages share one flush of
the disk. What reads does so on connections of its own, beside the writer.

A recipient's row is waiting (no intent), then begun (an intent: its octets are about to be written there), then standing (marked: they are
written), then away, once the mailbox is on stable storage. Besides, it may be held, deferred (waiting, with a reason and a later due),
and owed: a success report is still due for it, and then the row stays until that is settled.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress

from lanmail.interfaces import Report
from lanmail.spool import changes, requests
from lanmail.spool.changes import Admission, Aftermath, Exchange, Numbers
from lanmail.spool.commits import Commits
from lanmail.spool.database import JournalTrouble, connect
from lanmail.spool.entries import Deferral, Intent, Listed, Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.ledger import Ledger
from lanmail.spool.reading import Reading, Standing
from lanmail.spool.requests import Asked
from lanmail.status import Status, TemporaryFailure

__all__ = ["Journal", "JournalTrouble", "Standing"]


class Journal:
    """The file at ``path`` (0600), and the large bodies in ``incoming``.

    All methods may be called from any thread. Those that return a Future never block: it is resolved in the writer thread, once the
    transaction is over. It fails with TemporaryFailure where the disk is the trouble, and then nothing of it was done; a job that
    fails does not fail those that wait beside it. They are done in the order in which they were asked for. Those that read block, and
    raise TemporaryFailure; they see all that was resolved before.
    """

    clock_at_start: float
    """The queue's clock as it was last kept, in seconds; 0.0 in a new journal."""

    last_id_at_start: str
    """The queue id that was admitted last, before we were started; empty in a new journal."""

    def __init__(
        self,
        path: str,
        incoming: IncomingFolder,
        report: Report,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        connect: Callable[[str], sqlite3.Connection] = connect,
        orphans: Callable[[list[str]], list[str]] = list,
    ) -> None:
        """Opens the file, or makes it. Raises JournalTrouble: not ours, damaged, of a newer lanmail, or not to be had at all.

        monotonic: seconds, for what the writer does from time to time. orphans: which of the bodies that no row of ours names nobody else
        has, where others use the folder too (shares.Colleagues.orphans).
        """
        self._incoming = incoming
        self._orphans = orphans
        self._reading = Reading(path, incoming)
        ledger = Ledger(path, connect)
        self._commits = Commits(ledger, lambda: Aftermath(incoming), report, monotonic)
        with suppress(sqlite3.Error):
            # One that can be read and not be flushed may be waited for.
            ledger.open()
        try:
            self.clock_at_start, self.last_id_at_start = self._reading.state()
            self._numbers = Numbers(self._reading.last_number())
        except TemporaryFailure as failure:
            raise JournalTrouble(f"{path}: {failure.__cause__}") from failure
        finally:
            # twistd goes to the background after this: no database may be open over a fork, since its locks stay with the parent.
            ledger.close()

    def start(self) -> None:
        """Begin to write, after a sweep. Before anything comes in. Raises TemporaryFailure where the journal cannot be read."""
        self.open()
        self.sweep()
        self._commits.start()

    def open(self) -> None:
        """Be ready to write: what ``start`` does first, and those who use ``turn`` instead. Until then the journal can only be read."""
        self._commits.open()

    def sweep(self) -> None:
        """Remove from ``incoming`` what no row names: a crash left it, of a message that nobody was told about."""
        named = self._reading.names()
        self._incoming.sweep(self._orphans([name for name in self._incoming.names() if name not in named]))

    def close(self) -> None:
        """What waits is still done; then the file is closed. Blocks. May be called more than once."""
        self._commits.close()

    def together(self) -> AbstractContextManager[object]:
        """While it is entered, what this thread asks for is not begun: then it is one transaction."""
        return self._commits.together()

    def turn(self) -> None:
        """The writer's work of one round, for those who have not started it. Blocks; never raises."""
        self._commits.turn()

    @property
    def trouble(self) -> Status | None:
        """Why nothing can be admitted now: 452 4.3.1 where the disk is full, else 451 4.3.0. It goes away by itself."""
        return self._commits.trouble

    # messages come and go

    def admit(
        self, message: Message, recipients: Sequence[Recipient], content: Content, *, now: float
    ) -> Future[list[int]]:
        """We answer for this message from now on; the numbers of its recipients, in their order. Flushed.

        A file of ``content`` is on stable storage already (IncomingFolder.sync), and is ``kept`` from then on. now: of the queue's
        clock; since and due of every recipient. A queue id that is there already fails with TemporaryFailure.
        """
        return self._commits.submit(
            self._admit, Admission(message, recipients, content, now), flush=True, octets=len(content.memory)
        )

    def exchange(
        self,
        gone: Sequence[int],
        add: Sequence[tuple[Message, Sequence[Recipient], Content]],
        *,
        now: float,
        reported: Sequence[int] = (),
        warned: Sequence[int] = (),
    ) -> Future[list[list[int]]]:
        """Reports instead of what they report, all at once or not at all; the numbers of each message in ``add``. Flushed.

        gone: waiting rows, not held, that are failed: away. reported: rows whose success report this is: not owed any more, and away
        where the mailbox is on stable storage. warned: waiting rows, not held, whose delay this tells. Rows that are not (or no longer)
        as said are passed over; where that is so of all, and there were any, nothing is added, and the answer is empty.
        """
        adds = [Admission(message, recipients, content, now) for message, recipients, content in add]
        return self._commits.submit(
            self._exchange,
            Exchange(gone, adds, reported, warned),
            flush=True,
            # Even on a disk that is full: a report lets go of what it reports.
            octets=None if gone or reported else sum(len(one.content.memory) for one in adds),
        )

    def intend(self, intents: Sequence[Intent]) -> Future[set[int]]:
        """These rows' octets are about to be written there; which of them may be. Flushed.

        Refused is a row that is away, or held, or has an intent already: whoever is refused writes nothing.
        """
        return self._commits.submit(changes.intend, intents, flush=True)

    def mark(self, numbers: Sequence[int]) -> Future[None]:
        """The octets of these rows, which have an intent, are written whole. Not flushed."""
        return self._commits.submit(changes.mark, numbers, flush=False)

    def unbegin(self, numbers: Sequence[int]) -> Future[None]:
        """Nothing of these rows is in the mailbox: they wait again. Not flushed."""
        return self._commits.submit(changes.unbegin, numbers, flush=False)

    def defer(self, deferrals: Sequence[Deferral]) -> Future[None]:
        """One more try failed. Not flushed; rows that are not waiting are passed over."""
        return self._commits.submit(changes.defer, deferrals, flush=False)

    def forget(self, numbers: Sequence[int]) -> Future[None]:
        """The mailbox has these rows' octets on stable storage: they are away, except for what is owed. Flushed.

        A message without rows goes too, and its file afterwards.
        """
        return self._commits.submit(changes.forget, numbers, flush=True)

    def clock(self, seconds: float) -> Future[None]:
        """Keep the queue's clock for ``clock_at_start``. Not flushed."""
        return self._commits.submit(changes.keep_clock, seconds, flush=False)

    # the queue command. ``ids``: queue ids; None for all. Each resolves to the queue ids it found something to do for, oldest first.

    def hold(self, ids: Collection[str] | None) -> Future[list[str]]:
        """Rows that wait are not tried until they are released."""
        return self._commits.submit(requests.hold, Asked(ids), flush=False)

    def release(self, ids: Collection[str] | None) -> Future[list[str]]:
        """Held rows wait again, due as they were."""
        return self._commits.submit(requests.release, Asked(ids), flush=False)

    def requeue(self, ids: Collection[str] | None, *, now: float) -> Future[list[str]]:
        """Rows that wait, or are held, begin anew, as if they had come in now: released, due, no try, no warning, a whole lifetime.

        As with ``postsuper -r``, except that aliases are not looked up again: what a recipient became was decided before the 250.
        """
        return self._commits.submit(requests.requeue, Asked(ids, now), flush=False)

    def flush(self, ids: Collection[str] | None, *, now: float) -> Future[list[str]]:
        """Deferred rows are due now; not those that are held."""
        return self._commits.submit(requests.flush, Asked(ids, now), flush=False)

    def delete(self, ids: Collection[str] | None) -> Future[list[str]]:
        """Rows that wait, or are held, are away, without a report. What is being written at this moment stays. Flushed."""
        return self._commits.submit(requests.delete, Asked(ids), flush=True)

    # reading

    def waiting(self) -> list[tuple[str, int, float]]:
        """Of each user with rows waiting and not held: the name, how many, and the least due."""
        return self._reading.waiting()

    def due(self, user: str, now: float, limit: int, octets: int) -> list[tuple[Message, Recipient, Content]]:
        """Of this user's rows that wait and are due, those due longest: at most ``limit``, and together at most ``octets`` of content.

        The first may be larger. Small contents are in memory.
        """
        return self._reading.due(user, now, limit, octets)

    def standing_users(self) -> list[str]:
        """The names of the users that have rows with an intent."""
        return self._reading.standing_users()

    def standing(self, user: str | None = None) -> Iterator[Standing]:
        """Rows with an intent whose mailbox is not on stable storage, in the order they were admitted; of one user, or of all.

        Read in pieces as it goes: a million are no more memory than one, and rows may be changed meanwhile.
        """
        return self._reading.standing(user)

    def owed(self, limit: int) -> list[tuple[Message, Recipient]]:
        """Rows that stand in their mailbox, and whose success report is due; oldest first."""
        return self._reading.owed(limit)

    def overdue(
        self, now: float, lifetime: float, bounce_lifetime: float, limit: int
    ) -> list[tuple[Message, Recipient]]:
        """Rows that were tried, wait, are not held, and came ``lifetime`` seconds ago (``bounce_lifetime`` for the null sender)."""
        return self._reading.overdue(now, lifetime, bounce_lifetime, limit)

    def late(self, now: float, delay: float, limit: int) -> list[tuple[Message, Recipient]]:
        """Rows that were tried, wait, are not held, came ``delay`` seconds ago, and whose sender was not warned."""
        return self._reading.late(now, delay, limit)

    def content(self, queue_id: str) -> Content | None:
        """The text of that message, read when it is asked for; None where there is none of that id."""
        return self._reading.content(queue_id)

    def find(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        """That message, with the rows it still has that no mailbox has."""
        return self._reading.find(queue_id)

    def unfinished(self, queue_ids: Collection[str]) -> set[str]:
        """Those of these messages that some mailbox does not have yet."""
        return self._reading.unfinished(queue_ids)

    def listing(self, after: int, limit: int) -> list[Listed]:
        """What no mailbox has yet, oldest first, of rows whose numbers are above ``after``: messages until they have ``limit`` recipients.

        The last of them is there with all of its recipients. For the next page ``after`` is the last number of this one; 0 begins.
        """
        return self._reading.listing(after, limit)

    def last_id(self) -> str:
        """The queue id that was admitted last; empty where there was none."""
        return self._reading.state()[1]

    # as bound methods, so that the writer sees which jobs are of one kind

    def _admit(self, db: sqlite3.Connection, after: Aftermath, asked: Sequence[Admission]) -> list[list[int]]:
        return changes.admit(db, after, asked, self._numbers)

    def _exchange(self, db: sqlite3.Connection, after: Aftermath, asked: Sequence[Exchange]) -> list[list[list[int]]]:
        return changes.exchange(db, after, asked, self._numbers)
