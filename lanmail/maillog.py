"""The mail log: one line, one fact, in Postfix's vocabulary, with nothing in it that could be taken for another line.

``Logger`` is Twisted's, and its events go where Twisted's go (stdout, and so the journal; ``standard_output`` writes them there
as lines), until ``MailLogFile`` takes them into the file that ``maillog_file`` names.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
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
    formatEvent,
    globalLogPublisher,
)
from zope.interface import implementer

# C0 and C1 controls, DEL, and the characters that end a line or turn its direction in Unicode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        """Itself, also as an attribute of a class: a line of the log names the part, not the class."""
        return self

    def emit(self, level: Any, format: str | None = None, **fields: object) -> None:
        super().emit(level, format, **{k: v if k.startswith("log_") else _fit(v) for k, v in fields.items()})

    def report(self, line: str, /, **fields: object) -> None:
        """An interfaces.Report: for parts that know nothing of Twisted. A line that begins with ``warning:`` is one."""
        (self.warn if line.startswith("warning:") else self.info)(line, **fields)


def _part(event: LogEvent) -> str:
    part = str(event.get("log_namespace", "?"))
    return "twisted" if part.startswith("twisted.") or part == "log_legacy" else part


def line_of(event: LogEvent, host: str = "") -> str:
    """``Nov 24 21:36:34 srvlinux lanmail/smtpd[4711]: connect from ...``; without ``host``, only what stands behind it."""
    level = event.get("log_level", LogLevel.info)
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text += f": {failure.type.__name__}: {failure.getErrorMessage()}"
    if level is LogLevel.warn and not text.startswith("warning:"):
        text = "warning: " + text
    elif level in (LogLevel.error, LogLevel.critical):
        text = "error: " + text
    line = f"lanmail/{_part(event)}[{os.getpid()}]: {printable(text)}\n"
    if not host:
        return line
    when = time.localtime(event.get("log_time", 0.0))
    # Not strftime's %b: Postfix's months are English in every country.
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * when.tm_mon - 3 : 3 * when.tm_mon]
    return f"{month} {when.tm_mday:2d} {time.strftime('%H:%M:%S', when)} {host} {line}"


def standard_output(file: TextIO) -> FileLogObserver:
    """For ``twist``, in place of its JSON: the same lines; what went wrong unexpectedly whole, below its line.

    Where the journal reads our output it adds time and host itself.
    """
    host = "" if "JOURNAL_STREAM" in os.environ else socket.gethostname().partition(".")[0]

    def whole(event: LogEvent) -> str | None:
        if _part(event) == "twisted" and event.get("log_level", LogLevel.info) < LogLevel.warn:
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
        if event.get("log_level") is LogLevel.critical:
            self._also(event)  # a failure of ours belongs where the operator looks first, whole
        try:
            os.write(self._fd, line_of(event, self._host).encode())
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
