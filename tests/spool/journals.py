"""A journal in a folder of its own, letters for it, and a connection that fails where it is told to. The writer has no thread but ours."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.interfaces import User
from lanmail.spool import database
from lanmail.spool.entries import Intent, Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.journal import Journal
from lanmail.status import TemporaryFailure
from tests.delivery.house import Reports, at_once

T = TypeVar("T")

BOOT = "7d3a2f0e-0000-4000-8000-000000000001"
JULIEN = Address("julien", "iscb-corporation.com")


def queue_id(number: int) -> str:
    return f"{0x222CF60000 + number:010X}"


def message(number: int, **facts: Any) -> Message:
    return Message(queue_id(number), facts.pop("sender", JULIEN), 1_795_435_200.0, 100, **facts)


def to(name: str, **facts: Any) -> Recipient:
    address = Address(name, "iscb-corporation.com")
    return Recipient(User(name, 1000, 8), b"From julien  Mon Nov 23 12:00:00 2026\n", JULIEN, address, address, **facts)


def small(text: bytes = b"Subject: a\n\nb\n\n") -> Content:
    return Content(len(text), text)


def intent(number: int, **facts: Any) -> Intent:
    return Intent(
        number, facts.pop("boot", BOOT), facts.pop("device", 1), facts.pop("inode", 2), facts.pop("offset", 3)
    )


class Faults:
    """Which statements fail, and how. ``connect`` is what a Journal is given."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, int, bool]] = []
        self.said: list[str] = []
        self.broken = False  # the file cannot even be opened

    def fail(self, statement: str, code: int, *, done: bool = False, times: int = 1) -> None:
        """The next statements that begin so fail with this code of SQLite's; ``done``: after they were done all the same."""
        self.waiting += [(statement, code, done)] * times

    def connect(self, path: str) -> sqlite3.Connection:
        if self.broken:
            raise database.JournalTrouble(f"{path}: cannot be opened")
        return cast(sqlite3.Connection, _Fragile(database.connect(path), self))


class _Fragile:
    def __init__(self, real: sqlite3.Connection, faults: Faults) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, statement: str, *values: Any) -> Any:
        self._faults.said.append(statement)
        for fault in self._faults.waiting:
            prefix, code, done = fault
            if statement.startswith(prefix):
                self._faults.waiting.remove(fault)
                if done:
                    self._real.execute(statement, *values)
                raise failure(code)
        return self._real.execute(statement, *values)


def failure(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(
        "disk I/O error" if code & 0xFF == sqlite3.SQLITE_IOERR else "failed as it was told"
    )
    error.sqlite_errorcode = code
    return error


class JournalTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.path = os.path.join(self.folder, "journal-0")
        self.report = Reports()
        self.faults = Faults()
        self.now = 1000.0  # monotonic
        self.incoming = IncomingFolder(os.path.join(self.folder, "incoming"), at_once, self.report)
        self.addCleanup(self.incoming.close)
        self.journal = self.opened()

    def opened(self) -> Journal:
        journal = Journal(
            self.path, self.incoming, self.report, monotonic=lambda: self.now, connect=self.faults.connect
        )
        journal.open()
        self.addCleanup(journal.close)
        return journal

    def again(self) -> Journal:
        """After a stop and a start."""
        self.journal.close()
        self.journal = self.opened()
        return self.journal

    def of(self, future: Future[T]) -> T:
        """What became of it."""
        self.journal.turn()
        return future.result(timeout=0)

    def admit(
        self, number: int, *recipients: Recipient | str, content: Content | None = None, now: float = 0.0
    ) -> list[int]:
        people = [to(one) if isinstance(one, str) else one for one in recipients or ("ann",)]
        return self.of(self.journal.admit(message(number), people, content or small(), now=now))

    def refused(self, future: Future[Any]) -> int:
        """The code of the failure that it ended in."""
        self.journal.turn()
        error = future.exception(timeout=0)
        assert isinstance(error, TemporaryFailure), error
        return error.status.code

    def large(self, number: int, text: bytes = b"x" * 100_000 + b"\n\n") -> Content:
        """A content in a file of the incoming folder."""
        path = self.incoming.path_of(queue_id(number))
        with open(path, "xb") as file:
            file.write(text)
        content = Content(len(text), name=queue_id(number), path=path)
        self.incoming.sync(content)
        return content

    def files(self) -> list[str]:
        return self.incoming.names()

    def waiting_for(self, name: str) -> list[int]:
        return [recipient.number for _, recipient, _ in self.journal.due(name, 1e9, 10_000, 1 << 30)]

    def rows(self) -> int:
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as db:
            (count,) = db.execute("SELECT (SELECT count(*) FROM recipient) + (SELECT count(*) FROM message)").fetchone()
        db.close()
        return int(count)
