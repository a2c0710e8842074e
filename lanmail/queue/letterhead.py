"""What every message has that we write ourselves: from nobody, by a machine, with the trace fields of our own delivery."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.header import Header

from lanmail.address import NULL_SENDER, Address
from lanmail.delivery.copies import copy_of
from lanmail.delivery.routes import Route
from lanmail.log_lines import printable
from lanmail.message import rfc5322_date
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content

OUR_PROTOCOL = "internal"
"""``Message.protocol`` of what we wrote, and what its Received header says behind ``with``."""

Admitted = tuple[Message, list[Recipient], Content]
"""What the journal admits: a message, who gets it, and its text."""


@dataclass(frozen=True, slots=True)
class Letterhead:
    """One message to one address. host: ``myhostname``. when: seconds since the epoch."""

    queue_id: str
    host: str
    to: Address
    when: float

    @property
    def message_id(self) -> str:
        return f"<{time.strftime('%Y%m%d%H%M%S', time.localtime(self.when))}.{self.queue_id}@{self.host}>"

    @property
    def received(self) -> bytes:
        """Its Received header. The second line is the mark by which mailbox/mbox.py knows our messages."""
        by = f"by {self.host} (lanmail) with {OUR_PROTOCOL} id {self.queue_id}"
        to = f"for <{printable(str(self.to))}>; {rfc5322_date(self.when)}"
        return f"Received: from {self.host} (MAILER-DAEMON)\n\t{by}\n\t{to}\n".encode()

    def header(self, subject: str, *fields: str) -> bytes:
        """All fields, without the empty line. fields: the last of them, which say what kind of text follows."""
        lines = (
            f"From: MAILER-DAEMON@{self.host} (Mail Delivery System)",
            f"Subject: {subject if subject.isascii() else Header(subject, 'utf-8').encode()}",
            f"To: {printable(str(self.to))}",
            f"Date: {rfc5322_date(self.when)}",
            f"Message-ID: {self.message_id}",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            *fields,
        )
        return "\n".join((*lines, "")).encode()

    def admitted(self, route: Route, text: Content) -> Admitted:
        """route: where mail for ``to`` goes. text: header and all, as written.py makes it."""
        message = Message(
            self.queue_id,
            NULL_SENDER,
            self.when,
            text.size,
            self.message_id,
            smtputf8=not str(self.to).isascii(),
            protocol=OUR_PROTOCOL,
        )
        return message, [copy_of(message, mailbox, self.received) for mailbox in route.mailboxes], text


def is_ours(message: Message) -> bool:
    """Whether we wrote it."""
    return message.sender.is_null and message.protocol == OUR_PROTOCOL
