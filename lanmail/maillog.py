"""The mail log: one line, one fact, in Postfix's vocabulary, with nothing in it that could be taken for another line.

``Logger`` is Twisted's, and its events go where Twisted's go (stdout, and so the journal), until ``MailLogFile`` takes
them into the file that ``maillog_file`` names.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

from twisted import logger
from twisted.logger import ILogObserver, LogEvent, LogLevel, LogPublisher, formatEvent, globalLogPublisher
from zope.interface import implementer

# C0 and C1 controls, DEL, and the characters that end a line or turn its direction in Unicode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""What came from outside, fit for a line of a log or a terminal: ``\x1b`` where an escape would have been."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "backslashreplace").decode("ascii"), text)


def _fit(value: object) -> object:
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

    def emit(self, level: Any, format: str | None = None, **fields: object) -> None:
        super().emit(level, format, **{k: v if k.startswith("log_") else _fit(v) for k, v in fields.items()})

    def report(self, line: str, /, **fields: object) -> None:
        """An interfaces.Report: for parts that know nothing of Twisted. A line that begins with ``warning:`` is one."""
        (self.warn if line.startswith("warning:") else self.info)(line, **fields)


@implementer(ILogObserver)
class MailLogFile:
    """Writes mail's events to a file as Postfix does: ``Nov 24 21:36:34 srvlinux lanmail/smtpd[4711]: connect from ...``.

    Opened for each line's sake only once; ``reopen`` after the file was renamed (SIGHUP, logrotate). What cannot be written
    is gone, and the service goes on. OSError from the first opening.
    """

    def __init__(self, path: str, host: str, also: Callable[[LogEvent], None] = globalLogPublisher) -> None:
        self._path = path
        self._host = host.partition(".")[0]
        self._also = also
        self._fd = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(self._path, flags, 0o640)

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.critical:
            self._also(event)  # a failure of ours belongs where the operator looks first, whole
        text = formatEvent(event)
        if level is LogLevel.warn and not text.startswith("warning:"):
            text = "warning: " + text
        elif level in (LogLevel.error, LogLevel.critical):
            text = "error: " + text
        failure = event.get("log_failure")
        if failure is not None:
            text += f": {failure.type.__name__}: {failure.getErrorMessage()}"
        when = time.localtime(event.get("log_time", 0.0))
        day = f"{time.strftime('%b', when)} {when.tm_mday:2d} {time.strftime('%H:%M:%S', when)}"
        line = f"{day} {self._host} lanmail/{event.get('log_namespace', '?')}[{os.getpid()}]: {printable(text)}\n"
        try:
            os.write(self._fd, line.encode())
        except OSError:
            pass  # a full disk must not stop mail, and there is no better place to say so

    def reopen(self) -> None:
        """Go on in a new file of the same name. Where that fails, in the old one. Raises the OSError then."""
        fd = self._open()
        os.close(self._fd)
        self._fd = fd

    def begin(self) -> None:
        mail_events.removeObserver(globalLogPublisher)
        mail_events.addObserver(self)

    def end(self) -> None:
        mail_events.removeObserver(self)
        mail_events.addObserver(globalLogPublisher)
        os.close(self._fd)
