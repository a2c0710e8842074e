"""The history's database: safely opened, added to in whole batches, thinned out day by day."""

from __future__ import annotations

import os
import sqlite3
import stat

from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool import history_file
from lanmail.spool.history_file import VERSION, Damaged, HistoryFile, Told, TooNew, forget_all, set_aside
from lanmail.spool.stories import Stories

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2


def received(queue_id: str, at: float, **facts: str | float) -> Told:
    return "received", queue_id, at, {"sender": "julien@x", "message_id": f"<{queue_id}@x>", **facts}


def fetched(queue_id: str, at: float, **facts: str | float) -> Told:
    return "fetched", queue_id, at, {"user": "nel", "client": "192.168.1.3", **facts}


class HistoryFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder, 0o700)
        self.path = os.path.join(folder, "history-0")

    def open(self, now: float = NOON) -> HistoryFile:
        file = HistoryFile(self.path, now)
        self.addCleanup(file.close)
        return file

    def rows(self, query: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def count(self, table: str) -> int:
        return int(str(self.rows(f"SELECT count(*) FROM {table}")[0][0]))

    # opening

    def test_it_is_made_for_its_owner_alone_whatever_umask_says(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.open().write([received("222CF6745D", NOON)], NOON)
        for name in ("", "-wal", "-shm"):
            self.assertEqual(stat.S_IMODE(os.stat(self.path + name).st_mode), 0o600, name)

    def test_made_by_root_it_belongs_to_whom_the_folder_belongs_to(self) -> None:
        os.chown(os.path.dirname(self.path), 1234, 4321)
        self.open().write([received("222CF6745D", NOON)], NOON)
        for name in ("", "-wal", "-shm"):
            found = os.stat(self.path + name)
            self.assertEqual((found.st_uid, found.st_gid), (1234, 4321), name)

    if os.geteuid() != 0:
        test_made_by_root_it_belongs_to_whom_the_folder_belongs_to.skip = "needs root"  # type: ignore[attr-defined]

    def test_a_link_in_its_place_is_not_followed(self) -> None:
        target = self.path + ".target"
        with open(target, "w"):
            pass
        os.symlink(target, self.path)
        self.assertRaises(OSError, HistoryFile, self.path, NOON)
        os.unlink(self.path)
        os.link(target, self.path)
        self.assertRaises(Damaged, HistoryFile, self.path, NOON)

    def test_nor_one_in_the_place_of_its_other_two_files(self) -> None:
        self.open().close()
        precious = self.path + ".precious"
        for name in ("-wal", "-shm"):
            for put in (os.link, os.symlink):
                with open(precious, "w") as file:
                    file.write("root's")
                put(precious, self.path + name)
                self.assertIn(
                    f"{name} is not a file of its own", str(self.assertRaises(Damaged, HistoryFile, self.path, NOON))
                )
                with open(precious) as file:
                    self.assertEqual(file.read(), "root's")
                os.unlink(self.path + name)

    def test_a_later_release_s_is_left_alone(self) -> None:
        self.open().close()
        connection = sqlite3.connect(self.path)
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.close()
        self.assertIn(f"version {VERSION + 1}", str(self.assertRaises(TooNew, HistoryFile, self.path, NOON)))

    def test_what_is_no_database_is_damaged_and_can_be_set_aside(self) -> None:
        for _ in range(2):
            with open(self.path, "wb") as file:
                file.write(b"This is not a database, but it is long enough to be looked at.\n" * 100)
            self.assertRaises(Damaged, HistoryFile, self.path, NOON)
            self.assertEqual(set_aside(self.path), self.path + ".damaged")
            self.assertFalse(os.path.exists(self.path))
        self.open().write([received("222CF6745D", NOON)], NOON)

    # writing

    def test_a_batch_that_fails_leaves_nothing_of_itself(self) -> None:
        file = self.open()
        file.write([received("222CF6745D", NOON)], NOON)
        self.assertRaises(KeyError, file.write, [received("222CF6745E", NOON), ("no such kind", "", NOON, {})], NOON)
        file.write([fetched("222CF6745D", NOON)], NOON)
        self.assertEqual(self.rows("SELECT id FROM message UNION SELECT id FROM event ORDER BY id"), [(1,), (2,)])

    def test_numbers_go_on_after_a_restart(self) -> None:
        file = self.open()
        file.write([received("222CF6745D", NOON), fetched("222CF6745D", NOON)], NOON)
        file.close()
        self.open().write([fetched("222CF6745D", NOON)], NOON)
        self.assertEqual(self.rows("SELECT id FROM event ORDER BY id"), [(2,), (3,)])

    def test_the_order_is_that_of_telling_although_the_clock_was_set_back(self) -> None:
        file = self.open()
        file.write([received("222CF6745D", NOON)], NOON)
        file.write([fetched("222CF6745D", NOON - 3 * DAY)], NOON - 3 * DAY)
        file.write([("expunged", "222CF6745D", NOON - 2 * DAY, {"user": "nel"})], NOON - 2 * DAY)
        stories = Stories(self.path)
        self.addCleanup(stories.close)
        (story,) = stories.named(["nel"])
        self.assertEqual([event.kind for event in story.events], ["received", "fetched", "expunged"])

    # forgetting

    def fill(self, file: HistoryFile, days: int, each: int) -> float:
        """So many days, each with so many messages; the noon of the last."""
        for day in range(days):
            now = NOON + day * DAY
            ids = [f"{day * each + n:010X}" for n in range(each)]
            file.write([told for id in ids for told in (received(id, now), fetched(id, now))], now)
        return NOON + (days - 1) * DAY

    def test_what_is_older_than_so_many_days_is_forgotten_in_small_steps(self) -> None:
        file = self.open()
        last = self.fill(file, 5, 1200)
        steps = 0
        while file.prune(last, 2):
            steps += 1
        self.assertGreater(steps, 3)  # a step forgets 500 of each table
        self.assertEqual(self.count("message"), 3 * 1200)
        self.assertEqual(self.count("event"), 3 * 1200)
        self.assertEqual(self.rows("SELECT min(at) FROM message"), [(NOON + 2 * DAY,)])
        # julien, nel and the Message-ID
        self.assertEqual(self.count("found"), 3 * 1200 * 3)
        self.assertEqual(self.count("day"), 3)

    def test_what_was_told_last_grows_old_although_nothing_happens_afterwards(self) -> None:
        file = self.open()
        file.write([received("222CF6745D", NOON)], NOON)
        while file.prune(NOON + 30 * DAY, 30):
            pass
        self.assertEqual(self.count("message"), 1)
        while file.prune(NOON + 31 * DAY, 30):
            pass
        self.assertEqual((self.count("message"), self.count("found")), (0, 0))

    def test_days_of_a_clock_that_was_ahead_hold_nobody_up(self) -> None:
        file = self.open()
        file.write([received("222CF6745D", NOON + 4000 * DAY)], NOON + 4000 * DAY)
        last = self.fill(file, 5, 3)
        while file.prune(last, 2):
            pass
        self.assertEqual(self.count("message"), 1 + 3 * 3)

    def test_the_file_shrinks_after_a_flood(self) -> None:
        file = self.open()
        self.fill(file, 1, 20_000)
        file.close()
        large = os.stat(self.path).st_size
        file = self.open(NOON + 9 * DAY)
        while file.prune(NOON + 9 * DAY, 1):
            pass
        file.close()
        self.assertLess(os.stat(self.path).st_size, large / 2)  # a MiB stays free, for tomorrow

    def test_forgetting_goes_by_keys_and_reads_no_whole_table(self) -> None:
        self.open()
        queries = (
            ("SELECT id FROM event WHERE id >= 1 AND id < 9 LIMIT 5", "SEARCH event USING INTEGER PRIMARY KEY"),
            ("SELECT id FROM message WHERE id >= 1 AND id < 9 LIMIT 5", "SEARCH message USING INTEGER PRIMARY KEY"),
            (
                "DELETE FROM found WHERE (day, key, story) IN (SELECT day, key, story FROM found WHERE day = 1 LIMIT 5)",
                "SEARCH found USING PRIMARY KEY (day=? AND key=? AND story=?)",
            ),
        )
        for query, expected in queries:
            plan = " / ".join(str(row[3]) for row in self.rows(f"EXPLAIN QUERY PLAN {query}"))
            self.assertIn(expected, plan)
            self.assertNotIn("SCAN", plan)

    def test_all_of_it_can_be_removed_whatever_it_is(self) -> None:
        self.open().close()
        with open(self.path + "-wal", "w"):
            pass
        forget_all(self.path)
        forget_all(self.path)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])

    def test_more_rows_than_one_statement_takes_are_all_written(self) -> None:
        file = self.open()
        file.write([received(f"{n:010X}", NOON) for n in range(3 * history_file._ROWS + 7)], NOON)
        self.assertEqual(self.count("message"), 3 * history_file._ROWS + 7)
