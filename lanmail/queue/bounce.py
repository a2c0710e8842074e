"""Who is told what became of a message, and when it is nobody (RFC 3461, NOTIFY; RFC 5321, 4.5.5). The text is reports.py's.

SURFACE ONLY YET: the bodies follow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Literal

from lanmail.address import Address
from lanmail.delivery.routes import Route
from lanmail.queue.schedule import Schedule
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.status import Status

Kind = Literal["failed", "delayed", "delivered", "expanded", "relayed"]


class Reports:
    """Makes the reports about one message.

    route: where mail for an address of a report goes, as for a client that may send anywhere; PermanentFailure: nobody here. It should
    not refuse for want of room in a mailbox: a report waits in the queue for that. next_id: QueueIds.next. folder: where a large
    report is kept. myorigin: of ``postmaster``. language: ``en`` or ``fr``. size_limit: ``bounce_size_limit``, octets.
    notify_classes: of them ``bounce`` and ``delay`` count here. wall: seconds since the epoch. now: of the queue's clock.
    """

    def __init__(
        self,
        route: Callable[[Address], Awaitable[Route]],
        next_id: Callable[[], str],
        folder: IncomingFolder,
        *,
        myhostname: str,
        myorigin: str,
        language: str,
        size_limit: int,
        notify_classes: Collection[str],
        schedule: Schedule,
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        raise NotImplementedError

    async def about(
        self, kind: Kind, message: Message, recipients: Sequence[tuple[Recipient, Status]], content: Content
    ) -> list[tuple[Message, list[Recipient], Content]]:
        """What is to be admitted: none, one, or a few messages from the null sender. content: of ``message``.

        A large report's file is on stable storage already; whoever does not admit it discards it. Raises TemporaryFailure where it
        cannot be made now; then nothing is left of it, and what was to be reported is still to be reported.
        """
        raise NotImplementedError
