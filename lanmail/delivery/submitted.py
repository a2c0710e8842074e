"""What is asked of a message that somebody submits, and what it is given (RFC 6409): whose name may stand in it, a date, an id.

Looked at once the whole message is there, before it is taken over; what is added is part of every copy's head, so that it is on stable
storage before the 250. The octets that were sent stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from lanmail.address import Address
from lanmail.delivery.originators import Unclear, originators
from lanmail.message import TopHeader, rfc5322_date
from lanmail.status import PermanentFailure, Status

NOTED = (b"from", b"sender", b"date", b"message-id")

MaySendAs = Callable[[str, Address], Awaitable[bool]]


async def check_names(top: TopHeader, login: str, own: Address, may_send_as: MaySendAs) -> None:
    """Whoever is logged in writes in their own name. PermanentFailure with words for a person, TemporaryFailure of may_send_as.

    From must name somebody that the login may send as. One of several needs a Sender who is that (RFC 5322, 3.6.2): that is who sends.
    A Sender must be that in any case, since programs show it (``ann on behalf of bob``). own: the address of the login, for the words.
    A message without From passes: it is given one.
    """
    if top.ambiguous:
        raise _refused(f"The header is not one that everybody reads alike: {top.ambiguous}", "5.6.0")
    authors, senders = _named(top, "From"), _named(top, "Sender")
    if len(senders) > 1:
        raise _refused("The Sender header names more than one; it is for the one who sends")
    foreign = [author for author in authors if not await may_send_as(login, author)]
    if senders and not await may_send_as(login, senders[0]):
        raise _not_own("Sender", senders[0], login, own, "leave that header out")
    if not foreign:
        return
    if len(authors) == 1:
        raise _not_own("From", foreign[0], login, own, f"set the sender in your mail program to <{own}>")
    if not senders:
        raise _not_own("From", foreign[0], login, own, f"with more than one in From, name who sends in Sender: <{own}>")


def additions(top: TopHeader, sender: Address, queue_id: str, hostname: str, arrived: float) -> tuple[bytes, str]:
    """The fields that the message lacks, with LF line ends, and its Message-ID. arrived: seconds since the epoch.

    sender: who stands in From where nobody does.
    """
    message_id = top.message_id
    fields = []
    if not top.values(b"message-id"):
        # Postfix's form. The queue id alone begins anew after two years.
        message_id = f"<{time.strftime('%Y%m%d%H%M%S', time.gmtime(arrived))}.{queue_id}@{hostname}>"
        fields.append(f"Message-ID: {message_id}")
    if not top.values(b"date"):
        fields.append(f"Date: {rfc5322_date(arrived)}")
    if not top.values(b"from"):
        fields.append(f"From: {sender}")
    return "".join(f"{field}\n" for field in fields).encode("utf-8", "replace"), message_id


def _named(top: TopHeader, name: str) -> list[Address]:
    fields = top.values(name.lower().encode())
    if len(fields) > 1:
        raise _refused(f"There is more than one {name} header; mail programs would differ about which of them counts")
    if not fields:
        return []
    try:
        return originators(fields[0])
    except Unclear as unclear:
        raise _refused(f"The {name} header cannot be understood: {unclear}") from None


def _not_own(name: str, address: Address, login: str, own: Address, remedy: str) -> PermanentFailure:
    said = str(address) if len(str(address)) <= 100 else f"{str(address)[:100]}..."
    return _refused(f"The {name} header says <{said}>, which is not an address of {login} (<{own}>): {remedy}")


def _refused(text: str, enhanced: str = "5.7.1") -> PermanentFailure:
    return PermanentFailure(Status(550, enhanced, text))
