"""The text of one message as it comes in, and what will be said of it where that is decided before its end."""

from __future__ import annotations

from lanmail.smtp import replies
from lanmail.status import Status
from lanmail.wire.conversation import LARGE_READ
from lanmail.wire.dots import DotReader
from lanmail.wire.lines import LineBuffer

# A piece of a message: as much as one read of a socket gives (rim.py). What memory one connection needs hangs on it.
CHUNK = LARGE_READ


class Text:
    """octets: how much has come. verdict: why the message is not taken, once that is certain; the rest is read and thrown away,
    for a reply would be heard only at its end.

    limit: the most octets that it may have (message_size_limit); 0 for no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reader = DotReader()
        self.verdict: Status | None = None

    @property
    def octets(self) -> int:
        return self._reader.octets

    @property
    def ended(self) -> bool:
        return self._reader.ended

    def read(self, source: LineBuffer) -> bytes | None:
        """The next piece (LF line ends), or b""; None where more has to come first. What stands behind the end stays in ``source``."""
        data = source.take(CHUNK)
        if not data:
            return None
        piece = self._reader.feed(data)
        if self._reader.rest is not None:
            source.push_back(self._reader.rest)
        if self.verdict is not None:
            return b""
        if 0 < self._limit < self.octets:
            self.verdict = replies.TOO_LARGE
        return piece
