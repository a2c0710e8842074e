"""Failed logins are answered late."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.throttle import FailuresHere, Throttle
from tests.accounts.fakes import begin


class ThrottleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock)

    def fail_login(self, host: str = "192.168.1.5", name: str = "julien") -> Deferred[None]:
        return begin(self.throttle.failed(self.throttle.now(), host, name))

    def delay(self, host: str = "192.168.1.5", name: str = "julien") -> float:
        """Seconds until this failure is answered."""
        began = self.clock.seconds()
        answer = self.fail_login(host, name)
        while not answer.called:
            self.clock.advance(0.125)
        return self.clock.seconds() - began

    def test_each_failure_is_answered_later_up_to_the_most(self) -> None:
        self.assertEqual([self.delay() for _ in range(6)], [1, 2, 4, 8, 8, 8])

    def test_the_delay_counts_from_the_beginning_so_that_the_checks_own_time_is_hidden(self) -> None:
        began = self.throttle.now()
        self.clock.advance(0.75)  # a slow check
        answer = begin(self.throttle.failed(began, "192.168.1.5", "julien"))
        self.assertNoResult(answer)
        self.clock.advance(0.25)
        self.successResultOf(answer)

    def test_a_check_that_took_longer_is_not_delayed_further(self) -> None:
        began = self.throttle.now()
        self.clock.advance(30)
        self.successResultOf(begin(self.throttle.failed(began, "192.168.1.5", "julien")))

    def test_many_names_from_one_address_are_slowed(self) -> None:
        self.assertEqual([self.delay(name=f"user{n}") for n in range(4)], [1, 2, 4, 8])

    def test_one_name_from_many_addresses_is_slowed(self) -> None:
        self.assertEqual([self.delay(host=f"192.168.1.{n}") for n in range(4)], [1, 2, 4, 8])

    def test_loopback_is_slowed_too(self) -> None:
        self.assertEqual([self.delay(host="127.0.0.1", name=f"user{n}") for n in range(3)], [1, 2, 4])

    def test_impossible_names_do_not_slow_each_other_from_elsewhere(self) -> None:
        self.assertEqual([self.delay(host=f"192.168.1.{n}", name="") for n in range(4)], [1, 1, 1, 1])

    def test_failures_are_forgotten_after_a_while(self) -> None:
        for _ in range(4):
            self.delay()
        self.clock.advance(601)
        self.assertEqual(self.delay(), 1)

    def test_a_thousand_at_once_hold_only_a_thousand_timers_and_end(self) -> None:
        answers = [self.fail_login(name=f"user{n}") for n in range(1000)]
        self.clock.advance(8)
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_memory_is_bounded_and_the_latest_are_kept(self) -> None:
        addresses, names = FailuresHere(room=10), FailuresHere(room=10)
        throttle = Throttle(self.clock, addresses=addresses, names=names)
        for n in range(100):
            begin(throttle.failed(0, f"192.168.1.{n}", f"user{n}"))
        self.assertEqual(len(addresses), 10)
        self.assertEqual(len(names), 10)
        self.assertIn("192.168.1.99", addresses._seen)
        self.clock.advance(10)
