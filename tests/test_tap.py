"""What stands between Twisted's reactor and the service."""

from __future__ import annotations

import time

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from lanmail.tap import go_steadily


class SteadyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.addCleanup(self.reactor._poller.close)
        self.addCleanup(self.reactor.removeAll)
        self.steady = 1000.0
        self.patch(time, "monotonic", lambda: self.steady)

    def test_a_timer_does_not_feel_that_the_clock_on_the_wall_was_set(self) -> None:
        go_steadily(self.reactor)
        rung: list[str] = []
        self.reactor.callLater(10, rung.append, "rung")
        for wall in (0.0, 2e9):
            self.patch(time, "time", lambda wall=wall: wall)
            self.reactor.runUntilCurrent()
            self.assertEqual(rung, [])
        self.steady += 10
        self.reactor.runUntilCurrent()
        self.assertEqual(rung, ["rung"])

    def test_where_timers_go_already_they_keep_their_clock(self) -> None:
        call = self.reactor.callLater(10, lambda: None)
        self.addCleanup(call.cancel)
        go_steadily(self.reactor)
        self.assertNotEqual(self.reactor.seconds(), self.steady)
