"""A file read through a window of half a mebibyte, with pread.

Never mmap: another program may truncate the file at any moment, and touching a page that is gone kills the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

WINDOW = 1 << 19

# So far ahead of a window that goes on through a file the kernel is asked to read, in steps of so much.
_AHEAD = 8 << 20
_STEP = 4 << 20

_LF = 0x0A
_MARK = 0x3E  # >


class Changed(Exception):
    """Another program changed the file while we read it.

    Read again, under the lock. Whoever sees it more than a few times on end says so as a TemporaryFailure.
    """


def read_exactly(fd: int, length: int, offset: int) -> bytes:
    """So many octets from there. Raises Changed where the file has fewer, OSError."""
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            raise Changed
        data += more
    return data


class Window:
    """A moving view of the first ``size`` octets of a file.

    base, stop: the window shows the octets from ``base`` up to ``stop``, in ``data``.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size
        self.base = self.stop = 0
        self.data = b""
        self._asked = 0  # for what stands before this
        # Whether the line that the window begins in has nothing but `>` before the window, or nothing at all.
        self._marks_before = True

    def show(self, offset: int, length: int) -> None:
        """Move so that the octets from ``offset`` on are seen, ``length`` of them or to the end of the file."""
        if self.base <= offset and (offset + length <= self.stop or self.stop == self.size):
            return
        if self.base <= offset <= self.stop:
            self._marks_before = self.marks_only(offset)
        else:
            self._marks_before = False
        if self.base < offset <= self.stop:
            self._ask_ahead(offset)
        self.data = read_exactly(self._fd, min(max(WINDOW, length), self.size - offset), offset)
        self.base, self.stop = offset, offset + len(self.data)

    def _ask_ahead(self, offset: int) -> None:
        """Have the kernel bring what comes next from the disk while we look at what is here.

        It reads ahead by itself, but then takes many small pages of memory, one by one, while we wait for it.
        """
        self._asked = max(self._asked, self.stop)
        while self._asked < min(offset + _AHEAD, self.size):
            with suppress(OSError):  # it is advice
                os.posix_fadvise(self._fd, self._asked, _STEP, os.POSIX_FADV_WILLNEED)
            self._asked += _STEP

    def marks_only(self, offset: int) -> bool:
        """Whether between the start of its line and ``offset`` (in the window) stand only `>`, or nothing."""
        data = self.data
        at = offset - self.base
        # Runs may be as long as the window: strides first. A run is walked once, so this stays linear in the file.
        for stride in (b">" * 4096, b">" * 64):
            while data.endswith(stride, 0, at):
                at -= len(stride)
        while at and data[at - 1] == _MARK:
            at -= 1
        return data[at - 1] == _LF if at else self._marks_before

    def peek(self, offset: int, length: int) -> bytes:
        """So many octets from there, fewer at the end of the file. The window stays where it is."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if self.base <= offset and offset + length <= self.stop:
            return self.data[offset - self.base : offset - self.base + length]
        return read_exactly(self._fd, length, offset)

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The octets from ``start`` up to ``end``, in pieces no longer than the window."""
        while start < end:
            self.show(start, 1)
            piece = self.data[start - self.base : end - self.base]
            yield piece
            start += len(piece)
