"""One message's story: who sent it, what it became, who fetched it. Told by all parts, kept for some days, read by ``lanmail why``.

This is the writing half: a queue in memory, and the thread that empties it. stories.py reads; history_file.py knows the database.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from lanmail.interfaces import Report
from lanmail.spool.history_events import FACTS, KINDS
from lanmail.spool.history_file import Damaged, HistoryFile, Told, TooNew, forget_all, is_damage, set_aside
from lanmail.spool.left_histories import forget_old, left
from lanmail.spool.refusals import MOST
from lanmail.spool.shares import Share

T = TypeVar("T")

__all__ = ["FACTS", "KINDS", "History"]

PAUSE = 0.25
"""Seconds between two batches; what is told shows after so long."""
BATCH = 1000
"""So many events are worth a batch at once."""
PENDING = 100_000
"""Events that may wait to be written, some 50 MB: a mailbox of so many letters may be emptied in one QUIT."""
PENDING_REFUSALS = 5_000
"""Refusals wait apart, so that a flood of them takes no place from the mail that does come in."""
RETRY = 5.0
"""Seconds between two tries while the file cannot be written."""
PRUNE_EVERY = 3600.0


class History:
    """Keeps what it is told in a file, in batches, from a thread of its own.

    path: of the database. days: how long it is kept; 0 keeps nothing, and removes what is there. wall: seconds since the epoch.
    share: which worker's it is; the first also forgets what workers have left that there are no more.
    Nothing here raises, for mail does not depend on it: what cannot be kept is dropped, counted, and said in the log once.
    """

    def __init__(
        self,
        path: str,
        days: int,
        report: Report,
        *,
        wall: Callable[[], float] = time.time,
        share: Share | None = None,
    ) -> None:
        self._path = path
        self._share = share or Share()
        self._refusals_kept = MOST
        self._days = days
        self._report = report
        self._wall = wall
        self._events: deque[Told] = deque()
        self._refusals: deque[Told] = deque()
        self._waiting: deque[threading.Event] = deque()  # those who wait in flush
        self._told = threading.Event()  # there is something to write
        self._now = threading.Event()  # and it must not wait for company
        self._closing = False
        self._dropped = 0
        self._file: HistoryFile | None = None
        self._hopeless = False  # the file is not for us: nothing is kept until the next start
        self._trouble = ""
        self._retry_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write. What was told before is not lost."""
        others = self._left()
        # Over all files together as many as there would be in one.
        self._refusals_kept = MOST // (self._share.count + len(others))
        if self._days == 0:
            try:
                forget_all(self._path)
                self._forget_left()
            except OSError as error:
                self._report(
                    "warning: history: cannot remove {file}: {error}", file=self._path, error=error.strerror or error
                )
            return
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def tell(self, kind: str, queue_id: str, /, **facts: str | float) -> None:
        """interfaces.Tell."""
        if self._days == 0 or self._hopeless:
            return
        if kind not in FACTS:
            self._report("warning: history: nobody knows what {kind} means, so it is not kept", kind=kind)
            return
        pending, most = (self._refusals, PENDING_REFUSALS) if kind == "refused" else (self._events, PENDING)
        # Two threads may both see the last free place; the bound is not that exact.
        if len(pending) >= most:
            self._dropped += 1
            return
        pending.append((kind, queue_id, self._wall(), facts))
        if len(pending) >= BATCH:
            self._now.set()
        if not self._told.is_set():
            self._told.set()

    def flush(self) -> None:
        """Wait until all that was told before is committed, so that ``kill -9`` does not lose it. Blocks; not for the event loop.

        Where it cannot be written it is dropped, and nobody waits.
        """
        if self._thread is None or not self._thread.is_alive():
            return
        done = threading.Event()
        self._waiting.append(done)
        self._now.set()
        self._told.set()
        while not done.wait(1.0):
            if not self._thread.is_alive():
                return

    def close(self) -> None:
        """Write what is left, and end the thread. May be called more than once."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing = True
        self._now.set()
        self._told.set()
        thread.join()

    # the thread

    def _run(self) -> None:
        pruning = True
        prune_at = 0.0
        self._opened()
        while True:
            # Idle, it sleeps until somebody tells something; while it forgets, it does so in between.
            self._told.wait(PAUSE if pruning else max(0.0, prune_at - time.monotonic()))
            if self._told.is_set():
                self._now.wait(PAUSE)
            self._now.clear()
            self._told.clear()
            closing = self._closing
            self._write()
            if closing:
                break
            if pruning or time.monotonic() >= prune_at:
                pruning = self._prune()
                prune_at = time.monotonic() + PRUNE_EVERY
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        """One batch: everything that is there."""
        waiting = _taken(self._waiting)  # first: what they told before is then in the batch
        batch = [*_taken(self._events), *_taken(self._refusals)]
        if batch:
            file = self._opened()
            try:
                if file is None:
                    self._dropped += len(batch)
                else:
                    file.write(batch, self._wall())
                    self._recovered()
            except Exception as error:  # whatever it is, the thread lives
                self._dropped += len(batch)
                self._failed(error)
        if self._dropped and not self._trouble and not self._hopeless:
            self._say_what_is_missing("more happened at once than could be written")
        for done in waiting:
            done.set()

    def _prune(self) -> bool:
        """One step; whether there is more to do at once."""
        file = self._opened()
        if file is None:
            return False
        try:
            if file.prune(self._wall(), self._days):
                return True
            self._forget_left()
            return False
        except Exception as error:
            self._failed(error)
            return False

    def _left(self) -> list[str]:
        try:
            return left(os.path.dirname(self._path), self._share)
        except OSError:
            return []  # whoever opens our own file there will say why

    def _forget_left(self) -> None:
        if self._share.place == 0 and (others := self._left()):
            forget_old(others, self._wall(), self._days, self._refusals_kept, self._report)

    def _opened(self) -> HistoryFile | None:
        if self._file is not None or self._hopeless or time.monotonic() < self._retry_at:
            return self._file
        try:
            self._file = HistoryFile(self._path, self._wall(), self._refusals_kept)
        except TooNew as error:
            self._hopeless = True
            self._report(
                "warning: history: {file} is left alone, and no story is kept: {why}", file=self._path, why=str(error)
            )
        except Exception as error:
            self._failed(error)
        return self._file

    def _failed(self, error: Exception) -> None:
        """Let go of the file, and try again in a while. A damaged one is put away: the stories to come are worth more."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._retry_at = time.monotonic() + RETRY
        if isinstance(error, Damaged) or (isinstance(error, sqlite3.Error) and is_damage(error)):
            try:
                away = set_aside(self._path)
            except OSError as problem:
                error = problem
            else:
                self._retry_at = 0.0
                self._report(
                    "warning: history: {error}; it is kept as {away}, and a new one begun", error=str(error), away=away
                )
                return
        if not self._trouble:
            self._trouble = str(error) or type(error).__name__
            self._report(
                "warning: history: {file}: {why}; until that is better no story is kept",
                file=self._path,
                why=self._trouble,
            )

    def _recovered(self) -> None:
        if self._trouble:
            trouble, self._trouble = self._trouble, ""
            self._say_what_is_missing(f"there was trouble ({trouble}), which is over")

    def _say_what_is_missing(self, why: str) -> None:
        dropped, self._dropped = self._dropped, 0
        self._report("warning: history: {why}; {dropped} events are missing", why=why, dropped=dropped)


def _taken(pending: deque[T]) -> list[T]:
    """What is there now; others go on adding."""
    return [pending.popleft() for _ in range(len(pending))]
