"""A moment as somebody writes it on a command line."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

import click

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WHOLE = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


def moment_of(text: str, now: float) -> float:
    """``2h``, ``3d`` ago; ``2026-11-24``, perhaps with a time behind it; ``10:30``, the last one. Local time. ValueError."""
    text = text.strip()
    if ago := _AGO.match(text):
        return now - int(ago[1]) * _UNITS[ago[2]]
    for form in _WHOLE:
        try:
            return datetime.strptime(text, form).timestamp()
        except (ValueError, OverflowError):
            pass
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            clock = datetime.strptime(text, form).time()
        except ValueError:
            continue
        today = datetime.fromtimestamp(now)
        at = datetime.combine(today.date(), clock)
        return (at if at <= today else at - timedelta(days=1)).timestamp()
    raise ValueError(text)


def since(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """A click option's callback: seconds since the epoch."""
    try:
        return None if text is None else moment_of(text, time.time())
    except ValueError:
        raise click.BadParameter(f"{text!r} is none of: 2h, 3d, 2026-11-24, '2026-11-24 10:30', 10:30") from None
