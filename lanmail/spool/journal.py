"""The journal: every message that we answer for, and how each of its recipients stands, in one SQLite file.

Whatever changes it goes through one writer thread, and all that waits at one moment is one transaction: many messages share one flush of
the disk. What reads does so on connections of its own, beside the writer.

A recipient's row is waiting (no intent), then begun (an intent: its octets are about to be written there), then standing (marked: they are
written), then away, once the mailbox is on stable storage. Besides, it may be held, deferred (waiting, with a reason and a later due),
and owed: a success report is still due for it, and then the row stays until that is settled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from lanmail.interfaces import Report
from lanmail.spool.entries import Deferral, Intent, Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.status import Status


class JournalTrouble(Exception):
    """The journal cannot be opened; the text names the file, says why, and what an administrator can do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A row with an intent: its octets stand in the mailbox, or some of them, or none.

    marked: they were all written, under the lock. owed: a success report is due for it, so its row will outlive ``forget``.
    content reads the text when asked for it (``pieces``), not before.
    """

    message: Message
    recipient: Recipient
    intent: Intent
    marked: bool
    owed: bool
    content: Content


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

    def __init__(self, path: str, incoming: IncomingFolder, report: Report) -> None:
        """Opens the file, or makes it. Raises JournalTrouble: not ours, damaged, of a newer lanmail, or not to be had at all."""
        raise NotImplementedError

    def start(self) -> None:
        """Sweep from ``incoming`` what no row names, and begin to write. Before anything comes in."""

    def close(self) -> None:
        """What waits is still done; then the file is closed. Blocks. May be called more than once."""

    @property
    def trouble(self) -> Status | None:
        """Why nothing can be admitted now: 452 4.3.1 where the disk is full, else 451 4.3.0. It goes away by itself."""

    # messages come and go

    def admit(
        self, message: Message, recipients: Sequence[Recipient], content: Content, *, now: float
    ) -> Future[list[int]]:
        """We answer for this message from now on; the numbers of its recipients, in their order. Flushed.

        A file of ``content`` is on stable storage already (IncomingFolder.sync), and is ``kept`` from then on. now: of the queue's
        clock; since and due of every recipient. A queue id that is there already fails with TemporaryFailure.
        """

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

        gone: waiting rows that are failed: away. reported: rows whose success report this is: not owed any more, and away where the
        mailbox is on stable storage. warned: waiting rows whose delay this tells. Rows that are not (or no longer) as said are passed
        over; where that is so of all, and there were any, nothing is added, and the answer is empty.
        """

    def intend(self, intents: Sequence[Intent]) -> Future[set[int]]:
        """These rows' octets are about to be written there; which of them may be. Flushed.

        Refused is a row that is away, or held, or has an intent already: whoever is refused writes nothing.
        """

    def mark(self, numbers: Sequence[int]) -> Future[None]:
        """The octets of these rows, which have an intent, are written whole. Not flushed."""

    def unbegin(self, numbers: Sequence[int]) -> Future[None]:
        """Nothing of these rows is in the mailbox: they wait again. Not flushed."""

    def defer(self, deferrals: Sequence[Deferral]) -> Future[None]:
        """One more try failed. Not flushed; rows that are not waiting are passed over."""

    def forget(self, numbers: Sequence[int]) -> Future[None]:
        """The mailbox has these rows' octets on stable storage: they are away, except for what is owed. Flushed.

        A message without rows goes too, and its file afterwards.
        """

    def clock(self, seconds: float) -> Future[None]:
        """Keep the queue's clock for ``clock_at_start``. Not flushed."""

    # the queue command. ``ids``: queue ids; None for all. Each resolves to the queue ids it found something to do for, oldest first.

    def hold(self, ids: Collection[str] | None) -> Future[list[str]]:
        """Rows that wait are not tried until they are released."""

    def release(self, ids: Collection[str] | None) -> Future[list[str]]:
        """Held rows wait again, due as they were."""

    def requeue(self, ids: Collection[str] | None, *, now: float) -> Future[list[str]]:
        """Rows that wait, or are held, begin anew, as if they had come in now: released, due, no try, no warning, a whole lifetime.

        As with ``postsuper -r``, except that aliases are not looked up again: what a recipient became was decided before the 250.
        """

    def flush(self, ids: Collection[str] | None, *, now: float) -> Future[list[str]]:
        """Deferred rows are due now; not those that are held."""

    def delete(self, ids: Collection[str] | None) -> Future[list[str]]:
        """Rows that wait, or are held, are away, without a report. What is being written at this moment stays. Flushed."""

    # reading

    def waiting(self) -> list[tuple[str, int, float]]:
        """Of each user with rows waiting and not held: the name, how many, and the least due."""

    def due(self, user: str, now: float, limit: int, octets: int) -> list[tuple[Message, Recipient, Content]]:
        """Of this user's rows that wait and are due, those due longest: at most ``limit``, and together at most ``octets`` of content.

        The first may be larger. Small contents are in memory.
        """

    def standing_users(self) -> list[str]:
        """The names of the users that have rows with an intent."""

    def standing(self, user: str | None = None) -> Iterator[Standing]:
        """Rows with an intent whose mailbox is not on stable storage, in the order they were admitted; of one user, or of all.

        Read in pieces as it goes: a million are no more memory than one, and rows may be changed meanwhile.
        """

    def owed(self, limit: int) -> list[tuple[Message, Recipient]]:
        """Rows that stand in their mailbox, and whose success report is due; oldest first."""

    def overdue(
        self, now: float, lifetime: float, bounce_lifetime: float, limit: int
    ) -> list[tuple[Message, Recipient]]:
        """Rows that were tried, wait, are not held, and came ``lifetime`` seconds ago (``bounce_lifetime`` for the null sender)."""

    def late(self, now: float, delay: float, limit: int) -> list[tuple[Message, Recipient]]:
        """Rows that were tried, wait, are not held, came ``delay`` seconds ago, and whose sender was not warned."""

    def content(self, queue_id: str) -> Content | None:
        """The text of that message; None where there is none of that id."""

    def find(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        """That message, with the rows it still has that no mailbox has."""

    def listing(self, after: int, limit: int) -> list[tuple[Message, list[Recipient]]]:
        """What no mailbox has yet, oldest first, without heads (empty): at most so many messages whose rows' numbers are above ``after``.

        For the next page ``after`` is the greatest number of this one; 0 begins.
        """

    def last_id(self) -> str:
        """The queue id that was admitted last; empty where there was none."""
