"""Finding the messages of an mbox: one pass over the file, in windows, with the searches left to methods of `bytes`.

Here is the long way, which says of any octets what they are; for nearly all messages plain.py has a short one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lanmail.mailbox import mbox
from lanmail.mailbox.found import CRLF, DOUBTED, HEADER_READ, OURS, OURS_READ, PSEUDO, UNENDED, Entry, Run
from lanmail.mailbox.plain import CONTENT, FROM, QUOTED, Plain, line_ends
from lanmail.mailbox.windows import Window

_CONTENT_LENGTH = re.compile(
    rb"\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh][ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?(?=\n)"
)
_PSEUDO_SUBJECT = re.compile(rb"\nsubject:[ \t]*DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA", re.IGNORECASE)
_PSEUDO_STATE = re.compile(rb"\nx-imap(?:base)?:", re.IGNORECASE)

_CR = 0x0D


class _Header(NamedTuple):
    body: int | None  # offset of the body; None where the header's end was not seen
    flags: int
    content_length: int | None


class Scan:
    """The messages from ``start`` on, in the order of the file.

    awaited: after the scan, the smallest offset behind the end of the file at which some Content-Length expects its
    message to end; None where there is none. When the file grows beyond it, that message may turn out to be longer.
    """

    def __init__(self, fd: int, size: int, start: int = 0) -> None:
        self._window = Window(fd, size)
        self._size = size
        self._start = start
        self.awaited: int | None = None

    def messages(self) -> Iterator[Entry | Run]:
        """Raises windows.Changed, OSError."""
        window = self._window
        start = self._first()
        shown, plain = b"", Plain(b"", 0)
        while start < self._size:
            found = self._message(start)
            yield found
            start = found.next
            if shown is not window.data:
                shown = window.data
                plain = Plain(shown, window.base)
            run = plain.run(start)
            start = run.next
            yield run

    def starts_there(self) -> bool:
        """Whether a message starts exactly at ``start``. Raises windows.Changed, OSError."""
        return self._separator_at(self._start)

    def hidden(self) -> int:
        """Where c-client's pseudo message at the start of the file ends; 0 where there is none. Raises windows.Changed, OSError."""
        self._window.show(0, mbox.LONGEST_SEPARATOR + 2 + HEADER_READ)
        text = self._window.data.find(b"\n") + 1
        if not text or not self._separator_at(0) or not self._header(text, first=True).flags & PSEUDO:
            return 0
        return self._message(0).next

    def _first(self) -> int:
        """Where the first message starts; the end of the file where there is none."""
        window = self._window
        window.show(max(0, self._start - 3), mbox.LONGEST_SEPARATOR + 5)
        if self._separator_at(self._start):
            return self._start
        return self._next_separator(self._start)[0]

    def _separator_at(self, offset: int) -> bool:
        """Whether a `From ` line stands there, at the start of the file or after an empty line."""
        if offset and not self._empty_line_before(offset):
            return False
        window = self._window
        longest = mbox.LONGEST_SEPARATOR + 2
        if window.base <= offset and offset + longest <= window.stop:
            data, at = window.data, offset - window.base
            end = data.find(b"\n", at, at + longest)
            line = data[at : at + longest if end < 0 else end]
        else:
            line = window.peek(offset, longest).split(b"\n", 1)[0]
        return line.startswith(b"From ") and mbox.is_separator(line)

    def _empty_line_before(self, offset: int) -> int:
        """The octets of the empty line (nothing, or one CR, and LF) that ends at this offset; 0 where there is none."""
        window = self._window
        at = offset - window.base
        inside = at >= 3 and offset <= window.stop
        before = window.data[at - 3 : at] if inside else window.peek(max(0, offset - 3), min(3, offset))
        if before.endswith(b"\n\n") or before == b"\n":
            return 1
        return 2 if before in (b"\n\r\n", b"\r\n") else 0

    def _message(self, start: int) -> Entry:
        window = self._window
        window.show(start, mbox.LONGEST_SEPARATOR + 2 + HEADER_READ)
        line_end = window.data.find(b"\n", start - window.base)
        text = self._size if line_end < 0 else window.base + line_end + 1
        header = self._header(text, first=start == 0)
        believed = (
            None
            if header.content_length is None or header.body is None
            else self._end_by_length(header.body + header.content_length)
        )
        next_, line_feeds, pairs, quoted = self._next_separator(text, believed, counting=True, flags=header.flags)
        end = max(text, next_ - self._empty_line_before(next_))
        flags = header.flags
        if end < next_:  # the empty line was counted, and is not text
            line_feeds -= 1
            pairs -= 1 if flags & CRLF and next_ - end == 2 else 0
        octets = end - text + line_feeds - pairs - quoted
        if end > text and window.peek(end - 1, 1) != b"\n":
            flags |= UNENDED
            octets += 2
        if (
            header.body is not None
            and header.content_length is not None
            and header.body + header.content_length > next_
        ):
            flags |= DOUBTED
        return Entry(start, text, end, next_, octets, flags)

    def _header(self, text: int, *, first: bool) -> _Header:
        """What the header says, of which the window shows the start."""
        data = self._window.data
        # The line end of the `From ` line is included, so that each field has a line end before it.
        begin = text - self._window.base - 1
        limit = min(len(data), begin + 1 + HEADER_READ)
        flags = 0
        # The header ends with its first empty line: nothing, or one CR. Behind it may be another message's header.
        blank, empty = data.find(b"\n\n", begin, limit), 2
        with_cr = data.find(b"\n\r\n", begin, limit if blank < 0 else blank + 1)
        if with_cr >= 0:
            blank, empty = with_cr, 3
        header_end = limit if blank < 0 else blank + empty
        first_end = data.find(b"\n", begin + 1, header_end)
        if first_end > 0 and data[first_end - 1] == _CR:
            # One field that ends otherwise, and each CR is text.
            lines = data.count(b"\n", begin + 1, header_end)
            flags |= CRLF if lines == data.count(b"\r\n", begin + 1, header_end) else 0
        top = min(header_end, begin + 1 + OURS_READ)
        if data.find(mbox.OUR_NAME, begin, top) >= 0 and mbox.is_ours(data[begin + 1 : top]):
            flags |= OURS
        content_length = None
        if not flags & OURS:  # in what we wrote each `From ` line of the body is quoted: there is nothing to skip
            there = CONTENT in data[begin:header_end].lower()  # at a glance: few have one
            lengths = _CONTENT_LENGTH.findall(data, begin, header_end) if there else ()
            if len(lengths) == 1:
                content_length = int(lengths[0])
            if (
                first
                and _PSEUDO_SUBJECT.search(data, begin, header_end)
                and _PSEUDO_STATE.search(data, begin, header_end)
            ):
                flags |= PSEUDO
        return _Header(None if blank < 0 else self._window.base + header_end, flags, content_length)

    def _end_by_length(self, expected: int) -> int | None:
        """Where the next message starts if a body that ends at ``expected`` can be believed, else None.

        Believed only where a separator or the end of the file stands exactly there, or after one line end. Whatever a
        sender writes into Content-Length, a message ends only where one could have ended anyway.
        """
        if expected > self._size:
            self.awaited = expected if self.awaited is None else min(self.awaited, expected)
            return None
        line_end = self._window.peek(expected, 2)
        ends = [expected]
        if line_end[:1] == b"\n":
            ends.append(expected + 1)
        elif line_end == b"\r\n":
            ends.append(expected + 2)
        for end in ends:
            if end == self._size or self._separator_at(end):
                return end
        return None

    def _next_separator(
        self, text: int, known: int | None = None, *, counting: bool = False, flags: int = 0
    ) -> tuple[int, int, int, int]:
        """Where the next message starts, and between here and there: LFs, CR LF pairs (of a CRLF message), quoted lines (of ours).

        text: the start of a line. known: the next message is known to start there.
        """
        window = self._window
        known_end = self._size if known is None else known
        line_feeds = pairs = quoted = 0
        counted = looked = text  # what stands before these was counted, and searched for `From ` lines
        while True:
            window.show(max(0, counted - 3), min(self._size - counted, 4 * mbox.LONGEST_SEPARATOR) + 3)
            data, base = window.data, window.base
            next_ = None
            at = data.find(FROM, max(0, looked - base - 1)) + 1 if known is None else 0
            while at > 0:
                if len(data) < at + mbox.LONGEST_SEPARATOR + 2 and window.stop < self._size:
                    break
                # Text has more lines that begin with `From ` than mailboxes have messages: a glance first.
                if data[at - 2 : at - 1] in b"\n\r" and self._separator_at(base + at):
                    next_ = base + at
                    break
                at = data.find(FROM, at + 4) + 1
            if next_ is None and at <= 0 and window.stop >= known_end:
                next_ = known_end
            if next_ is not None:
                upto = next_ - base
            else:
                # `From ` may be cut by the window's end, and the line before it is looked at again. A pair is not cut.
                looked = base + (at if at > 0 else len(data) - 4)
                upto = min(looked - base, len(data) - 4)
                if data[upto - 1] == _CR:
                    upto -= 1
            if counting:
                begin = counted - base
                line_feeds += line_ends(data[begin:upto])
                if flags & CRLF:
                    pairs += data.count(b"\r\n", begin, upto)
                if flags & OURS:
                    quoted += self._quoted(begin, upto)
            if next_ is not None:
                return next_, line_feeds, pairs, quoted
            counted = base + upto

    def _quoted(self, begin: int, end: int) -> int:
        """How many quoted lines have their `From ` start between these places in the window."""
        window = self._window
        data = window.data
        found = 0
        at = data.find(QUOTED, max(0, begin - 1), end + 3)
        while at >= 0:
            if data.startswith(b" ", at + 5):
                found += window.marks_only(window.base + at + 1)
            at = data.find(QUOTED, at + 5, end + 3)
        return found
