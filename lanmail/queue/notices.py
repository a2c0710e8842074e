"""What senders are told: that a message failed, that it is late, that it arrived. When, and in which groups; the text is bounce.py's.

A row of the journal is away in the same transaction that has the report about it, so nothing here needs to last: what a crash, a full
disk or a name service stops is found in the journal again, by ``look`` or by the next try of what failed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.bell import Bell
from lanmail.interfaces import InThread
from lanmail.maillog import Logger
from lanmail.queue.bounce import Kind
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.clock import KeptClock
from lanmail.queue.departures import Departures
from lanmail.queue.mail import Copy
from lanmail.queue.schedule import Schedule
from lanmail.queue.under_way import UnderWay
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.spool.journal import Journal
from lanmail.status import Status, TemporaryFailure

# Seconds between the first of a message's recipients that failed, or arrived, and the report about it: the others are usually not far.
GATHER = 1.0
# Recipients that are gathered at a time. What comes when there are so many is found in the journal later.
MOST_GATHERED = 5_000
# Reports that are made side by side; each waits for a flush of the disk, which they share.
AT_ONCE = 20
# Rows that are read from the journal at a time.
PAGE = 500

ARRIVED = Status(250, "2.0.0", "delivered to mailbox")
NOT_KNOWN_WHY = Status(451, "4.3.0", "delivery was not possible")

Added = tuple[Message, Sequence[Recipient], Content]

_log = Logger("bounce")


class Reports(Protocol):
    """bounce.Reports, as far as it is wanted here."""

    async def about(
        self, kind: Kind, message: Message, recipients: Sequence[tuple[Recipient, Status]], content: Content
    ) -> list[tuple[Message, list[Recipient], Content]]: ...


@dataclass(slots=True)
class _Notice:
    """About one message, of one kind. Its text is read when it is told: thousands may be gathered."""

    kind: Kind
    message: Message
    recipients: list[tuple[Recipient, Status]] = field(default_factory=list)


class Notices:
    """Tells senders what became of their mail.

    hand_on: takes over the reports that were admitted: the message, its recipients, its content, their numbers, and when it came.
    """

    def __init__(
        self,
        reports: Reports,
        journal: Journal,
        bell: Bell,
        in_thread: InThread,
        clock: IReactorTime,
        queue_clock: KeptClock,
        chronicle: Chronicle,
        departures: Departures,
        hand_on: Callable[[Message, Sequence[Recipient], Content, Sequence[int], float], None],
        schedule: Schedule,
    ) -> None:
        self._reports = reports
        self._journal = journal
        self._bell = bell
        self._in_thread = in_thread
        self._clock = clock
        self._queue_clock = queue_clock
        self._chronicle = chronicle
        self._departures = departures
        self._hand_on = hand_on
        self._schedule = schedule
        self._gathered: dict[tuple[Kind, str], _Notice] = {}
        self._numbers: set[int] = set()  # of all that is gathered, or being told at this moment
        self._timer: IDelayedCall | None = None
        self._telling = UnderWay()
        self._stopped = False

    # from the rounds

    def failed(self, copy: Copy, status: Status) -> bool:
        """Its sender is told soon. Until then its row waits, deferred, and nothing is lost where this comes to nothing.

        False where there is no room, or no time left, to tell anybody: then it is tried once more.
        """
        return self._gather("failed", copy, status)

    def delivered(self, copy: Copy) -> None:
        """Its sender is told soon, where they asked for it."""
        if "SUCCESS" in copy.recipient.notify:
            self._gather(_arrival(copy.recipient), copy, ARRIVED)

    # from the journal

    async def look(self) -> None:
        """What the journal has to be told of: what expired, what is late, and who has arrived. Raises TemporaryFailure."""
        schedule, now = self._schedule, self._queue_clock.seconds()
        await self._page("failed", lambda: self._overdue(now))
        if schedule.warning > 0:
            await self._page("delayed", lambda: self._journal.late(now, schedule.warning, PAGE))
        await self._page("delivered", lambda: self._journal.owed(PAGE))

    async def stop(self) -> None:
        """Nothing is begun any more; what is being told ends. The journal remembers the rest."""
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        await self._telling.ended()

    # gathered

    def _gather(self, kind: Kind, copy: Copy, status: Status) -> bool:
        if self._stopped or len(self._numbers) >= MOST_GATHERED or copy.number in self._numbers:
            return False
        message = copy.mail.message
        notice = self._gathered.setdefault((kind, message.queue_id), _Notice(kind, message))
        notice.recipients.append((copy.row, status))
        self._numbers.add(copy.number)
        self._tell_soon()
        return True

    def _tell_soon(self) -> None:
        if self._gathered and self._timer is None and not self._telling and not self._stopped:
            self._timer = self._clock.callLater(GATHER, self._tell_gathered)

    def _tell_gathered(self) -> None:
        self._timer = None
        notices, self._gathered = list(self._gathered.values()), {}
        self._telling(self._tell_all(notices), "telling senders", self._tell_soon)

    # read

    def _overdue(self, now: float) -> list[tuple[Message, Recipient]]:
        """What was tried in vain since it expired, and there was no room then to tell its sender."""
        schedule = self._schedule
        rows = self._journal.overdue(now, schedule.lifetime, schedule.bounce_lifetime, PAGE)
        return [(message, to) for message, to in rows if to.due > now and self._given_up(to)]

    def _given_up(self, to: Recipient) -> bool:
        return self._schedule.given_up(to.due, to.since, null_sender=to.sender.is_null)

    async def _page(self, kind: Kind, read: Callable[[], list[tuple[Message, Recipient]]]) -> None:
        """Read and tell, as long as whole pages come and something comes of them."""
        while not self._stopped:
            rows = await self._in_thread(read)
            notices: dict[tuple[Kind, str], _Notice] = {}
            for message, recipient in rows:
                if recipient.number in self._numbers:
                    continue
                sort = _arrival(recipient) if kind == "delivered" else kind
                notice = notices.setdefault((sort, message.queue_id), _Notice(sort, message))
                status = ARRIVED if kind == "delivered" else recipient.reason or NOT_KNOWN_WHY
                notice.recipients.append((recipient, status))
            for notice in notices.values():
                self._numbers.update(recipient.number for recipient, _ in notice.recipients)
            told = await self._tell_all(list(notices.values()))
            if len(rows) < PAGE or not told:
                return

    # told

    async def _tell_all(self, notices: Sequence[_Notice]) -> int:
        """Some side by side; how many were told. Raises nothing."""
        told = 0
        for at in range(0, len(notices), AT_ONCE):
            for success, done in await _together(self._tell(notice) for notice in notices[at : at + AT_ONCE]):
                told += success and bool(done)
        return told

    async def _tell(self, notice: _Notice) -> bool:
        """Whether it was. Raises nothing."""
        numbers = [recipient.number for recipient, _ in notice.recipients]
        try:
            return not self._stopped and await self._exchange(notice)
        except TemporaryFailure as failure:
            _log.warn(
                "warning: {id}: its sender cannot be told yet what became of it: {status}",
                id=notice.message.queue_id,
                status=failure.status,
            )
        except Exception:
            _log.failure("while telling what became of {id}", id=notice.message.queue_id)
        finally:
            self._numbers.difference_update(numbers)
        return False

    def _text(self, notice: _Notice) -> Content | None:
        """Of the message, or None where there is nothing to tell any more: an administrator was faster. In a thread.

        Of those who were put on hold or requeued meanwhile nothing is told: they wait, and their life has not ended.
        """
        if notice.kind not in ("failed", "delayed"):
            return self._journal.content(notice.message.queue_id)
        found = self._journal.find(notice.message.queue_id)
        if found is None:
            return None
        since = {row.number: row.since for row in found[1] if not row.held}
        notice.recipients = [(to, status) for to, status in notice.recipients if since.get(to.number) == to.since]
        return found[2] if notice.recipients else None

    async def _exchange(self, notice: _Notice) -> bool:
        kind, message = notice.kind, notice.message
        text = await self._in_thread(self._text, notice)
        if text is None:
            return False
        numbers = [recipient.number for recipient, _ in notice.recipients]
        added: list[Added] = list(await self._reports.about(kind, message, notice.recipients, text))
        admitted: list[list[int]] = []
        now = self._queue_clock.at_admission()
        try:
            admitted = await self._bell.outcome(
                self._journal.exchange(
                    numbers if kind == "failed" else (),
                    added,
                    now=now,
                    reported=numbers if kind in ("delivered", "expanded") else (),
                    warned=numbers if kind == "delayed" else (),
                )
            )
        finally:
            if len(admitted) < len(added):
                # Not taken, or not known to be: a file that the journal keeps is not removed by this.
                await self._in_thread(_discard, added)
        if added and not admitted:
            return False  # the same
        if kind == "failed":
            if any(status.code < 500 for _, status in notice.recipients):
                self._chronicle.expired(message)
            # There may be thousands.
            await self._in_thread(self._chronicle.failed, message, notice.recipients, now)
        for (report, recipients, content), report_numbers in zip(added, admitted, strict=True):
            to = recipients[0].original
            self._chronicle.reported(kind, message, [recipient for recipient, _ in notice.recipients], report, to)
            self._hand_on(report, recipients, content, report_numbers, now)
        if kind == "failed":
            await self._departures.ask([message.queue_id])
        return True


def _arrival(recipient: Recipient) -> Kind:
    """How an arrival is told (RFC 3461, 5.2.7.2): of a list's member, that the list was served, and not who is in it."""
    return "expanded" if recipient.expanded else "delivered"


def _discard(added: Sequence[Added]) -> None:
    for _, _, content in added:
        content.discard()


async def _together(work: Iterable[Coroutine[Any, Any, bool]]) -> list[tuple[bool, bool]]:
    return await DeferredList([Deferred.fromCoroutine(one) for one in work], consumeErrors=True)
