"""What workers say, where the log is not theirs to write: twistd's file, or another form than ours. The supervisor says it for them.

Where the log is the standard output, as under systemd, or ``maillog_file``, each writes its own lines, and this is not used.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from twisted.protocols.basic import LineOnlyReceiver

from lanmail.maillog import Logger

_LINE = re.compile(r"lanmail/([^\[ ]{1,40})\[([0-9]{1,10})\]: (.*)")


class Output(LineOnlyReceiver):
    """Reads lines of all workers, from one socket."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20
    noisy = False

    def __init__(self) -> None:
        self._logs: dict[str, Logger] = {}
        self._sock, theirs = socket.socketpair()
        self._theirs: socket.socket | None = theirs

    def fileno(self) -> int:
        """The end that is theirs, until ``start``."""
        assert self._theirs is not None
        return self._theirs.fileno()

    def start(self, reactor: Any) -> None:
        """Once they have their end."""
        if self._theirs is not None:
            self._theirs.close()
            self._theirs = None
        reactor.adoptStreamConnection(self._sock.fileno(), socket.AF_UNIX, self)
        self._sock.close()

    # the factory of itself

    def doStart(self) -> None: ...

    def doStop(self) -> None: ...

    def buildProtocol(self, addr: object) -> Output:
        return self

    def lineReceived(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        match = _LINE.fullmatch(text)
        part, said = (match[1], f"[{match[2]}] {match[3]}") if match else ("workers", text)
        if part not in self._logs and len(self._logs) < 100:
            self._logs[part] = Logger(part)
        self._logs.get(part, Logger(part)).info("{said}", said=said)
