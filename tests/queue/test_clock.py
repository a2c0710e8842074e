from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.clock import QueueClock


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
