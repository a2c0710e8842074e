"""The history as all parts see it: it is told, never waits, never raises, and mail goes on whatever becomes of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool import history as history_module
from lanmail.spool.history import History
from lanmail.spool.history_file import VERSION, HistoryFile, Told
from lanmail.spool.stories import Stories, Story
from tests.mailbox.spool import RememberingReport

ROOT = Path(__file__).resolve().parent.parent.parent
ID = "222CF6745D"

KILLED = """
import os, sys
from lanmail.spool.history import History
history = History(sys.argv[1], 30, print)
history.start()
for number in range(5000):
    history.tell("fetched", "%010X" % number, user="nel", client="192.168.1.3")
history.flush()
os.kill(os.getpid(), 9)
"""


class HistoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder, 0o700)
        self.path = os.path.join(self.folder, "history-0")
        self.report = RememberingReport()
        self.patch(history_module, "RETRY", 0.0)

    def begin(self, days: int = 30) -> History:
        history = History(self.path, days, self.report)
        self.addCleanup(history.close)
        history.start()
        return history

    def story(self, queue_id: str = ID) -> Story | None:
        stories = Stories(self.path)
        try:
            return stories.of(queue_id)
        finally:
            stories.close()

    def kinds(self, queue_id: str = ID) -> list[str]:
        story = self.story(queue_id)
        return [] if story is None else [event.kind for event in story.events]

    def test_what_was_told_before_a_flush_can_be_read_after_it(self) -> None:
        history = self.begin()
        history.tell("received", ID, sender="julien@x", size=1200)
        history.tell("delivered", ID, user="nel", recipient="nel@x", delay=0.5)
        history.flush()
        story = self.story()
        assert story is not None
        received, delivered = story.events
        self.assertEqual(received.facts, {"sender": "julien@x", "size": 1200})
        self.assertEqual(delivered.facts, {"user": "nel", "recipient": "nel@x", "delay": 0.5})

    def test_what_is_told_before_the_start_and_up_to_the_end_is_kept(self) -> None:
        history = History(self.path, 30, self.report)
        history.tell("fetched", ID, user="nel")
        history.start()
        history.tell("expunged", ID, user="nel")
        history.close()
        self.assertEqual(self.kinds(), ["fetched", "expunged"])
        history.close()
        history.flush()

    def test_without_a_flush_it_is_written_after_a_moment(self) -> None:
        history = self.begin()
        written = threading.Event()
        self.watch_writes(lambda told: written.set())
        history.tell("fetched", ID, user="nel")
        self.assertTrue(written.wait(20))

    def watch_writes(self, watch: Callable[[list[Told]], None]) -> None:
        write = HistoryFile.write

        def watched(file: HistoryFile, told: Iterable[Told], now: float) -> None:
            batch = list(told)
            write(file, batch, now)
            watch(batch)

        self.patch(HistoryFile, "write", watched)

    def test_a_thousand_events_are_a_few_batches(self) -> None:
        batches: list[int] = []
        self.watch_writes(lambda told: batches.append(len(told)))
        history = self.begin()
        for _ in range(1000):
            history.tell("fetched", ID, user="nel")
        history.flush()
        self.assertEqual(sum(batches), 1000)
        self.assertLess(len(batches), 20)

    def test_told_from_many_threads_nothing_is_lost(self) -> None:
        history = self.begin()

        def tell() -> None:
            for _ in range(500):
                history.tell("fetched", ID, user="nel")
                history.tell("refused", "", client="10.0.0.1", recipient="bert@x", status="550 5.1.1 no")
            history.flush()

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(self.kinds(), ["fetched"] * 2000)
        stories = Stories(self.path)
        self.addCleanup(stories.close)
        self.assertEqual([refusal.count for refusal in stories.refused(["bert@x"])], [2000])
        self.assertEqual(self.report.lines, [])

    def test_kill_9_loses_nothing_that_was_flushed(self) -> None:
        done = subprocess.run([sys.executable, "-c", KILLED, self.path], cwd=ROOT, capture_output=True)
        self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
        stories = Stories(self.path)
        self.addCleanup(stories.close)
        self.assertEqual(sum(1 for _ in stories.named(["nel"])), 5000)

    # bounds

    def test_what_comes_faster_than_it_can_be_written_is_dropped_and_counted(self) -> None:
        self.patch(history_module, "PENDING", 10)
        history = History(self.path, 30, self.report)
        for number in range(15):
            history.tell("fetched", f"{number:010X}", user="nel")
        history.start()
        self.addCleanup(history.close)
        history.flush()
        self.assertEqual((self.kinds("0000000009"), self.kinds("000000000A")), (["fetched"], []))
        self.assertEqual(len(self.report.lines), 1)
        self.assertIn("5 events are missing", self.report.lines[0])

    def test_a_flood_of_refusals_takes_no_place_from_mail(self) -> None:
        history = History(self.path, 30, self.report)
        for number in range(2 * history_module.PENDING_REFUSALS):
            history.tell("refused", "", client="6.6.6.6", recipient=f"{number}@x", status="550 5.1.1 no")
        history.tell("fetched", ID, user="nel")
        history.start()
        self.addCleanup(history.close)
        history.flush()
        self.assertEqual(self.kinds(), ["fetched"])

    # trouble

    def test_while_the_disk_does_not_work_one_line_says_so_and_then_it_goes_on(self) -> None:
        os.rename(self.folder, self.folder + ".away")
        history = self.begin()
        for _ in range(3):
            history.tell("fetched", ID, user="nel")
            history.flush()
        self.assertEqual(len(self.report.lines), 1, self.report.lines)
        self.assertIn("until that is better no story is kept", self.report.lines[0])
        os.rename(self.folder + ".away", self.folder)
        history.tell("expunged", ID, user="nel")
        history.flush()
        self.assertEqual(self.kinds(), ["expunged"])
        self.assertIn("which is over; 3 events are missing", self.report.lines[1])

    def test_a_write_that_fails_costs_its_batch_and_no_more(self) -> None:
        history = self.begin()
        history.tell("received", ID, sender="julien@x")
        history.flush()

        def failing(file: HistoryFile, told: Iterable[Told], now: float) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        patched = self.patch(HistoryFile, "write", failing)
        history.tell("fetched", ID, user="nel")
        history.flush()
        patched.restore()
        history.tell("expunged", ID, user="nel")
        history.flush()
        self.assertEqual(self.kinds(), ["received", "expunged"])
        self.assertIn("disk I/O error", self.report.lines[0])

    def test_what_nobody_foresaw_does_not_end_the_thread(self) -> None:
        history = self.begin()
        history.tell("fetched", ID, user=object())  # type: ignore[arg-type]
        history.tell("no such kind", ID)
        history.tell("held", ID, by=2**70)
        history.tell("fetched", ID, user="\ud800\0", more="than is kept")
        history.flush()
        self.assertEqual(self.kinds(), ["fetched", "held", "fetched"])
        self.assertEqual(len(self.report.lines), 1)
        self.assertIn("no such kind", self.report.lines[0])

    def test_a_later_release_s_file_stays_as_it_is_and_mail_goes_on(self) -> None:
        self.begin().close()
        connection = sqlite3.connect(self.path)
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.close()
        history = self.begin()
        history.tell("fetched", ID, user="nel")
        history.flush()
        history.close()
        self.assertEqual(len(self.report.lines), 1)
        self.assertIn("left alone, and no story is kept", self.report.lines[0])
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("SELECT count(*) FROM event").fetchone(), (0,))

    def test_a_damaged_file_is_put_away_and_a_new_one_begun(self) -> None:
        with open(self.path, "wb") as file:
            file.write(b"This is not a database, but it is long enough to be looked at.\n" * 100)
        history = self.begin()
        history.tell("fetched", ID, user="nel")
        history.flush()
        self.assertEqual(self.kinds(), ["fetched"])
        self.assertIn(f"kept as {self.path}.damaged", self.report.lines[0])

    # none

    def test_with_no_days_nothing_is_kept_and_what_was_is_removed(self) -> None:
        history = self.begin()
        history.tell("fetched", ID, user="nel")
        history.close()
        self.assertTrue(os.path.exists(self.path))
        none = self.begin(days=0)
        none.tell("fetched", ID, user="nel")
        none.flush()
        none.close()
        self.assertEqual(os.listdir(self.folder), [])

    def test_an_old_day_is_forgotten_at_the_start_already(self) -> None:
        long_ago = 1_000_000_000.0
        file = HistoryFile(self.path, long_ago)
        file.write([("fetched", ID, long_ago, {"user": "nel"})], long_ago)
        file.close()
        pruned = threading.Event()
        prune = HistoryFile.prune

        def watched(file: HistoryFile, now: float, days: int) -> bool:
            more = prune(file, now, days)
            if not more:
                pruned.set()
            return more

        self.patch(HistoryFile, "prune", watched)
        self.begin()
        self.assertTrue(pruned.wait(20))
        self.assertIsNone(self.story())
