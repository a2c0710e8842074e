"""One message of an mbox as POP3 sends it: CRLF line ends, unquoted where we had quoted it, in pieces."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterator

from lanmail.interfaces import MessageGone, Torn
from lanmail.mailbox.found import CRLF, OURS, UNENDED
from lanmail.mailbox.index import Index, Stamp
from lanmail.mailbox.mbox import Unquoting, is_separator
from lanmail.mailbox.windows import Changed, read_exactly

PIECE = 64 << 10

_NEXT = b"\nFrom "


def read_text(fd: int, index: Index, number: int, body_lines: int | None = None) -> Iterator[bytes]:
    """The message in pieces of about 64 KiB; with ``body_lines`` its header, the empty line and so many lines.

    Works without the lock. Before the first piece, and whenever the file has changed between two, it is checked that the
    message still stands where the index says. Raises MessageGone before the first piece, Torn after it; OSError.
    The whole message has exactly ``index.entry(number).octets`` octets, or Torn is raised at its end.
    """
    entry = index.entry(number)
    watch = _Watch(fd, index, number)
    top = None if body_lines is None else _Top(body_lines)
    wire = _Wire(entry.flags)
    begun = False
    octets = 0
    try:
        watch.look()
        for offset in range(entry.text, entry.end, PIECE):
            raw = read_exactly(fd, min(PIECE, entry.end - offset), offset)
            # After the read: whatever changed these octets before we read them shows now.
            watch.look()
            if top is not None:
                raw = top.feed(raw)
            piece = wire.feed(raw)
            if piece:
                begun = True
                octets += len(piece)
                yield piece
            if top is not None and top.ended:
                break
        piece = wire.finish(unended=bool(entry.flags & UNENDED) and not (top is not None and top.ended))
    except (Changed, _Moved):
        raise (Torn if begun else MessageGone) from None
    octets += len(piece)
    if body_lines is None and octets != entry.octets:
        raise Torn
    if piece:
        yield piece


def read_several(fd: int, index: Index, number: int, most: int) -> list[bytes]:
    """This message and those behind it, each whole, as ``read_text`` gives them in pieces; as many as stand in ``most`` octets of the file.

    None at all where the first one is longer, or does not stand where the index says: then ``read_text`` says what to say of it.
    Raises OSError.
    """
    begin, limit = index.starts[number - 1], index.starts[number - 1] + most
    last = bisect_right(index.starts, limit, number) - 1
    if last == len(index) - 1 and index.end <= limit:
        last += 1
    if last < number:
        return []
    watch = _Watch(fd, index, number)
    try:
        watch.look()
        data = read_exactly(fd, min(index.extent(last)[1] + len(_NEXT), index.size) - begin, begin)
        watch.look()
    except (Changed, _Moved):
        return []
    texts: list[bytes] = []
    for each in range(number, last + 1):
        at = each - 1
        start, next_ = index.extent(each)
        # They were read at once, and the first begins in its place. Another ends where the one behind it begins.
        if each < len(index) and not data.startswith(_NEXT, next_ - begin - 1):
            break
        text = _whole(data[start + index.lines[at] - begin : next_ - index.gaps[at] - begin], index.flags[at])
        if len(text) != index.octets[at]:
            break
        texts.append(text)
    return texts


def _whole(raw: bytes, flags: int) -> bytes:
    """What _Wire makes of all of a message's text: that, where there is nothing to take off, is one replacement."""
    if flags & CRLF:
        raw = raw.replace(b"\r\n", b"\n")
    if flags & OURS and b">From" in raw:
        unquoting = Unquoting()
        raw = unquoting.feed(raw) + unquoting.finish()
    text = raw.replace(b"\n", b"\r\n")
    return text + b"\r\n" if flags & UNENDED else text


class _Moved(Exception):
    """The message does not stand where the index says."""


class _Watch:
    """Knows whether one message is still in its place."""

    def __init__(self, fd: int, index: Index, number: int) -> None:
        self._fd = fd
        self._index = index
        self._number = number
        self._believed: Stamp | None = index.stamp if index.settled and not index.glanced else None

    def look(self) -> None:
        """Raises _Moved, Changed."""
        now = time.time_ns()
        stat = os.fstat(self._fd)
        stamp = Stamp.of(stat)
        if stamp == self._believed:
            return
        entry = self._index.entry(self._number)
        if not self._index.holds(self._fd, stat, self._number):
            raise _Moved
        line, *rest = read_exactly(self._fd, entry.text - entry.start, entry.start).split(b"\n")
        if not is_separator(line) or any(rest):
            raise _Moved
        self._believed = stamp if stamp.settled(now) else None


class _Wire:
    """Text of the file made text of the wire."""

    def __init__(self, flags: int) -> None:
        self._unquoting = Unquoting() if flags & OURS else None
        self._crlf = bool(flags & CRLF)
        self._carriage_return = b""

    def feed(self, raw: bytes) -> bytes:
        if self._crlf:
            raw = self._carriage_return + raw
            self._carriage_return = b"\r" if raw.endswith(b"\r") else b""
            raw = raw[: len(raw) - len(self._carriage_return)].replace(b"\r\n", b"\n")
        if self._unquoting is not None:
            raw = self._unquoting.feed(raw)
        return raw.replace(b"\n", b"\r\n")

    def finish(self, *, unended: bool) -> bytes:
        """The rest, and the line end that the last line lacks."""
        rest = self._carriage_return
        if self._unquoting is not None:
            rest = self._unquoting.feed(rest) + self._unquoting.finish()
        return rest + (b"\r\n" if unended else b"")


class _Top:
    """Lets a header, its empty line, and so many lines of the body through. Octets of the file, lines end with LF there."""

    def __init__(self, body_lines: int) -> None:
        self._left = body_lines
        self._in_header = True
        self._before = b"\n"  # the last octets that were fed: the text starts at the start of a line
        self.ended = False

    def feed(self, raw: bytes) -> bytes:
        begin = 0
        if self._in_header:
            data = self._before + raw
            ends = [at + len(empty) for empty in (b"\n\n", b"\n\r\n") if (at := data.find(empty)) >= 0]
            if not ends:
                self._before = data[-2:]
                return raw
            self._in_header = False
            begin = min(ends) - len(self._before)
        lines = raw.count(b"\n", begin)
        if lines < self._left:
            self._left -= lines
            return raw
        end = begin
        while self._left:
            end = raw.index(b"\n", end) + 1
            self._left -= 1
        self.ended = True
        return raw[:end]
