"""The queue in words: what ``lanmail queue list`` shows, as Postfix's mailq does, and the envelope of one message.

What is told comes from Desk, and in it what came from outside; every line here is fit for a terminal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from lanmail.log_lines import printable

Told = Mapping[str, Any]

# Postfix's columns for ids of its short form, which ours have too, so that a script which reads mailq reads this.
_HEADINGS = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
_BEFORE_RECIPIENT = " " * 41
_REASON_ENDS = 76
_MARKS = {"active": "*", "hold": "!"}


class Listing:
    """One listing of the queue, message after message."""

    def __init__(self) -> None:
        self._messages = 0
        self._octets = 0

    def lines(self, told: Told) -> Iterator[str]:
        """Of one message, with what stands above it."""
        yield "" if self._messages else _HEADINGS
        self._messages += 1
        self._octets += told["message_size"]
        marked = told["queue_id"] + _MARKS.get(told["queue_name"], "")
        yield printable(f"{marked:<11} {told['message_size']:>7} {date(told['arrival_time']):<20.20} {told['sender']}")
        before = ""
        for recipient in told["recipients"]:
            reason = recipient.get("delay_reason", "")
            if reason != before:
                before = reason
                yield printable(f"({reason or 'reason unavailable'})".rjust(_REASON_ENDS + 2))
            yield printable(_BEFORE_RECIPIENT + recipient["address"])

    def end(self) -> Iterator[str]:
        """What stands below all."""
        if not self._messages:
            yield "Mail queue is empty"
            return
        yield ""
        plural = "" if self._messages == 1 else "s"
        yield f"-- {self._octets // 1024} Kbytes in {self._messages} Request{plural}."


def envelope(told: Told) -> Iterator[str]:
    """One message without its text."""
    for name, value in (
        ("queue id", f"{told['queue_id']} ({told['queue_name']})"),
        ("arrived", date(told["arrival_time"])),
        ("size", f"{told['message_size']} octets"),
        ("sender", told["sender"]),
        ("client", _client(told)),
        ("message id", told["message_id"]),
        ("report", " ".join(f"{name.upper()}={told[name]}" for name in ("ret", "envid") if told[name])),
    ):
        if value:
            yield printable(f"{name + ':':<12}{value}")
    if not told["recipients"]:
        yield f"{'recipient:':<12}none that waits: every mailbox has it"
    for recipient in told["recipients"]:
        yield printable(f"{'recipient:':<12}{recipient['address']}{_way(recipient)}")
        yield printable(f"{'':<12}{_standing(recipient, told['queue_name'])}")


def text(piece: str) -> str:
    """Lines of a message, with their line ends and tabs, and nothing else that a terminal would obey."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in piece.split("\n"))


def date(when: float) -> str:
    """Local time as asctime(3) writes it, in English wherever we are: ``Tue Nov 24 21:36:34 2026``."""
    return time.ctime(when)  # Python's own, which asks no locale


def _client(told: Told) -> str:
    parts = [told["client"], told["protocol"]]
    parts += [f"{word} {told[name]}" for name, word in (("helo", "helo"), ("login", "logged in as")) if told[name]]
    return ", ".join(part for part in parts if part)


def _way(recipient: Told) -> str:
    words = [f"for {recipient['original_address']}"] if "original_address" in recipient else []
    words += [recipient["rule"]] if "rule" in recipient else []
    words.append(f"mailbox {recipient['mailbox']}")
    return f" ({', '.join(words)})"


def _standing(recipient: Told, queue_name: str) -> str:
    tries = recipient["tries"]
    tried = f", tried {tries} time{'' if tries == 1 else 's'}" if tries else ""
    why = f": {recipient['status']} {recipient['delay_reason']}" if "delay_reason" in recipient else ""
    if recipient["held"]:
        return f"on hold{tried}{why}"
    if "next_try" not in recipient:
        return f"waits until the service runs{tried}{why}"
    if not tries and queue_name == "active":
        return "about to be delivered"
    return f"next try {date(recipient['next_try'])}{tried}{why}"
