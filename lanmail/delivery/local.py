"""Local delivery: one round of messages into mailboxes, in a thread.

The order is what the promise rests on. Lock each mailbox; intend, that is let the journal know durably where the octets of each message
are about to be written; append; mark them as written; let go. Marked is done: what other programs do with the message from then on is
their act. The mailboxes themselves are synced later, together (spool/checkpoint.py). Whatever stops us in between leaves an intent
without a mark, and before the mailbox is next used it is found out what stands there (spool/recovery.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, suppress

from lanmail.delivery.batch import Batch, Entry, Outcome
from lanmail.interfaces import Report, User
from lanmail.mailbox.disk import Extent
from lanmail.mailbox.locked import Uncut
from lanmail.mailbox.locks import OVER_QUOTA
from lanmail.mailbox.store import LockedMailbox, MailboxBusy, MailboxFailure, MailboxFile
from lanmail.spool.checkpoint import Checkpoints
from lanmail.spool.entries import Intent
from lanmail.spool.incoming import storage_failure
from lanmail.spool.journal import Journal
from lanmail.spool.recovery import Recovery
from lanmail.status import TemporaryFailure

# Seconds between two touches of the dotlocks that we hold; another program may break one after stale_lock_time, 500 s.
_FRESH = 20.0


class LocalDelivery:
    """Delivers to mailboxes.

    mailbox_of: the MailboxFile of a user, made with ``recovery.mend`` and ``checkpoints.settle``. boot: the id of this start of the
    system. mailbox_size_limit: octets that no mailbox grows beyond by our doing; 0 for none.
    """

    def __init__(
        self,
        mailbox_of: Callable[[User], MailboxFile],
        journal: Journal,
        recovery: Recovery,
        checkpoints: Checkpoints,
        report: Report,
        *,
        boot: str,
        mailbox_size_limit: int = 0,
    ) -> None:
        self._mailbox_of = mailbox_of
        self._journal = journal
        self._recovery = recovery
        self._checkpoints = checkpoints
        self._report = report
        self._boot = boot
        self.mailbox_size_limit = mailbox_size_limit

    def deliver(self, batches: Sequence[Batch]) -> list[Outcome]:
        """One round: what became of each batch, in their order. Blocks; locks are tried, never waited for.

        Each user is in one batch at most, and in no other round meanwhile. One mailbox's trouble, or one message's, is no other's.
        """
        outcomes = [Outcome(batch.user) for batch in batches]
        # One order for everybody, ours and every worker's: two that want the same mailboxes cannot each hold half of them.
        pairs = [
            (self._mailbox_of(batch.user), batch, outcome) for batch, outcome in zip(batches, outcomes, strict=True)
        ]
        pairs.sort(key=lambda pair: pair[0].path)
        with ExitStack() as held:
            places: list[_Place] = []
            for mailbox, batch, outcome in pairs:
                try:
                    locked = held.enter_context(mailbox.lock(create=True))
                except TemporaryFailure as trouble:
                    outcome.trouble = trouble
                else:
                    places.append(_Place(locked, batch.entries, outcome, self._report))
            try:
                self._fill(places)
            finally:
                # Before the locks are let go: whoever is next must know.
                for place in places:
                    if place.begun:
                        self._recovery.postpone(place.mailbox.owner.name, place.begun)
        if self._checkpoints.crowded:
            with suppress(TemporaryFailure):  # the journal's trouble, which shows wherever it matters
                self._checkpoints.run()
        return outcomes

    def _fill(self, places: Sequence[_Place]) -> None:
        fresh = _Freshness([place.mailbox for place in places])
        while intents := [intent for place in places for intent in place.plan(self._boot, self.mailbox_size_limit)]:
            waiting = [(place, len(place.todo)) for place in places if place.todo]
            self._pass(places, intents, fresh)
            for place, count in waiting:
                if len(place.todo) == count:  # its end moved, although it is locked
                    place.stop(MailboxBusy(place.mailbox.path, "a program that writes to it all the same"))

    def _pass(self, places: Sequence[_Place], intents: Sequence[Intent], fresh: _Freshness) -> None:
        try:
            accepted = self._journal.intend(intents).result()
        except TemporaryFailure as trouble:
            for place in places:
                if place.todo:
                    place.stop(trouble)
            return
        for place in places:
            place.begin(accepted)
        fresh.keep()
        undone: list[tuple[_Place, list[int], Future[None]]] = []
        for place in places:
            place.write(fresh)
            if place.unbegun:
                undone.append((place, place.unbegun, self._journal.unbegin(place.unbegun)))
        written = [(place, place.written) for place in places if place.written and place.is_ours()]
        numbers = [number for _, numbers in written for number in numbers]
        if numbers:
            with suppress(TemporaryFailure):
                # Before the locks are let go: else another program may take a message out, and a kill would bring it back. Where the
                # journal fails now, the message stands there all the same, and recovery would find it.
                self._journal.mark(numbers).result()
        for place, numbers in written:
            self._checkpoints.note(place.mailbox, numbers)
            place.done(numbers)
        for place, numbers, future in undone:
            try:
                future.result()
                place.begun.difference_update(numbers)
            except TemporaryFailure as trouble:
                place.stop(trouble)


class _Place:
    """One mailbox in a round.

    todo: what is still to be written. begun: numbers with an intent of ours, as long as it is open what became of it. written, unbegun:
    of the last pass: numbers that stand in the file, and those that do not although they were intended.
    """

    def __init__(self, mailbox: LockedMailbox, entries: Sequence[Entry], outcome: Outcome, report: Report) -> None:
        self.mailbox = mailbox
        self.todo = list(entries)
        self.begun: set[int] = set()
        self.written: list[int] = []
        self.unbegun: list[int] = []
        self._outcome = outcome
        self._report = report
        self._planned: list[tuple[Entry, Intent, bytes]] = []  # with the separation before it

    def plan(self, boot: str, limit: int) -> list[Intent]:
        """Where each of what is to be done will begin."""
        mailbox = self.mailbox
        self._planned = []
        if not self.todo:
            return []
        end = mailbox.length()
        try:
            gap = mailbox.gap(end)
        except MailboxFailure as failure:
            self.stop(failure)
            return []
        for entry in list(self.todo):
            size = len(gap) + len(entry.head) + entry.content.size
            if limit and end + size > limit:
                self.todo.remove(entry)
                self._outcome.failed.append((entry.number, TemporaryFailure(OVER_QUOTA)))
                continue
            self._planned.append((entry, Intent(entry.number, boot, mailbox.device, mailbox.inode, end), gap))
            end += size
            gap = b""  # a content ends with its empty line
        return [intent for _, intent, _ in self._planned]

    def begin(self, accepted: set[int]) -> None:
        """These may be written. The others are refused: somebody holds or has deleted them, or recovery has found them."""
        for entry, _, _ in self._planned:
            if entry.number not in accepted:
                self.todo.remove(entry)
        self._planned = [planned for planned in self._planned if planned[0].number in accepted]
        self.begun.update(entry.number for entry, _, _ in self._planned)

    def write(self, fresh: _Freshness) -> None:
        """Append, up to the first that is not where it was planned, for want of one before it: it and what follows is planned anew."""
        self.written, self.unbegun = [], []
        try:
            self.mailbox.must_be_intact()  # once for all of them; and once more at the end
        except MailboxBusy as busy:
            self.stop(busy)
            self.unbegun = [entry.number for entry, _, _ in self._planned]
            return
        for at, (entry, intent, gap) in enumerate(self._planned):
            if not self._append(entry, intent.offset, gap, fresh):
                rest = [other.number for other, _, _ in self._planned[at:]]
                # Octets may stand there of one whose append could not be undone.
                self.unbegun = rest[1:] if isinstance(self._outcome.trouble, Uncut) else rest
                return
            self.todo.remove(entry)
            self.written.append(entry.number)

    def _append(self, entry: Entry, begin: int, gap: bytes, fresh: _Freshness) -> bool:
        try:
            # Closed at once: in the traceback of a failure it would keep the message's file, and its room on a full disk.
            with closing(fresh.keeping(entry.head, entry.content.extents())) as pieces:
                return self.mailbox.append_at(begin, gap, pieces)
        except MailboxFailure as failure:
            self.stop(failure)
        except OSError as error:  # of the content: this message's own
            self._report("warning: {id}: cannot read the message: {error}", id=entry.queue_id, error=error)
            self.todo.remove(entry)
            self._outcome.failed.append((entry.number, storage_failure(error)))
        return False

    def is_ours(self) -> bool:
        """Whether what was written was written to the mailbox that everybody sees, and nobody else wrote to it meanwhile."""
        if self.mailbox.intact():
            return True
        self.stop(MailboxBusy(self.mailbox.path, "a program that broke our lock or replaced the file"))
        return False

    def done(self, numbers: Sequence[int]) -> None:
        self._outcome.delivered += numbers
        self.begun.difference_update(numbers)

    def stop(self, trouble: TemporaryFailure) -> None:
        """Nothing more in this round."""
        self.todo = []
        if self._outcome.trouble is None:
            self._outcome.trouble = trouble


class _Freshness:
    """Touches the dotlocks of a round that takes long, because it is large."""

    def __init__(self, locked: Sequence[LockedMailbox]) -> None:
        self._locked = locked
        self._touched = time.monotonic()

    def keep(self) -> None:
        now = time.monotonic()
        if now - self._touched > _FRESH:
            self._touched = now
            for mailbox in self._locked:
                mailbox.touch()

    def keeping(self, head: bytes, pieces: Iterable[bytes | Extent]) -> Generator[bytes | Extent, None, None]:
        """The octets of one copy."""
        yield head
        for piece in pieces:
            self.keep()
            yield piece
