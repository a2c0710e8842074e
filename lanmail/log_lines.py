"""One event as one line of the log, and nothing in it that could be taken for another line."""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache
from string import Formatter

from twisted.logger import LogEvent, LogLevel, formatEvent

# C0 and C1 controls, DEL, and the characters that end a line or turn its direction in Unicode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""What came from outside, fit for a line of a log or a terminal: ``\x1b`` where an escape would have been."""
    if text.isprintable():  # nearly always, and cheaper to know than where
        return text
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "backslashreplace").decode("ascii"), text)


def part_of(event: LogEvent) -> str:
    """The part of the program that says it: ``smtpd``; ``twisted`` for all of Twisted's."""
    part = str(event.get("log_namespace", "?"))
    return "twisted" if part.startswith("twisted.") or part == "log_legacy" else part


def line_of(event: LogEvent, host: str = "") -> str:
    """``Nov 24 21:36:34 srvlinux lanmail/smtpd[4711]: connect from ...``; without ``host``, only what stands behind it."""
    level = event.get("log_level", LogLevel.info)
    text = _text_of(event)
    failure = event.get("log_failure")
    if failure is not None:
        text += f": {failure.type.__name__}: {failure.getErrorMessage()}"
    if level is LogLevel.warn and not text.startswith("warning:"):
        text = "warning: " + text
    elif level in (LogLevel.error, LogLevel.critical):
        text = "error: " + text
    line = f"lanmail/{part_of(event)}[{os.getpid()}]: {printable(text)}\n"
    return f"{_date(int(event.get('log_time', 0.0)))} {host} {line}" if host else line


@lru_cache(maxsize=4)
def _date(when: int) -> str:
    """A second is written down many times."""
    local = time.localtime(when)
    # Not strftime's %b: Postfix's months are English in every country.
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * local.tm_mon - 3 : 3 * local.tm_mon]
    return f"{month} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"


def _text_of(event: LogEvent) -> str:
    """As formatEvent says it. Ours are words and plain names of fields, and for these its way, through string.Formatter, takes 15 µs."""
    words = event.get("log_format")
    pieces = _pieces(words) if type(words) is str else None
    if pieces is None:
        return formatEvent(event)
    try:
        return "".join([f"{before}{event[name]}" if name else before for before, name in pieces])
    except Exception:
        return formatEvent(event)  # which says what is wrong with it


@lru_cache(maxsize=1024)
def _pieces(words: str) -> tuple[tuple[str, str], ...] | None:
    """Text, and the name of the field behind it; None where a field is more than a name."""
    try:
        parsed = list(Formatter().parse(words))
    except ValueError:
        return None
    if any(
        kind or conversion or not (name or "x").isidentifier() or name == "" for _, name, kind, conversion in parsed
    ):
        return None
    return tuple((before, name or "") for before, name, _, _ in parsed)
