"""What is read out of messages and written about them: whose name stands in one that somebody submits, and the reports about any."""

from __future__ import annotations

import email
import email.policy
import email.utils
from email.errors import MessageError

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.address import Address
from lanmail.delivery.originators import MAX_AUTHORS, MAX_FIELD, Unclear, originators
from lanmail.delivery.submitted import NOTED, additions, check_names
from lanmail.mailbox import mbox
from lanmail.message import TopHeader
from lanmail.queue.reports import Told
from lanmail.status import DeliveryFailure, Status
from tests.fuzz.target import Target, cuts_of, is_a_sentence
from tests.queue.reporting import Parsed, content, message, recipient, report, text_of

_ANN = Address("ann", "lan.example")


def names(data: bytes) -> None:
    """A From field: everybody whom a program that guesses might show is among those that were found; or it is unclear."""
    try:
        found = originators(data)
    except Unclear as unclear:
        is_a_sentence(str(unclear))
        return
    assert 0 < len(found) <= MAX_AUTHORS and len(data) <= MAX_FIELD
    for address in found:
        assert str(address).isprintable(), address
    text = data.decode("utf-8", "replace").replace("\r\n", "")
    if not text.isprintable():
        return
    shown = {address.lower() for _, address in email.utils.getaddresses([text]) if "@" in address}
    meant = {f"{each.local}@{each.domain}".lower() for each in found} | {str(each).lower() for each in found}
    hidden = {one for one in shown if _plain(one)} - meant
    # In comments nobody is named, and Python puts what it finds there behind what it names.
    assert not hidden or b"(" in data or b'"' in data or b"\\" in data, (hidden, meant)


def _plain(address: str) -> bool:
    local, _, domain = address.rpartition("@")
    return bool(local) and all(
        part and part.replace("-", "x").isalnum() and part.isascii() for part in (local + "." + domain).split(".")
    )


async def _may_send_as(login: str, address: Address) -> bool:
    return address.key in (_ANN.key, ("ann", ""))


def submitted(data: bytes) -> None:
    """Of a message that was let through nobody but its sender stands in it, also as Python's email package reads it."""
    data = data.replace(b"\r\n", b"\n")
    top = TopHeader(mbox.STATE_FIELDS, noted=NOTED)
    text = b"".join(top.feed(piece) for piece in cuts_of(data)) + top.finish()
    asked: list[object] = []
    Deferred.fromCoroutine(check_names(top, "ann", _ANN, _may_send_as)).addBoth(asked.append)
    if isinstance(asked[0], Failure):
        failure = asked[0].value
        assert isinstance(failure, DeliveryFailure), asked[0]
        is_a_sentence(failure.status.text)
        return
    added, message_id = additions(top, _ANN, "222CF6745D", "srv.lan.example", 0.0)
    assert added.count(b"\n") == len(added.splitlines()) and b"\r" not in added and b"\n\n" not in added
    assert message_id or top.values(b"message-id")
    mail = email.message_from_bytes(added + text, policy=email.policy.compat32)
    for name in ("From", "Sender"):
        shown = [str(value) for value in mail.get_all(name, [])]
        assert len(shown) <= 1, (name, shown)
        if all(
            value.isprintable() and not set('("\\') & set(value)
            for value in (each.replace("\r\n", "") for each in shown)
        ):
            for _, address in email.utils.getaddresses([each.replace("\r\n", "") for each in shown]):
                if "@" in address and _plain(address) and (name == "Sender" or not mail.get_all("Sender")):
                    assert address.casefold() == "ann@lan.example", (shown, text)


def bounces(data: bytes) -> None:
    """A report about a message of any octets, with any reply of whoever refused it, is one that mail programs take apart."""
    text, _, words = data.partition(b"\0\0")
    status = Status(550, "5.1.1", words.decode("utf-8", "replace") or "unknown")
    told = Told(recipient(), status)
    for changes in ({}, {"hearer": "postmaster", "message": message(Address("a\nb", "x"), envid="q")}):
        made = report(told, **changes)
        octets = text_of(made, content(text))
        head = octets.partition(b"\n\n")[0]
        assert head.isascii() or b"SMTPUTF8" in head or head.decode("utf-8")
        for line in head.split(b"\n"):
            assert line and not any((octet < 32 and octet != 9) or octet == 127 for octet in line), line
            assert line.startswith((b" ", b"\t")) or b":" in line, line
        parts = Parsed(octets)
        assert parts.about["Reporting-MTA"] and len(parts.recipients) == 1
        assert parts.recipients[0]["Status"] == "5.1.1"
        try:
            assert "\n" not in str(parts.whole["Subject"])
        except (MessageError, IndexError):  # Python's own trouble with encoded words
            pass


_FIELDS = (
    b"ann@lan.example",
    b'"Ann (the boss)" <ann@lan.example>, Bob <bob@lan.example>',
    b"=?utf-8?q?Ann?= <ann@lan.example> (comment (nested))",
    b"Team: ann@lan.example, <bob@lan.example>;, nel@[192.168.1.1]",
    b"boss@lan.example <ann@lan.example>",
)
_FIELD_WORDS = (
    b"<",
    b">",
    b",",
    b":",
    b";",
    b"@",
    b'"',
    b"(",
    b")",
    b"\\",
    b"ann@lan.example",
    b"boss@lan.example",
    b"=?utf-8?q?",
    b"?=",
    b"\r\n ",
    b".",
)
_LETTERS = (
    b"From: Ann <ann@lan.example>\r\nSubject: x\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nText.\r\n",
    b"From: ann@lan.example, bob@lan.example\r\nSender: ann@lan.example\r\nMessage-ID: <1@x>\r\n\r\n",
    b"Subject: nobody\r\n\r\nText.\r\n",
    b"From x Mon Jan  1 00:00:00 2024\r\nFrom:\r\n ann@lan.example\r\n\r\n",
)
_LETTER_WORDS = (
    *_FIELD_WORDS,
    *(
        b"From: ",
        b"\r\nFrom: ",
        b"From : ",
        b"Sender: ",
        b"Resent-From: ",
        b"\r\n\r\n",
        b"\r\n \r\n",
        b"From\t: ",
        b"from: boss@lan.example\r\n",
    ),
)
_BOUNCES = (
    b"Subject: Bonjour\r\nFrom: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x--\r\n",
    b"Subject: =?utf-8?b?w6k=?=\n\nText.\n--0123456789abcdef--\n\0\0<nel@x>: \xc3\xa9 unknown\nEvil: x",
    "Objet: é\n\né\n".encode(),
)

TARGETS = (
    Target("names", names, _FIELDS, _FIELD_WORDS),
    Target("submitted", submitted, _LETTERS, _LETTER_WORDS),
    Target(
        "bounces",
        bounces,
        _BOUNCES,
        (
            b"\n\n",
            b"Content-Type: message/rfc822\n",
            b"Subject: ",
            b"=?x?q?",
            b"?=",
            b"\0\0",
            b"From ",
        ),
    ),
)
