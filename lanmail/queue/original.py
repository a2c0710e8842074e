"""The message that a report is about, as the report brings it back: its header, or all of it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from email.errors import MessageError
from email.header import decode_header, make_header

from lanmail.mailbox.mbox import Unquoting
from lanmail.spool.incoming import Content

# Octets of a header that are read at all. sendmail refuses one of more than 32 KiB; ten thousand recipients in To: have more, and then
# their beginning has to do.
MOST_HEADER = 64 * 1024
# Octets of a Subject that anybody reads.
_MOST_SUBJECT = 1000
_MOST_READ = 200  # characters

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_MBOX_FROM = re.compile(rb">?From [^\n]*\n")
_SUBJECT = re.compile(rb"^subject[ \t]*:((?:[^\n]*\n[ \t])*[^\n]*)", re.IGNORECASE | re.MULTILINE)


class Unreadable(Exception):
    """The text of the message cannot be read to its end any more. Not an OSError: what is written meanwhile fails with those."""


class Original:
    """Blocks, and is read once, from front to back: ``header`` is there at once, ``rest`` comes behind it.

    trace: the lines that stand above the text in a mailbox, and that the report shows too (Return-Path, Received). header: ends with a
    line end, and holds no empty line. whole: it is the whole header, and ``rest`` is what follows it, the empty line included.
    Where the message cannot be read, what can be of its header has to do.
    utf8: a character in it is not ASCII (RFC 6532). What is not UTF-8 there becomes U+FFFD: no kind of message could hold it.
    """

    def __init__(self, content: Content, trace: bytes = b"") -> None:
        self._pieces = _unquoted(content)
        found, self.whole = self._read()
        text = (trace + found).decode("utf-8", "replace")
        self.utf8 = not text.isascii()
        self.header = text.encode()

    def _read(self) -> tuple[bytes, bool]:
        data, ended = b"", False
        while True:
            # Between our own fields and the message's own its first line from an mbox would be the end of the header.
            start = opening.end() if (opening := _MBOX_FROM.match(data)) else 0
            end = _end_of_header(data, start, ended)
            if end is not None or len(data) > MOST_HEADER:
                break
            try:
                piece = next(self._pieces, None)
            except OSError:
                return data[start : data.rfind(b"\n") + 1], False
            ended = piece is None
            data += piece or b""
        if end is None or end > MOST_HEADER:
            cut = data.rfind(b"\n", 0, MOST_HEADER) + 1
            return data[start:cut], False
        self._left = data[end:]
        header = data[start:end]
        return header + (b"" if not header or header.endswith(b"\n") else b"\n"), True

    def rest(self) -> Iterator[bytes]:
        """From the end of a whole header on: an empty line and the text. Raises Unreadable."""
        assert self.whole
        if not self._left.startswith((b"\n", b"\r\n")):
            yield b"\n"
        yield self._left
        try:
            yield from self._pieces
        except OSError as error:
            raise Unreadable(error) from error

    def close(self) -> None:
        """Let go of the file, where it is one."""
        self._pieces.close()

    @property
    def subject(self) -> str:
        """What people call it; empty where it has no Subject, or one that nobody can read."""
        found = _SUBJECT.search(self.header)
        if found is None:
            return ""
        try:
            text = str(make_header(decode_header(found[1][:_MOST_SUBJECT].decode("utf-8", "replace"))))
        except (ValueError, LookupError, MessageError):
            return ""
        return " ".join(text.split())[:_MOST_READ]


def _unquoted(content: Content) -> Generator[bytes, None, None]:
    """As it was sent, but for its line ends, which are LF; without the empty line that ends it in a mailbox."""
    unquoting = Unquoting()
    held = b""
    for piece in content.pieces():
        text = held + unquoting.feed(piece)
        yield text[:-1]
        held = text[-1:]
    text = held + unquoting.finish()
    yield text.removesuffix(b"\n")


def _end_of_header(data: bytes, position: int, ended: bool) -> int | None:
    """Where the header ends: at an empty line, or before the first line that is no field; None where more must be read to know.

    ended: there is no more.
    """
    first = True
    while True:
        end = data.find(b"\n", position) + 1
        if not end and not ended:
            return None
        line = data[position : end or len(data)]
        if not _FIELD.match(line) and (first or not line.startswith((b" ", b"\t"))):
            return position
        if not end:
            return len(data)
        position, first = end, False
