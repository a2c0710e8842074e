"""What a message is, whatever mbox readers write into it: the digest that stands for its content."""

from __future__ import annotations

import re
from hashlib import blake2b

from lanmail.mailbox.index import IDENTITY
from lanmail.mailbox.mbox import REWRITTEN_FIELDS

_REWRITTEN = re.compile(rb"(?:" + b"|".join(sorted(REWRITTEN_FIELDS)) + rb")[ \t]*:", re.IGNORECASE)

# Of a header line longer than this, only the start is waited for.
_LINE = 4 << 10


class Essence:
    """Takes the text of a message in pieces cut anywhere, as it stands in the file but with LF line ends.

    Left out are the fields that readers write (mbox.REWRITTEN_FIELDS, in the header only, with their continuation lines) and the
    empty lines at the end. The quoting of `From ` lines stays as it is in the file.
    """

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=IDENTITY)
        self._in_header = True
        self._line = b""  # the start of a header line
        self._in_line = False  # that line goes on, and what to do with it is known
        self._left_out = False
        self._line_ends = 0  # held back: they count only if something follows

    def feed(self, piece: bytes) -> None:
        if self._in_header:
            piece = self._header(piece)
        self._take(piece)

    def digest(self) -> bytes:
        self._line_done(self._line)
        self._line = b""
        return self._digest.digest()

    def _header(self, piece: bytes) -> bytes:
        """Take the header lines; the rest of the piece where the header ends in it."""
        data = self._line + piece
        # What the header's empty line ends, and the body, need not be cut into lines.
        ends = [at for empty in (b"\n\n", b"\n\r\n") if (at := data.find(empty)) >= 0]
        if data.startswith((b"\n", b"\r\n")) and not self._in_line:
            ends.append(-1)
        end = min(ends, default=None)
        body = b""
        if end is not None:
            data, body = data[: end + 1], data[end + 1 :]
            self._in_header = False
        lines = data.split(b"\n")
        self._line = lines.pop()
        kept = []
        for line in lines:
            if self._in_line:
                self._in_line = False  # what began in an earlier piece ends here
            else:
                self._judge(line)
            if not self._left_out:
                kept.append(line)
        kept.append(b"")
        if len(self._line) > _LINE:
            if not self._in_line:
                self._judge(self._line)
                self._in_line = True
            if not self._left_out:
                kept[-1] = self._line
            self._line = b""
        return b"\n".join(kept) + body

    def _judge(self, line: bytes) -> None:
        if not line.startswith((b" ", b"\t")):
            self._left_out = _REWRITTEN.match(line) is not None

    def _line_done(self, line: bytes) -> None:
        if self._in_header and line and not self._in_line:
            self._judge(line)
        if not (self._in_header and self._left_out):
            self._take(line)

    def _take(self, piece: bytes) -> None:
        stripped = piece.rstrip(b"\n")
        if stripped:
            while self._line_ends:
                some = min(self._line_ends, 1 << 16)
                self._digest.update(b"\n" * some)
                self._line_ends -= some
            self._digest.update(stripped)
        self._line_ends += len(piece) - len(stripped)
