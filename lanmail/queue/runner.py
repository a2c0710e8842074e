"""The queue: takes over every message that comes in, hands each recipient on, and lets go of none before it had its due.

A message that was just admitted is in memory and on its way at once. Whatever else waits is in the journal, which is looked through every
``queue_run_delay`` seconds, and when something is due earlier. Neither a start nor ``flush`` fires all of it: mailboxes are read in
portions, one portion at a time and only while memory has room (backlog.py, mailboxes.py), and delivered by a few threads (rounds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from lanmail.bell import Bell
from lanmail.interfaces import InThread, Tell, User, Users, let_others
from lanmail.queue.arrivals import Arrivals
from lanmail.queue.backlog import Backlog
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.clock import KeptClock, QueueClock
from lanmail.queue.departures import Departures
from lanmail.queue.flushing import Checkpoints, Flushing
from lanmail.queue.mailboxes import OCTETS_HERE, Mailboxes
from lanmail.queue.notices import Notices, Reports
from lanmail.queue.rounds import Delivery, Rounds, Undelivered
from lanmail.queue.schedule import Schedule
from lanmail.queue.setbacks import Setbacks
from lanmail.queue.under_way import UnderWay
from lanmail.spool.entries import Listed, Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder, storage_failure
from lanmail.spool.journal import Journal
from lanmail.status import TemporaryFailure

# Seconds between two looks, whatever is due in between: a look reads an index of all that waits. An administrator waits less.
LEAST_BETWEEN_LOOKS = 5.0
LEAST_WHEN_ASKED = 1.0
# Mailboxes with mail that are looked at in one turn of the event loop: 5 ms.
NOTICED_AT_ONCE = 1000


class Runner:
    """The queue, running.

    users: who has a mailbox; also: who has one besides (root, whose mail nobody reads). clock: the reactor's, for timers; queue_clock:
    by which mail ages. call_from_thread: the reactor's callFromThread. tell: adds to a message's story. undelivered: hears of
    mailboxes that cannot be used.

    queue_run_delay: seconds between two looks through the journal. patience: seconds for which a mailbox locked by another program is
    tried before its mail is deferred. rounds: threads that deliver. room: octets of mail in memory. checkpoint_interval, in seconds, and
    checkpoint_messages: how soon the mailboxes are flushed.
    """

    def __init__(
        self,
        journal: Journal,
        incoming: IncomingFolder,
        delivery: Delivery,
        checkpoints: Checkpoints,
        reports: Reports,
        users: Users,
        *,
        also: Collection[User] = (),
        in_thread: InThread,
        clock: IReactorTime,
        queue_clock: QueueClock,
        call_from_thread: Callable[[Callable[[], None]], object],
        tell: Tell,
        schedule: Schedule,
        undelivered: Undelivered = lambda mailbox, status, why: None,
        queue_run_delay: float = 300.0,
        patience: float = 20.0,
        rounds: int = 4,
        room: int = OCTETS_HERE,
        checkpoint_interval: float = 1.0,
        checkpoint_messages: int = 1000,
    ) -> None:
        self._journal = journal
        self._incoming = incoming
        self._in_thread = in_thread
        self._clock = clock
        kept_clock = self._queue_clock = KeptClock(queue_clock, journal)
        self._now = now = queue_clock.seconds
        self._schedule = schedule

        bell = self._bell = Bell(call_from_thread)
        chronicle = self._chronicle = Chronicle(tell)
        mailboxes = self._mailboxes = Mailboxes(room)
        arrivals = self._arrivals = Arrivals(mailboxes, chronicle, lambda: rounds_.wake(), clock)
        departures = Departures(journal, in_thread, chronicle)
        notices = self._notices = Notices(
            reports, journal, bell, in_thread, clock, kept_clock, chronicle, departures, arrivals.take, schedule
        )
        setbacks = Setbacks(journal, bell, now, schedule, chronicle, notices, self._look_at, lambda: rounds_.pause())
        self._flushing = Flushing(
            checkpoints,
            bell,
            in_thread,
            clock,
            kept_clock,
            interval=checkpoint_interval,
            messages=checkpoint_messages,
        )
        rounds_ = self._rounds = Rounds(
            mailboxes,
            Backlog(journal, mailboxes, users, also, in_thread, now, setbacks),
            delivery,
            journal,
            in_thread,
            clock,
            now,
            chronicle,
            departures,
            notices,
            setbacks,
            patience=patience,
            rounds=rounds,
            delivered=self._flushing.delivered,
            undelivered=undelivered,
        )
        self._coming: list[Callable[[], None]] = []
        self._delay = queue_run_delay
        self._looking = UnderWay()
        self._telling = UnderWay()
        self._look_call: IDelayedCall | None = None
        self._looked = float("-inf")  # when the last look began, and
        self._told = float("-inf")  # when it was looked for what senders must be told, and
        self._due = float("inf")  # when the next one is to, both on the queue's clock
        self._stopped = True

    def adopt(self, *, queue_run_delay: float, patience: float) -> None:
        """A reload: these hold from the next look through the queue on."""
        self._delay = queue_run_delay
        self._rounds.patience = patience

    # what comes in

    async def accept(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None:
        """The message is ours: on stable storage, and on its way. Raises TemporaryFailure, and then nothing of it is kept.

        It does not wait for the delivery. Without recipients there is none: it is only told about. It may be called before
        ``start``, and after ``stop``: the next look finds it.
        """
        if not recipients:
            self._chronicle.accepted(message, 0)
            return
        if content.name is not None:
            try:
                await self._in_thread(self._incoming.sync, content)
            except OSError as error:
                raise storage_failure(error) from error
        now = self._queue_clock.at_admission()
        admitted: Deferred[None] = Deferred()

        def hear(done: Future[list[int]]) -> None:
            # Here and not behind the await: the message is ours, whether or not anybody still waits for the answer.
            error = done.exception()
            if error is not None:
                admitted.errback(Failure(error))
                return
            self._arrivals.take(message, recipients, content, done.result(), now)
            admitted.callback(None)

        self._coming.append(
            lambda: self._bell.when_done(self._journal.admit(message, recipients, content, now=now), hear)
        )
        if self._stopped:
            self._admit()
        elif len(self._coming) == 1:
            self._clock.callLater(0, self._admit)
        await admitted

    def _admit(self) -> None:
        """Everything that came whole in one turn of the event loop, together: one transaction, although the journal's thread is awake."""
        coming, self._coming = self._coming, []
        with self._journal.together():
            for admit in coming:
                admit()

    # running

    def start(self) -> None:
        """Begin to deliver, and look through what is left from the last run."""
        self._stopped = False
        self._rounds.start()
        self._flushing.start()
        self._begin_look()

    async def stop(self) -> None:
        """Nothing new is begun; what is under way ends; the mailboxes are flushed, and the clock is kept. The journal stays open."""
        self._stopped = True
        self._admit()
        self._arrivals.finish()
        call, self._look_call = self._look_call, None
        if call is not None:
            call.cancel()
        await self._rounds.stop()
        await self._notices.stop()
        await self._looking.ended()
        await self._telling.ended()
        await self._flushing.stop()
        self._arrivals.finish()

    def look(self) -> None:
        """Something may be due that we do not know of: it is looked soon, and once however often this is called in a second."""
        self._look_at(self._now(), LEAST_WHEN_ASKED)

    def _look_at(self, due: float, least: float = LEAST_BETWEEN_LOOKS) -> None:
        """Look at that time of the queue's clock, ``least`` seconds after the last look, if no look comes sooner."""
        if self._stopped:
            return
        if self._looking:  # it ends with the next one being arranged
            self._due = min(self._due, due)
            return
        now = self._now()
        seconds = max(due - now, self._looked + least - now, 0.0)
        if self._look_call is not None:
            if self._look_call.getTime() <= self._clock.seconds() + seconds:
                return
            self._look_call.cancel()
        self._look_call = self._clock.callLater(seconds, self._begin_look)

    def _begin_look(self) -> None:
        call, self._look_call = self._look_call, None
        if call is not None and call.active():
            call.cancel()
        self._looked = self._now()
        self._due = self._looked + self._delay
        self._looking(self._look_through(), "looking through the queue", lambda: self._look_at(self._due))

    async def _look_through(self) -> None:
        self._mailboxes.tidy(self._clock.seconds() - self._rounds.patience - self._schedule.minimal)
        try:
            waiting = await self._in_thread(self._journal.waiting)
            now = self._now()
            for count, (name, _, due) in enumerate(waiting, 1):
                if count % NOTICED_AT_ONCE == 0:
                    await let_others(self._in_thread)
                if due <= now and not self._mailboxes.notice(name, due, now):
                    due = now + LEAST_BETWEEN_LOOKS
                if due > now:
                    self._due = min(self._due, due)
            self._rounds.wake()
            # Beside it: to tell a thousand senders may take longer than the time to the next look.
            if now - self._told >= self._delay and not self._telling and not self._stopped:
                self._told = now
                self._telling(self._tell(), "telling senders")
        except TemporaryFailure:
            pass  # the journal has said so itself, and the next look comes

    async def _tell(self) -> None:
        try:
            await self._notices.look()
        except TemporaryFailure:
            pass  # the same

    # what an administrator asks. ids: queue ids, None for all; by: the uid of whoever asks. Each returns those it did something to, and
    # raises TemporaryFailure.

    async def listing(self, after: int, limit: int) -> list[Listed]:
        """A page of the queue (Journal.listing)."""
        return await self._in_thread(self._journal.listing, after, limit)

    async def show(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        """One message (Journal.find)."""
        return await self._in_thread(self._journal.find, queue_id)

    async def flush(self, ids: Collection[str] | None, by: int) -> list[str]:
        """Deferred recipients are due now, and mailboxes that were locked get all our patience once more."""
        flushed = await self._bell.outcome(self._journal.flush(ids, now=self._now()))
        for mailbox in self._mailboxes:
            mailbox.busy_since = None
        self.look()
        return flushed

    async def hold(self, ids: Collection[str] | None, by: int) -> list[str]:
        """They are not tried, and do not expire."""
        return await self._ordered("held", self._journal.hold(ids), by)

    async def release(self, ids: Collection[str] | None, by: int) -> list[str]:
        """They wait again."""
        return await self._ordered("released", self._journal.release(ids), by)

    async def requeue(self, ids: Collection[str] | None, by: int) -> list[str]:
        """As if they had come in now."""
        return await self._ordered("requeued", self._journal.requeue(ids, now=self._queue_clock.at_admission()), by)

    async def delete(self, ids: Collection[str] | None, by: int) -> list[str]:
        """Gone, and nobody is told."""
        return await self._ordered("deleted", self._journal.delete(ids), by)

    async def _ordered(self, kind: str, done: Future[list[str]], by: int) -> list[str]:
        queue_ids = await self._bell.outcome(done)
        # With ALL these may be a hundred thousand.
        await self._in_thread(self._chronicle.ordered, kind, queue_ids, by)
        self.look()
        return queue_ids
