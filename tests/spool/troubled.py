"""A house that lives through one trouble after the other, and the books of what it has answered for."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.delivery.batch import Batch
from lanmail.spool.commits import PROBE_EVERY
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import IN_MEMORY, Content, storage_failure
from lanmail.status import Status, TemporaryFailure
from tests.delivery.house import House
from tests.mailbox import second_reader
from tests.spool.crashed import OLD, user

USERS = ("ann", "bob")
_SUBJECT = re.compile(rb"^Subject: (\S+)$", re.MULTILINE)


def text_of(token: str) -> bytes:
    """A message as a client sends it; a large one where its name says so."""
    line = f"From {token} this line is quoted in the mailbox".encode()
    body = line + b", and is long" * 300 + b"\r\n" if "large" in token else line + b"\r\n"
    return f"Subject: {token}\r\n\r\n".encode() + body * (IN_MEMORY // len(body) + 2 if "large" in token else 2)


@functools.cache
def stored(token: str) -> bytes:
    """From its Subject on, as it must stand there, without the empty line at its end."""
    return text_of(token).replace(b"\r\n", b"\n").replace(b"\nFrom ", b"\n>From ")


def letters(octets: bytes) -> list[bytes]:
    """Of a mailbox, from their `From ` lines on, without the empty lines between them. There must be nothing else in it."""
    found = second_reader.read(octets)
    assert b"".join(octets[one.start : one.next] for one in found) == octets, octets
    return [octets[one.start : one.end] for one in found]


def token_of(letter: bytes) -> str:
    """Which message that is; whole, or AssertionError."""
    if letter == OLD[:-1]:
        return "old"
    found = _SUBJECT.search(letter)
    assert found is not None, f"a torn header: {letter[-300:]!r}"
    token = found[1].decode()
    assert letter[found.start() :] == stored(token), f"{token} is torn: {letter[:200]!r} ... {letter[-200:]!r}"
    return token


class TroubledCase(SynchronousTestCase):
    """ann has an old letter; bob has no mailbox. Messages go to both. ``what`` says, in failures, which trouble it was."""

    def setUp(self) -> None:
        # What is asked here is what becomes of errors, and not whether octets reach a disk.
        self.top = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, self.top)
        self.now = 1000.0
        self.journal_options: dict[str, Any] = {"monotonic": lambda: self.now}
        self.answered: list[str] = []
        self.batches: list[Batch] = []
        self.start()
        self.addCleanup(lambda: self.house.kill())

    def start(self) -> None:
        """The process after the one before is gone, if there was one."""
        self.house = House(os.path.join(self.top, "house"), *USERS, journal=self.journal_options)
        self.house.reception.accept = self._accept

    async def _accept(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None:
        """As the queue does it; the delivery comes later."""
        try:
            self.batches += self.house.admit(message, recipients, content)
        except OSError as error:  # of the file's flush
            raise storage_failure(error) from error

    # a house that is as it was, before the next trouble

    def anew(self) -> None:
        self.answered, self.batches = [], []
        self.house.put("ann", OLD)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.house.spool, "bob"))

    # in trouble

    def send(self, token: str) -> Status | None:
        """What the client is told at the end: None for 250."""
        sent = self.house.send(text_of(token), *(f"{name}@lan.example" for name in USERS))
        answers: list[Any] = []
        Deferred.fromCoroutine(sent).addBoth(answers.append)
        (answer,) = answers
        if isinstance(answer, Failure):
            assert isinstance(answer.value, TemporaryFailure), answer
            return answer.value.status
        self.answered.append(token)
        return None

    def deliver(self) -> list[Status]:
        """One round with all that was sent, and a checkpoint; what was wrong in the round."""
        batches, self.batches = self.batches, []
        wrong: list[Status] = []
        for outcome in self.house.deliver(*batches) if batches else ():
            wrong += [failure.status for _, failure in outcome.failed]
            if outcome.trouble is not None:
                wrong.append(outcome.trouble.status)
        with contextlib.suppress(TemporaryFailure):
            self.house.checkpoints.run()
        return wrong

    # afterwards

    def relieve(self) -> None:
        """The disk works again; the journal notices, and what waits is tried."""
        house = self.house
        for _ in range(200):
            self.now += 2 * PROBE_EVERY
            with contextlib.suppress(TemporaryFailure):
                house.journal.clock(0.0).result(10)
            if house.journal.trouble is None:
                break
            time.sleep(0.001)
        self.assertIsNone(house.journal.trouble)
        house.clock.advance(60)
        for _ in range(2):
            house.checkpoints.run()
            house.recovery.run()
            house.deliver(*(batch for name in USERS for batch in house.waiting(name)))
        house.checkpoints.run()
        # What could not be removed goes with the next use, and the next start.
        for name in USERS:
            house.mailbox_of(user(name)).lock(create=True).release()
        house.journal.sweep()

    def assert_settled(self, what: object) -> None:
        """Every message that was answered is once in each mailbox, and there is nothing else, anywhere."""
        for name in USERS:
            self.assertEqual(sorted(self.tokens(name, what)), sorted(self.answered), (name, what))
        self.assertEqual(self.house.leftovers(), [], what)
        self.assertEqual((self.house.recovery.left, self.rows()), (0, 0), what)
        thread = self.house.journal._commits._thread
        self.assertTrue(thread is not None and thread.is_alive(), what)
        self.assertEqual(sorted(os.listdir(self.house.spool)), list(USERS), what)

    def tokens(self, name: str, what: object) -> list[str]:
        """Of the messages in that mailbox behind the old one, each whole."""
        try:
            found = [token_of(one) for one in letters(self.house.contents(name))]
        except AssertionError as wrong:
            raise AssertionError(f"{name}, {what}: {wrong}") from wrong
        if name == "ann":
            self.assertEqual(found[:1], ["old"], what)
            return found[1:]
        return found

    def assert_whole(self, what: object) -> None:
        """No mailbox has torn or doubled messages, except where it is known, and looked into before the next use."""
        for name in set(USERS) - set(self.house.recovery._left):
            tokens = self.tokens(name, what)
            self.assertEqual(len(tokens), len(set(tokens)), what)
            self.assertLessEqual(set(tokens), set(self.answered), what)

    def rows(self) -> int:
        """Recipients in the journal."""
        path = os.path.join(self.house.state, "journal-0")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            (count,) = db.execute("SELECT count(*) FROM recipient").fetchone()
        return int(count)
