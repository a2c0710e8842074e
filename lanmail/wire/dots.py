"""The text of a message on the wire: lines, dots, and where it ends (RFC 5321, 4.5.2; RFC 1939, 3)."""

from __future__ import annotations

_END = b"\r\n.\r\n"
# What may be the beginning of something we can only judge with the next octets in hand.
_UNDECIDED = (b"\r\n.\r", b"\r\n.", b"\n.\r", b"\n.", b"\r\n", b"\n", b"\r")


class DotReader:
    """Takes the text of a message as it comes, gives it back in chunks with LF line ends and without stuffed dots.

    Only CRLF.CRLF ends a message. A dot alone on a line that any other end surrounds is text and stays (it is
    stuffed again on its way out): servers that took LF.LF for the end let one message smuggle in the next
    (CVE-2023-51764). A bare LF is a line end like CRLF; a bare CR is an octet like any other. However the octets are cut, the
    result is the same.

    LF, because that is what a mailbox has, and here every octet is looked at anyhow: nobody behind us has to do it again.
    """

    def __init__(self) -> None:
        # The line before the text ended with CRLF: it was DATA.
        self._tail = b"\r\n"
        self._begun = False
        self.octets = 0
        """How long the text is so far, as it came but for the stuffed dots; what may still be its end does not count."""
        self.rest: bytes | None = None
        """After the end: what the client sent behind it. None while the message goes on."""

    @property
    def ended(self) -> bool:
        return self.rest is not None

    def feed(self, data: bytes) -> bytes:
        """The text that is certain now; empty when none is."""
        assert self.rest is None, "the message has ended"
        data = self._tail + data
        end = data.find(_END)
        if end >= 0:
            self.rest = data[end + len(_END) :]
            data = data[: end + 2]
            self._tail = b""
        else:
            self._tail = next((piece for piece in _UNDECIDED if data.endswith(piece)), b"")
            if self._tail:
                data = data[: -len(self._tail)]
        lines = data.replace(b"\r\n", b"\n")
        # An attachment has no dot at all, and to know that takes next to nothing.
        text = _unstuffed(lines) if b"." in lines else lines
        self.octets += len(data) - len(lines) + len(text)
        if text and not self._begun:
            # The line end of DATA is not of the text.
            self._begun = True
            self.octets -= 2
            text = text[1:]
        return text


def _unstuffed(text: bytes) -> bytes:
    """A piece with LF line ends that begins a line only behind one of them, without the dots that were put before others or before text."""
    first, *others = text.split(b"\n.")
    if not others:
        return text
    # A dot alone on its line is none of them. At the very end of a piece it is alone: only a line end can have been held back behind it.
    return first + b"".join([(b"\n" if line and not line.startswith(b"\n") else b"\n.") + line for line in others])


def stuff(text: bytes, at_line_start: bool) -> bytes:
    """One chunk of a message with CRLF line ends, its leading dots doubled.

    ``at_line_start`` says whether the chunk begins a line: a dot counts even there. The next chunk begins a line exactly
    when this one ends with LF.
    """
    if b"\n." in text:
        text = text.replace(b"\n.", b"\n..")
    return b"." + text if at_line_start and text.startswith(b".") else text
