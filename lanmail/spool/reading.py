"""What is read from the journal, beside its writer and without waiting for it. Everything blocks, and is for threads.

Each question has a connection of its own for as long as it takes, so that nobody who reads keeps an old state alive: the log could not
begin anew.
"""

# ruff: noqa: S608 - what is put together here are our own words; whatever came from outside is a value
from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lanmail.spool.database import code_of, connect_to_read
from lanmail.spool.entries import Intent, Listed, Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.rows import (
    INTENT,
    LISTED_MESSAGE,
    LISTED_RECIPIENT,
    MESSAGE,
    MESSAGE_WIDTH,
    NULL,
    RECIPIENT,
    RECIPIENT_WIDTH,
    Row,
    address_of,
    columns,
    intent_of,
    listed_recipient_of,
    message_of,
    recipient_of,
)
from lanmail.status import Status, TemporaryFailure

# Rows that are read at a time where there may be any number of them.
PAGE = 200

_BOTH = f"{columns('m', MESSAGE)}, {columns('r', RECIPIENT)}"
_BOTH_WIDTH = MESSAGE_WIDTH + RECIPIENT_WIDTH
_JOINED = "recipient AS r JOIN message AS m ON m.number = r.message"
# CROSS JOIN keeps SQLite from beginning with the messages.
_FROM_RECIPIENTS = "recipient AS r CROSS JOIN message AS m ON m.number = r.message"

WAITING = (
    "SELECT user, count(*), min(due) FROM recipient INDEXED BY waiting WHERE boot IS NULL AND held = 0 GROUP BY user"
)
DUE = (
    f"SELECT {_BOTH}, m.octets, m.name, m.text FROM {_FROM_RECIPIENTS}"
    " WHERE r.user = ? AND r.due <= ? AND r.boot IS NULL AND r.held = 0 ORDER BY r.due, r.number LIMIT ?"
)
STANDING_USERS = "SELECT DISTINCT user FROM recipient WHERE boot IS NOT NULL AND synced = 0"
STANDING = (
    f"SELECT {_BOTH}, {columns('r', INTENT)}, r.marked, r.owed, m.octets, m.name FROM {_FROM_RECIPIENTS}"
    " WHERE r.user = ? AND r.boot IS NOT NULL AND r.synced = 0 AND r.number > ? ORDER BY r.number LIMIT ?"
)
OWED = f"SELECT {_BOTH} FROM {_FROM_RECIPIENTS} WHERE r.owed = 1 AND r.marked = 1 ORDER BY r.number LIMIT ?"
OVERDUE = (
    f"SELECT {_BOTH} FROM {_FROM_RECIPIENTS} WHERE r.warned IN (0, 1) AND r.since <= ? AND r.tries > 0"
    " AND r.boot IS NULL AND r.held = 0 AND r.since <= CASE r.sender WHEN ? THEN ? ELSE ? END LIMIT ?"
)
LATE = (
    f"SELECT {_BOTH} FROM {_FROM_RECIPIENTS} WHERE r.warned = 0 AND r.since <= ? AND r.tries > 0"
    " AND r.boot IS NULL AND r.held = 0 ORDER BY r.since LIMIT ?"
)
LISTED = (
    f"SELECT {columns('m', LISTED_MESSAGE)}, r.message, {columns('r', LISTED_RECIPIENT)} FROM {_FROM_RECIPIENTS}"
    " WHERE r.number > ? AND r.marked = 0 ORDER BY r.number"
)
RECIPIENTS = f"SELECT {RECIPIENT} FROM recipient WHERE number BETWEEN ? AND ? AND marked = 0 ORDER BY number"
UNFINISHED = (
    "SELECT m.queue_id FROM message AS m WHERE m.queue_id IN (SELECT value FROM json_each(?)) AND EXISTS"
    " (SELECT 1 FROM recipient AS r WHERE r.number BETWEEN m.number AND m.last AND r.marked = 0)"
)
FOUND = f"SELECT number, last, {MESSAGE}, octets, name FROM message WHERE queue_id = ?"
TEXT = "SELECT text FROM message WHERE queue_id = ?"
NAMED = "SELECT name FROM message WHERE name IS NOT NULL"

# What SQLite says of octets that are not to be had any more, and not of a file that is locked, or of too many that are open.
_LOST = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_READ_ERROR = Status(451, "4.3.0", "Error: queue file read error")


@dataclass(frozen=True, slots=True)
class Standing:
    """A row with an intent: its octets stand in the mailbox, or some of them, or none.

    marked: they were all written, under the lock. owed: a success report is due for it, so its row will outlive ``forget``.
    content reads the text when asked for it (``pieces``), not before.
    """

    message: Message
    recipient: Recipient
    intent: Intent
    marked: bool
    owed: bool
    content: Content


class StoredText(Content):
    """The text of a small body, which stays in the journal until it is asked for."""

    def __init__(self, size: int, read: Callable[[], bytes]) -> None:
        super().__init__(size)
        self._read = read

    def pieces(self) -> Iterator[bytes]:
        yield self._read()


class Reading:
    """Of the journal at ``path``. Raises TemporaryFailure where it cannot be read now."""

    def __init__(self, path: str, incoming: IncomingFolder) -> None:
        self._path = path
        self._incoming = incoming

    def waiting(self) -> list[tuple[str, int, float]]:
        with self._connection() as db:
            return [(user, count, due) for user, count, due in db.execute(WAITING)]

    def due(self, user: str, now: float, limit: int, octets: int) -> list[tuple[Message, Recipient, Content]]:
        found: list[tuple[Message, Recipient, Content]] = []
        with self._connection() as db:
            for row in db.execute(DUE, (user, now, limit)):
                size, name, text = row[_BOTH_WIDTH:]
                octets -= size
                if octets < 0 and found:
                    break
                content = Content(size, text) if name is None else self._file(size, name)
                found.append((*_both(row), content))
        return found

    def standing_users(self) -> list[str]:
        with self._connection() as db:
            return [user for (user,) in db.execute(STANDING_USERS)]

    def standing(self, user: str | None) -> Iterator[Standing]:
        for name in self.standing_users() if user is None else [user]:
            last = 0
            while True:
                with self._connection() as db:
                    rows = db.execute(STANDING, (name, last, PAGE)).fetchall()
                for row in rows:
                    message, recipient = _both(row)
                    last = recipient.number
                    marked, owed, size, file = row[-4:]
                    intent = intent_of(row[_BOTH_WIDTH:-4])
                    content = self._content(message.queue_id, size, file)
                    yield Standing(message, recipient, intent, bool(marked), bool(owed), content)
                if len(rows) < PAGE:
                    break

    def owed(self, limit: int) -> list[tuple[Message, Recipient]]:
        return self._pairs(OWED, limit)

    def overdue(
        self, now: float, lifetime: float, bounce_lifetime: float, limit: int
    ) -> list[tuple[Message, Recipient]]:
        bounces, others = now - bounce_lifetime, now - lifetime
        return self._pairs(OVERDUE, max(bounces, others), NULL, bounces, others, limit)

    def late(self, now: float, delay: float, limit: int) -> list[tuple[Message, Recipient]]:
        return self._pairs(LATE, now - delay, limit)

    def content(self, queue_id: str) -> Content | None:
        with self._connection() as db:
            row = db.execute(FOUND, (queue_id,)).fetchone()
        return None if row is None else self._content(queue_id, *row[-2:])

    def find(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        with self._connection() as db:
            row = db.execute(FOUND, (queue_id,)).fetchone()
            if row is None:
                return None
            recipients = [recipient_of(r) for r in db.execute(RECIPIENTS, row[:2])]
        return message_of(row[2 : 2 + MESSAGE_WIDTH]), recipients, self._content(queue_id, *row[-2:])

    def unfinished(self, queue_ids: Collection[str]) -> set[str]:
        with self._connection() as db:
            return {queue_id for (queue_id,) in db.execute(UNFINISHED, (json.dumps(list(queue_ids)),))}

    def listing(self, after: int, limit: int) -> list[Listed]:
        page: list[Listed] = []
        of = count = 0
        with self._connection() as db:
            # One statement for the page, which is not read further than it is wanted: rows come in the order of the table.
            for queue_id, sender, arrived, size, message, *recipient in db.execute(LISTED, (after,)):
                if message != of:
                    if count >= limit:
                        break
                    of = message
                    page.append(Listed(queue_id, address_of(sender), arrived, size, []))
                page[-1].recipients.append(listed_recipient_of(recipient))
                count += 1
        return page

    def state(self) -> tuple[float, str]:
        """The queue's clock as it was last kept, and the queue id admitted last."""
        with self._connection() as db:
            clock, last_id = db.execute("SELECT clock, last_id FROM journal").fetchone()
            return clock, last_id

    def last_number(self) -> int:
        """The greatest that a message or a recipient has; 0 where there is none."""
        with self._connection() as db:
            (last,) = db.execute("SELECT coalesce(max(last), 0) FROM message").fetchone()
            return int(last)

    def names(self) -> set[str]:
        """Of the files that hold somebody's text."""
        with self._connection() as db:
            return {name for (name,) in db.execute(NAMED)}

    def _pairs(self, statement: str, *values: Any) -> list[tuple[Message, Recipient]]:
        with self._connection() as db:
            return [_both(row) for row in db.execute(statement, values)]

    def _content(self, queue_id: str, size: int, name: str | None) -> Content:
        return StoredText(size, lambda: self._text(queue_id)) if name is None else self._file(size, name)

    def _file(self, size: int, name: str) -> Content:
        content = Content(size, name=name, path=self._incoming.path_of(name))
        content.kept = True
        return content

    def _text(self, queue_id: str) -> bytes:
        """Content.pieces raises OSError, so this does."""
        try:
            with self._connection() as db:
                row = db.execute(TEXT, (queue_id,)).fetchone()
        except TemporaryFailure as failure:
            # EIO is for good, to whoever asks; EAGAIN passes.
            lost = isinstance(failure.__cause__, sqlite3.Error) and code_of(failure.__cause__) in _LOST
            raise OSError(errno.EIO if lost else errno.EAGAIN, str(failure.__cause__), self._path) from failure
        if row is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self._path}: {queue_id}")
        return bytes(row[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """All that is asked of it is of one moment."""
        try:
            db = connect_to_read(self._path)
            try:
                db.execute("BEGIN")
                yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise TemporaryFailure(_READ_ERROR) from error


def _both(row: Row) -> tuple[Message, Recipient]:
    return message_of(row[:MESSAGE_WIDTH]), recipient_of(row[MESSAGE_WIDTH:_BOTH_WIDTH])
