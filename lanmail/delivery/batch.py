"""What the queue hands to local delivery in one round, and what it hears of it. Values; no logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lanmail.interfaces import User
from lanmail.spool.entries import Recipient
from lanmail.spool.incoming import Content
from lanmail.status import DeliveryFailure, TemporaryFailure


@dataclass(frozen=True, slots=True)
class Entry:
    """One copy: ``head``, then ``content``. number: of its row in the journal. recipient: whose copy it is."""

    number: int
    queue_id: str
    head: bytes
    content: Content
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Batch:
    """What one mailbox gets, in this order."""

    user: User
    entries: Sequence[Entry]


@dataclass(slots=True)
class Outcome:
    """What became of a batch. delivered, failed: numbers of its entries.

    trouble: with the mailbox as a whole, a MailboxFailure; with the journal, where nothing could be intended, another TemporaryFailure.
    Then what is in neither list is still to be done. Without trouble the journal refused it: it is held, or deleted.
    """

    user: User
    delivered: list[int] = field(default_factory=list)
    failed: list[tuple[int, DeliveryFailure]] = field(default_factory=list)
    trouble: TemporaryFailure | None = None
