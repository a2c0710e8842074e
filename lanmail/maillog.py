"""The mail log: one line, one fact, in Postfix's vocabulary, with nothing in it that could be taken for another line.

``Logger`` is Twisted's, and its events go where Twisted's go (stdout, and so the journal; ``standard_output`` writes them there
as lines), until ``MailLogFile`` takes them into the file that ``maillog_file`` names.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from twisted import logger
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogPublisher,
    globalLogPublisher,
)
from zope.interface import implementer

from lanmail.log_lines import line_of, part_of, printable


def _fit(value: object) -> object:
    if type(value) is str:
        return printable(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, (int, float, BaseException)) or value is None:
        return value
    return printable(str(value))


mail_events = LogPublisher(globalLogPublisher)
"""Where every event of ours goes first."""


class Logger(logger.Logger):
    """Twisted's logger; every field is made printable before anybody formats it, so no observer has to think of it.

    ``namespace`` is the name of the part as it stands in a line of the log: ``smtpd``, ``pop3``, ``local``.
    """

    def __init__(self, namespace: str | None = None, source: object = None, observer: Any = None) -> None:
        super().__init__(namespace, source, observer or mail_events)

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        """Itself, also as an attribute of a class: a line of the log names the part, not the class."""
        return self

    def emit(self, level: Any, format: str | None = None, **fields: object) -> None:
        # As Twisted's own, which looks at each call whether the level is one of the levels.
        event: LogEvent = {name: value if name.startswith("log_") else _fit(value) for name, value in fields.items()}
        event["log_logger"] = self
        event["log_level"] = level
        event["log_namespace"] = self.namespace
        event["log_source"] = self.source
        event["log_format"] = format
        event["log_time"] = time.time()
        self.observer(event)

    def report(self, line: str, /, **fields: object) -> None:
        """An interfaces.Report: for parts that know nothing of Twisted. A line that begins with ``warning:`` is one."""
        (self.warn if line.startswith("warning:") else self.info)(line, **fields)


def standard_output(file: TextIO, host: str | None = None) -> FileLogObserver:
    """For ``twist``, in place of its JSON: the same lines; what went wrong unexpectedly whole, below its line.

    Where the journal reads our output it adds time and host itself. host: empty where somebody else does.
    """
    if host is None:
        host = "" if "JOURNAL_STREAM" in os.environ else socket.gethostname().partition(".")[0]

    def whole(event: LogEvent) -> str | None:
        if part_of(event) == "twisted" and event.get("log_level", LogLevel.info) < LogLevel.warn:
            return None  # what Twisted says of its own start and stop; we say it in mail's words
        failure = event.get("log_failure")
        trace = "" if failure is None else failure.getTraceback()
        return line_of(event, host) + "".join(f"\t{printable(line)}\n" for line in trace.splitlines())

    return FileLogObserver(file, whole)


@implementer(ILogObserver)
class MailLogFile:
    """Writes mail's events to a file. ``reopen`` goes on in a new one after the old was renamed (SIGHUP, logrotate).

    owner: the uid of who will reopen it; root, who opens it first, gives away a file that is root's. What cannot be written is gone, and
    the service goes on. OSError from the first opening.

    The lines of one turn of the event loop are one write, if ``begin`` is told how to come back for them: a busy server says five of each
    message. A warning does not wait, nor what another thread says, and what was said before goes before it.
    """

    def __init__(
        self,
        path: str,
        host: str,
        also: Callable[[LogEvent], None] = globalLogPublisher,
        *,
        owner: int | None = None,
    ) -> None:
        self._path = path
        self._host = host.partition(".")[0]
        self._also = also
        self._later: Callable[[Callable[[], object]], object] | None = None
        self._thread = 0
        self._lines: list[str] = []
        self._writing = threading.Lock()  # several threads say something, and lines keep their order
        self._fd = self._open()
        facts = os.fstat(self._fd)
        if owner is not None and os.geteuid() == facts.st_uid == 0 and stat.S_ISREG(facts.st_mode):
            if facts.st_nlink != 1:
                # Whoever may write to the folder could have given root's /etc/passwd this name too.
                os.close(self._fd)
                raise OSError(errno.EMLINK, "it is root's, and has another name (hard link)", path)
            os.fchown(self._fd, owner, -1)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o640)
            os.fchmod(fd, 0o640)
        except FileExistsError:
            fd = os.open(self._path, flags)  # its mode is the administrator's
        return fd

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.critical:
            self._also(event)  # a failure of ours belongs where the operator looks first, whole
        line = line_of(event, self._host)
        if self._later is None or level is not LogLevel.info or threading.get_ident() != self._thread:
            self._write(line)
            return
        self._lines.append(line)
        if len(self._lines) == 1:
            self._later(self._write)

    def _write(self, line: str = "") -> None:
        """What waits, and this line."""
        with self._writing:
            waiting = len(self._lines)
            text = "".join(self._lines[:waiting]) + line
            del self._lines[:waiting]
            try:
                if text:
                    os.write(self._fd, text.encode())
            except OSError:
                pass  # a full disk must not stop mail, and there is no better place to say so

    def reopen(self) -> None:
        """Go on in a new file of the same name. Where that fails, in the old one. Raises the OSError then."""
        fd = self._open()
        self._write()
        with self._writing:
            os.close(self._fd)
            self._fd = fd

    def begin(self, later: Callable[[Callable[[], object]], object] | None = None) -> None:
        """Take mail's events. later: calls what it is given once this turn of the event loop is over, whose thread this is."""
        self._later, self._thread = later, threading.get_ident()
        mail_events.removeObserver(globalLogPublisher)
        mail_events.addObserver(self)

    def end(self) -> None:
        mail_events.removeObserver(self)
        mail_events.addObserver(globalLogPublisher)
        self._later = None
        self._write()
        os.close(self._fd)
