"""What the journal keeps: a message, and what each of its recipients is to get. Values; no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lanmail.address import Address
from lanmail.interfaces import User
from lanmail.status import Status


@dataclass(frozen=True, slots=True)
class Message:
    """What all recipients of one message share.

    sender: MAIL FROM, completed; the null sender for a report. arrived: seconds since the epoch, for people and dates; nothing is
    timed by it. size: octets as the client sent them. message_id: of its header, with the brackets; empty where there is none.
    ret, envid: RFC 3461, as MailParameters has them. client: ``unknown[192.168.1.5]``, or ``local`` for what we wrote ourselves.
    protocol: ``ESMTP`` and the like. login: who was logged in, empty for nobody.
    """

    queue_id: str
    sender: Address
    arrived: float
    size: int
    message_id: str = ""
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    client: str = "local"
    helo: str = ""
    protocol: str = ""
    login: str = ""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One mailbox that is to get the message, and how that stands.

    number: names it in the journal; 0 before it was admitted. head: what this copy has before the content: from its ``From `` line
    to the last of our headers, LF line ends, never changed after the 250. sender: who hears of trouble: the message's sender, or the
    owner of a list. original: RCPT's address. delivered_to: what aliases made of it. rule: how, in words (``alias staff``), empty
    where nothing was between. notify: RFC 3461's NOTIFY, upper case, comma separated; empty where the client said nothing.
    orcpt: its ORCPT, ``rfc822;ann@example.com``, decoded; empty where there is none. expanded: an alias or a .forward of several
    members stands in between: a success report says so (RFC 3461, 5.2.7).

    since, due: on the queue's clock (queue/schedule.py), in seconds: when it came, and before when it is not tried.
    tries: that failed. reason: of the last one. warned: its sender was told of the delay. held: not tried until released.
    """

    user: User
    head: bytes
    sender: Address
    original: Address
    delivered_to: Address
    rule: str = ""
    notify: str = ""
    orcpt: str = ""
    number: int = 0
    since: float = 0.0
    due: float = 0.0
    tries: int = 0
    reason: Status | None = None
    warned: bool = False
    held: bool = False
    expanded: bool = False


class ListedRecipient(
    NamedTuple
):  # made for each of 100,000, as is the next: a frozen dataclass of all that is known takes 10 µs
    """What is told of a Recipient where all that wait are told of. user: the name. The others are the Recipient's."""

    number: int
    user: str
    original: Address
    delivered_to: Address
    rule: str
    due: float
    tries: int
    reason: Status | None
    held: bool


class Listed(NamedTuple):
    """The same of a Message. recipients: those that no mailbox has yet."""

    queue_id: str
    sender: Address
    arrived: float
    size: int
    recipients: list[ListedRecipient]


@dataclass(frozen=True, slots=True)
class Intent:
    """Where a recipient's octets are about to be written. ``boot`` is the boot id: device numbers hold for one boot only.

    offset: the length that the mailbox has before anything of this copy, its separation included, is written.
    """

    number: int
    boot: str
    device: int
    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class Deferral:
    """A try that failed: not again before ``due`` (the queue's clock, seconds), because of ``reason``."""

    number: int
    due: float
    reason: Status
