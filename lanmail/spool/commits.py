"""The one writer of the journal: all that waits at one moment is one transaction, with one flush of the disk for all of it.

A change is a function of the database; what it is about, this module does not know. What it does know is what becomes of those who wait
when a disk fails:

* Before the commit: nothing is there, and each job gets a transaction of its own, so that one that cannot be done does not fail its
  neighbours, and on a full disk what needs no room is still done.
* In the commit: the database is opened anew, and says which way it went. If that cannot be had, all have failed for those who
  wait; and what turns out to be there later is taken out again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, TypeVar

from lanmail.interfaces import Report
from lanmail.spool.database import WRITE_ERROR, JournalTrouble, code_of, is_disks, need_room, status_of, try_the_disk
from lanmail.spool.ledger import Doubtful, Ledger
from lanmail.status import Status, TemporaryFailure

A = TypeVar("A")
T = TypeVar("T")

# So many jobs, or so many octets, are one transaction at most: whoever comes meanwhile should not wait for ever.
_JOBS = 1000
_OCTETS = 8 << 20
# Seconds without a job, after which there is time to tidy up.
_IDLE = 2.0
# Seconds from one try to the next while the disk does not work.
PROBE_EVERY = 2.0

_STOPPING = Status(451, "4.3.0", "Error: the service is stopping")


class Effects(Protocol):
    """What is to follow a transaction outside of the database. Called in the writer thread; never raises, but where it is said."""

    def done(self) -> None:
        """It is committed for certain, and those who wait will hear so."""

    def in_doubt(self) -> None:
        """It failed, and may be there all the same."""

    def undone(self) -> None:
        """It was in doubt, those who waited were told that it failed, and so it is, now that what was there is taken out."""

    def take_out(self, db: sqlite3.Connection) -> None:
        """It is there, and those who waited were told that it failed. Again and again is as good as once. Raises sqlite3.Error."""


@dataclass(slots=True)
class _Job:
    change: Callable[[sqlite3.Connection, Any, list[Any]], Sequence[Any]]
    asked: Any
    flush: bool
    octets: int | None
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Doubt:
    serial: int
    effects: Effects


class Commits:
    """Takes changes from any thread and commits them in its own.

    effects: makes what the changes of a transaction share. monotonic: seconds. Nothing is open before ``open`` or ``start``; without a
    thread ``turn`` does its work.
    """

    def __init__(
        self,
        ledger: Ledger,
        effects: Callable[[], Effects],
        report: Report,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble: Status | None = None
        self._ledger = ledger
        self._effects = effects
        self._report = report
        self._monotonic = monotonic
        self._bell = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._probe_at = 0.0
        self._doubt: _Doubt | None = None
        self._worked = monotonic()

    def open(self) -> None:
        """If it is not open. Never raises: what cannot be opened or flushed now is trouble, which may pass."""
        if self._ledger.is_open:
            return
        try:
            self._ledger.open()
        except (sqlite3.Error, JournalTrouble) as error:
            self._in_trouble(error)

    def start(self) -> None:
        self.open()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """What waits is still done. Blocks. May be called more than once."""
        with self._bell:
            self._closing = True
            self._bell.notify()
        if self._thread is not None:
            self._thread.join()
        while self._jobs:
            self.turn()
        self._ledger.close()  # which writes its log into it, and removes the log

    def together(self) -> AbstractContextManager[object]:
        """While it is entered, what this thread submits waits."""
        return self._bell

    def submit(
        self,
        change: Callable[[sqlite3.Connection, Any, list[A]], Sequence[T]],
        asked: A,
        *,
        flush: bool,
        octets: int | None = None,
    ) -> Future[T]:
        """Have it done: ``change`` gets the database, the transaction's effects, and all that is asked of it in a row; it answers for each.

        It may be called more than once, in transactions of which the earlier ones were rolled back. octets: how many more the database will
        have; None for what makes it no larger, and is done even where there is no room for more.
        """
        job = _Job(change, asked, flush, octets)
        with self._bell:
            if self._closing:
                job.future.set_exception(TemporaryFailure(_STOPPING))
            else:
                self._jobs.append(job)
                if len(self._jobs) == 1:
                    self._bell.notify()
        return job.future

    def _run(self) -> None:
        while True:
            with self._bell:
                if not self._jobs and not self._closing:
                    self._bell.wait(self._until_something_is_due())
                if self._closing and not self._jobs:
                    return
            self.turn()

    def _until_something_is_due(self) -> float | None:
        now = self._monotonic()
        if self.trouble is not None:
            return max(0.0, self._probe_at - now)
        return max(0.0, self._worked + _IDLE - now) if self._ledger.wants_rest else None

    def turn(self) -> None:
        """Do what waits, in one transaction, and what is due. Never raises."""
        jobs = self._taken()
        try:
            if jobs:
                self._worked = self._monotonic()
                self._together(self._those_with_room(jobs))
            if self.trouble is not None:
                self._probe()
            if jobs and self._ledger.is_open:
                # Also in trouble: on a full disk a log that goes on growing would take the rest.
                self._ledger.checkpoint()
            elif not jobs and self.trouble is None and self._monotonic() >= self._worked + _IDLE:
                self._ledger.tidy()
        except Exception as error:
            # A checkpoint that failed may have lost pages: opened anew, all of the log is written once more. And a fault of
            # ours ends what it was in, not all mail.
            self._ledger.close()
            self._in_trouble(error)
            self._fail(jobs, error)

    def _taken(self) -> list[_Job]:
        jobs: list[_Job] = []
        octets = 0
        with self._bell:
            while self._jobs and len(jobs) < _JOBS and octets < _OCTETS:
                job = self._jobs.popleft()
                octets += job.octets or 0
                if job.future.set_running_or_notify_cancel():
                    jobs.append(job)
        return jobs

    def _those_with_room(self, jobs: list[_Job]) -> list[_Job]:
        if all(job.octets is None for job in jobs):
            return jobs
        try:
            need_room(self._ledger.path)
        except OSError as error:
            self._failed([job for job in jobs if job.octets is not None], error)
            return [job for job in jobs if job.octets is None]
        return jobs

    def _together(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        error = self._transaction(jobs)
        if error is None:
            return
        if len(jobs) == 1 or (is_disks(error) and not _may_be_ones_own(error)):
            self._failed(jobs, error)
            return
        for job in jobs:
            error = self._transaction([job])
            if error is not None:
                self._failed([job], error)

    def _transaction(self, jobs: list[_Job]) -> Exception | None:
        """All of them or none; then what prevented it, and they wait still. A doubtful end is settled here, with those who wait."""
        if not self._ledger.is_open:
            self._fail(jobs, None)
            return None
        effects = self._effects()

        def work(db: sqlite3.Connection) -> list[Any]:
            answers: list[Any] = []
            for change, run in groupby(jobs, lambda job: job.change):
                answers.extend(change(db, effects, [job.asked for job in run]))
            assert len(answers) == len(jobs)
            return answers

        try:
            answers = self._ledger.transaction(work, flush=any(job.flush for job in jobs))
        except Doubtful as doubtful:
            self._doubtful(doubtful, effects, jobs)
            return None
        except Exception as error:
            return error
        effects.done()
        self._answer(jobs, answers)
        return None

    def _answer(self, jobs: list[_Job], answers: list[Any]) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)

    def _failed(self, jobs: list[_Job], error: Exception) -> None:
        if is_disks(error):
            self._in_trouble(error)
        elif isinstance(error, sqlite3.Error):
            self._report("warning: {path}: {reason}", path=self._ledger.path, reason=error)
        self._fail(jobs, error)

    def _fail(self, jobs: list[_Job], error: Exception | None) -> None:
        """Tell those who wait still. None: what everybody is told now."""
        unexpected = None if isinstance(error, sqlite3.Error) or (error and is_disks(error)) else error
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(unexpected or TemporaryFailure(self.trouble or WRITE_ERROR))

    # trouble

    def _in_trouble(self, error: Exception) -> None:
        status = status_of(self._ledger.path, error)
        if self.trouble != status:
            self._report(
                "warning: {path}: {reason}; new mail is answered {status} until it works again",
                path=self._ledger.path,
                reason=error.strerror if isinstance(error, OSError) else error,
                status=status,
            )
        self.trouble = status
        self._probe_at = self._monotonic() + PROBE_EVERY

    def _doubtful(self, doubtful: Doubtful, effects: Effects, jobs: list[_Job]) -> None:
        effects.in_doubt()
        self._in_trouble(doubtful.error)
        try:
            self._ledger.open()
        except (sqlite3.Error, JournalTrouble):
            self._doubt = _Doubt(doubtful.serial, effects)
        else:
            if self._ledger.serial == doubtful.serial:
                effects.done()
                self._answer(jobs, doubtful.answer)
                return
            effects.undone()
        self._fail(jobs, None)

    def _probe(self) -> None:
        """Whether it works again, if it is time to ask."""
        if self._monotonic() < self._probe_at:
            return
        try:
            if self._doubt is not None or not self._ledger.is_open:
                # First of all: where there is no room for more, what is here can still be let go of.
                self._open_anew()
            try_the_disk(self._ledger.path)
            need_room(self._ledger.path)
            self._ledger.transaction(lambda db: None, flush=True)
        except Doubtful as doubtful:
            self._in_trouble(doubtful.error)
        except sqlite3.Error as error:
            self._ledger.close()
            self._in_trouble(error)
        except (OSError, JournalTrouble) as error:
            self._in_trouble(error)
        else:
            self.trouble = None
            self._report("{path}: works again", path=self._ledger.path)

    def _open_anew(self) -> None:
        self._ledger.open()
        doubt = self._doubt
        if doubt is None:
            return
        if self._ledger.serial == doubt.serial:
            # Should this one's end be doubtful, the next time shows the same number, or the one behind it.
            self._ledger.transaction(doubt.effects.take_out, flush=True)
        self._doubt = None
        doubt.effects.undone()


def _may_be_ones_own(error: Exception) -> bool:
    """A disk may have room for what others want, and a page that is damaged may not be one of theirs."""
    return isinstance(error, sqlite3.Error) and code_of(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT)
