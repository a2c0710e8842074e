"""The line between the supervisor and one worker: frames of JSON behind their length, over a socket that both have from the start.

A frame that is no such thing ends the line, and the end of the line is the end of the worker: it is spoken between equals, so noise means
that one of them has gone mad.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

LONGEST = 64 << 20
"""Octets of one frame. An order may bring a table of domains along, of 16 MiB; what workers ask each other is bounded for itself."""

Heard = Callable[[dict[str, Any]], None]


class Line(Int32StringReceiver):
    """heard: called with each frame. lost: called once, with the reason, when the line has ended."""

    MAX_LENGTH = LONGEST

    def __init__(self, heard: Heard, lost: Callable[[str], None]) -> None:
        self._heard = heard
        self._lost = lost
        self.open = True

    def say(self, frame: dict[str, Any]) -> None:
        """Never waits. Where the line has ended nothing is said."""
        if self.open:
            self.send(json.dumps(frame, separators=(",", ":")).encode())

    def send(self, text: bytes) -> None:
        """One frame, whatever is in it."""
        self.sendString(text)  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """At once."""
        self.open = False
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    # Twisted's

    def stringReceived(self, string: bytes) -> None:
        try:
            frame = json.loads(string)
            if not isinstance(frame, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError):
            self.end()
            return
        self._heard(frame)

    def lengthLimitExceeded(self, length: int) -> None:
        self.end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        self._lost(reason.getErrorMessage())


class OneLine(Factory):
    """For ``adoptStreamConnection``, which wants a factory."""

    noisy = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def buildProtocol(self, addr: object) -> Line:
        return self._line
