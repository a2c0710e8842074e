"""What is said of a message on its way through the queue: in the log, in Postfix's words, and in its own story (spool/history.py)."""

from __future__ import annotations

from collections.abc import Sequence

from lanmail.address import Address
from lanmail.interfaces import Tell
from lanmail.maillog import Logger
from lanmail.queue.mail import Copy
from lanmail.spool.entries import Message, Recipient
from lanmail.status import Status

_qmgr = Logger("qmgr")
_local = Logger("local")
_bounce = Logger("bounce")


class Chronicle:
    """One method for each thing that happens. tell: adds to the story."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def accepted(self, message: Message, count: int) -> None:
        """count: of its recipients, of whom ``goes_to`` tells."""
        queue_id = message.queue_id
        _qmgr.info(
            "{id}: from=<{sender}>, size={size}, nrcpt={count} (queue active)",
            id=queue_id,
            sender=message.sender,
            size=message.size,
            count=count,
        )
        self._tell(
            "received",
            queue_id,
            sender=str(message.sender),
            client=message.client,
            helo=message.helo,
            login=message.login,
            protocol=message.protocol,
            size=message.size,
            message_id=message.message_id,
        )

    def goes_to(self, message: Message, recipients: Sequence[Recipient]) -> None:
        for to in recipients:
            self._tell(
                "recipient",
                message.queue_id,
                user=to.user.name,
                original=str(to.original),
                delivered_to=str(to.delivered_to),
                rule=to.rule,
            )

    def delivered(self, copy: Copy, now: float) -> None:
        to, delay = copy.recipient, max(0.0, now - copy.since)
        queue_id = copy.mail.message.queue_id
        _tried(queue_id, to, delay, "2.0.0", "sent", "delivered to mailbox")
        self._tell("delivered", queue_id, user=to.user.name, recipient=str(to.delivered_to), delay=round(delay, 3))

    def deferred(self, copy: Copy, status: Status, why: str, now: float, due: float) -> None:
        """why: what went wrong, for the log, where a path may be named. due: before when it is not tried again."""
        to, queue_id = copy.recipient, copy.mail.message.queue_id
        _tried(queue_id, to, max(0.0, now - copy.since), status.enhanced, "deferred", why)
        self._tell(
            "deferred",
            queue_id,
            user=to.user.name,
            recipient=str(to.delivered_to),
            status=str(status),
            wait=round(due - now),
        )

    def expired(self, message: Message) -> None:
        """Some of its recipients were tried for a whole lifetime."""
        _qmgr.info(
            "{id}: from=<{sender}>, status=expired, returned to sender", id=message.queue_id, sender=message.sender
        )

    def failed(self, message: Message, recipients: Sequence[tuple[Recipient, Status]], now: float) -> None:
        """Their rows are away, and whoever wanted to hear of it will. May be called in a thread: there may be many."""
        for to, status in recipients:
            _tried(message.queue_id, to, max(0.0, now - to.since), status.enhanced, "bounced", status.text)
            self._tell("failed", message.queue_id, recipient=str(to.delivered_to), status=str(status))

    def reported(self, what: str, message: Message, heard: Sequence[Recipient], report: Message, to: Address) -> None:
        """what: bounce.Kind. heard: whom of ``message`` it tells of. to: who gets it."""
        sort = {"failed": "non-delivery", "delayed": "delay"}.get(what, "delivery status")
        who = "sender" if any(to.key == recipient.sender.key for recipient in heard) else "postmaster"
        _bounce.info(
            "{id}: {who} {sort} notification: {report}",
            id=message.queue_id,
            who=who,
            sort=sort,
            report=report.queue_id,
        )
        self._tell("reported", message.queue_id, what=what, to=str(to), report=report.queue_id)

    def removed(self, queue_id: str) -> None:
        _qmgr.info("{id}: removed", id=queue_id)

    def ordered(self, kind: str, queue_ids: Sequence[str], by: int) -> None:
        """An administrator did this. kind: of the story, ``held``; by: their uid. May be called in a thread: there may be many."""
        for queue_id in queue_ids:
            _qmgr.info("{id}: {kind} by uid {by}", id=queue_id, kind=kind, by=by)
            self._tell(kind, queue_id, by=by)


def _tried(queue_id: str, to: Recipient, delay: float, enhanced: str, status: str, how: str) -> None:
    _local.info(
        "{id}: to=<{address}>,{original} relay=local, delay={delay}, dsn={enhanced}, status={status} ({how})",
        id=queue_id,
        address=to.delivered_to,
        original=f" orig_to=<{to.original}>," if to.original != to.delivered_to else "",
        delay=f"{delay:.2f}",
        enhanced=enhanced,
        status=status,
        how=how,
    )
