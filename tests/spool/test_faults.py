"""Whatever call of the disk or of the database fails: a client hears 4xx and nothing of it is kept, or 250 and the message is there once.

A house lives through one fault after the other. After each there is relief: then everything that was answered for is in its mailbox,
nothing is torn or doubled, no descriptor is left open, and the journal's thread is alive.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from lanmail.mailbox.claims import Claims
from lanmail.mailbox.index_cache import IndexCache
from lanmail.mailbox.maildrop import Maildrops
from lanmail.spool import reading
from lanmail.spool.database import connect
from lanmail.spool.entries import Intent
from lanmail.spool.journal import Journal, JournalTrouble
from lanmail.spool.recovery import Recovery
from lanmail.status import TemporaryFailure
from tests.delivery.house import at_once
from tests.spool.crashed import OLD, OTHER, user
from tests.spool.faults import ERRORS, NO_ROOM, Faults, Statements, descriptors
from tests.spool.troubled import USERS, TroubledCase, letters, token_of
from tests.test_failures import full, small_disk

# What a client is told, by the error of the system: of the queue's own files, and of a mailbox.
OF_THE_QUEUE = {error: "452 4.3.1" if error in NO_ROOM else "451 4.3.0" for error in ERRORS}
OF_A_MAILBOX = OF_THE_QUEUE | {errno.EDQUOT: "452 4.2.2"}


class CallTests(TroubledCase):
    """One call of the system fails, or it and all that follow, for every call that there is."""

    def every_call(self, act: Callable[[Faults, int], None], *, thoroughly: bool = False) -> int:
        """``act`` with a fault at the first call, the second, and so on until there is none to fail; how many there were.

        thoroughly: each call fails with each error. Else errors come round.
        """
        self.anew()
        act(Faults(0, errno.EIO), 0)  # what is opened once is open then
        self.relieve()
        most = 0
        for lasting in (False, True):
            for at in itertools.count(1):
                errors = ERRORS if thoroughly and not lasting else ERRORS[at % len(ERRORS) :][:1]
                failed = [self.fails(act, error, at, lasting) for error in errors]
                if not any(failed):
                    break
                most = max(most, at)
        return most

    def fails(self, act: Callable[[Faults, int], None], error: int, at: int, lasting: bool) -> bool:
        faults = Faults(at, error, lasting=lasting)
        self.anew()
        before = descriptors()
        act(faults, error)
        what = (at, errno.errorcode[error], faults.failed[:1], "and all that follow" if lasting else "once")
        self.relieve()
        self.assert_settled(what)
        self.assertEqual(descriptors(), before, what)
        return bool(faults.failed)

    def test_mail_comes_in_is_delivered_and_flushed(self) -> None:
        def act(faults: Faults, error: int) -> None:
            with faults:
                answers = [self.send("small"), self.send("large")]
                rows, files = self.rows(), os.listdir(self.house.incoming.path)
                wrong = self.deliver()
            what = (error, faults.failed[:1])
            for status in answers:
                self.assertTrue(status is None or str(status).startswith(OF_THE_QUEUE[error]), (status, what))
            # What is refused is gone at once, and not only after relief.
            self.assertEqual(rows, 2 * len(self.answered), what)
            if not any(one.startswith("unlink") for one in faults.failed):
                self.assertEqual(len(files), "large" in self.answered, what)
            for status in wrong:
                self.assertIn(str(status)[:9], (OF_THE_QUEUE[error], OF_A_MAILBOX[error]), what)
            if not faults.failed:
                self.assertEqual((answers, wrong), ([None, None], []))
            self.assert_whole(what)

        self.assertGreater(self.every_call(act, thoroughly=True), 45)

    def test_one_message_after_the_other(self) -> None:
        """What is left behind of the first is the next one's to live with."""

        def act(faults: Faults, error: int) -> None:
            with faults:
                for token in ("one", "two"):
                    self.send(token)
                    self.deliver()
            self.assert_whole((error, faults.failed[:1]))

        self.assertGreater(self.every_call(act), 55)

    def test_recovery(self) -> None:
        """ann has a whole one and, before another program's letter, a torn one; bob has one torn at the end of the file."""

        def act(faults: Faults, error: int) -> None:
            for token in ("one", "two", "large"):
                self.send(token)
            for name in USERS:
                self.cut_off(name)
            self.batches = []
            self.house.kill()
            self.start()
            with faults, contextlib.suppress(TemporaryFailure):
                self.house.recovery.run()
            if error == errno.EIO and "lanmail.spool.incoming" in str(faults.failed):
                # The text cannot be read. So that piece may be all that is left of the message, and is left where it is.
                self.anew()
                with contextlib.suppress(TemporaryFailure):
                    self.house.journal.forget([row.recipient.number for row in self.house.standing()]).result()
                    self.house.journal.delete(None).result()

        def settled(what: object) -> None:
            octets = self.house.contents("ann")
            self.assertEqual(octets.count(OTHER), bool(self.answered), what)
            self.house.put("ann", octets.replace(OTHER, b""))
            TroubledCase.assert_settled(self, what)

        self.assert_settled = settled  # type: ignore[method-assign]
        self.assertGreater(self.every_call(act), 55)

    def cut_off(self, name: str) -> None:
        """All that waits is begun in that mailbox, and a part of it is written."""
        entries = [entry for batch in self.house.waiting(name) for entry in batch.entries]
        copies = [entry.head + b"".join(entry.content.pieces()) for entry in entries]
        with self.house.mailbox_of(user(name)).lock(create=True) as mailbox:
            end = mailbox.length()
            for entry, copy in zip(entries, copies, strict=True):
                intent = Intent(entry.number, self.house.boot, mailbox.device, mailbox.inode, end)
                self.house.journal.intend([intent]).result()
                end += len(copy)
        left = copies[0] + copies[1][:200] + OTHER if name == "ann" else b"".join(copies)[:-100]
        with open(os.path.join(self.house.spool, name), "ab") as file:
            file.write(left)

    def test_a_start(self) -> None:
        """It says why it cannot, or comes up; and the next one finds all that was there."""

        def act(faults: Faults, error: int) -> None:
            self.send("small")
            self.send("large")
            self.batches = []
            house = self.house
            house.kill()
            before = descriptors()
            with faults, contextlib.suppress(JournalTrouble, TemporaryFailure, OSError):
                journal = Journal(os.path.join(house.state, "journal-0"), house.incoming, house.report, connect=connect)
                with contextlib.closing(journal):
                    journal.sweep()
                    Recovery(journal, house.mailbox_of, house.checkpoints, house.report, house.tell, boot="another")
            self.assertEqual(descriptors(), before, faults.failed)
            self.start()

        self.assertGreater(self.every_call(act), 2)

    def test_a_session_that_deletes(self) -> None:
        """ann has two letters whose rows are still there, and deletes the one in the middle."""
        uidls: list[str] = []

        def act(faults: Faults, error: int) -> None:
            for token in ("one", "two"):
                self.send(token)
            self.house.deliver(*self.batches)
            self.batches = []
            deleted = False
            with faults:
                session = Session(self)
                try:
                    names = session(lambda drop: drop.unique_ids())
                    deleted = session(lambda drop: drop.commit(frozenset((2,)))) == 2
                except TemporaryFailure:
                    pass
                else:
                    self.assertEqual(len(names), 3)
                session.close()
            # Whoever is next finishes what was begun.
            with self.house.mailbox_of(user("ann")).lock(create=False):
                found = [token_of(one) for one in letters(self.house.contents("ann"))]
            what = (error, faults.failed[:1])
            self.assertIn(found, (["old", "two"],) if deleted else (["old", "one", "two"], ["old", "two"]), what)
            self.of_ann = found[1:]
            again = Session(self)
            kept = again(lambda drop: drop.unique_ids())
            again.close()
            uidls[:] = uidls or kept
            self.assertEqual(kept[0], uidls[0], what)

        def tokens(name: str, what: object) -> list[str]:
            found = TroubledCase.tokens(self, name, what)
            if name != "ann":
                return found
            self.assertEqual(found, self.of_ann)
            return list(self.answered)

        self.tokens = tokens  # type: ignore[method-assign]
        self.assertGreater(self.every_call(act), 30)


class Session:
    """ann's, with POP3's maildrop, in a house without threads. Called with what is to be done; raises TemporaryFailure."""

    def __init__(self, case: TroubledCase) -> None:
        claims = os.path.join(case.house.state, "claims")
        os.makedirs(claims, exist_ok=True)
        self._drops = Maildrops(
            case.house.mailbox_of,
            Claims(claims),
            IndexCache(),
            in_thread=at_once,
            sleep=lambda seconds: succeed(None),
            claim_wait=0.0,
            lock_wait=0.0,
            tell=case.house.tell,
        )
        self._drop: Any = None

    def __call__(self, act: Callable[[Any], Any]) -> Any:
        if self._drop is None:
            self._drop = self._of(self._drops.open(user("ann")))
        return self._of(act(self._drop))

    @staticmethod
    def _of(work: Any) -> Any:
        answers: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(answers.append)
        answer = answers[0]
        if hasattr(answer, "raiseException"):
            answer.raiseException()
        return answer

    def close(self) -> None:
        if self._drop is not None:
            self._drop.close()


# By these SQLite passes on what the system said: no room, EIO, EROFS, EMFILE; and what a client is told then.
CODES = (
    (sqlite3.SQLITE_FULL, "452 4.3.1"),
    (sqlite3.SQLITE_IOERR_WRITE, "451 4.3.0"),
    (sqlite3.SQLITE_READONLY, "451 4.3.0"),
    (sqlite3.SQLITE_CANTOPEN, "451 4.3.0"),
)
# What it says of a commit that may be there all the same.
UNCERTAIN = ((sqlite3.SQLITE_IOERR_FSYNC, "451 4.3.0"),)


class StatementTests(TroubledCase):
    """One statement of the journal's fails, or it and all that follow; a commit may have been done all the same."""

    def setUp(self) -> None:
        self.statements = Statements()
        super().setUp()
        self.house.kill()
        self.journal_options["connect"] = self.statements.connect
        self.start()
        self.patch(reading, "connect_to_read", self.statements.connect_to_read)

    def fails(self, at: int, code: int, told: str, *, done: bool, lasting: bool) -> bool:
        self.anew()
        before = descriptors()
        self.statements.fail(at, code, done=done, lasting=lasting)
        answers = [self.send("small"), self.send("large")]
        wrong = self.deliver()
        self.statements.over()
        what = (at, code, self.statements.failed[:1], "done" if done else "not done", "and on" if lasting else "once")
        for status in answers:
            self.assertTrue(status is None or str(status).startswith(told), (status, what))
        for status in wrong:
            self.assertIn(str(status)[:9], (told, "451 4.3.0"), what)
        if not self.statements.failed:
            self.assertEqual((answers, wrong), ([None, None], []), what)
        self.assert_whole(what)
        self.relieve()
        self.assert_settled(what)
        self.assertEqual(descriptors(), before, what)
        return bool(self.statements.failed)

    def test_every_statement_with_every_code(self) -> None:
        for done, lasting in ((False, False), (False, True), (True, False), (True, True)):
            for at in itertools.count(1):
                codes = UNCERTAIN if done else CODES[at % 4 :][:1] if lasting else CODES
                failed = [self.fails(at, code, told, done=done, lasting=lasting) for code, told in codes]
                if not any(failed):
                    self.assertGreater(at, 15)
                    break


class LimitTests(TroubledCase):
    """Trouble that is not made up."""

    def test_every_number_of_descriptors_too_few(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for spare in range(40):
            self.anew()
            before = descriptors()
            highest = max(map(int, os.listdir("/proc/self/fd")))
            holes = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 1 - before)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + spare, hard))
            answers = [self.send("small"), self.send("large")]
            wrong = self.deliver()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in holes:
                os.close(fd)
            for status in (*answers, *wrong):
                self.assertTrue(status is None or str(status).startswith("451 4.3.0"), (status, spare))
            self.relieve()
            self.assert_settled(spare)
            self.assertEqual(descriptors(), before, spare)
            if (answers, wrong) == ([None, None], []):
                self.assertGreater(spare, 5)
                return
        self.fail("it never gets through")

    def test_a_disk_that_is_full(self) -> None:
        """One file system for the queue and the mailboxes, and not a block is free on it."""
        folder = self.on_a_disk("house", 16 << 20)
        self.anew()
        with full(folder):
            self.assertEqual([str(self.send(token))[:9] for token in ("small", "large")], ["452 4.3.1"] * 2)
            self.assertEqual((self.rows(), os.listdir(self.house.incoming.path)), (0, []))
        self.relieve()
        self.assertEqual([self.send("small"), self.send("large")], [None, None])
        with full(folder):
            self.assertEqual({str(status)[:9] for status in self.deliver()}, {"452 4.3.1"})
            self.assertEqual((self.house.contents("ann"), self.house.contents("bob")), (OLD, b""))
            # It keeps nobody from fetching, or from making room.
            session = Session(self)
            self.assertEqual(session(lambda drop: drop.commit(frozenset((1,)))), 0)
            session.close()
            self.assertEqual(self.house.contents("ann"), b"")
        self.house.put("ann", OLD)
        self.relieve()
        self.assert_settled("full")

    def test_a_spool_that_is_read_only(self) -> None:
        self.house.kill()
        spool = self.on_a_disk("house/mail", 16 << 20)
        self.anew()
        self.assertEqual([self.send("small"), self.send("large")], [None, None])
        self.remount(spool, "ro")
        self.assertEqual({str(status)[:9] for status in self.deliver()}, {"451 4.3.0"})
        session = Session(self)
        self.assertRaises(TemporaryFailure, session, lambda drop: drop.unique_ids())
        session.close()
        self.assertEqual(os.listdir(spool), ["ann"])
        self.remount(spool, "rw")
        self.relieve()
        self.assert_settled("read-only")

    def test_a_queue_folder_that_is_read_only_is_named_at_the_start(self) -> None:
        state = self.on_a_disk("house/state", 16 << 20)
        self.anew()
        self.assertIsNone(self.send("small"))
        self.house.kill()
        before = descriptors()
        self.remount(state, "ro")
        with self.assertRaisesRegex(JournalTrouble, f"{state}/journal-0: Read-only file system"):
            Journal(f"{state}/journal-0", self.house.incoming, self.house.report)
        self.assertEqual(descriptors(), before)
        self.remount(state, "rw")
        self.start()
        self.relieve()
        self.assert_settled("read-only")

    def on_a_disk(self, name: str, octets: int) -> Path:
        """The house, or what is under that name, from now on on a file system of its own."""
        self.house.kill()
        folder = Path(self.top) / name
        disk = contextlib.ExitStack()
        disk.enter_context(small_disk(folder, octets))
        # Called before the cleanups of setUp, so the house must be out of it.
        self.addCleanup(disk.close)
        self.addCleanup(lambda: self.house.kill())
        self.start()
        return folder

    def remount(self, folder: Path, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
