"""What stands where a copy of ours was written, or was going to be: all of it, a torn piece of it, or nothing of ours.

It is known by its octets, not by its place alone: other programs may have written behind it, or all over the file, and not an octet of
theirs is touched. Here nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lanmail.mailbox.mbox import LONGEST_SEPARATOR, is_separator, separation

_WINDOW = 64 * 1024
_SEPARATIONS = (b"", b"\n", b"\n\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets of ours in a file. start: where they begin, the separation before them included. begin: without it. whole: all of a copy."""

    start: int
    begin: int
    end: int
    whole: bool


def piece_at(fd: int, start: int, octets: Callable[[], Iterable[bytes]], *, holes: bool) -> Piece | None:
    """What of this copy stands in the file from ``start`` on; None where nothing does. Raises OSError.

    octets: of the copy, without a separation, from the first on each time it is called. start: the length that the mailbox had before
    it. holes: a NUL in any place may be one of ours that never reached the disk, as a power cut leaves it; then the piece is torn,
    however long it is.
    """
    size = os.fstat(fd).st_size
    if size <= start:
        return None
    tail = os.pread(fd, min(4, start), max(0, start - 4))  # as much as LockedMailbox.gap looks at
    # Where what stood before it is lost, nobody knows what separation it got.
    gaps = _SEPARATIONS if holes and b"\0" in tail else (separation(tail),)
    pieces = [piece for gap in gaps if (piece := _piece(fd, start, size, gap, octets(), holes)) is not None]
    return max(pieces, key=lambda piece: (piece.whole, piece.end), default=None)


def piece_from(fd: int, begin: int, octets: Iterable[bytes], *, holes: bool) -> Piece | None:
    """The same of a copy that was moved: ``begin`` is where its own octets begin now, behind whatever separates it. Raises OSError."""
    return _piece(fd, begin, os.fstat(fd).st_size, b"", octets, holes)


def to_take_out(pieces: Iterable[Piece], size: int) -> list[tuple[int, int]]:
    """The ranges that rid a file of ``size`` octets of these, in order and apart.

    What ends the file goes with its separation. Before what others wrote the separation stays: it is then between the message before
    ours and theirs (``separations``).
    """
    return [(piece.start if piece.end == size else piece.begin, piece.end) for piece in _joined(pieces)]


def separations(pieces: Iterable[Piece], size: int) -> list[tuple[int, int]]:
    """Where the separations of these stay: line ends, each of which a power cut may have left as a NUL."""
    return [(piece.start, piece.begin) for piece in _joined(pieces) if piece.start < piece.begin and piece.end < size]


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """In order and apart. Two may lie over each other, where all that a power cut left of both is NULs."""
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.start, piece.begin)):
        last = joined[-1] if joined else None
        if last is not None and piece.start <= last.end:
            joined[-1] = Piece(last.start, last.begin, max(last.end, piece.end), False)
        else:
            joined.append(piece)
    return joined


def overlaps(piece: Piece, others: Sequence[tuple[int, int]]) -> bool:
    """Whether it shares octets with any of these ranges."""
    return any(piece.begin < end and start < piece.end for start, end in others)


def _piece(fd: int, start: int, size: int, gap: bytes, octets: Iterable[bytes], holes: bool) -> Piece | None:
    begin = start + len(gap)
    end, complete, damaged = _compared(fd, start, gap, octets, holes)
    if not complete and end < size:
        end = _cut(fd, start, end)
    # A separation alone is ours where the file ends with it; before what others wrote it may be theirs.
    ours = end > start if end == size else end > begin
    return Piece(start, begin, end, complete and not damaged) if ours else None


def _compared(fd: int, start: int, gap: bytes, octets: Iterable[bytes], holes: bool) -> tuple[int, bool, bool]:
    """Up to where the file is like ours, whether that is to our end, and whether with NULs in it."""
    at = start
    damaged = False
    for ours in _windows(gap, octets):
        theirs = os.pread(fd, len(ours), at)
        if theirs != ours:
            pairs = zip(theirs, ours, strict=False)
            differs = (n for n, (found, wanted) in enumerate(pairs) if found != wanted and not (holes and not found))
            here = next(differs, len(theirs))
            if here < len(ours):
                return at + here, False, damaged
            damaged = True
        at += len(ours)
    return at, True, damaged


def _windows(gap: bytes, octets: Iterable[bytes]) -> Iterator[bytes]:
    if gap:
        yield gap
    for piece in octets:
        for at in range(0, len(piece), _WINDOW):
            yield piece[at : at + _WINDOW]


def _cut(fd: int, start: int, end: int) -> int:
    """Where our torn piece ends, when the octets from ``start`` are like ours up to ``end``, and others follow; ``start`` if it is none.

    What follows begins with a separator, perhaps after an empty line, perhaps in the middle of our last line. Its first octets may be the
    very ones that ours would have had there (our "From:" against its "From "), so it may begin before ``end``; but its line cannot be
    ours to the last octet, since then ``end`` would lie behind it. The last such place counts: when our own separator is
    torn, it makes one with the other's behind it. Without such a place another program has rewritten the file, and nothing is ours.
    """
    first = max(start, end - LONGEST_SEPARATOR)
    window = os.pread(fd, end - first + 2 * LONGEST_SEPARATOR, first)
    found = start
    position = window.find(b"From ")
    while position >= 0 and not window[end - first : position].strip(b"\n"):
        line, newline, _ = window[position:].partition(b"\n")
        if newline and is_separator(line) and first + position + len(line) + 1 > end:
            found = min(first + position, end)
        position = window.find(b"From ", position + 1)
    return found
