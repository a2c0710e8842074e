"""The mbox format: separators, quoting, and the mark of the messages that we wrote. Pure functions, no files.

docs/mbox.md is the specification; whoever changes something here changes it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# What an mbox reader writes into a message to keep its state, and believes when it reads it (lower case). In a message
# that comes from the network these are forgeries, so delivery removes them from the header.
STATE_FIELDS = frozenset(
    (b"status", b"x-status", b"x-uid", b"x-uidl", b"x-imap", b"x-imapbase", b"x-keywords", b"lines")
)

# What a reader may write, change or take away without making it another message (lower case).
REWRITTEN_FIELDS = STATE_FIELDS | {b"content-length"}

# Stands in the `Received:` field that we add: `by HOST (lanmail) with ESMTP id ID`. See `is_ours`.
OUR_NAME = b"(lanmail)"

# A `From ` line longer than this, without its line end, separates nothing. Return paths have at most 256 octets
# (RFC 5321, 4.5.3.1.3), quoted ones somewhat more; mutt too reads 1024 octets.
LONGEST_SEPARATOR = 1024

# Everything that repeats is possessive: a line takes time in proportion to its length, and who writes it may want it to take more.
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)[ \t]++"
_FROM = b"From "
_AFTER_FROM = re.compile(
    rb"[ \t]*+"
    # the return path; a user whose name is that of a weekday is told from the weekday by the second one
    rb"(?:(?!" + _DAY + rb')(?:[^ \t"\\]|\\.|"(?:[^"\\]|\\.)*+")++[ \t]++)?'
    rb"" + _DAY + rb"(?:" + _DAY + rb")?"
    rb"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[^ \t]*+[ \t]++"
    rb"[0-9][^ \t]*+[ \t]++"
    rb"[0-9]++:[0-9][^ \t]*+[ \t]++"
    rb"(?:[a-z+-][^ \t]*+[ \t]++(?:[a-z][^ \t]*+[ \t]++)?)?"
    rb"[0-9]",
    re.IGNORECASE | re.DOTALL,
)
# As what follows `From ` looks nearly always; the pattern above matches it too, and takes three times as long.
USUAL = re.compile(
    rb"""[^ \t"\\]++ ++(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) """
    rb"""[ 0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9] [0-9]"""
)

_REST = rb"[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*+"
_PASSED_OVER = rb"(?:" + b"|".join(sorted(REWRITTEN_FIELDS)) + rb")" + _REST
_OURS = re.compile(
    rb"(?:" + _PASSED_OVER + rb")*+"
    rb"return-path" + _REST + rb"(?:(?:x-original-to|delivered-to)" + _REST + rb"|" + _PASSED_OVER + rb")*+"
    rb"received:[^\n]*\n[ \t]+by [^ \t\r\n]+ (?-i:" + re.escape(OUR_NAME) + rb") with ",
    re.IGNORECASE,
)
# What follows the mark: the protocol and the queue id (message.Trace, message.QueueIds).
_ID = re.compile(rb"[A-Z0-9]+ id ([0-9A-F]{10})(?![0-9A-Za-z])")


def is_separator(line: bytes) -> bool:
    """Whether this line, with or without its line end, is a `From ` line with a date that mutt would parse.

    The rule of mutt's `is_from`: `From`, perhaps a return path (quotes and backslashes hold it together), a weekday, a
    month, a day, HH:MM or HH:MM:SS, perhaps one or two time zones, a year. What stands before the line is not asked here.
    """
    line = line.rstrip(b"\n")
    if len(line) > LONGEST_SEPARATOR + line.endswith(b"\r") or not line.startswith(_FROM):
        return False
    return _AFTER_FROM.match(line, len(_FROM)) is not None


def separates(rest: bytes, end: int) -> bool:
    """Whether a line of `From ` and ``rest`` up to ``end``, where its line end stands, is a separator. It is not longer than one may be."""
    return _AFTER_FROM.match(rest, 0, end) is not None


def is_ours(header: bytes, start: int = 0) -> bool:
    """Whether the message whose header begins so was written by lanmail's delivery, and is therefore quoted as mboxrd.

    The mark is the block of trace fields that delivery puts at the top: `Return-Path`, then any of `X-Original-To` and
    `Delivered-To`, then a `Received` whose second line says `by HOST (lanmail) with`. What readers write to keep their
    state is passed over. A sender cannot forge it: what he writes stands below the trace fields of whoever delivers; and
    where nobody adds any, all that he wins is a `>` less in his own message.
    ``header`` from ``start`` on has LF or CRLF line ends; a few thousand octets are enough.
    """
    return _OURS.match(header, start) is not None


def our_queue_id(header: bytes) -> str:
    """The queue id of a message that ``is_ours``; empty for any other. A forged one is of no use to anybody, for the same reasons."""
    mark = _OURS.match(header)
    found = _ID.match(header, mark.end()) if mark else None
    return found[1].decode("ascii") if found else ""


def _exchanged(text: bytes, old: bytes, new: bytes) -> bytes:
    """``text.replace(old, new)``, where that is rarely found.

    Python looks for up to five octets with a plain loop; for more it has an algorithm that never becomes slow, and takes more than twice
    as long where the loop would not either (3.10 to 3.14). So we look for the first five, once, and for the rest where these are found.
    """
    first, *others = text.split(old[:5])
    if not others:
        return text
    rest, kept = old[5:], old[:5]
    return first + b"".join([new + other[len(rest) :] if other.startswith(rest) else kept + other for other in others])


class _MboxrdLines:
    """Finds the lines `>*From ` in pieces that are cut anywhere, holding back a few octets."""

    # Where a piece ends in what may become such a line. Of a long run of `>` only the last is held: whoever adds or takes
    # away one `>` may do it at any place of the run.
    _OPEN = re.compile(rb"(>?)((?:F(?:r(?:om?)?)?)?)\Z")

    _line: re.Pattern[bytes]
    _replacement: bytes
    # How nearly all such lines begin, and what becomes of it; and what others have in them. To look for plain octets, and for the line end
    # before them, takes a sixth of what the pattern takes.
    _plain: tuple[bytes, bytes]
    _other: bytes

    def __init__(self) -> None:
        self._held = b""
        self._at_line = True  # whether the line of the next octet consists of nothing or of `>` so far

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece
        last_line = data.rfind(b"\n") + 1
        self._held = b""
        keep = len(data)
        at_line_next = False
        if last_line or self._at_line:
            # Only the very end is looked at first: lines may be very long.
            found = self._OPEN.search(data, max(last_line, keep - 5))
            assert found is not None  # it matches the empty string at the end
            run = data[last_line : found.start()]
            if not run or (run[:1] == b">" and not run.strip(b">")):
                keep, at_line_next = found.start(), True
        done, self._held = data[:keep], data[keep:]
        if b">" in done and self._other in done:
            # A line that began in an earlier piece with something else than `>` must not be taken for a new one.
            begin = 0 if self._at_line else done.find(b"\n") + 1
            if begin or self._at_line:
                done = done[:begin] + self._line.sub(self._replacement, done[begin:])
        else:
            old, new = self._plain
            begins = self._at_line and done.startswith(old)
            done = _exchanged(done, b"\n" + old, b"\n" + new)
            if begins:
                done = new + done[len(old) :]
        self._at_line = at_line_next
        return done

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        return held


class _Quoted(_MboxrdLines):
    _line = re.compile(rb"^(>*+From )", re.MULTILINE)
    _replacement = rb">\1"
    _plain = b"From ", b">From "
    _other = b">From "


class Unquoting(_MboxrdLines):
    """One `>` off each line `>From `, `>>From ` and so on. Text with LF line ends, pieces cut anywhere."""

    _line = re.compile(rb"^>(>*+From )", re.MULTILINE)
    _replacement = rb"\1"
    _plain = b">From ", b"From "
    _other = b">>From "


class Quoting:
    """A message's text made text of an mbox: a line `From ` or `>From ` with any number of `>` gets one more.

    LF line ends, pieces cut anywhere. A CR is an octet like any other.
    """

    def __init__(self) -> None:
        self._quoted = _Quoted()
        self._last = b""

    def feed(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        self._last = piece[-1:]
        return self._quoted.feed(piece)

    def finish(self) -> bytes:
        """The rest, with the line end that the last line lacks, and the empty line that ends a message in an mbox."""
        end = b"\n" if self._last in (b"\n", b"") else b"\n\n"
        return self._quoted.feed(end) + self._quoted.finish()


def quoted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces through Quoting, its end included."""
    quoting = Quoting()
    for piece in pieces:
        yield quoting.feed(piece)
    yield quoting.finish()


def separation(tail: bytes) -> bytes:
    """What must be written before a new `From ` line so that it follows an empty line.

    tail: the last octets of the file, at least three where it has so many; empty for an empty file.
    Returns b"", b"\\n" or b"\\n\\n".
    """
    if not tail or tail in (b"\n", b"\r\n") or tail.endswith((b"\n\n", b"\n\r\n")):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"
