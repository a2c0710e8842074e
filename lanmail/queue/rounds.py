"""Rounds: some mailboxes, some of the mail of each, one thread that delivers it, and then what became of it.

One small round is under way at a time, and mail gathers for the next: the busier it is, the more messages share a lock, a transaction, a
flush. Several at once would only wait for each other, for the interpreter and for the journal (a message cost a third more with four). But
where one takes long, because a disk or another program holds it up, the next begins beside it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.delivery.batch import Batch, Entry, Outcome
from lanmail.interfaces import InThread
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure
from lanmail.mailbox.turns import WithColleague
from lanmail.maillog import Logger
from lanmail.queue.backlog import MAILBOXES_TOGETHER, Backlog
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.departures import Departures
from lanmail.queue.mail import Copy
from lanmail.queue.mailboxes import OCTETS_IN_ROUND, Mailbox, Mailboxes, Round
from lanmail.queue.notices import Notices
from lanmail.queue.setbacks import Setback, Setbacks
from lanmail.queue.under_way import UnderWay
from lanmail.spool.journal import Journal
from lanmail.status import Status, TemporaryFailure

# Seconds between two tries at a mailbox that another program holds: the first, and the most. mutt and procmail hold
# theirs for milliseconds; a user who has the mailbox open in an old Dovecot, for minutes.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# The same where another worker has it: for a round, or until it has put right what it left there when it died.
COLLEAGUES_PAUSE = 0.005
COLLEAGUES_REPAIR = 0.25
# Seconds after which it is tried whether the journal works again.
TROUBLE_PAUSE = 2.0
# Seconds after which a round is held up by something, and others do not wait for it.
HELD_UP = 0.1

_UNEXPECTED = TemporaryFailure(Status(451, "4.3.0", "Error: delivery failed unexpectedly"))

_log = Logger("local")


Undelivered = Callable[[str, Status, str], None]
"""Hears the name of a mailbox to which nothing can be delivered, although no program holds it; the status; and why, for postmaster."""


class Delivery(Protocol):
    """delivery.local.LocalDelivery, as far as it is wanted here."""

    def deliver(self, batches: Sequence[Batch]) -> list[Outcome]:
        """One round, in a thread. Locks are tried, never waited for."""


class Rounds:
    """Gives each mailbox its turn.

    rounds: threads at once. One of them, where there are more, is never given a large message. patience: seconds for which a mailbox
    that another program holds is tried every second; after that what was for it is deferred. delivered: called with the number of
    copies of a round that stand in their mailboxes. undelivered: called where postmaster may have to put something right.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        backlog: Backlog,
        delivery: Delivery,
        journal: Journal,
        in_thread: InThread,
        clock: IReactorTime,
        now: Callable[[], float],
        chronicle: Chronicle,
        departures: Departures,
        notices: Notices,
        setbacks: Setbacks,
        *,
        patience: float,
        rounds: int,
        delivered: Callable[[int], None],
        undelivered: Undelivered,
    ) -> None:
        self._mailboxes = mailboxes
        self._backlog = backlog
        self._delivery = delivery
        self._journal = journal
        self._in_thread = in_thread
        self._clock = clock
        self._now = now
        self._chronicle = chronicle
        self._departures = departures
        self._notices = notices
        self._setbacks = setbacks
        self.patience = patience
        self._rounds = rounds
        self._delivered = delivered
        self._undelivered = undelivered
        self._under_way = UnderWay()
        self._turn: IDelayedCall | None = None
        self._small = self._large = 0  # rounds
        self._latest: Round | None = None  # the small one that is likely to end soon, and
        self._held_up = 0.0  # when it is not any more, in seconds of the reactor's clock
        self._watch: IDelayedCall | None = None  # on it, while more wait
        self._loading = False
        self._pausing = False  # all of it, and not one mailbox
        self._paused: dict[Mailbox, IDelayedCall] = {}
        self._stopped = True

    def start(self) -> None:
        self._stopped = False
        self.wake()

    async def stop(self) -> None:
        """No new round; those under way end, and what became of them is written down."""
        self._stopped = True
        for call in (*self._paused.values(), self._turn, self._watch):
            if call is not None and call.active():
                call.cancel()
        self._turn = self._watch = None
        self._paused.clear()
        await self._under_way.ended()

    def wake(self) -> None:
        """There may be something to do. Never waits; however often it is called, it is looked at once, when the event loop comes by."""
        if self._turn is None and not self._stopped:
            self._turn = self._clock.callLater(0, self._take_turns)

    def pause(self) -> None:
        """The journal does not work: nothing for a moment."""
        if self._stopped:
            return
        if self._turn is not None:
            self._turn.cancel()
        self._pausing = True
        self._turn = self._clock.callLater(TROUBLE_PAUSE, self._take_turns)

    def _take_turns(self) -> None:
        self._turn = None
        self._pausing = False
        if self._journal.trouble is not None:
            self.pause()
            return
        while self._small + self._large < self._rounds and not self._pausing:
            small = self._small_may_begin()
            taken = self._mailboxes.next_round(small=small, large=self._large < max(1, self._rounds - 1))
            if not taken:
                break
            self._begin(taken)
        if not self._loading and not self._pausing and self._mailboxes.has_room:
            wanting = self._mailboxes.next_wanting(MAILBOXES_TOGETHER)
            if wanting:
                self._loading = True
                self._under_way(self._load(wanting), "reading the queue", self._loaded)

    def _small_may_begin(self) -> bool:
        """Whether none is under way that is likely to end soon. It is looked again when it should have."""
        left = self._held_up - self._clock.seconds()
        if self._latest is None or left <= 0:
            return True
        if self._watch is None:
            self._watch = self._clock.callLater(left, self._look_again)
        return False

    def _look_again(self) -> None:
        self._watch = None
        self.wake()

    # reading

    async def _load(self, wanting: Sequence[Mailbox]) -> None:
        try:
            await self._backlog.load(wanting)
        except TemporaryFailure:
            self.pause()
        except Exception:
            self.pause()
            raise

    def _loaded(self) -> None:
        self._loading = False
        self.wake()

    # a round

    def _begin(self, taken: Round) -> None:
        large = taken[0][1][0].mail.content.size > OCTETS_IN_ROUND
        if large:
            self._large += 1
        else:
            self._small += 1
            self._latest, self._held_up = taken, self._clock.seconds() + HELD_UP
        self._under_way(self._round(taken), "delivering", partial(self._ended, taken, large))

    def _ended(self, taken: Round, large: bool) -> None:
        if large:
            self._large -= 1
        else:
            self._small -= 1
        if self._latest is taken:
            self._latest = None
        self.wake()

    async def _round(self, taken: Round) -> None:
        batches = [_batch(mailbox, copies) for mailbox, copies in taken]
        try:
            outcomes = await self._in_thread(self._delivery.deliver, batches)
        except Exception:
            _log.failure("while delivering to {users}", users=", ".join(mailbox.name for mailbox, _ in taken))
            outcomes = [_failed(batch) for batch in batches]
            for batch in batches:
                self._undelivered(
                    batch.user.name, _UNEXPECTED.status, "an error of the program, which the log tells whole"
                )
        of = {outcome.user.name: outcome for outcome in outcomes}
        unsure: set[str] = set()
        delivered = 0
        for mailbox, copies in taken:
            delivered += self._settle(mailbox, copies, of[mailbox.name], unsure)
        if delivered:
            self._delivered(delivered)
        if unsure:
            await self._departures.ask(unsure)

    def _settle(self, mailbox: Mailbox, copies: Sequence[Copy], outcome: Outcome, unsure: set[str]) -> int:
        """How many were delivered. unsure: gets the queue ids of which we do not know whether that was all."""
        now = self._now()
        done, failures = set(outcome.delivered), dict(outcome.failed)
        left: list[Copy] = []
        setbacks: list[Setback] = []
        for copy in copies:
            if copy.number in done:
                self._chronicle.delivered(copy, now)
                self._notices.delivered(copy)
                if not self._departures.delivered(copy.mail):
                    unsure.add(copy.mail.message.queue_id)
            elif copy.number in failures:
                setbacks.append((copy, failures[copy.number]))
            elif outcome.trouble is not None:
                left.append(copy)
                continue
            # Else the journal said no to it: an administrator holds it, or has deleted it.
            self._mailboxes.done_with(mailbox, copy)
        locked = False
        if outcome.trouble is None:
            mailbox.busy_since = None
        else:
            more, locked = self._trouble(mailbox, left, outcome.trouble)
            setbacks += more
        if setbacks:
            # Until the journal knows, these are due there, and the mailbox must not be read.
            self._under_way.begin()
            self._setbacks.note(setbacks, partial(self._noted, mailbox, locked))
        else:
            self._over(mailbox, locked)
        return len(done)

    def _noted(self, mailbox: Mailbox, locked: bool, well: bool) -> None:
        if not well:
            mailbox.backlog = True
        self._over(mailbox, locked)
        self._under_way.end()

    def _trouble(self, mailbox: Mailbox, left: list[Copy], trouble: TemporaryFailure) -> tuple[list[Setback], bool]:
        """With the mailbox as a whole. What is deferred for it, and whether it is locked and tried again soon."""
        if isinstance(trouble, WithColleague):
            # Nobody has to be told, and nothing is deferred: it waits for a moment, or for as long as that worker needs to be there again.
            mailbox.pause = COLLEAGUES_REPAIR if trouble.left else COLLEAGUES_PAUSE
            self._mailboxes.put_back(mailbox, left)
            return [], True
        broken = trouble if isinstance(trouble, MailboxFailure) and not isinstance(trouble, MailboxBusy) else None
        if not isinstance(trouble, MailboxFailure) and self._journal.trouble is not None:
            self._mailboxes.put_back(mailbox, left)  # nobody can be delivered to
            self.pause()
            return [], False
        # Locked; or the journal said no to this mailbox and works otherwise.
        if broken is None and self._has_patience(mailbox):
            self._mailboxes.put_back(mailbox, left)
            return [], True
        if broken is not None:
            self._undelivered(mailbox.name, broken.status, broken.detail)
        # What waits behind these would fare no better. Whatever comes next has one try, which may find that the trouble is over.
        left += self._mailboxes.emptied(mailbox)
        for copy in left:
            self._mailboxes.done_with(mailbox, copy)
        return [(copy, trouble) for copy in left], False

    def _has_patience(self, mailbox: Mailbox) -> bool:
        now = self._clock.seconds()
        if mailbox.busy_since is None:
            mailbox.busy_since = now
            mailbox.pause = FIRST_PAUSE
        else:
            mailbox.pause = min(2 * mailbox.pause, LONGEST_PAUSE)
        return now - mailbox.busy_since < self.patience

    def _over(self, mailbox: Mailbox, locked: bool) -> None:
        """All is said of what a round did with this mailbox."""
        if locked and not self._stopped:
            self._mailboxes.paused(mailbox)
            # Not in step with a program that tries at a fixed interval.
            seconds = mailbox.pause * random.uniform(0.5, 1.5)  # noqa: S311
            self._paused[mailbox] = self._clock.callLater(seconds, self._resume, mailbox)
            return
        self._mailboxes.rest(mailbox)
        self.wake()

    def _resume(self, mailbox: Mailbox) -> None:
        del self._paused[mailbox]
        self._mailboxes.rest(mailbox)
        self.wake()


def _entry(copy: Copy) -> Entry:
    return Entry(copy.number, copy.mail.message.queue_id, copy.recipient.head, copy.mail.content, copy.recipient)


def _batch(mailbox: Mailbox, copies: Sequence[Copy]) -> Batch:
    assert mailbox.user is not None  # known with its first copy
    return Batch(mailbox.user, [_entry(copy) for copy in copies])


def _failed(batch: Batch) -> Outcome:
    return Outcome(batch.user, [], [(entry.number, _UNEXPECTED) for entry in batch.entries], None)
