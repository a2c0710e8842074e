"""Histories of workers that are no longer configured: nobody adds to them, all read them, and they are forgotten like the others."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from lanmail.interfaces import Report
from lanmail.spool.history_file import Damaged, HistoryFile, TooNew, forget_all
from lanmail.spool.shares import Share, histories

# Steps of some milliseconds each that one look takes at most; what is left is for the next.
_STEPS = 200


def left(folder: str, share: Share) -> list[str]:
    """Their paths. OSError."""
    names = {Share(number, share.count).history for number in range(1, share.count + 1)}
    return [path for path in histories(folder) if os.path.basename(path) not in names]


def forget_old(paths: Sequence[str], now: float, days: int, refusals: int, report: Report) -> None:
    """What is older than so many days goes; a file in which nothing is left goes too, and with 0 days all of them. refusals: of each, so
    many stay. Blocks. What cannot be done is said, and is done the next time.
    """
    for path in paths:
        try:
            if days == 0 or _is_empty_after(path, now, days, refusals):
                forget_all(path)
        except (Damaged, TooNew, OSError, sqlite3.Error) as error:
            report("warning: history: {file}, of an earlier run: {why}", file=path, why=str(error))


def _is_empty_after(path: str, now: float, days: int, refusals: int) -> bool:
    if not os.path.lexists(path):
        return False  # HistoryFile would make it
    with closing(HistoryFile(path, now)) as file:
        file.thin(refusals)
        for _ in range(_STEPS):
            if not file.prune(now, days):
                break
        return file.is_empty()
