"""A message that something became of, and reports about it taken apart again by Python's email package."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

from lanmail.address import NULL_SENDER, Address
from lanmail.interfaces import User
from lanmail.mailbox.mbox import Unquoting, quoted
from lanmail.queue.reports import Report, Told
from lanmail.queue.words import Words
from lanmail.queue.words_en import English
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status

HOST = "srvlinux.iscb-corporation.com"
DOMAIN = "iscb-corporation.com"
NOON = 1_795_435_200.0  # 2026-11-23 12:00:00 UTC
BOUNDARY = "0123456789abcdef0123456789abcdef"

JULIEN = Address("julien", DOMAIN)
NEL = Address("nel", DOMAIN)
STAFF = Address("staff", DOMAIN)
POSTMASTER = Address("postmaster", DOMAIN)

UNKNOWN = Status(550, "5.1.1", "User unknown in local recipient table")
FULL = Status(452, "4.2.2", "Mailbox is full")
BUSY = Status(451, "4.2.0", "Mailbox is busy")
ARRIVED = Status(250, "2.0.0", "delivered to mailbox")

LETTER = b"Subject: Bonjour\nFrom: julien@iscb-corporation.com\nMessage-ID: <1@portable>\n\nBonjour Nel.\nFrom me.\n"


def content(text: bytes = LETTER) -> Content:
    """As the journal keeps it."""
    kept = b"".join(quoted([text]))
    return Content(len(kept), kept)


def message(sender: Address = JULIEN, **more: Any) -> Message:
    return Message("222CF6745D", sender, NOON - 3600, 300, "<1@portable>", **more)


def recipient(to: Address = NEL, original: Address | None = None, sender: Address = JULIEN, **more: Any) -> Recipient:
    head = (
        f"From x  Mon Nov 23 11:00:00 2026\nReturn-Path: <x>\nX-Original-To: {original or to}\nDelivered-To: {to}\n"
        f"Received: from portable (unknown [192.168.1.5])\n\tby {HOST} (lanmail) with ESMTP id 222CF6745D; then\n"
    )
    return Recipient(User(to.local, 1000, 1000), head.encode(errors="replace"), sender, original or to, to, **more)


def report(*told: Told, words: Words | None = None, **more: Any) -> Report:
    """To julien, that his message to nel failed, unless something else is said."""
    facts: dict[str, Any] = {
        "queue_id": "2230000000",
        "host": HOST,
        "to": JULIEN,
        "postmaster": POSTMASTER,
        "words": words or English(),
        "kind": "failed",
        "hearer": "sender",
        "message": message(),
        "told": told or (Told(recipient(), UNKNOWN),),
        "when": NOON,
        "boundary": BOUNDARY,
    }
    return Report(**(facts | more))


def text_of(made: Report, original: Content | None = None) -> bytes:
    return b"".join(made.pieces(content() if original is None else original))


class Parsed:
    """A report as a mail program sees it. octets: LF line ends, not quoted."""

    def __init__(self, octets: bytes) -> None:
        self.whole: EmailMessage = email.message_from_bytes(octets, policy=email.policy.default)  # type: ignore[assignment]
        assert self.whole.get_content_type() == "multipart/report", self.whole.as_string()[:500]
        parts: list[EmailMessage] = list(self.whole.iter_parts())  # type: ignore[arg-type]
        assert len(parts) == 3, [part.get_content_type() for part in parts]
        self.notification, self.status, self.original = parts
        assert self.notification.get_content_type() == "text/plain"
        assert self.status.get_content_type() == "message/delivery-status"
        self.about, *self.recipients = self.status.get_payload()

    @property
    def words(self) -> str:
        return str(self.notification.get_content())

    @property
    def paragraphs(self) -> list[str]:
        """Unwrapped."""
        return [" ".join(block.split()) for block in self.words.split("\n\n")]

    @property
    def returned(self) -> Any:
        """The message that it brings back: of a message/..., the message itself."""
        payload = self.original.get_payload()
        return (
            payload[0] if isinstance(payload, list) else email.message_from_string(payload, policy=email.policy.default)
        )

    def field(self, name: str) -> list[str]:
        """Of each recipient."""
        return [str(one[name]) for one in self.recipients]


def parsed(text: Content) -> Parsed:
    """From what the journal gets."""
    unquoting = Unquoting()
    return Parsed(b"".join(map(unquoting.feed, text.pieces())) + unquoting.finish())


__all__ = ["NULL_SENDER", "Parsed", "Told", "content", "message", "parsed", "recipient", "report", "text_of"]
