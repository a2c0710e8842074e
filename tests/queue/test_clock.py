from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.clock import AHEAD, KeptClock, QueueClock
from tests.queue.house import RememberedJournal


class QueueClockTests(SynchronousTestCase):
    def test_a_new_queue_begins_at_nothing(self) -> None:
        clock = Clock()
        clock.advance(5000)  # since the machine was switched on
        self.assertEqual(QueueClock(0.0, clock.seconds).seconds(), 0.0)

    def test_it_goes_on_where_the_last_run_ended_however_long_ago(self) -> None:
        first, second = Clock(), Clock()
        before = QueueClock(0.0, first.seconds)
        first.advance(70)
        second.advance(1e6)
        after = QueueClock(before.seconds(), second.seconds)
        self.assertEqual(after.seconds(), 70)
        second.advance(30)
        self.assertEqual(after.seconds(), 100)


class KeptClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.journal = RememberedJournal()
        self.kept = KeptClock(QueueClock(0.0, self.clock.seconds), self.journal)  # type: ignore[arg-type]

    def test_nothing_is_admitted_behind_what_is_kept(self) -> None:
        for _ in range(50):
            self.clock.advance(0.17)
            now = self.kept.at_admission()
            assert self.journal.kept_clock is not None
            self.assertTrue(now <= self.journal.kept_clock <= now + AHEAD)

    def test_while_much_comes_in_it_is_kept_about_once_a_second(self) -> None:
        kept = set()
        for _ in range(1000):
            self.clock.advance(0.01)
            self.kept.at_admission()
            kept.add(self.journal.kept_clock)
        self.assertTrue(8 <= len(kept) <= 11, len(kept))

    def test_while_nothing_comes_it_is_kept_now_and_then_as_it_is(self) -> None:
        for _ in range(100):
            self.clock.advance(1)
            self.kept.keep_sometimes(60)
        self.assertEqual(self.journal.kept_clock, 61)
