"""The text of a delivery report (RFC 3464): words for people, the same for programs, and what it is about.

Nothing that came from outside gets into a header or a field of it other than as one printable line; the message that it brings back
stands behind a boundary that nobody could know when that message was written.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from lanmail.address import Address
from lanmail.log_lines import printable
from lanmail.message import rfc5322_date
from lanmail.queue.letterhead import Letterhead
from lanmail.queue.original import Original
from lanmail.queue.words import Facts, Hearer, Kind, Person, Words, trouble_of
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status

# Of more recipients than these, people are told how many there are; programs get all of them.
_MOST_LISTED = 50
_MOST_DIAGNOSTIC = 700
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
# RFC 6533, 3: what an address of type utf-8 says as \x{...}.
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_CLASSES: dict[Kind, int] = {"failed": 5, "delayed": 4, "delivered": 2, "expanded": 2, "relayed": 2}
_RETURNED: dict[Kind, str] = {"failed": "Undelivered Message", "delayed": "Delayed Message"}


@dataclass(frozen=True, slots=True)
class Told:
    """One recipient that a report tells of. until: seconds since the epoch, of what is delayed: so long it will be tried."""

    recipient: Recipient
    status: Status
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Report(Letterhead):
    """One report, about one message, to one address.

    message: what it is about; told: which of its recipients. tried: seconds for which it was tried in vain. full: bring back the
    message, not its header alone. boundary: 128 bits that nobody could guess.
    """

    postmaster: Address
    words: Words
    kind: Kind
    hearer: Hearer
    message: Message
    told: Sequence[Told]
    boundary: str
    tried: float = 0.0
    full: bool = False

    def pieces(self, content: Content) -> Iterator[bytes]:
        """All of it, with LF line ends and not quoted for a mailbox. content: of ``message``.

        Blocks. Raises Unreadable where the message cannot be read any more that it should bring back whole.
        """
        head = self.told[0].recipient.head
        with closing(Original(content, head[head.find(b"\nReceived:") + 1 :])) as original:
            full = self.full and original.whole
            facts = self._facts(original.subject, full)
            yield self._beginning(facts)
            yield self._part("Notification", "text/plain; charset=utf-8", eight_bit=True) + self._for_people(facts)
            yield self._part("Delivery report", "message/delivery-status") + self._for_programs()
            what = _RETURNED.get(self.kind, "Delivered Message") + ("" if full else " Headers")
            yield self._part(what, _type_of(original, full), eight_bit=True)
            yield original.header
            if full:
                yield from original.rest()
        yield f"\n--{self.boundary}--\n".encode()

    def _facts(self, subject: str, full: bool) -> Facts:
        people = []
        for told in self.told:
            final, asked = str(self._final(told)), str(told.recipient.original)
            people.append(Person(_line(final), _line(asked) if asked != final else ""))
        troubles = {trouble_of(told.status.enhanced, expired=bool(self.tried)) for told in self.told}
        return Facts(
            self.kind,
            self.hearer,
            tuple(people),
            _line(str(self.message.sender)),
            _line(subject),
            self.message.arrived,
            _line(str(self.postmaster)),
            self.host,
            troubles.pop() if len(troubles) == 1 else "",
            self.tried,
            max(told.until for told in self.told),
            full,
        )

    def _beginning(self, facts: Facts) -> bytes:
        kind = f'Content-Type: multipart/report; report-type=delivery-status;\n\tboundary="{self.boundary}"'
        header = self.header(self.words.subject(facts), kind, "Content-Transfer-Encoding: 8bit")
        return header + b"\nThis is a MIME-encapsulated message.\n"

    def _part(self, description: str, kind: str, *, eight_bit: bool = False) -> bytes:
        encoding = "Content-Transfer-Encoding: 8bit\n" if eight_bit else ""
        return f"\n--{self.boundary}\nContent-Description: {description}\nContent-Type: {kind}\n{encoding}\n".encode()

    # for people

    def _for_people(self, facts: Facts) -> bytes:
        words = self.words
        blocks = [self._wrapped(words.opening(facts)), self._wrapped(words.which(facts))]
        if self.kind in ("failed", "delayed") or len(self.told) > 1:
            blocks += [self._entry(told, person, facts) for told, person in self._listed(facts)]
            if len(self.told) > _MOST_LISTED:
                blocks.append(f"    {words.more(len(self.told) - _MOST_LISTED)}")
        blocks += [self._wrapped(words.closing(facts)), f"-- \n{words.signature(facts)}"]
        return ("\n\n".join(blocks) + "\n").encode()

    def _listed(self, facts: Facts) -> list[tuple[Told, Person]]:
        return list(zip(self.told, facts.people, strict=True))[:_MOST_LISTED]

    def _entry(self, told: Told, person: Person, facts: Facts) -> str:
        words = self.words
        lines = [person.address]
        if person.asked:
            lines.append(f"{words.asked} {person.asked}")
        if self.kind in ("failed", "delayed"):
            lines.append(f"{words.reason} {_line(told.status.text)} ({self._enhanced(told)})")
        if self.kind == "failed" and self.hearer == "sender" and not facts.trouble:
            lines.append(words.advice(trouble_of(told.status.enhanced, expired=bool(self.tried)), facts))
        return "\n".join(self._wrapped(line, "    " if n == 0 else "      ") for n, line in enumerate(lines))

    def _wrapped(self, text: str, indent: str = "") -> str:
        return "\n".join(
            textwrap.wrap(
                self.words.typeset(text),
                72,
                initial_indent=indent,
                subsequent_indent=indent and indent + "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )

    # for programs

    def _for_programs(self) -> bytes:
        fields = [f"Reporting-MTA: dns; {self.host}", f"X-Lanmail-Queue-ID: {self.message.queue_id}"]
        # The owner of a list has not given the message its name.
        if self.message.envid and (self.hearer != "sender" or self.to.key == self.message.sender.key):
            fields.append(f"Original-Envelope-Id: {_ascii(self.message.envid)}")
        fields.append(f"Arrival-Date: {rfc5322_date(self.message.arrived)}")
        blocks = ["\n".join(fields), *("\n".join(self._fields(told)) for told in self.told)]
        return ("\n\n".join(blocks) + "\n").encode()

    def _fields(self, told: Told) -> Iterator[str]:
        recipient, final = told.recipient, self._final(told)
        if recipient.orcpt:
            yield f"Original-Recipient: {_original(recipient.orcpt)}"
        elif recipient.original != final:
            yield f"Original-Recipient: {_typed(recipient.original)}"
        yield f"Final-Recipient: {_typed(final)}"
        yield f"Action: {self.kind}"
        yield f"Status: {self._enhanced(told)}"
        if self.kind in ("failed", "delayed"):
            # Our own words, which no SMTP server said; the code is what ours would say.
            text = _ascii(f"{told.status.code} {told.status.enhanced} {told.status.text}")
            yield f"Diagnostic-Code: X-Lanmail; {text[:_MOST_DIAGNOSTIC]}"
        yield f"Last-Attempt-Date: {rfc5322_date(self.when)}"
        if told.until:
            yield f"Will-Retry-Until: {rfc5322_date(told.until)}"

    def _final(self, told: Told) -> Address:
        """Of a success behind a list or an alias of many nobody is told who is in it."""
        recipient = told.recipient
        behind_many = recipient.expanded or recipient.sender != self.message.sender
        if behind_many and self.kind not in ("failed", "delayed"):
            return recipient.original
        return recipient.delivered_to

    def _enhanced(self, told: Told) -> str:
        enhanced = told.status.enhanced
        return enhanced if _ENHANCED.match(enhanced) else f"{_CLASSES[self.kind]}.0.0"


def _type_of(original: Original, full: bool) -> str:
    """RFC 6532 and 6533 have types of their own for a header in UTF-8."""
    if full:
        return "message/global" if original.utf8 else "message/rfc822"
    return "message/global-headers" if original.utf8 else "text/rfc822-headers"


def _line(text: str) -> str:
    """One line for people. The grammars let no control character in; a header that somebody forged would be the price of their mistake."""
    return printable(text)


def _ascii(text: str) -> str:
    """One line for programs, whose part of a report is ASCII."""
    return printable(text).encode("ascii", "backslashreplace").decode()


def _typed(address: Address) -> str:
    text = str(address)
    return f"rfc822; {_ascii(text)}" if text.isascii() else f"utf-8; {_utf8(text)}"


def _original(orcpt: str) -> str:
    kind, _, text = orcpt.partition(";")
    return f"{_ascii(kind)}; {_utf8(text) if kind.lower() == 'utf-8' else _ascii(text)}"


def _utf8(text: str) -> str:
    return _NOT_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)
