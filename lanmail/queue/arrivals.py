"""A message that was just admitted goes from here into the queue's memory, and its story begins: of many recipients some at a time.

For each of them a dozen facts are told and an object or two made: for the five thousand members of an alias that took the event loop's
time away from everybody else, for a tenth of a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.queue.chronicle import Chronicle
from lanmail.queue.mail import Mail
from lanmail.queue.mailboxes import Mailboxes
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content

# Recipients in one turn of the event loop: 2 ms.
AT_ONCE = 200


@dataclass(slots=True)
class _Arrival:
    mail: Mail
    recipients: Sequence[Recipient]
    numbers: Sequence[int]
    since: float
    done: int = 0


class Arrivals:
    """They go on in the order in which they came, so that none overtakes an older one for the same mailbox.

    wake: has the rounds look at what there is. clock: the reactor's.
    """

    def __init__(
        self, mailboxes: Mailboxes, chronicle: Chronicle, wake: Callable[[], object], clock: IReactorTime
    ) -> None:
        self._mailboxes = mailboxes
        self._chronicle = chronicle
        self._wake = wake
        self._clock = clock
        self._waiting: deque[_Arrival] = deque()
        self._call: IDelayedCall | None = None

    def take(
        self, message: Message, recipients: Sequence[Recipient], content: Content, numbers: Sequence[int], since: float
    ) -> None:
        """It was admitted, as these rows. since: of the queue's clock."""
        self._chronicle.accepted(message, len(recipients))
        self._waiting.append(_Arrival(Mail(message, content, len(numbers)), recipients, numbers, since))
        if self._call is None:
            self._some()

    def finish(self) -> None:
        """All that waits, now."""
        while self._waiting:
            self._some()

    def _some(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        left = AT_ONCE
        while self._waiting and left > 0:
            arrival = self._waiting[0]
            some = slice(arrival.done, arrival.done + left)
            recipients = arrival.recipients[some]
            self._chronicle.goes_to(arrival.mail.message, recipients)
            self._mailboxes.take(arrival.mail, recipients, arrival.numbers[some], arrival.since)
            arrival.done += len(recipients)
            left -= len(recipients)
            if arrival.done == len(arrival.recipients):
                self._waiting.popleft()
        # What the journal has for a mailbox may be the rest of these: read now, it would come twice.
        self._mailboxes.arriving = bool(self._waiting)
        if self._waiting:
            self._call = self._clock.callLater(0, self._some)
        self._wake()
