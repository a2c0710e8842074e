"""Stopping a door: who is told, who is waited for, and for how long."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.connections import Connections


class RememberingConnection:
    """One that is busy until the test ends it."""

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()
        self.heard: list[str] = []

    def stop(self) -> None:
        self.heard.append("stop")

    def cut(self, why: str) -> None:
        self.heard.append(f"cut: {why}")


class StopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.connections: Connections[RememberingConnection] = Connections(self.clock)
        self.one, self.two = RememberingConnection(), RememberingConnection()
        self.connections.opened(self.one)
        self.connections.opened(self.two)

    def test_it_is_over_when_the_last_one_is_gone(self) -> None:
        over = self.connections.stop(10)
        self.assertTrue(self.connections.stopping)
        self.one.closed.callback(None)
        self.assertNoResult(over)
        self.two.closed.callback(None)
        self.successResultOf(over)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.two.heard, ["stop"])

    def test_who_is_gone_already_is_not_waited_for(self) -> None:
        self.connections.gone(self.one)
        over = self.connections.stop(10)
        self.two.closed.callback(None)
        self.successResultOf(over)
        self.assertEqual(self.one.heard, [])

    def test_after_its_time_it_cuts_and_waits_no_longer(self) -> None:
        over = self.connections.stop(10)
        self.one.closed.callback(None)
        self.connections.gone(self.one)
        self.clock.advance(10)
        self.successResultOf(over)
        self.assertEqual((self.one.heard, self.two.heard), (["stop"], ["stop", "cut: the service stops"]))
        self.two.closed.callback(None)

    def test_whoever_is_in_a_hurry_gets_it_at_once(self) -> None:
        over = self.connections.stop(10)
        self.connections.hurry()
        self.connections.hurry()
        self.clock.advance(0)
        self.successResultOf(over)
        self.assertIn("cut: the service stops", self.two.heard)
        self.connections.hurry()

    def test_a_hurry_before_any_stop_is_nothing(self) -> None:
        self.connections.hurry()
        self.assertEqual(self.one.heard, [])
