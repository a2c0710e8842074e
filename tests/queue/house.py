"""A queue, running, between a journal and mailboxes that remember; time passes when the test says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from lanmail.address import NULL_SENDER, Address
from lanmail.delivery.batch import Batch, Outcome
from lanmail.interfaces import User
from lanmail.mailbox.locks import MailboxBusy
from lanmail.queue.bounce import Kind
from lanmail.queue.clock import QueueClock
from lanmail.queue.desk import listed
from lanmail.queue.runner import Runner
from lanmail.queue.schedule import Schedule
from lanmail.spool.entries import Deferral, Intent, Listed, Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import DeliveryFailure, Status, TemporaryFailure

T = TypeVar("T")

DISK_FULL = TemporaryFailure(Status(452, "4.3.1", "Insufficient system storage"))
PAGES = ("overdue", "late", "owed")


def user(name: str) -> User:
    return User(name, 1000, 1000)


def address(text: str) -> Address:
    local, _, domain = text.partition("@")
    return Address(local, domain or "lan.example") if local else NULL_SENDER


def message(queue_id: str, sender: str = "julien", size: int = 10) -> Message:
    return Message(queue_id, address(sender), 0.0, size, f"<{queue_id}@lan.example>")


def recipient(name: str, sender: str = "julien", **facts: Any) -> Recipient:
    to = address(name)
    return Recipient(user(name), b"From julien\n", address(sender), to, to, **facts)


def content(size: int = 10) -> Content:
    """Large ones are files of which nobody reads a line."""
    return Content(size, b"x" * size) if size <= 65536 else Content(size, name="222CF6745D", path="/nowhere")


@dataclasses.dataclass
class Row:
    message: Message
    recipient: Recipient
    content: Content
    begun: bool = False
    standing: bool = False
    owed: bool = False

    @property
    def waits(self) -> bool:
        return not self.begun


class RememberedJournal:
    """spool.journal.Journal in a dictionary. trouble: as there; fails: names of methods that fail at the moment."""

    clock_at_start = 0.0

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.trouble: Status | None = None
        self.fails: set[str] = set()
        self.held_back: list[tuple[Future[Any], Any]] | None = None  # while it is a list, nobody hears of what is done
        self.calls: list[str] = []
        self.kept_clock: float | None = None
        self._number = 0

    def _done(self, name: str, result: T) -> Future[T]:
        future: Future[T] = Future()
        if self.held_back is None:
            future.set_result(result)
        else:
            self.held_back.append((future, result))
        return future

    def resolve(self) -> None:
        """Tell of what is held back."""
        held_back, self.held_back = self.held_back or [], None
        for future, result in held_back:
            future.set_result(result)

    def _fail(self, name: str) -> Future[Any] | None:
        self.calls.append(name)
        if name not in self.fails and self.trouble is None:
            return None
        future: Future[Any] = Future()
        future.set_exception(DISK_FULL)
        return future

    def _admit(self, message: Message, recipients: Sequence[Recipient], content: Content, now: float) -> list[int]:
        numbers = []
        for one in recipients:
            self._number += 1
            row = dataclasses.replace(one, number=self._number, since=now, due=now)
            self.rows[self._number] = Row(message, row, content, owed="SUCCESS" in one.notify)
            numbers.append(self._number)
        return numbers

    def admit(
        self, message: Message, recipients: Sequence[Recipient], content: Content, *, now: float
    ) -> Future[list[int]]:
        return self._fail("admit") or self._done("admit", self._admit(message, recipients, content, now))

    def exchange(
        self,
        gone: Sequence[int],
        add: Sequence[tuple[Message, Sequence[Recipient], Content]],
        *,
        now: float,
        reported: Sequence[int] = (),
        warned: Sequence[int] = (),
    ) -> Future[list[list[int]]]:
        if failed := self._fail("exchange"):
            return failed
        there = [n for n in gone if n in self.rows and self.rows[n].waits]
        owed = [n for n in reported if n in self.rows and self.rows[n].owed]
        late = [n for n in warned if n in self.rows and not self.rows[n].recipient.warned]
        if (gone or reported or warned) and not (there or owed or late):
            return self._done("exchange", [])
        for number in there:
            del self.rows[number]
        for number in owed:
            self.rows[number].owed = False
        for number in late:
            self._change(number, warned=True)
        return self._done("exchange", [self._admit(*added, now) for added in add])

    def _change(self, number: int, **facts: Any) -> None:
        row = self.rows[number]
        row.recipient = dataclasses.replace(row.recipient, **facts)

    def intend(self, intents: Sequence[Intent]) -> Future[set[int]]:
        if failed := self._fail("intend"):
            return failed
        accepted = {i.number for i in intents if i.number in self.rows and self._may_begin(self.rows[i.number])}
        for number in accepted:
            self.rows[number].begun = True
        return self._done("intend", accepted)

    def _may_begin(self, row: Row) -> bool:
        return not row.begun and not row.recipient.held

    def mark(self, numbers: Sequence[int]) -> Future[None]:
        for number in numbers:
            self.rows[number].standing = True
        return self._done("mark", None)

    def unbegin(self, numbers: Sequence[int]) -> Future[None]:
        for number in numbers:
            self.rows[number].begun = False
        return self._done("unbegin", None)

    def defer(self, deferrals: Sequence[Deferral]) -> Future[None]:
        if failed := self._fail("defer"):
            return failed
        for one in deferrals:
            if one.number in self.rows and self.rows[one.number].waits:
                tries = self.rows[one.number].recipient.tries + 1
                self._change(one.number, due=one.due, reason=one.reason, tries=tries)
        return self._done("defer", None)

    def forget(self, numbers: Sequence[int]) -> Future[None]:
        for number in numbers:
            if not self.rows[number].owed:
                del self.rows[number]
        return self._done("forget", None)

    def clock(self, seconds: float) -> Future[None]:
        self.kept_clock = seconds
        return self._done("clock", None)

    # the queue command

    def _ordered(self, ids: Collection[str] | None, **facts: Any) -> Future[list[str]]:
        found = [n for n, row in self.rows.items() if row.waits and (ids is None or row.message.queue_id in ids)]
        for number in found:
            self._change(number, **facts)
        return self._done("", list(dict.fromkeys(self.rows[n].message.queue_id for n in found)))

    def hold(self, ids: Collection[str] | None) -> Future[list[str]]:
        return self._fail("hold") or self._ordered(ids, held=True)

    def release(self, ids: Collection[str] | None) -> Future[list[str]]:
        return self._fail("release") or self._ordered(ids, held=False)

    def requeue(self, ids: Collection[str] | None, *, now: float) -> Future[list[str]]:
        return self._fail("requeue") or self._ordered(ids, held=False, since=now, due=now, tries=0, reason=None)

    def flush(self, ids: Collection[str] | None, *, now: float) -> Future[list[str]]:
        return self._fail("flush") or self._ordered(ids, due=now)

    def delete(self, ids: Collection[str] | None) -> Future[list[str]]:
        if failed := self._fail("delete"):
            return failed
        done = self._ordered(ids)
        for number in [n for n, row in self.rows.items() if row.waits and row.message.queue_id in done.result()]:
            del self.rows[number]
        return done

    # reading

    def _read(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise DISK_FULL

    def _waiting(self) -> list[Row]:
        return [row for row in self.rows.values() if row.waits and not row.recipient.held]

    def waiting(self) -> list[tuple[str, int, float]]:
        self._read("waiting")
        found: dict[str, list[float]] = {}
        for row in self._waiting():
            found.setdefault(row.recipient.user.name, []).append(row.recipient.due)
        return [(name, len(dues), min(dues)) for name, dues in found.items()]

    def due(self, user: str, now: float, limit: int, octets: int) -> list[tuple[Message, Recipient, Content]]:
        self._read("due")
        mine = [row for row in self._waiting() if row.recipient.user.name == user and row.recipient.due <= now]
        found: list[tuple[Message, Recipient, Content]] = []
        for row in sorted(mine, key=lambda row: (row.recipient.due, row.recipient.number))[:limit]:
            octets -= row.content.size
            if octets < 0 and found:
                break
            found.append((row.message, row.recipient, row.content))
        return found

    def owed(self, limit: int) -> list[tuple[Message, Recipient]]:
        self._read("owed")
        return [(row.message, row.recipient) for row in self.rows.values() if row.standing and row.owed][:limit]

    def _tried(self) -> list[Row]:
        return [row for row in self._waiting() if row.recipient.tries]

    def overdue(
        self, now: float, lifetime: float, bounce_lifetime: float, limit: int
    ) -> list[tuple[Message, Recipient]]:
        self._read("overdue")
        return [
            (row.message, row.recipient)
            for row in self._tried()
            if now - row.recipient.since >= (bounce_lifetime if row.message.sender.is_null else lifetime)
        ][:limit]

    def late(self, now: float, delay: float, limit: int) -> list[tuple[Message, Recipient]]:
        self._read("late")
        return [
            (row.message, row.recipient)
            for row in self._tried()
            if now - row.recipient.since >= delay and not row.recipient.warned
        ][:limit]

    def content(self, queue_id: str) -> Content | None:
        return next((row.content for row in self.rows.values() if row.message.queue_id == queue_id), None)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def find(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        rows = [row for row in self.rows.values() if row.message.queue_id == queue_id]
        if not rows:
            return None
        return rows[0].message, [row.recipient for row in rows if not row.standing], rows[0].content

    def unfinished(self, queue_ids: Collection[str]) -> set[str]:
        return {row.message.queue_id for row in self.rows.values() if not row.standing} & set(queue_ids)

    def listing(self, after: int, limit: int) -> list[Listed]:
        return [listed(row.message, [row.recipient]) for number, row in self.rows.items() if number > after][:limit]


class RememberingDelivery:
    """LocalDelivery into lists. locked: users whose mailbox another program holds; fails: what happens to a queue id, or to a user."""

    def __init__(self, journal: RememberedJournal) -> None:
        self.journal = journal
        self.boxes: dict[str, list[str]] = {}
        self.rounds: list[dict[str, list[str]]] = []
        self.locked: set[str] = set()
        self.troubles: dict[str, TemporaryFailure] = {}
        self.fails: dict[str, DeliveryFailure] = {}
        self.raises: Exception | None = None

    def deliver(self, batches: Sequence[Batch]) -> list[Outcome]:
        self.rounds.append({b.user.name: [entry.queue_id for entry in b.entries] for b in batches})
        if self.raises is not None:
            raise self.raises
        return [self._deliver(batch) for batch in batches]

    def _deliver(self, batch: Batch) -> Outcome:
        name = batch.user.name
        outcome = Outcome(batch.user)
        if name in self.locked:
            outcome.trouble = MailboxBusy(f"/var/mail/{name}", "pid 4711 (mutt)")
            return outcome
        outcome.failed = [(e.number, self.fails[e.queue_id]) for e in batch.entries if e.queue_id in self.fails]
        wanted = [entry for entry in batch.entries if entry.queue_id not in self.fails]
        if name in self.troubles:
            outcome.trouble = self.troubles[name]
            return outcome
        try:
            accepted = self.journal.intend([Intent(entry.number, "boot", 1, 2, 3) for entry in wanted]).result()
        except TemporaryFailure as failure:
            outcome.trouble = failure
            return outcome
        for entry in wanted:
            if entry.number in accepted:
                self.boxes.setdefault(name, []).append(entry.queue_id)
                outcome.delivered.append(entry.number)
        self.journal.mark(outcome.delivered)
        return outcome


class RememberingCheckpoints:
    """Forgets what stands in the journal."""

    def __init__(self, journal: RememberedJournal) -> None:
        self._journal = journal
        self.runs = 0
        self.raises: Exception | None = None

    @property
    def wanted(self) -> bool:
        return any(row.standing for row in self._journal.rows.values())

    def run(self) -> None:
        self.runs += 1
        if self.raises is not None:
            raise self.raises
        self._journal.forget([number for number, row in self._journal.rows.items() if row.standing])


class RememberingReports:
    """bounce.Reports: one to the sender, unless that is nobody."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, list[str]]] = []
        self.trouble: Exception | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    async def about(
        self, kind: Kind, message: Message, recipients: Sequence[tuple[Recipient, Status]], content: Content
    ) -> list[tuple[Message, list[Recipient], Content]]:
        if self.trouble is not None:
            raise self.trouble
        told = [f"{to.user.name} {status.enhanced}" for to, status in recipients]
        self.made.append((kind, message.queue_id, told))
        self.meanwhile()
        if message.sender.is_null:
            return []
        report = Message(f"{len(self.made):010d}", NULL_SENDER, 0.0, 10)
        return [(report, [recipient(message.sender.local, "")], Content(10, b"x" * 10))]


class KnownUsers:
    """Everybody is known, but for those who are gone."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.trouble: DeliveryFailure | None = None

    async def find(self, name: str) -> User | None:
        if self.trouble is not None:
            raise self.trouble
        return None if name in self.gone else user(name)


class Threads:
    """InThread at once; or, while ``closed`` names a function, whenever ``open`` is called."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.waiting: list[tuple[Deferred[Any], Any, Any]] = []

    def __call__(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        if work.__name__ not in self.closed:
            return maybeDeferred(work, *args, **kwargs)
        answer: Deferred[Any] = Deferred()
        self.waiting.append((answer, work, args))
        return answer

    def open(self) -> None:
        """What waits is done now; what comes later waits again."""
        waiting, self.waiting = self.waiting, []
        for answer, work, args in waiting:
            maybeDeferred(work, *args).chainDeferred(answer)


class Folder:
    """IncomingFolder that only syncs."""

    def __init__(self) -> None:
        self.synced: list[str | None] = []
        self.raises: OSError | None = None

    def sync(self, content: Content) -> None:
        if self.raises is not None:
            raise self.raises
        self.synced.append(content.name)


class House:
    """Started with ``start``; ``said`` is the story of every message."""

    def __init__(
        self,
        journal: RememberedJournal | None = None,
        schedule: Schedule = Schedule(),
        *,
        running: bool = True,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.journal = RememberedJournal() if journal is None else journal
        self.queue_clock = QueueClock(self.journal.clock_at_start, self.clock.seconds)
        self.delivery = RememberingDelivery(self.journal)
        self.checkpoints = RememberingCheckpoints(self.journal)
        self.reports = RememberingReports()
        self.users = KnownUsers()
        self.threads = Threads()
        self.folder = Folder()
        self.said: list[tuple[str, str, dict[str, str | float]]] = []
        facts: Any = {"patience": 20.0, "queue_run_delay": 300.0} | options
        self.runner = Runner(
            self.journal,  # type: ignore[arg-type]
            self.folder,  # type: ignore[arg-type]
            self.delivery,
            self.checkpoints,
            self.reports,
            self.users,
            in_thread=self.threads,
            clock=self.clock,
            queue_clock=self.queue_clock,
            call_from_thread=lambda call: call(),
            tell=self._tell,
            schedule=schedule,
            **facts,
        )
        if running:
            self.runner.start()
            self.turn()

    def _tell(self, kind: str, queue_id: str, /, **facts: str | float) -> None:
        self.said.append((kind, queue_id, facts))

    def story(self, queue_id: str) -> list[str]:
        return [kind for kind, of, _ in self.said if of == queue_id]

    def accept(
        self, queue_id: str, *names: str, sender: str = "julien", size: int = 10, **facts: Any
    ) -> Deferred[None]:
        """A message; it is not on its way before the event loop turns."""
        to = [recipient(name, sender, **facts) for name in names]
        answer = Deferred.fromCoroutine(self.runner.accept(message(queue_id, sender, size), to, content(size)))
        self.runner._admit()  # the turn in which it came is over
        return answer

    def turn(self, times: int = 20) -> None:
        """The event loop comes by a few times, and no time passes."""
        for _ in range(times):
            self.clock.advance(0)

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            self.turn(3)
            seconds -= step

    def has(self, name: str) -> list[str]:
        """What stands in that user's mailbox."""
        return self.delivery.boxes.get(name, [])
