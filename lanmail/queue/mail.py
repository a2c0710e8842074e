"""Mail in memory: a message, and one recipient's copy of it. The journal has both as well."""

from __future__ import annotations

from dataclasses import replace

from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content


class Mail:
    """A message. left: how many of its recipients are not done, None where we do not know of all of them. here: copies in memory."""

    __slots__ = ("content", "here", "left", "message")

    def __init__(self, message: Message, content: Content, left: int | None) -> None:
        self.message = message
        self.content = content
        self.left = left
        self.here = 0


class Copy:
    """One recipient's copy. number: of its row in the journal. since: when it came, in seconds of the queue's clock."""

    __slots__ = ("mail", "number", "recipient", "since")

    def __init__(self, mail: Mail, recipient: Recipient, number: int, since: float) -> None:
        self.mail = mail
        self.recipient = recipient
        self.number = number
        self.since = since

    @property
    def row(self) -> Recipient:
        """As the journal has it."""
        return replace(self.recipient, number=self.number, since=self.since)
