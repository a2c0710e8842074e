from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest

from lanmail.spool import database
from lanmail.spool.ledger import Ledger
from tests.live import need
from tests.spool.journals import JournalTestCase, message, small, to

ROOT = Path(__file__).resolve().parents[2]

# Transactions between two marks that strace shows: `flush` says what each of them asks for.
PROGRAM = """
import os, sys
from lanmail.spool.database import connect
from lanmail.spool.ledger import Ledger
ledger = Ledger(sys.argv[1], connect)
ledger.open()
ledger.transaction(lambda db: None, flush=True)  # a log that begins anew has its head flushed, whatever is asked for
for n, flush in enumerate((False, False, True, False, True, True)):
    os.path.exists(f"/mark-{n}")
    ledger.transaction(lambda db: db.execute("UPDATE journal SET clock = ?", (float(n),)), flush=flush)
os.path.exists("/mark-end")
ledger.close()
"""


class FlushTests(JournalTestCase):
    def test_a_transaction_is_flushed_when_it_should_be_and_not_otherwise(self) -> None:
        need("strace")
        self.journal.close()
        trace = os.path.abspath(self.mktemp())
        command = [
            "strace",
            "-f",
            "-o",
            trace,
            "-e",
            "trace=fsync,fdatasync,stat,newfstatat",
            sys.executable,
            "-c",
            PROGRAM,
        ]
        done = subprocess.run([*command, self.path], cwd=ROOT, capture_output=True, text=True)
        if "ptrace" in done.stderr:
            raise SkipTest(f"strace may not trace here: {done.stderr.strip()}")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        flushes: list[int] = []
        for line in Path(trace).read_text().splitlines():
            if "/mark-end" in line:
                break
            if "/mark-" in line:
                flushes.append(0)
            elif flushes and re.search(r"f(data)?sync\(", line):
                flushes[-1] += 1
        self.assertEqual(flushes, [0, 0, 1, 0, 1, 1])

    def test_one_flush_serves_all_that_waited(self) -> None:
        futures = [self.journal.admit(message(n), [to("ann")], small(), now=0.0) for n in range(50)]
        self.faults.said.clear()
        self.journal.turn()
        self.assertEqual(len([future.result(0) for future in futures]), 50)
        self.assertEqual(self.faults.said.count("COMMIT"), 1)
        self.assertLess(len(self.faults.said), 15)  # and few statements: each waits for the interpreter's lock

    def test_what_wants_no_flush_gets_one_with_what_does(self) -> None:
        (number,) = self.admit(1)
        self.faults.said.clear()
        self.of(self.journal.mark([number]))
        self.assertIn("PRAGMA synchronous = NORMAL", self.faults.said)
        self.journal.mark([number])
        self.of(self.journal.forget([number]))
        self.assertEqual(
            [said for said in self.faults.said if "synchronous" in said][1:], ["PRAGMA synchronous = FULL"]
        )


class SizeTests(JournalTestCase):
    def sizes(self) -> tuple[int, int]:
        return os.stat(self.path).st_size, os.stat(self.path + "-wal").st_size

    def rest(self) -> None:
        """Nothing happens for as long as there is something to tidy up."""
        for _ in range(200):
            self.now += 10
            if self.journal._commits._until_something_is_due() is None:
                return
            self.journal.turn()
        self.fail("it never rests")

    def test_after_a_flood_it_is_small_again(self) -> None:
        for begin in range(0, 20_000, 500):
            futures = [
                self.journal.admit(message(begin + n), [to("ann")], small(bytes(2000)), now=0.0) for n in range(500)
            ]
            self.journal.turn()
            self.assertIsNone(futures[-1].exception(0))
        self.assertGreater(self.sizes()[0], 40 << 20)
        self.assertLess(self.sizes()[1], 12 << 20)
        for begin in range(1, 20_001, 500):
            self.of(self.journal.forget(range(begin, begin + 500)))
        self.rest()
        self.assertEqual(self.rows(), 0)
        self.assertLess(sum(self.sizes()), 10 << 20)
        self.admit(20_001)

    def test_the_log_does_not_grow_with_what_passes_through(self) -> None:
        for n in range(300):
            self.of(self.journal.forget(self.admit(n, content=small(bytes(60_000)))))
        self.assertLess(sum(self.sizes()), 10 << 20)

    def test_whoever_reads_for_long_does_not_make_each_commit_slower(self) -> None:
        self.admit(1)
        reader = database.connect_to_read(self.path)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        self.assertEqual(reader.execute("SELECT count(*) FROM message").fetchone(), (1,))
        for n in range(2, 260):
            self.admit(n, content=small(bytes(60_000)))
        tried = self.faults.said.count("PRAGMA wal_checkpoint(PASSIVE)")
        self.assertGreater(tried, 1)
        self.assertLess(tried, 10)
        self.assertEqual(reader.execute("SELECT count(*) FROM message").fetchone(), (1,))

    def test_nothing_is_tidied_while_mail_comes_in(self) -> None:
        for number in range(5):
            self.admit(number)
            self.now += 1.5
            self.journal.turn()
        self.assertNotIn("PRAGMA wal_checkpoint(PASSIVE)", self.faults.said)
        self.now += 1.5
        self.journal.turn()
        self.assertIn("PRAGMA wal_checkpoint(PASSIVE)", self.faults.said)

    def test_an_hour_of_silence_costs_one_checkpoint(self) -> None:
        self.admit(1)
        self.rest()
        self.faults.said.clear()
        self.rest()
        self.assertEqual(self.faults.said, [])


class DoubtTests(JournalTestCase):
    def test_what_is_left_in_the_log_of_a_commit_that_failed_cannot_come_back(self) -> None:
        self.admit(1)
        self.faults.fail("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, done=True)
        self.faults.broken = True
        future = self.journal.admit(message(2), [to("ann")], small(), now=0.0)
        self.journal.turn()
        self.assertIsNotNone(future.exception(0))
        self.faults.broken = False
        anew = Ledger(self.path, self.faults.connect)
        anew.open()
        self.addCleanup(anew.close)
        self.assertEqual(os.stat(self.path + "-wal").st_size, 0)

    def test_a_transaction_that_raises_leaves_nothing_and_can_be_followed_by_another(self) -> None:
        book = self.journal._commits._ledger
        serial = book.serial

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE journal SET clock = 5.0")
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, book.transaction, work, flush=True)
        self.assertEqual(
            book.transaction(lambda db: db.execute("SELECT clock FROM journal").fetchone(), flush=True), (0.0,)
        )
        self.assertEqual(book.serial, serial + 1)

    def test_it_does_not_open_while_somebody_keeps_the_log_from_being_emptied(self) -> None:
        self.patch(database, "_PATIENCE", 0.01)
        self.admit(1)
        reader = database.connect_to_read(self.path)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        self.admit(2)
        self.assertRaises(database.JournalTrouble, self.journal._commits._ledger.open)
        self.assertFalse(self.journal._commits._ledger.is_open)
