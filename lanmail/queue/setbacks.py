"""What could not be delivered: tried again later, or never, and then its sender hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from lanmail.bell import Bell
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.mail import Copy
from lanmail.queue.notices import Notices
from lanmail.queue.schedule import Schedule
from lanmail.spool.entries import Deferral
from lanmail.spool.journal import Journal
from lanmail.status import DeliveryFailure, PermanentFailure

Setback = tuple[Copy, DeliveryFailure]


class Setbacks:
    """Writes down why each was not delivered, and when it is tried again.

    now: seconds of the queue's clock. due: called with the time, by that clock, at which something is due. stuck: called where the
    journal could not be told; whatever was not delivered is then due as before, and must not be tried at once.
    """

    def __init__(
        self,
        journal: Journal,
        bell: Bell,
        now: Callable[[], float],
        schedule: Schedule,
        chronicle: Chronicle,
        notices: Notices,
        due: Callable[[float], None],
        stuck: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._bell = bell
        self._now = now
        self._schedule = schedule
        self._chronicle = chronicle
        self._notices = notices
        self._due = due
        self._stuck = stuck

    def note(self, setbacks: Sequence[Setback], then: Callable[[bool], None]) -> None:
        """then: called on the event loop when the journal knows; with False where it could not be told."""
        now = self._now()
        deferrals = [self._note(copy, failure, now) for copy, failure in setbacks]
        self._due(min(deferral.due for deferral in deferrals))

        def noted(done: Future[None]) -> None:
            well = done.exception() is None
            if not well:
                self._stuck()
            then(well)

        self._bell.when_done(self._journal.defer(deferrals), noted)

    def _note(self, copy: Copy, failure: DeliveryFailure, now: float) -> Deferral:
        """Deferred also where it will never be delivered: until its report is in the journal, it is there with its reason."""
        status = failure.status
        due = self._schedule.next_due(now, copy.since)
        never = isinstance(failure, PermanentFailure) or self._schedule.expired(
            now, copy.since, null_sender=copy.recipient.sender.is_null
        )
        copy.mail.left = None
        if not (never and self._notices.failed(copy, status)):
            # A failure of a mailbox says more to whoever reads the log than a sender may hear.
            self._chronicle.deferred(copy, status, getattr(failure, "detail", status.text), now, due)
        return Deferral(copy.number, due, status)
