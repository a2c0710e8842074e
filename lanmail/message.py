"""What we write into a message and what we take out of it: queue ids, dates, trace headers, and the filter of the top header.

The words and their order are Postfix's, so that whoever reads trace headers finds what they know.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from lanmail.address import Address

# Not strftime: its names follow the locale of whoever started us.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Readers of an mbox, ours and mutt's, take a "From " line for one up to 1024 octets. What SMTP lets through can be longer, once
# myorigin or A-labels are in it; the whole address stands in Return-Path anyhow.
_LONGEST_IN_FROM_LINE = 900
_IDS = 0xFF_FFFF_FFFF
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class QueueIds:
    """Names for messages: ten upper-case hex digits, as in ``222CF6745D``; each greater than the one before.

    Eight digits are the time in 1/64 s, two count within that; after 776 days they begin anew. A clock that was set back does not
    give an id twice: where it lies behind ``last``, the ids go on from there.

    clock: seconds since the epoch. last: the greatest id that is remembered from earlier, of all workers; empty where there is none.

    place, count: which of how many workers this is, from 0. None gives an id that another could give: each has its own lowest digits.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, last: str = "", *, place: int = 0, count: int = 1
    ) -> None:
        self._clock = clock
        self._place = place
        self._stride = _stride(count)
        # The next one is greater, whoever gave this one.
        self._last = int(last, 16) // self._stride * self._stride + place if last else None

    def next(self) -> str:
        now = (int(self._clock() * 64) << 8) & _IDS | self._place
        if self._last is None:
            self._last = now
        else:
            self._last = now if _is_later(now, self._last) else (self._last + self._stride) & _IDS
        return f"{self._last:010X}"


def maker_of(queue_id: str, count: int) -> int:
    """The place of the one of ``count`` workers that gave this id; no worker's where it was given in another number of them.

    ValueError where it is none.
    """
    return int(queue_id, 16) % _stride(count)


def latest_id(ids: Iterable[str]) -> str:
    """The greatest of these queue ids; empty where there is none. Empty ones do not count."""
    latest = ""
    for one in ids:
        if one and (not latest or _is_later(int(one, 16), int(latest, 16))):
            latest = one
    return latest


def _stride(count: int) -> int:
    """A power of two, so that it stays the same who gives which when the ids begin anew."""
    return 1 << (count - 1).bit_length()


def _is_later(one: int, other: int) -> bool:
    # As with any number that begins anew, what lies less than half the round ahead is later (RFC 1982).
    return 0 < (one - other) & _IDS <= _IDS // 2


def rfc5322_date(when: float) -> str:
    """Local time with its numeric zone and, as a comment, its name: ``Tue, 24 Nov 2026 21:36:34 +0100 (CET)``.

    when: seconds since the epoch. A day of one digit has a second space before it, as Postfix writes it.
    """
    local = time.localtime(when)
    sign, minutes = ("-", -local.tm_gmtoff // 60) if local.tm_gmtoff < 0 else ("+", local.tm_gmtoff // 60)
    name = f" ({local.tm_zone})" if re.fullmatch(r"[A-Za-z0-9+-]+", local.tm_zone) else ""
    return (
        f"{_DAYS[local.tm_wday]}, {local.tm_mday:2d} {_MONTHS[local.tm_mon - 1]} {local.tm_year:04d}"
        f" {local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} {sign}{minutes // 60:02d}{minutes % 60:02d}{name}"
    )


def from_line(sender: Address, when: float) -> bytes:
    """The line that begins a message in an mbox: ``From julien@iscb-corporation.com  Tue Nov 24 21:36:34 2026`` and LF.

    Two spaces, and the time as asctime(3) writes local time, as Postfix's mail_copy.c has it; the null sender is MAILER-DAEMON,
    and so is one that is too long for such a line.
    """
    local = time.localtime(when)
    date = (
        f"{_DAYS[local.tm_wday]} {_MONTHS[local.tm_mon - 1]} {local.tm_mday:2d}"
        f" {local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} {local.tm_year:04d}"
    )
    address = _octets(str(sender))
    if not 0 < len(address) <= _LONGEST_IN_FROM_LINE:
        address = b"MAILER-DAEMON"
    return b"From %s  %s\n" % (address, date.encode())


def protocol(*, extended: bool, tls: bool = False, authenticated: bool = False, smtputf8: bool = False) -> str:
    """What stands behind ``with`` in a Received header (RFC 3848; RFC 6531, 4.3)."""
    if not (extended or smtputf8):
        return "SMTP"
    return ("UTF8SMTP" if smtputf8 else "ESMTP") + ("S" if tls else "") + ("A" if authenticated else "")


@dataclass(frozen=True, slots=True)
class Trace:
    """What a Received header tells of one message (RFC 5321, 4.4).

    helo: how the client introduced itself. client: its address as a literal, ``[192.168.1.5]``. hostname: ours.
    with_protocol: from ``protocol``. when: seconds since the epoch.
    recipient: of RCPT, where there was exactly one; None where there were more, which must not learn of each other.
    hides_client: neither its address nor its own word for itself is told, which may have the address in it too.
    """

    helo: str
    client: str
    hostname: str
    with_protocol: str
    queue_id: str
    when: float
    recipient: Address | None = None
    hides_client: bool = False

    def received(self) -> bytes:
        """The Received header, its lines ended with LF."""
        # "(lanmail)" is part of the mark by which mailbox/mbox.py knows our messages.
        by = f"by {self.hostname} (lanmail) with {self.with_protocol} id {self.queue_id}"
        date = rfc5322_date(self.when)
        client = (
            "submission (client hidden)" if self.hides_client else f"{self.helo or 'unknown'} (unknown {self.client})"
        )
        lines = [f"Received: from {client}"]
        lines += [f"{by}; {date}"] if self.recipient is None else [by, f"for <{self.recipient}>; {date}"]
        return b"\n\t".join(map(_octets, lines)) + b"\n"


def envelope_headers(sender: Address, original: Address, delivered_to: Address) -> bytes:
    """What one mailbox's copy says of the envelope, its lines ended with LF.

    original: the recipient as the client named it. delivered_to: the address that aliases made of it.
    """
    lines = (f"Return-Path: <{sender}>", f"X-Original-To: {original}", f"Delivered-To: {delivered_to}")
    return b"".join(_octets(line) + b"\n" for line in lines)


def _octets(line: str) -> bytes:
    """One line for a file. The grammar let no control character in; a header that somebody forged would be the price of its mistake."""
    if not line.isprintable():  # nearly never, and cheaper to know than where
        line = _CONTROLS.sub("?", line)
    return line.encode("utf-8", "replace")


# What of a line is read before its fate is decided: more than any name of a header, any Message-ID and any Delivered-To.
_LINE_HEAD = 2048
# Octets, of each line no more than _LINE_HEAD counted: it is the number of lines that costs time. sendmail refuses a header of
# more than 32 KiB (MaxHeadersLength); ten thousand recipients in To: have 300.
LONGEST_HEADER = 1 << 20
# Of a field that is noted, and how many of one name.
_MOST_NOTED = 16 << 10
_MOST_OF_ONE_NAME = 3
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MBOX_FROM = re.compile(rb">?From ")


class TopHeader:
    """Takes a message's text in pieces (LF line ends), gives it back without the fields that must not stand in its header.

    The header ends at the first empty line, or, as for mutt and Postfix, before the first line that is neither a field nor the
    continuation of one; from there on nothing is changed. Nothing is ever added within the text either: a client gets back
    the octets that were sent. But the text follows the trace headers, so where it does not begin with a header, an empty line comes
    before it, which ends ours. A first line ``From …`` (an mbox piped into a mail program) belongs to the header that follows it,
    as mutt has it.

    longest: octets of a header (message_header_size_limit), of each line no more than _LINE_HEAD counted. drop: names of fields in lower
    case, which go with their continuation lines. ``received``, ``delivered_to`` (lower case) and ``message_id`` are what was
    found; ``size`` is the octets of the text as it came, each line end one. ``endless``: the header
    was given up in its middle, and the message must be refused, since what should be dropped may still stand in it.

    noted: names of fields, in lower case, whose values are kept, to be asked for with ``values``. ``ambiguous``: why not
    every reader sees the same fields in this header, in the middle of a sentence; empty where all do. It is looked for only where
    something is noted.
    """

    def __init__(
        self, drop: Collection[bytes], noted: Collection[bytes] = (), *, longest: int = LONGEST_HEADER
    ) -> None:
        self._longest = longest
        self._drop = frozenset(drop)
        self._noted = frozenset(noted)
        self._fields: dict[bytes, list[bytes]] = {}
        self.ambiguous = ""
        self._value: list[bytes] | None = None  # the list at whose end the field stands that we are in
        self._rest = b""  # the start of a line that cannot be judged yet
        self._opening = b""  # a first line "From ...", until the second is seen
        self._begun = False
        self._ended = False
        self._keep = True  # the fate of the field we are in
        self._midline = False  # in a line longer than _LINE_HEAD, which was judged by its head
        self._awaiting_id = False  # some write the Message-ID on a continuation line
        self._header_size = 0
        self.endless = False
        self.size = 0
        self.received = 0
        self.delivered_to: set[str] = set()
        self.message_id = ""

    def feed(self, piece: bytes) -> bytes:
        self.size += len(piece)
        if self._ended:
            return piece
        text = self._rest + piece
        self._rest = b""
        kept: list[bytes] = []
        position = 0
        while position < len(text) and not self._ended:
            end = text.find(b"\n", position) + 1
            if self._midline:
                self._midline = not end
            elif not end and len(text) - position < _LINE_HEAD:
                self._rest = text[position:]
                return b"".join(kept)
            else:
                head = text[position : min(end or len(text), position + _LINE_HEAD)]
                self._midline = not end
                kept.append(self._judge(head))
                if self._ended:
                    break
            if self._keep and not self._opening:
                kept.append(text[position : end or len(text)])
                if self._noted:
                    self._note_down(kept[-1])
            position = end or len(text)
        kept.append(text[position:] if self._ended else b"")
        return b"".join(kept)

    def finish(self) -> bytes:
        """What was held back, at the end of the text."""
        rest, self._rest = self._rest, b""
        if rest and not self._ended:
            before = self._judge(rest)
            if self._noted and self._keep and not (self._ended or self._opening):
                self._note_down(rest)
            rest = before + (rest if (self._keep or self._ended) and not self._opening else b"")
        if self._opening:
            rest, self._opening = b"\n" + self._opening + rest, b""
        self._ended = True
        return rest

    def _judge(self, line: bytes) -> bytes:
        """Decide about a line from its head; what must be written before it. Sets ``_keep``, or ``_ended`` when it is text."""
        first, self._begun = not self._begun, True
        opening, self._opening = self._opening, b""
        self._header_size += len(line) + line.endswith(b"\n")  # as it came, with CRLF
        if self._header_size > self._longest:
            self._ended = self.endless = True
            return opening
        field = _FIELD.match(line)
        if field:
            name = field[1].lower()
            self._keep = name not in self._drop
            self._note(name, line[field.end() :])
            self._value = None
            if name in self._noted and self._keep:
                self._value = self._fields.setdefault(name, [])
                if len(self._value) < _MOST_OF_ONE_NAME:
                    self._value.append(b"")
            return opening
        if first and _MBOX_FROM.match(line) and line.endswith(b"\n"):
            self._opening = line
            if self._noted:
                self._note_down(line)
            return b""
        if line.startswith((b" ", b"\t")) and not (first or opening):
            if self._awaiting_id:
                self._note(b"message-id", line)
            return b""
        self._ended = True
        begins_with_text = bool(opening) or (first and line != b"\n")
        if line != b"\n" and not begins_with_text:
            self.ambiguous = (
                self.ambiguous or "a line in it is no field; between header and text there must be an empty line"
            )
        return (b"\n" if begins_with_text else b"") + opening

    def _note_down(self, piece: bytes) -> None:
        """A piece of a field: look for what splits it for some readers, and keep it where it is wanted."""
        if b"\r" in piece or b"\0" in piece:
            self.ambiguous = self.ambiguous or "it has a control character (CR without LF, or NUL)"
        if self._value is not None:
            self._value[-1] += piece[: _MOST_NOTED - len(self._value[-1])]

    def values(self, name: bytes) -> list[bytes]:
        """What stands behind the colon in the fields of that name, as it came, folded or not.

        Of a field that comes more than twice, no more than three; of each no more than 16 KiB, which is more than whoever reads them takes.
        """
        return [field.partition(b":")[2].strip(b" \t\r\n") for field in self._fields.get(name, [])]

    def _note(self, name: bytes, value: bytes) -> None:
        text = value.strip().decode("utf-8", "replace")
        self._awaiting_id = False
        if name == b"received":
            self.received += 1
        elif name == b"delivered-to" and len(self.delivered_to) < 1000:
            self.delivered_to.add(text.lower())
        elif name == b"message-id" and not self.message_id:
            self.message_id = text
            self._awaiting_id = not text
