"""At a start, all that waits comes into one journal: the first worker's, or the only process's.

Workers that are no longer configured have left journals that nobody would read. And those of workers that are: after a power cut
several may speak of one mailbox, each of other pieces in it, and whoever puts it right must know all of them. So before anybody opens a
journal the others are emptied into the first, and removed. A worker that is started again while its colleagues serve keeps its own.

A file that is being emptied has another name, under which nobody takes it for theirs: ``adopting-2``. It gets that, on stable storage,
before the first of its messages is copied; it goes, likewise, after the last was flushed, and before anything is delivered. So whoever was
stopped in between begins again, with whatever number of workers, and passes over the messages that the first journal has already.
"""

# ruff: noqa: S608 - what is put together here are our own words; whatever came from outside is a value
from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress

from lanmail.interfaces import Report
from lanmail.mailbox.disk import SYSTEM
from lanmail.message import latest_id
from lanmail.spool.database import JournalTrouble, connect
from lanmail.spool.shares import Share, journals

# One transaction: so many messages, so many recipients, so many octets of text, or one message.
_MESSAGES = 1000
_RECIPIENTS = 5000
_OCTETS = 8 << 20

_BESIDE = ("-wal", "-shm")
_ADOPTING = re.compile(r"adopting-[0-9]{1,4}\Z")
# What is not the same there as here: numbers name rows of one journal, and each has a clock of its own.
_NUMBERS = frozenset(("number", "last", "message"))
_TIMES = frozenset(("since", "due"))
_SAME = " AND ".join(f"ours.{name} = theirs.{name}" for name in ("queue_id", "sender", "arrived", "size", "message_id"))

Step = Callable[[str], None]


def adopt(folder: str, report: Report, *, step: Step = lambda name: None) -> None:
    """Empty every other journal of that folder into the first one. Blocks. Nobody else may have any of them open.

    step: called with a name before each thing that is done, for those who want to stop it there. Raises JournalTrouble, and then it is
    to be tried again before anything is delivered.
    """
    first = os.path.join(folder, Share().journal)
    try:
        # First what was begun: only then is each name free for the next.
        for name in sorted(filter(_ADOPTING.match, os.listdir(folder))):
            _empty(os.path.join(folder, name), first, report, step)
        for path in journals(folder):
            if path != first:
                step("seal")
                _seal(path)
                sealed = os.path.join(folder, os.path.basename(path).replace("journal", "adopting"))
                step("rename")
                os.rename(path, sealed)
                SYSTEM.sync_folder(sealed)
                _empty(sealed, first, report, step)
    except OSError as error:
        raise JournalTrouble(f"{error.filename or folder}: {error.strerror}") from error


def _seal(path: str) -> None:
    """All of it is in this one file, on stable storage."""
    try:
        with closing(connect(path)) as db:
            (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise JournalTrouble(f"{path}: another program reads it and does not end")
    except sqlite3.Error as error:
        raise JournalTrouble(f"{path}: {error}") from error
    for end in _BESIDE:
        with suppress(FileNotFoundError):
            os.unlink(path + end)  # SQLite has, unless somebody had it open; the log is empty in any case


def _empty(path: str, first: str, report: Report, step: Step) -> None:
    _seal(path)  # also where that was done before: of an earlier lanmail, its tables are brought up to date
    with closing(connect(first)) as db:
        try:
            db.execute("ATTACH ? AS other", (path,))
            count = _copied(db, path, step)
            db.execute("DETACH other")
        except sqlite3.Error as error:
            raise JournalTrouble(f"{path}, taken over into {first}: {error}") from error
    step("remove")
    for end in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            os.unlink(path + end)
    SYSTEM.sync_folder(path)
    if count:
        report("{path}: {count} messages are taken over into {first}", path=path, count=count, first=first)


def _copied(db: sqlite3.Connection, path: str, step: Step) -> int:
    """How many messages."""
    (clock, last_id) = db.execute("SELECT clock, last_id FROM main.journal").fetchone()
    (their_clock, their_last_id) = db.execute("SELECT clock, last_id FROM other.journal").fetchone()
    (shift,) = db.execute("SELECT coalesce(max(last), 0) FROM main.message").fetchone()
    copying = _Copying(db, {"shift": shift, "ahead": clock - their_clock})
    at = count = 0
    while portion := _portion(db, at):
        at = portion[-1]
        step("copy")
        db.execute("BEGIN IMMEDIATE")
        try:
            count += copying.copy(path, portion)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    step("last id")
    # The journal that comes in the place of this one begins anew, and its worker goes on from here.
    db.execute("UPDATE main.journal SET last_id = ?", (latest_id((last_id, their_last_id)),))
    return count


def _portion(db: sqlite3.Connection, after: int) -> list[int]:
    """The numbers of the next messages; none at the end."""
    numbers: list[int] = []
    recipients = octets = 0
    for number, last, size in db.execute(
        "SELECT number, last, length(text) FROM other.message WHERE number > ? ORDER BY number LIMIT ?",
        (after, _MESSAGES),
    ):
        recipients += last - number + 1
        octets += size
        if numbers and (recipients > _RECIPIENTS or octets > _OCTETS):
            break
        numbers.append(number)
    return numbers


class _Copying:
    """shift: is added to numbers. ahead: to times of the queue's clock, in seconds."""

    def __init__(self, db: sqlite3.Connection, values: dict[str, float]) -> None:
        self._db = db
        self._values = values
        self._message = self._insert("message", "theirs.number = these.value")
        self._recipient = self._insert(
            "recipient",
            "theirs.number BETWEEN these.value AND (SELECT last FROM other.message WHERE number = these.value)",
        )

    def _insert(self, table: str, where: str) -> str:
        names = [str(row[1]) for row in self._db.execute(f"PRAGMA main.table_info({table})")]
        columns = ", ".join(
            f"theirs.{name}" + (" + :shift" if name in _NUMBERS else " + :ahead" if name in _TIMES else "")
            for name in names
        )
        return (
            f"INSERT INTO main.{table} ({', '.join(names)}) SELECT {columns}"
            f" FROM json_each(:these) AS these CROSS JOIN other.{table} AS theirs ON {where}"
        )

    def copy(self, path: str, portion: list[int]) -> int:
        these = json.dumps(portion)
        here = "json_each(?) AS these JOIN other.message AS theirs ON theirs.number = these.value JOIN main.message AS ours"
        another = self._db.execute(
            f"SELECT theirs.queue_id FROM {here} ON ours.queue_id = theirs.queue_id WHERE NOT ({_SAME}) LIMIT 1",
            (these,),
        ).fetchone()
        if another is not None:
            raise JournalTrouble(
                f"{path}: it has a message {another[0]}, and so has the journal that it is taken over into, but another one;"
                " move it to another folder, and deliver what is in it from there"
            )
        there = {number for (number,) in self._db.execute(f"SELECT theirs.number FROM {here} ON {_SAME}", (these,))}
        fresh = [number for number in portion if number not in there]
        values = {**self._values, "these": json.dumps(fresh)}
        self._db.execute(self._message, values)
        self._db.execute(self._recipient, values)
        return len(fresh)
