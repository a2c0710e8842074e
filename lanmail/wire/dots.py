"""The text of a message on the wire: lines, dots, and where it ends (RFC 5321, 4.5.2; RFC 1939, 3)."""

from __future__ import annotations

import re

_END = b"\r\n.\r\n"
# At the very end of a piece the dot is alone on its line: only a line end can have been held back behind it.
_STUFFED_AFTER_ANY_LF = re.compile(rb"\n\.(?!\r?\n|\Z)")
# What may be the beginning of something we can only judge with the next octets in hand.
_UNDECIDED = (b"\r\n.\r", b"\r\n.", b"\n.\r", b"\n.", b"\r\n", b"\n", b"\r")


class DotReader:
    """Takes the text of a message as it comes, gives it back in chunks with CRLF line ends and without stuffed dots.

    Only CRLF.CRLF ends a message. A dot alone on a line that any other end surrounds is text and stays (it is
    stuffed again on its way out): servers that took LF.LF for the end let one message smuggle in the next
    (CVE-2023-51764). A bare LF becomes CRLF; a bare CR is an octet like any other. However the octets are cut, the
    result is the same.
    """

    def __init__(self) -> None:
        # The line before the text ended with CRLF: it was DATA.
        self._tail = b"\r\n"
        self._virtual = 2
        self.rest: bytes | None = None
        """After the end: what the client sent behind it. None while the message goes on."""

    @property
    def ended(self) -> bool:
        return self.rest is not None

    def feed(self, data: bytes) -> bytes:
        """The text that is certain now; empty when none is."""
        assert self.rest is None, "the message has ended"
        data = self._tail + data
        bare = data.count(b"\n") != data.count(b"\r\n")
        dotted = b"\r\n." in data  # in most pieces nothing has to be done, and to know it is one search
        end = data.find(_END) if dotted else -1
        if end >= 0:
            self.rest = data[end + len(_END) :]
            data = data[: end + 2]
            self._tail = b""
        else:
            self._tail = next((piece for piece in _UNDECIDED if data.endswith(piece)), b"")
            if self._tail:
                data = data[: -len(self._tail)]
        if bare:
            data = _STUFFED_AFTER_ANY_LF.sub(b"\n", data).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        elif dotted:
            # Without a bare LF in it, and without the end in it, every dot at the start of a line was stuffed.
            data = data.replace(b"\r\n.", b"\r\n")
        if self._virtual and data:
            data, self._virtual = data[self._virtual :], 0
        return data


def stuff(text: bytes, at_line_start: bool) -> bytes:
    """One chunk of a message with CRLF line ends, its leading dots doubled.

    ``at_line_start`` says whether the chunk begins a line: a dot counts even there. The next chunk begins a line exactly
    when this one ends with LF.
    """
    if b"\n." in text:
        text = text.replace(b"\n.", b"\n..")
    return b"." + text if at_line_start and text.startswith(b".") else text
