"""A database that is written in transactions, flushed or not, and that knows after a commit that failed what became of it. One thread.

To flush again what could not be flushed would only seem to help: the kernel has by then forgotten which pages it could not write. So
after such a commit the file is closed and opened anew, its whole log is written into the database and that is flushed, and a serial
number, which each transaction counts up (``journal.serial``), tells whether it is there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from lanmail.spool.database import JournalTrouble, code_of

T = TypeVar("T")

# The log is written into the database when it has grown to so many octets. With 4 KiB messages on twenty connections, all from 2 to 32 MiB
# are equally fast.
_LOG = 4 << 20
# Free pages that are not worth giving back (4 MiB), and how many are given back in one step: some milliseconds.
_SLACK = 1024
_STEP = 500
_PAGE = 4096


class Doubtful(Exception):
    """A commit failed, and may be there all the same. The database is closed; the serial number will tell.

    serial: that it has if the transaction is there. answer: what ``work`` answered then.
    """

    def __init__(self, serial: int, answer: Any, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.serial = serial
        self.answer = answer
        self.error = error


class Ledger:
    """connect: opens the database at ``path``, autocommit, synchronous=FULL; raises JournalTrouble."""

    def __init__(self, path: str, connect: Callable[[str], sqlite3.Connection]) -> None:
        self.path = path
        self.serial = 0
        self._connect = connect
        self._db: sqlite3.Connection | None = None
        self._flushing = True  # what PRAGMA synchronous says
        self._fresh = False  # something may be in the log that is not in the database
        self._slack = True  # there may be pages to give back
        self._log_limit = _LOG

    @property
    def is_open(self) -> bool:
        return self._db is not None

    def open(self) -> None:
        """Anew, if it is open. Nothing rests on the log then, nor is there anything in it that a crash could bring back.

        Also at a start: the log of an earlier process may rest on pages whose flush failed then. Raises JournalTrouble, sqlite3.Error.
        """
        self.close()
        db = self._connect(self.path)
        try:
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise JournalTrouble(f"{self.path}: another program reads it and does not end")
            (self.serial,) = db.execute("SELECT serial FROM journal").fetchone()
        except BaseException:
            with suppress(sqlite3.Error):
                db.close()
            raise
        self._db, self._flushing = db, True

    def close(self) -> None:
        """May be called more than once. Never raises."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def transaction(self, work: Callable[[sqlite3.Connection], T], *, flush: bool) -> T:
        """All that ``work`` does is there, if ``flush`` on stable storage, and its answer is returned.

        Raises what ``work`` raises, or sqlite3.Error, and nothing is there; or Doubtful.
        """
        db = self._db
        assert db is not None
        try:
            self._have_flushed(db, flush)
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE journal SET serial = ?", (self.serial + 1,))
            answer = work(db)
        except BaseException:
            self._roll_back(db)
            raise
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if code_of(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
                # Said of a write or a lock, never of a flush: what would make it valid is not in the log.
                self._roll_back(db)
                raise
            self.close()
            raise Doubtful(self.serial + 1, answer, error) from error
        self.serial += 1
        self._fresh = self._slack = True
        return answer

    def _have_flushed(self, db: sqlite3.Connection, flush: bool) -> None:
        if flush is not self._flushing:
            # Before the transaction begins: within one SQLite refuses it.
            db.execute("PRAGMA synchronous = FULL" if flush else "PRAGMA synchronous = NORMAL")
            self._flushing = flush

    def _roll_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:  # on some errors SQLite has done it already
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    # size

    @property
    def wants_rest(self) -> bool:
        """There may be something for ``tidy`` to do."""
        return self._fresh or self._slack

    def checkpoint(self) -> None:
        """After each transaction: where the log is large, write it into the database. Raises sqlite3.Error."""
        db = self._db
        assert db is not None
        size = self._log_size()
        if size >= self._log_limit:
            _, log, written = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            # Who reads an old state for long keeps the log from beginning anew. Then we do not try after each commit.
            self._log_limit = _LOG if log == written else size + _LOG

    def tidy(self) -> None:
        """When nothing else happens: one step towards a small file and an empty log. Raises sqlite3.Error."""
        db = self._db
        assert db is not None
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        if free > _SLACK:
            self._have_flushed(db, False)
            # It does a page for each row that it is asked for, and execute() asks for one.
            db.executescript(f"PRAGMA incremental_vacuum({_STEP});")
            self._fresh = True
            self.checkpoint()
            return
        self._slack = False
        if self._fresh:
            # A log of some size is kept: it is where rows can still be deleted on a disk that is full.
            large = self._log_size() > _SLACK * _PAGE
            db.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if large else 'PASSIVE'})").fetchall()
            self._fresh = False

    def _log_size(self) -> int:
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0
