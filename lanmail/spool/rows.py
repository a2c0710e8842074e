"""Messages and recipients as rows, and rows as messages and recipients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lanmail.address import Address
from lanmail.interfaces import User
from lanmail.spool.entries import Intent, ListedRecipient, Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status

Row = Sequence[Any]

MESSAGE = "queue_id, sender, arrived, size, message_id, ret, envid, smtputf8, client, helo, protocol, login"
RECIPIENT = (
    "number, user, uid, gid, home, head, sender, original, delivered_to, rule, notify, orcpt, since, due,"
    " tries, reason, warned, held, expanded"
)
FRESH_RECIPIENT = (
    "number, message, user, uid, gid, home, sender, original, delivered_to, rule, notify, orcpt, since, due,"
    " tries, reason, warned, held, expanded, owed, head"
)
LISTED_MESSAGE = "queue_id, sender, arrived, size"
LISTED_RECIPIENT = "number, user, original, delivered_to, rule, due, tries, reason, held"
INTENT = "number, boot, device, inode, place"
MESSAGE_WIDTH = MESSAGE.count(",") + 1
RECIPIENT_WIDTH = RECIPIENT.count(",") + 1


def columns(table: str, names: str) -> str:
    """These columns with their table's name, as a SELECT from several tables needs them."""
    return ", ".join(f"{table}.{name}" for name in names.split(", "))


def row_of_message(number: int, last: int, message: Message, content: Content) -> Row:
    """All columns of the table, in its order."""
    return (
        number,
        last,
        message.queue_id,
        text_of(message.sender),
        message.arrived,
        message.size,
        message.message_id,
        message.ret,
        message.envid,
        message.smtputf8,
        message.client,
        message.helo,
        message.protocol,
        message.login,
        content.size,
        content.name,
        b"" if content.name is not None else content.memory,
    )


def row_of_recipient(number: int, message: int, recipient: Recipient, now: float) -> Row:
    """The columns ``FRESH_RECIPIENT``: of one that has just come in."""
    return (
        number,
        message,
        recipient.user.name,
        recipient.user.uid,
        recipient.user.gid,
        recipient.user.home,
        text_of(recipient.sender),
        text_of(recipient.original),
        text_of(recipient.delivered_to),
        recipient.rule,
        recipient.notify,
        recipient.orcpt,
        now,
        now,
        0,
        None,
        False,
        recipient.held,
        recipient.expanded,
        "SUCCESS" in recipient.notify.split(","),
        recipient.head,
    )


def message_of(row: Row) -> Message:
    """From the columns ``MESSAGE``."""
    queue_id, sender, arrived, size, message_id, ret, envid, smtputf8, client, helo, protocol, login = row
    return Message(
        queue_id,
        address_of(sender),
        arrived,
        size,
        message_id,
        ret,
        envid,
        bool(smtputf8),
        client,
        helo,
        protocol,
        login,
    )


def recipient_of(row: Row) -> Recipient:
    """From the columns ``RECIPIENT``."""
    number, name, uid, gid, home, head, sender, original, delivered_to, rule, notify, orcpt = row[:12]
    since, due, tries, reason, warned, held, expanded = row[12:]
    return Recipient(
        User(name, uid, gid, home),
        head,
        address_of(sender),
        address_of(original),
        address_of(delivered_to),
        rule,
        notify,
        orcpt,
        number,
        since,
        due,
        tries,
        status_of(reason),
        bool(warned),
        bool(held),
        bool(expanded),
    )


def listed_recipient_of(row: Row) -> ListedRecipient:
    """From the columns ``LISTED_RECIPIENT``."""
    number, user, original, delivered_to, rule, due, tries, reason, held = row
    return ListedRecipient(
        number, user, address_of(original), address_of(delivered_to), rule, due, tries, status_of(reason), bool(held)
    )


def intent_of(row: Row) -> Intent:
    """From the columns ``INTENT``."""
    number, boot, device, inode, offset = row
    return Intent(number, boot, unsigned(device or 0), unsigned(inode or 0), offset or 0)


def text_of(address: Address) -> str:
    """An address as one text that keeps an empty domain apart. No domain has an @ in it."""
    return f"{address.local}@{address.domain}"


NULL = "@"  # text_of(NULL_SENDER)


# A queue that is long has the same few people in it, and one trouble, again and again.
@lru_cache(maxsize=1024)
def address_of(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


@lru_cache(maxsize=256)
def status_of(text: str | None) -> Status | None:
    """From what ``str`` makes of a Status: no enhanced code has a space in it."""
    if text is None:
        return None
    code, enhanced, sentence = text.split(" ", 2)
    return Status(int(code), enhanced, sentence)


def signed(number: int) -> int:
    """SQLite's integers have 64 bits and a sign, a file system's have none."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
