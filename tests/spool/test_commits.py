"""What becomes of those who wait when the disk fails."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from lanmail.address import NULL_SENDER
from lanmail.spool import commits, database
from lanmail.spool.commits import PROBE_EVERY
from lanmail.spool.entries import Deferral
from lanmail.status import Status, TemporaryFailure
from tests.spool.journals import JournalTestCase, intent, message, queue_id, small, to
from tests.test_failures import small_disk

IOERR_WRITE = sqlite3.SQLITE_IOERR_WRITE
IOERR_FSYNC = sqlite3.SQLITE_IOERR_FSYNC


class TroubleTestCase(JournalTestCase):
    def admitting(self, number: int, name: str = "ann", content: Any = None) -> Future[list[int]]:
        return self.journal.admit(message(number), [to(name)], content or small(), now=0.0)

    def code(self) -> int | None:
        return None if self.journal.trouble is None else self.journal.trouble.code

    def later(self) -> None:
        """So much later that it is tried again."""
        self.now += PROBE_EVERY
        self.journal.turn()

    def assert_works(self) -> None:
        self.assertIsNone(self.journal.trouble)
        before = len(self.waiting_for("zoe"))
        self.assertEqual(len(self.of(self.admitting(900 + before, "zoe"))), 1)
        self.assertEqual(len(self.waiting_for("zoe")), before + 1)


class BeforeTheCommitTests(TroubleTestCase):
    def test_a_full_disk_is_452_until_there_is_room(self) -> None:
        self.faults.fail("INSERT", sqlite3.SQLITE_FULL)
        self.assertEqual(self.refused(self.admitting(1)), 452)
        self.assertEqual(self.journal.trouble, Status(452, "4.3.1", "Insufficient system storage"))
        self.assertIn(f"{self.path}: failed as it was told; new mail is answered 452 4.3.1", self.report[-1])
        self.journal.turn()
        self.assertEqual(self.code(), 452)  # not tried before its time
        self.later()
        self.assertIn(f"{self.path}: works again", self.report[-1])
        self.assert_works()

    def test_any_other_fault_of_the_disk_is_451(self) -> None:
        for code in (IOERR_WRITE, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN):
            self.faults.fail("BEGIN", code)
            self.assertEqual(self.refused(self.admitting(code)), 451)
            self.assertEqual(self.code(), 451)
            self.later()
            self.assert_works()

    def test_a_quota_that_sqlite_takes_for_an_error_of_the_disk_is_452(self) -> None:
        def write(fd: int, data: bytes) -> int:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        self.faults.fail("INSERT", IOERR_WRITE)
        self.patch(database.os, "write", write)
        self.assertEqual(self.refused(self.admitting(1)), 452)

    def test_trouble_is_told_once_and_again_when_it_is_another(self) -> None:
        for number, code in enumerate((sqlite3.SQLITE_FULL, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)):
            self.faults.fail("INSERT", code)
            self.refused(self.admitting(number))
        self.assertEqual(len(self.report), 2)

    def test_where_one_cannot_be_done_its_neighbours_are(self) -> None:
        self.faults.fail("INSERT", sqlite3.SQLITE_FULL, times=2)  # of all together, then of the first alone
        futures = [self.admitting(number) for number in range(3)]
        self.journal.turn()
        self.assertIsInstance(futures[0].exception(0), TemporaryFailure)
        self.assertEqual([len(future.result(0)) for future in futures[1:]], [1, 1])

    def test_on_a_full_disk_what_was_delivered_is_still_forgotten(self) -> None:
        (number,) = self.admit(1)
        self.faults.fail("INSERT", sqlite3.SQLITE_FULL, times=100)
        admitted, forgotten = self.admitting(2), self.journal.forget([number])
        self.assertEqual(self.refused(admitted), 452)
        self.assertIsNone(forgotten.result(0))
        self.assertEqual(self.rows(), 0)

    def test_what_is_everybodys_trouble_fails_all_at_once_and_not_one_by_one(self) -> None:
        self.faults.fail("BEGIN", sqlite3.SQLITE_BUSY)  # each would wait for somebody's lock for seconds
        futures = [self.admitting(number) for number in range(3)]
        self.assertEqual([self.refused(future) for future in futures], [451, 451, 451])
        self.assertEqual(self.faults.said.count("BEGIN IMMEDIATE"), 1)

    def test_a_real_lack_of_pages_is_452_and_leaves_nothing(self) -> None:
        connection = self.journal._commits._ledger._db
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")
        futures = [self.admitting(n, content=small(b"x" * 20_000)) for n in range(2)]
        self.journal.turn()
        self.assertEqual([type(future.exception(0)) for future in futures], [type(None), TemporaryFailure])
        self.of(self.journal.forget(futures[0].result(0)))
        self.assertEqual(self.rows(), 0)
        self.later()
        self.assertEqual(len(self.of(self.admitting(3, content=small(b"x" * 20_000)))), 1)

    def test_the_last_of_the_disk_is_for_letting_go(self) -> None:
        (number,) = self.admit(1)
        real = os.statvfs(self.folder)
        left = os.statvfs_result((*real[:4], (16 << 20) // real.f_frsize - 1, *real[5:]))
        self.patch(database.os, "statvfs", lambda path: left)
        admitted, forgotten = self.admitting(2), self.journal.forget([number])
        self.assertEqual(self.refused(admitted), 452)
        self.assertIsNone(forgotten.result(0))
        self.assertIn("less than 16384 KiB are free on its disk", self.report[-1])
        self.later()
        self.assertEqual(self.code(), 452)
        self.patch(database.os, "statvfs", lambda path: real)
        self.later()
        self.assert_works()

    def test_a_fault_of_ours_fails_its_job_and_the_writer_goes_on(self) -> None:
        def change(db: object, after: object, asked: list[None]) -> list[None]:
            raise ZeroDivisionError

        ours = self.journal._commits.submit(change, None, flush=True)
        other = self.admitting(1)
        self.journal.turn()
        self.assertIsInstance(ours.exception(0), ZeroDivisionError)
        self.assertEqual(other.result(0), [1])
        self.assertIsNone(self.journal.trouble)

    def test_a_fault_behind_the_commit_does_not_end_the_writer_either(self) -> None:
        def sweep(names: list[str]) -> int:
            raise ZeroDivisionError

        self.patch(self.incoming, "sweep", sweep)
        self.admitting(1)
        self.journal.turn()
        self.assertEqual(self.code(), 451)
        self.patch(self.incoming, "sweep", lambda names: 0)
        self.later()
        self.assert_works()


class InTheCommitTests(TroubleTestCase):
    """A flush that failed: nobody knows, until the file was opened anew."""

    def test_what_is_there_in_spite_of_it_is_done(self) -> None:
        content = self.large(1)
        self.faults.said.clear()
        self.faults.fail("COMMIT", IOERR_FSYNC, done=True)
        self.assertEqual(self.of(self.admitting(1, content=content)), [1])
        self.assertTrue(content.kept)
        self.assertEqual(self.waiting_for("ann"), [1])
        self.assertEqual(self.faults.said.count("PRAGMA wal_checkpoint(TRUNCATE)"), 1)
        self.later()
        self.assert_works()

    def test_what_is_not_there_has_failed_and_its_file_goes(self) -> None:
        content = self.large(1)
        self.faults.fail("COMMIT", IOERR_FSYNC)
        self.assertEqual(self.refused(self.admitting(1, content=content)), 451)
        self.assertFalse(content.kept)
        self.assertEqual((self.files(), self.rows()), ([], 0))
        self.later()
        self.assert_works()

    def test_the_same_connection_is_never_used_again(self) -> None:
        before = self.journal._commits._ledger._db
        self.faults.fail("COMMIT", IOERR_FSYNC)
        self.refused(self.admitting(1))
        self.assertIsNot(self.journal._commits._ledger._db, before)

    def test_a_full_disk_is_known_to_have_committed_nothing(self) -> None:
        before = self.journal._commits._ledger._db
        self.faults.fail("COMMIT", sqlite3.SQLITE_FULL, times=2)
        self.assertEqual(self.refused(self.admitting(1)), 452)
        self.assertIs(self.journal._commits._ledger._db, before)
        self.assertEqual(self.rows(), 0)

    def in_doubt(self, *futures: Future[Any]) -> None:
        """They fail in a commit that took place, and the file cannot be opened for a while."""
        self.faults.fail("COMMIT", IOERR_FSYNC, done=True)
        self.faults.broken = True
        self.assertEqual({self.refused(future) for future in futures}, {451})
        for _ in range(2):
            self.later()
            self.assertEqual(self.refused(self.admitting(50)), 451)
        self.faults.broken = False

    def test_what_a_client_was_told_451_for_is_taken_out_again(self) -> None:
        self.admit(1)
        content = self.large(2)
        self.in_doubt(self.admitting(2, content=content), self.admitting(3))
        content.discard()  # whoever brought it has nothing more to do with it
        self.assertEqual(self.files(), [queue_id(2)])  # a row that came back without its file could not be delivered
        self.later()
        self.assertEqual((self.waiting_for("ann"), self.files()), ([1], []))
        self.assert_works()

    def test_it_is_taken_out_though_that_fails_at_first(self) -> None:
        for done in (False, True):
            self.in_doubt(self.admitting(2))
            self.faults.fail("COMMIT", IOERR_FSYNC, done=done)
            self.later()
            self.assertEqual(self.code(), 451)
            self.later()
            self.assertEqual(self.waiting_for("ann"), [])
            self.assert_works()

    def test_a_row_whose_writer_was_refused_waits_again(self) -> None:
        (number,) = self.admit(1)
        self.in_doubt(self.journal.intend([intent(number)]))
        self.assertEqual(len(list(self.journal.standing())), 1)
        self.later()
        self.assertEqual(self.waiting_for("ann"), [number])

    def test_a_report_that_came_in_for_its_row_stays(self) -> None:
        (number,) = self.admit(1, content=self.large(1))
        report = self.large(9)
        self.in_doubt(
            self.journal.exchange([number], [(message(9, sender=NULL_SENDER), [to("julien")], report)], now=0.0)
        )
        report.discard()
        self.later()
        self.assertEqual(self.waiting_for("ann"), [])
        ((_, _, content),) = self.journal.due("julien", 0.0, 10, 1)
        self.assertEqual(sum(map(len, content.pieces())), report.size)
        self.assertEqual(self.files(), [queue_id(9)])

    def test_what_was_forgotten_is_forgotten_and_its_file_goes(self) -> None:
        (number,) = self.admit(1, content=self.large(1))
        self.in_doubt(self.journal.forget([number]))
        self.later()
        self.assertEqual((self.rows(), self.files()), (0, []))
        self.assertIsNone(self.of(self.journal.forget([number])))

    def test_a_doubt_that_turns_out_to_be_nothing_leaves_nothing(self) -> None:
        content = self.large(1)
        self.faults.fail("COMMIT", IOERR_FSYNC)
        self.faults.broken = True
        self.refused(self.admitting(1, content=content))
        self.assertTrue(content.kept)
        self.faults.broken = False
        self.later()
        self.assertEqual((self.files(), self.rows()), ([], 0))
        self.assert_works()

    def test_a_probe_that_is_in_doubt_does_no_harm(self) -> None:
        self.faults.fail("INSERT", sqlite3.SQLITE_FULL)
        self.refused(self.admitting(1))
        for done in (True, False):
            self.faults.fail("COMMIT", IOERR_FSYNC, done=done)
            self.later()
            self.assertEqual(self.code(), 451)
        self.later()
        self.assert_works()

    def test_a_checkpoint_that_fails_is_done_anew_on_a_new_connection(self) -> None:
        self.admit(1)
        self.faults.fail("PRAGMA wal_checkpoint(PASSIVE)", IOERR_FSYNC)
        self.now += 10
        self.journal.turn()
        self.assertEqual(self.code(), 451)
        self.assertFalse(self.journal._commits._ledger.is_open)
        self.assertEqual(self.waiting_for("ann"), [1])  # reading goes on
        self.later()
        self.assertEqual(self.waiting_for("ann"), [1])
        self.assert_works()

    def test_where_there_is_no_room_it_is_opened_anew_all_the_same(self) -> None:
        (number,) = self.admit(1)
        real = os.statvfs(self.folder)
        self.in_doubt(self.journal.mark([number]))
        self.patch(database.os, "statvfs", lambda path: os.statvfs_result((*real[:4], 1, *real[5:])))
        self.later()
        self.assertEqual(self.code(), 452)
        self.assertIsNone(self.of(self.journal.forget([number])))
        self.assertEqual(self.rows(), 0)

    def test_everything_fails_at_once_while_the_file_cannot_be_opened(self) -> None:
        self.admit(1)
        self.in_doubt(self.admitting(2))
        futures: list[Future[Any]] = [
            self.journal.mark([1]),
            self.journal.unbegin([1]),
            self.journal.forget([1]),
            self.journal.clock(1.0),
            self.journal.defer([Deferral(1, 1.0, Status(451, "4.2.0", "busy"))]),
            self.journal.hold(None),
        ]
        self.faults.broken = True
        self.assertEqual({self.refused(future) for future in futures}, {451})
        self.journal.close()

    def test_a_start_on_a_log_that_cannot_be_flushed_comes_up_and_waits(self) -> None:
        self.admit(1)
        self.journal.close()
        self.faults.fail("PRAGMA wal_checkpoint(TRUNCATE)", IOERR_FSYNC, times=2)
        self.journal = self.opened()
        self.assertEqual(self.code(), 451)
        self.assertEqual(self.waiting_for("ann"), [1])
        self.later()
        self.assert_works()


class SmallDiskTests(TroubleTestCase):
    """A real disk that is full."""

    def on_a_small_disk(self) -> Path:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        disk = contextlib.ExitStack()
        disk.enter_context(small_disk(folder, 48 << 20))
        self.addCleanup(disk.close)
        self.path = str(folder / "journal-0")
        self.journal.close()
        self.journal = self.opened()
        return folder

    def fill(self) -> list[int]:
        """Take mail in until it is refused."""
        taken: list[int] = []
        for number in range(2000):
            future = self.admitting(number, content=small(bytes(60_000)))
            self.journal.turn()
            if future.exception(0) is not None:
                self.assertEqual(self.refused(future), 452)
                return taken
            taken += future.result(0)
        raise AssertionError("it is never full")

    def test_a_queue_that_fills_its_disk_can_be_emptied_without_help(self) -> None:
        self.on_a_small_disk()
        taken = self.fill()
        self.assertEqual(self.code(), 452)
        self.assertGreater(len(taken), 300)
        self.later()
        self.assertEqual(self.code(), 452)
        for number in taken:  # each as it is delivered
            self.assertEqual(self.of(self.journal.intend([intent(number)])), {number})
            self.of(self.journal.mark([number]))
            self.of(self.journal.forget([number]))
        for _ in range(50):
            self.later()
        self.assertLess(os.stat(self.path).st_size + os.stat(self.path + "-wal").st_size, 10 << 20)
        self.assert_works()

    def test_what_others_filled_is_waited_for_and_nothing_is_lost(self) -> None:
        folder = self.on_a_small_disk()
        taken = [*self.admit(1, content=small(bytes(60_000))), *self.admit(2)]
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        self.assertEqual(self.refused(self.admitting(3)), 452)
        for _ in range(20):  # until the log has used up what it had
            self.journal.defer([Deferral(number, self.now, Status(451, "4.2.0", "busy")) for number in taken])
            self.journal.turn()
            self.later()
        self.assertEqual(self.code(), 452)
        self.assertEqual(self.waiting_for("ann"), taken)
        filler.unlink()
        self.later()
        self.assert_works()
        self.of(self.journal.forget(taken))
        self.assertEqual(self.waiting_for("ann"), [])


class DueTests(TroubleTestCase):
    """What the writer's thread waits for."""

    def until(self) -> float | None:
        return self.journal._commits._until_something_is_due()

    def test_it_sleeps_for_ever_once_everything_is_tidy(self) -> None:
        self.admit(1)
        self.assertEqual(self.until(), commits._IDLE)
        self.now += commits._IDLE
        self.assertEqual(self.until(), 0.0)
        self.journal.turn()
        self.assertIsNone(self.until())

    def test_in_trouble_it_wakes_to_try_again(self) -> None:
        self.faults.fail("INSERT", sqlite3.SQLITE_FULL)
        self.refused(self.admitting(1))
        self.now += 0.5
        self.assertEqual(self.until(), PROBE_EVERY - 0.5)
