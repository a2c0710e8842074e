"""The messages of a window that are as nearly all are, found with few searches over the whole of it.

What is *plain*: it stands whole in the window, its header has no CR and no Content-Length that counts, and in what lanmail wrote
nothing looks like a quoted line. Of any other message scan.py decides, octet by octet; of a plain one it would say the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from lanmail.mailbox import mbox
from lanmail.mailbox.found import HEADER_READ, OURS, OURS_READ, Found

# Patterns of five octets, on purpose: from six on CPython (3.10 and later) takes a search that no text makes slow, and that is three
# times as slow in all others.
FROM = b"\nFrom"
QUOTED = b">From"
_FROM = b"From "

# In a header in lower case; few have one.
CONTENT = b"\ncontent-length"

# A separator of fewer octets than this is not too long for one, whatever ends its line.
_SHORT = 1000

# So much of a text is looked at for how long its lines are, and so much is counted at once.
_SAMPLE = 64
_STRIDE = 64 << 10


def line_ends(text: bytes) -> int:
    """How many LFs there are.

    ``count`` looks at each octet. What takes them out goes from one to the next with memchr: that takes a third of the time where
    lines are as people write them, and thirty times as long where there is nothing but line ends.
    """
    if len(text) > _STRIDE:
        return sum(line_ends(text[at : at + _STRIDE]) for at in range(0, len(text), _STRIDE))
    middle = len(text) // 2
    if text.count(b"\n", middle, middle + _SAMPLE) > _SAMPLE // 16:
        return text.count(b"\n")
    return len(text) - len(text.replace(b"\n", b""))


class Plain:
    """The window cut at each `From `, wherever that stands. data: of the window, which begins at ``base`` of the file."""

    def __init__(self, data: bytes, base: int) -> None:
        self._pieces = data.split(_FROM)
        self._number = 0
        self._at = base - len(_FROM)  # where the `From ` before that piece stands; before the first one, would stand

    def messages(self, start: int) -> Iterator[Found]:
        """Those that stand one behind the other from there on, where a message starts; up to the first that is not plain.

        To be asked again for a later place only.
        """
        pieces, last = self._pieces, len(self._pieces) - 1
        while self._at < start and self._number < last:
            self._step()
        if self._at != start:
            return
        # All of it here, and no call for each of 100,000 that can be spared.
        at, piece = self._at, pieces[self._number]
        line_end = piece.find(b"\n")
        for number in range(self._number + 1, last + 1):
            behind = pieces[number]
            # The message ends where another starts: at a separator after an empty line.
            behind_end = behind.find(b"\n")
            if not 0 <= behind_end < _SHORT or not mbox.separates(behind, behind_end):
                return
            gap = 1 if piece.endswith(b"\n\n") else 2
            if gap == 2 and not piece.endswith(b"\n\r\n"):
                return
            blank = piece.find(b"\n\n", line_end, line_end + 1 + HEADER_READ)
            header = piece[line_end : blank + 2]
            if blank < 0 or b"\r" in header:
                return
            flags = 0
            if mbox.OUR_NAME in header:
                if len(header) > OURS_READ + 1:
                    return
                flags = OURS if mbox.is_ours(header, 1) else 0
            # In what we wrote a length counts for nothing, and no line is quoted where there is no `From `.
            if not flags and CONTENT in header.lower():
                return
            text, next_ = at + len(_FROM) + line_end + 1, at + len(_FROM) + len(piece)
            # The line ends behind the `From ` line, but for that of the empty line at the end.
            octets = next_ - gap - text + line_ends(piece) - 2
            yield Found(at, text, next_ - gap, next_, octets, flags, False)
            at, piece, line_end = next_, behind, behind_end
            self._at, self._number = at, number

    def _step(self) -> None:
        self._at += len(_FROM) + len(self._pieces[self._number])
        self._number += 1
