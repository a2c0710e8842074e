"""The messages of a window that are as nearly all are, found with few searches over the whole of it.

What is *plain*: it stands whole in the window, its header has no CR and no Content-Length that counts, and in what lanmail wrote
nothing looks like a quoted line. Of any other message scan.py decides, octet by octet; of a plain one it would say the same.
"""

from __future__ import annotations

from lanmail.mailbox import mbox
from lanmail.mailbox.found import HEADER_READ, OURS, OURS_READ, Run

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

    def run(self, start: int) -> Run:
        """Those that stand one behind the other from there on, where a message starts; up to the first that is not plain.

        To be asked again for a later place only.
        """
        pieces, last = self._pieces, len(self._pieces) - 1
        while self._at < start and self._number < last:
            self._step()
        run = Run(start)
        if self._at != start:
            return run
        # All of it here, and no call for each of 100,000 that can be spared.
        starts, lines, gaps, sizes, marks = run.starts, run.lines, run.gaps, run.octets, run.flags
        usual, marker, from_ = mbox.USUAL.match, mbox.OUR_NAME, len(_FROM)
        number, at = self._number, start
        piece = pieces[number]
        line_end = piece.find(b"\n")
        while number < last:
            behind = pieces[number + 1]
            # The message ends where another starts: at a separator after an empty line.
            behind_end = behind.find(b"\n")
            if not 0 <= behind_end < _SHORT or not (usual(behind, 0, behind_end) or mbox.separates(behind, behind_end)):
                break
            gap = 1 if piece.endswith(b"\n\n") else 2
            if gap == 2 and not piece.endswith(b"\n\r\n"):
                break
            blank = piece.find(b"\n\n", line_end, line_end + 1 + HEADER_READ)
            header = piece[line_end : blank + 2]
            if blank < 0 or b"\r" in header:
                break
            flags = 0
            if marker in header:
                if len(header) > OURS_READ + 1:
                    break
                flags = OURS if mbox.is_ours(header, 1) else 0
            # In what we wrote a length counts for nothing, and no line is quoted where there is no `From `.
            if not flags and CONTENT in header.lower():
                break
            length = len(piece)
            starts.append(at)
            lines.append(from_ + line_end + 1)
            gaps.append(gap)
            # The octets behind the `From ` line, and their line ends, but for the empty line's.
            sizes.append(length - gap - line_end - 1 + line_ends(piece) - 2)
            marks.append(flags)
            at += from_ + length
            piece, line_end = behind, behind_end
            number += 1
        self._at, self._number, run.next = at, number, at
        return run

    def _step(self) -> None:
        self._at += len(_FROM) + len(self._pieces[self._number])
        self._number += 1
