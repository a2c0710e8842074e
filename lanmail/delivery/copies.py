"""What each mailbox's copy of a message has before the content: made before the 250, so that a delivery repeated is the same octets."""

from __future__ import annotations

from collections.abc import Iterable

from lanmail.delivery.found import Destination
from lanmail.message import envelope_headers, from_line
from lanmail.spool.entries import Message, Recipient


def one_each(ways: Iterable[tuple[Destination, str, str]]) -> list[tuple[Destination, str, str]]:
    """One for each mailbox, however many recipients led to it: the first of them is named in it.

    ways: destinations, each with the NOTIFY and ORCPT of the recipient that led there.
    """
    first: dict[str, tuple[Destination, str, str]] = {}
    for way in ways:
        first.setdefault(way[0].user.name, way)
    return list(first.values())


def copy_of(message: Message, to: Destination, received: bytes, *, notify: str = "", orcpt: str = "") -> Recipient:
    """The copy for one mailbox. received: our Received header, with LF line ends."""
    sender = message.sender if to.sender is None else to.sender
    head = from_line(sender, message.arrived) + envelope_headers(sender, to.original, to.delivered_to) + received
    return Recipient(to.user, head, sender, to.original, to.delivered_to, to.rule, notify, orcpt)
