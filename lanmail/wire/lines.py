"""Bounded lines out of a stream of bytes."""

from __future__ import annotations

from enum import Enum


class TooLong(Enum):
    """Stands for a line that was longer than allowed. Its octets are gone."""

    LINE = "line"


# A piece of so many octets is the text of a message, most likely, and whoever takes it takes all of it.
_LARGE = 16 * 1024


class LineBuffer:
    """What the client sent and nobody has read yet.

    Lines end with LF, with or without a CR before it: Postfix takes both for commands
    (smtpd_forbid_bare_newline = normalize), and so do the clients of forty years. Nothing here is ever longer than
    what the caller allows: a line past its limit is thrown away as it comes, and reported once, when it ends.
    """

    __slots__ = (
        "_data",
        "_discarding",
        "_searched",
        "_whole",
    )

    def __init__(self) -> None:
        self._data = bytearray()
        self._whole = (
            b""  # a large piece behind which nothing has come yet, and before which nothing stands: not copied
        )
        self._searched = 0
        self._discarding = False

    def __len__(self) -> int:
        return len(self._data) + len(self._whole)

    def feed(self, data: bytes) -> None:
        if len(data) >= _LARGE and not len(self):
            self._whole = data
        else:
            self._copy_the_whole()
            self._data += data

    def _copy_the_whole(self) -> None:
        if self._whole:
            self._data += self._whole
            self._whole = b""

    def line(self, limit: int) -> bytes | TooLong | None:
        """The next line without its end; TooLong for one of more than ``limit`` octets; None when it is not there yet."""
        self._copy_the_whole()
        end = self._data.find(b"\n", self._searched)
        if end < 0:
            if len(self._data) > limit + 1:  # the line may still be at its limit with the CR counted
                self._discarding = True
            if self._discarding:
                self._data.clear()
            self._searched = len(self._data)
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        if self._discarding:
            self._discarding = False
            return TooLong.LINE
        if line.endswith(b"\r"):
            line = line[:-1]
        return TooLong.LINE if len(line) > limit else line

    def take(self, limit: int) -> bytes:
        """Up to ``limit`` octets as they came: what a protocol reads that is not made of lines."""
        if 0 < len(self._whole) <= limit:
            data, self._whole = self._whole, b""
            return data
        self._copy_the_whole()
        if len(self._data) <= limit:
            data = bytes(self._data)
            self._data.clear()
        else:
            data = bytes(self._data[:limit])
            del self._data[:limit]
        self._searched = 0
        return data

    def push_back(self, data: bytes) -> None:
        """Return what ``take`` gave too much."""
        self._copy_the_whole()
        self._data[:0] = data
        self._searched = 0

    def discard(self) -> int:
        """Forget everything unread; how many octets that were. For what was pipelined behind STARTTLS."""
        count = len(self)
        self._data.clear()
        self._whole = b""
        self._searched = 0
        self._discarding = False
        return count
