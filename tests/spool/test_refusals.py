"""Whatever is refused, and however often: no more than so much is kept, and a flood pushes out itself."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool.refusals import MOST, SCHEMA, Refusals, all_refusals, forget_refusals

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2


class RefusalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(self.connection.close)
        self.connection.executescript(SCHEMA)

    def refuse(self, *what: tuple[float, str, str], most: int = MOST) -> None:
        """when, client, recipient"""
        batch = Refusals()
        for at, client, recipient in what:
            batch.add({"client": client, "sender": "a@b", "recipient": recipient, "status": "550 5.1.1 no"}, None, at)
        batch.write(self.connection, most)

    def kept(self) -> Counter[str]:
        return Counter(str(row[0]) for row in all_refusals(self.connection))

    def test_a_flood_of_equal_ones_is_one_row_with_its_count_and_times(self) -> None:
        for batch in range(3):
            self.refuse(*((NOON + 100 * batch + n, "10.0.0.1", "bert@x") for n in range(1000)))
        ((*texts, _, first, last, count),) = all_refusals(self.connection)
        self.assertEqual(texts, ["10.0.0.1", "a@b", "bert@x", "550 5.1.1 no", ""])
        self.assertEqual((first, last, count), (NOON, NOON + 1199, 3000))

    def test_a_flood_from_one_client_leaves_what_others_were_refused_today_and_yesterday(self) -> None:
        self.refuse(*((NOON - DAY, "10.0.0.2", f"y{n}@x") for n in range(400)))
        self.refuse(*((NOON, "10.0.0.3", f"t{n}@x") for n in range(300)))
        for batch in range(5):
            self.refuse(*((NOON + 1 + n / 1e3, "6.6.6.6", f"{batch}.{n}@x") for n in range(5000)))
            self.assertLessEqual(self.kept().total(), MOST)
        kept = self.kept()
        self.assertEqual((kept["10.0.0.2"], kept["10.0.0.3"]), (400, 300))

    def test_a_flood_from_a_client_each_leaves_yesterday(self) -> None:
        self.refuse(*((NOON - DAY, "10.0.0.2", f"y{n}@x") for n in range(400)))
        for batch in range(5):
            self.refuse(*((NOON + 1 + n / 1e3, f"6.6.{batch}.{n}", "bert@x") for n in range(5000)))
            self.assertLessEqual(self.kept().total(), MOST)
        self.assertEqual(self.kept()["10.0.0.2"], 400)

    def test_of_one_client_the_newest_stay(self) -> None:
        self.refuse(*((NOON + n, "6.6.6.6", f"{n}@x") for n in range(101)), most=100)
        kept = {str(row[2]) for row in all_refusals(self.connection)}
        self.assertEqual(kept, {f"{n}@x" for n in range(11, 101)})

    def test_what_a_client_makes_long_is_cut(self) -> None:
        self.refuse((NOON, "10.0.0.1", "x" * 100_000))
        ((_, _, recipient, *_),) = all_refusals(self.connection)
        self.assertEqual(len(recipient), 320)

    def test_old_ones_are_forgotten_by_their_last_time(self) -> None:
        self.refuse((NOON - 9 * DAY, "old", "a@x"), (NOON - 9 * DAY, "seen again", "a@x"), (NOON, "seen again", "a@x"))
        self.assertEqual(forget_refusals(self.connection, NOON - DAY, 10), 1)
        self.assertEqual(list(self.kept()), ["seen again"])

    def test_making_room_takes_less_than_a_second(self) -> None:
        self.refuse(*((NOON + n, f"10.0.{n % 50}.1", f"{n}@x") for n in range(MOST)))
        began = time.perf_counter()
        self.refuse((NOON, "10.0.0.1", "one more@x"))
        self.assertLess(time.perf_counter() - began, 1.0)
