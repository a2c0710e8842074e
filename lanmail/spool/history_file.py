"""The database of the history: how it is opened, added to, and thinned out. One thread; what fails raises sqlite3.Error or OSError.

Losing the last second of it in a power cut is fine, so nothing here is flushed but by SQLite's own checkpoints (``synchronous=NORMAL``).
``kill -9`` loses nothing that was committed.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

from lanmail.spool.history_events import NUMBERS, Fact, kept, key_of, names_in, queue_number, received_row, row_of
from lanmail.spool.refusals import MOST, Refusals, forget_refusals, thin
from lanmail.spool.refusals import SCHEMA as REFUSALS

VERSION = 1

# message: what came in, a row each. event: whatever happened to one afterwards. Both are numbered in one row, in the order in which
# things were told, which a wall clock that was set back does not change.
# day: the first number of each day, so that what is old can be found and forgotten without an index of times.
# found: the register. By a number made of a name (history_events.key_of) it knows the stories that it stands in: the queue
# id, or where there is none the event's number, negative. Names have cases that SQLite cannot fold, and an index of texts would be larger
# than all the rest. It is kept day by day: then what is written lies together, also of Message-IDs, and goes together.
SCHEMA = (
    """
CREATE TABLE day (id INTEGER PRIMARY KEY, date INTEGER NOT NULL, began REAL NOT NULL, first INTEGER NOT NULL);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, queue INTEGER, at REAL NOT NULL, sender TEXT, client TEXT, helo TEXT, login TEXT, protocol TEXT, size INTEGER,
    message_id TEXT, tls TEXT
);
CREATE INDEX message_of ON message (queue);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, queue INTEGER, kind INTEGER NOT NULL, at REAL NOT NULL, user TEXT, name TEXT, other TEXT, text TEXT,
    number NUMERIC
);
CREATE INDEX events_of ON event (queue) WHERE queue IS NOT NULL;
CREATE TABLE found (day INTEGER, key INTEGER, story INTEGER, PRIMARY KEY (day, key, story)) WITHOUT ROWID;
"""
    + REFUSALS
)

# Rows in one statement. Each statement lets go of Python's interpreter lock and has to wait for it again; row by row, a writer
# beside a busy event loop took ten times as long. SQLite before 3.32 takes 999 values in one.
_ROWS = 80
# What is forgotten, or given back to the file system, in one step: a few milliseconds.
_STEP = 500
_PAGES = 200
_SLACK = 256  # free pages (1 MiB) that are not worth giving back: tomorrow needs them

Told = tuple[str, str, float, dict[str, Fact]]
"""One event as it was told: kind, queue id, seconds since the epoch, facts."""


class TooNew(Exception):
    """The file was written by a later release. The text says so."""


class Damaged(Exception):
    """What is there is no database, or not a whole one. The text names it."""


class HistoryFile:
    """Opens the file, or makes it: 0600, the folder's owner's. Raises TooNew, Damaged, OSError, sqlite3.Error.

    now: seconds since the epoch, from when on a new one tells. refusals: so many rows of them are kept at most.
    """

    def __init__(self, path: str, now: float, refusals: int = MOST) -> None:
        self._most_refusals = refusals
        _make(path)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._set_up(now)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error) and is_damage(error):
                raise Damaged(f"{path}: {error}") from error
            raise

    def _set_up(self, now: float) -> None:
        connection = self._connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise TooNew(f"it is of a later lanmail (version {version} of its schema; this one knows {VERSION})")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only, so before all else
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 4194304")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        (last,) = connection.execute(
            "SELECT max(coalesce((SELECT max(id) FROM event), 0), coalesce((SELECT max(id) FROM message), 0))"
        ).fetchone()
        self._next = last + 1
        day = connection.execute("SELECT id, date FROM day ORDER BY id DESC LIMIT 1").fetchone()
        self._day: int
        self._date: int
        self._day, self._date = day or (0, -1)
        if day is None:
            self._turn_to(now)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def write(self, told: Iterable[Told], now: float) -> None:
        """Add these in one transaction: all, or, where it raises, none."""
        connection = self._connection
        first, day = self._next, (self._day, self._date)
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._turn_to(now)
            self._write(told)
            connection.execute("COMMIT")
        except BaseException:
            self._next, (self._day, self._date) = first, day
            with suppress(sqlite3.Error):  # a COMMIT that failed may have left nothing to roll back
                connection.execute("ROLLBACK")
            raise

    def _write(self, told: Iterable[Told]) -> None:
        messages: list[Sequence[Fact | None]] = []
        events: list[Sequence[Fact | None]] = []
        register: set[tuple[int, int, int]] = set()
        refusals = Refusals()
        id, day = self._next, self._day
        for kind, queue_id, at, facts in told:
            queue = queue_number(queue_id)
            if kind == "refused":
                refusals.add({fact: kept(text) for fact, text in facts.items() if isinstance(text, str)}, queue, at)
                continue
            if kind == "received":
                messages.append((id, queue, at, *received_row(facts)))
            else:
                events.append((id, queue, NUMBERS[kind], at, *row_of(kind, facts)))
            story = -id if queue is None else queue
            register.update((day, key_of(name), story) for name in names_in(kind, facts))
            id += 1
        self._next = id
        self._insert("INSERT INTO message", messages)
        self._insert("INSERT INTO event", events)
        # In the order of the table, so that each page of it is touched once.
        self._insert("INSERT OR IGNORE INTO found", sorted(register))
        refusals.write(self._connection, self._most_refusals)

    def _insert(self, into: str, rows: Sequence[Sequence[Fact | None]]) -> None:
        if not rows:
            return
        one = f"({', '.join('?' * len(rows[0]))})"
        for at in range(0, len(rows), _ROWS):
            some = rows[at : at + _ROWS]
            self._connection.execute(
                f"{into} VALUES {', '.join([one] * len(some))}", [column for row in some for column in row]
            )

    def _turn_to(self, now: float) -> None:
        """Begin a new day where the last one is another: also one before it, if the clock was set back."""
        date = int(now // 86400)
        if date != self._date:
            self._connection.execute("INSERT INTO day VALUES (?, ?, ?, ?)", (self._day + 1, date, now, self._next))
            self._day, self._date = self._day + 1, date

    def prune(self, now: float, days: int) -> bool:
        """One small step towards forgetting what is older; whether another is worth while.

        Whole days go, by UTC, each when its last second is so old.
        """
        connection = self._connection
        today = int(now // 86400)
        if today != self._date:
            self.write((), now)  # the day that ended while nothing happened must be able to grow old
        gone = forget_refusals(connection, (today - days) * 86400.0, _STEP) == _STEP
        found = connection.execute("SELECT id, first, date FROM day ORDER BY id").fetchall()
        ends = [first for _, first, _ in found[1:]]
        for (day, first, date), end in zip(found, ends, strict=False):
            if date < today - days:
                self._forget(day, first, end)
                return True
        return gone or self._shrink()

    def thin(self, refusals: int) -> None:
        """No more than so many of them stay, from now on."""
        self._most_refusals = refusals
        thin(self._connection, refusals)

    def is_empty(self) -> bool:
        """Whether there is nothing in it that anybody could be told."""
        found = (
            "SELECT EXISTS (SELECT 1 FROM event) OR EXISTS (SELECT 1 FROM message) OR EXISTS (SELECT 1 FROM refusal)"
        )
        return not self._connection.execute(found).fetchone()[0]

    def _forget(self, day: int, first: int, end: int) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            left = False
            for table in ("event", "message"):
                some = f"SELECT id FROM {table} WHERE id >= ? AND id < ? LIMIT ?"  # noqa: S608
                gone = connection.execute(f"DELETE FROM {table} WHERE id IN ({some})", (first, end, _STEP)).rowcount  # noqa: S608
                left = left or gone == _STEP
            some = "SELECT day, key, story FROM found WHERE day = ? LIMIT ?"
            gone = connection.execute(
                f"DELETE FROM found WHERE (day, key, story) IN ({some})",  # noqa: S608
                (day, _STEP),
            ).rowcount
            if not left and gone < _STEP:
                connection.execute("DELETE FROM day WHERE id = ?", (day,))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _shrink(self) -> bool:
        """Give pages back where many are free: after a flood. Day by day what is forgotten makes room for what comes."""
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        if free <= max(_SLACK, pages // 8):
            return False
        # It gives a page back for each row that it is asked for, and execute() asks for one.
        self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES});")
        return True


def forget_all(path: str) -> None:
    """Remove the file, whatever it is. OSError."""
    for name in _names(path):
        with suppress(FileNotFoundError):
            os.unlink(name)


def set_aside(path: str) -> str:
    """Keep a damaged file under another name, which is returned, in place of an earlier one. OSError."""
    for name, away in zip(_names(path), _names(path + ".damaged"), strict=True):
        with suppress(FileNotFoundError):
            os.unlink(away)
        with suppress(FileNotFoundError):
            os.rename(name, away)
    return path + ".damaged"


def _names(path: str) -> tuple[str, str, str]:
    return path + "-wal", path + "-shm", path


def _make(path: str) -> None:
    """SQLite would follow a link, and take umask's mode. Its other two files take mode and owner from this one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(fd)
        _check(path, found)
        for name in (path + "-wal", path + "-shm"):
            with suppress(FileNotFoundError):
                _check(name, os.lstat(name))
        if stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(fd, 0o600)
        if os.geteuid() == 0:
            folder = os.stat(os.path.dirname(path) or ".")
            os.fchown(fd, folder.st_uid, folder.st_gid)
    finally:
        os.close(fd)


def _check(path: str, found: os.stat_result) -> None:
    """SQLite gives its other two files to the owner of this one, and cuts them, whatever they are."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise Damaged(f"{path} is not a file of its own")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is to blame, and will be at the next try."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
