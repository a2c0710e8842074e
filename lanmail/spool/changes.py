"""What changes the journal, in SQL. Each function does in as few statements as it can all that is asked of it in a row.

Few statements, since each lets go of Python's interpreter lock, and then waits for an event loop that is busy to let go of it: row by
row, a message took three times as long. Lists of numbers go in and out as JSON, which is one value.
"""

# ruff: noqa: S608 - what is put together here are our own words; whatever came from outside is a value
from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from lanmail.spool.entries import Deferral, Intent, Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.rows import FRESH_RECIPIENT, Row, row_of_message, row_of_recipient, signed

# SQLite before 3.32 takes so many values in one statement.
_VALUES = 999

_THESE = "number IN (SELECT value FROM json_each(?))"
_WAITS = "boot IS NULL"


@dataclass(frozen=True, slots=True)
class Admission:
    """One message, with its recipients. now: of the queue's clock."""

    message: Message
    recipients: Sequence[Recipient]
    content: Content
    now: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """Journal.exchange's arguments."""

    gone: Sequence[int]
    add: Sequence[Admission]
    reported: Sequence[int]
    warned: Sequence[int]


@dataclass(slots=True)
class Aftermath:
    """commits.Effects of the journal: files, and what must not stay once those who waited were told that it failed."""

    incoming: IncomingFolder
    admitted: list[tuple[int, Content]] = field(default_factory=list)
    exchanged: list[Content] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    intended: list[int] = field(default_factory=list)
    _was_there: bool = False

    def done(self) -> None:
        self._keep()
        self.incoming.sweep(self.removed)

    def in_doubt(self) -> None:
        # A row that came back without its file would be a message that cannot be delivered.
        self._keep()

    def take_out(self, db: sqlite3.Connection) -> None:
        """What a client was told 451 for it sends again; and a row that nobody may write would wait for its writer for ever.

        All else may stay. Reports that came in for their rows are in the queue, whoever knows of it; marks are true, and what was to
        be forgotten is done with; the rest is asked for again, or not missed.
        """
        self._was_there = True
        messages = json.dumps([number for number, _ in self.admitted])
        db.execute("DELETE FROM recipient WHERE message IN (SELECT value FROM json_each(?))", (messages,))
        db.execute(f"DELETE FROM message WHERE {_THESE}", (messages,))
        unbegin(db, self, [self.intended])

    def undone(self) -> None:
        if self._was_there:
            self.incoming.sweep(self.removed)
        else:
            self._let_go(self.exchanged)
        self._let_go([content for _, content in self.admitted])

    def _keep(self) -> None:
        for content in (*(content for _, content in self.admitted), *self.exchanged):
            content.kept = True

    @staticmethod
    def _let_go(contents: Iterable[Content]) -> None:
        for content in contents:
            content.kept = False
            content.discard()


class Numbers:
    """Names messages and recipients, and never twice the same while we run.

    last: the greatest number when we were started. What had the numbers up to it may be gone when the first is taken, and still be
    remembered: a checkpoint under way would forget a new message for an old one.
    """

    def __init__(self, last: int) -> None:
        self._next = last + 1

    def take(self, count: int) -> int:
        """The first of so many."""
        first = self._next
        self._next += count
        return first


# messages come and go


def admit(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Admission], numbers: Numbers) -> list[list[int]]:
    answers = _add(db, asked, numbers)
    for admission, given in zip(asked, answers, strict=True):
        after.admitted.append((given[0], admission.content))
    return answers


def _add(db: sqlite3.Connection, asked: Sequence[Admission], numbers: Numbers) -> list[list[int]]:
    messages: list[Row] = []
    recipients: list[Row] = []
    answers: list[list[int]] = []
    for one in asked:
        if not one.recipients:
            raise ValueError("a message for nobody")
        first = numbers.take(len(one.recipients))
        given = list(range(first, first + len(one.recipients)))
        messages.append(row_of_message(first, given[-1], one.message, one.content))
        recipients += (row_of_recipient(n, first, to, one.now) for n, to in zip(given, one.recipients, strict=True))
        answers.append(given)
    _insert(db, "message", "", messages)
    _insert(db, "recipient", f"({FRESH_RECIPIENT})", recipients)
    if asked:
        db.execute("UPDATE journal SET last_id = ?", (asked[-1].message.queue_id,))
    return answers


def _insert(db: sqlite3.Connection, table: str, names: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    one = f"({', '.join('?' * len(rows[0]))})"
    most = _VALUES // len(rows[0])
    for at in range(0, len(rows), most):
        some = rows[at : at + most]
        db.execute(
            f"INSERT INTO {table} {names} VALUES {', '.join([one] * len(some))}",
            [value for row in some for value in row],
        )


def exchange(
    db: sqlite3.Connection, after: Aftermath, asked: Sequence[Exchange], numbers: Numbers
) -> list[list[list[int]]]:
    return [_exchange(db, after, one, numbers) for one in asked]


def _exchange(db: sqlite3.Connection, after: Aftermath, one: Exchange, numbers: Numbers) -> list[list[int]]:
    gone = _numbers(db, "number", f"{_THESE} AND {_WAITS} AND held = 0", one.gone)
    warned = _numbers(db, "number", f"{_THESE} AND {_WAITS} AND held = 0 AND warned = 0", one.warned)
    reported = _numbers(db, "number", f"{_THESE} AND owed = 1", one.reported)
    if (one.gone or one.warned or one.reported) and not (gone or warned or reported):
        return []
    if warned:
        db.execute(f"UPDATE recipient SET warned = 1 WHERE {_THESE}", (json.dumps(warned),))
    if reported:
        db.execute(f"UPDATE recipient SET owed = 0 WHERE {_THESE}", (json.dumps(reported),))
        gone += _numbers(db, "number", f"{_THESE} AND synced = 1", reported)
    take_away(db, after, gone)
    after.exchanged += (admission.content for admission in one.add)
    return _add(db, one.add, numbers)


def forget(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Sequence[int]]) -> list[None]:
    all_of_them = [number for numbers in asked for number in numbers]
    # One that never had an intent gets one now, lest it still count among those that wait.
    db.execute(
        f"UPDATE recipient SET synced = 1, marked = 1, boot = coalesce(boot, '') WHERE {_THESE} AND owed = 1",
        (json.dumps(all_of_them),),
    )
    take_away(db, after, _numbers(db, "number", f"{_THESE} AND owed = 0", all_of_them))
    return [None] * len(asked)


def take_away(db: sqlite3.Connection, after: Aftermath, numbers: Collection[int]) -> None:
    """These rows, then the messages that have no more of them; their files afterwards."""
    if not numbers:
        return
    messages = _numbers(db, "DISTINCT message", _THESE, numbers)
    db.execute(f"DELETE FROM recipient WHERE {_THESE}", (json.dumps(numbers),))
    empty = f"{_THESE} AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.number BETWEEN message.number AND message.last)"
    these = (json.dumps(messages),)
    (names,) = db.execute(
        f"SELECT json_group_array(name) FROM message WHERE {empty} AND name IS NOT NULL", these
    ).fetchone()
    db.execute(f"DELETE FROM message WHERE {empty}", these)
    after.removed += json.loads(names)


# how a recipient stands


def intend(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Sequence[Intent]]) -> list[set[int]]:
    wanted = [intent for intents in asked for intent in intents]
    free = set(_numbers(db, "number", f"{_THESE} AND {_WAITS} AND held = 0", [intent.number for intent in wanted]))
    accepted: list[Intent] = []
    answers: list[set[int]] = []
    for intents in asked:
        taken = [intent for intent in intents if intent.number in free]
        accepted += taken
        answers.append({intent.number for intent in taken})
        free -= answers[-1]  # the next who asks comes too late
    db.execute(
        "UPDATE recipient SET marked = 0, boot = json_extract(at.value, '$[1]'), device = json_extract(at.value, '$[2]'),"
        " inode = json_extract(at.value, '$[3]'), place = json_extract(at.value, '$[4]')"
        " FROM json_each(?) AS at WHERE recipient.number = json_extract(at.value, '$[0]')",
        (json.dumps([(i.number, i.boot, signed(i.device), signed(i.inode), i.offset) for i in accepted]),),
    )
    after.intended += (intent.number for intent in accepted)
    return answers


def mark(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Sequence[int]]) -> list[None]:
    return _for_all(db, f"UPDATE recipient SET marked = 1 WHERE {_THESE} AND NOT {_WAITS}", asked)


def unbegin(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Sequence[int]]) -> list[None]:
    nothing = "marked = 0, boot = NULL, device = NULL, inode = NULL, place = NULL"
    return _for_all(db, f"UPDATE recipient SET {nothing} WHERE {_THESE} AND synced = 0", asked)


def defer(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Sequence[Deferral]]) -> list[None]:
    db.execute(
        "UPDATE recipient SET tries = tries + 1, due = json_extract(why.value, '$[1]'), reason = json_extract(why.value, '$[2]')"
        f" FROM json_each(?) AS why WHERE recipient.number = json_extract(why.value, '$[0]') AND {_WAITS}",
        (json.dumps([(d.number, d.due, str(d.reason)) for deferrals in asked for d in deferrals]),),
    )
    return [None] * len(asked)


def keep_clock(db: sqlite3.Connection, after: Aftermath, asked: Sequence[float]) -> list[None]:
    db.execute("UPDATE journal SET clock = ?", (asked[-1],))
    return [None] * len(asked)


def _for_all(db: sqlite3.Connection, statement: str, asked: Sequence[Sequence[int]]) -> list[None]:
    db.execute(statement, (json.dumps([number for numbers in asked for number in numbers]),))
    return [None] * len(asked)


def _numbers(db: sqlite3.Connection, what: str, where: str, numbers: Collection[int]) -> list[int]:
    """Of the recipients with these numbers."""
    if not numbers:
        return []
    statement = f"SELECT json_group_array({what}) FROM recipient WHERE {where}"
    (found,) = db.execute(statement, (json.dumps(list(numbers)),)).fetchone()
    return [int(number) for number in json.loads(found)]
