from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.schedule import Schedule, age, expired, next_due

SECONDS = st.floats(0, 1e9)
BACKOFF = st.floats(0, 1e6)
several = settings(max_examples=100, deadline=None)


class NextDueTests(SynchronousTestCase):
    def test_what_fails_at_once_waits_the_least(self) -> None:
        self.assertEqual(next_due(1000, 1000, 300, 4000), 1300)

    def test_it_waits_as_long_as_it_has_waited(self) -> None:
        self.assertEqual(next_due(2000, 1000, 300, 4000), 3000)

    def test_the_oldest_wait_no_longer_than_the_most(self) -> None:
        self.assertEqual(next_due(1e6, 0, 300, 4000), 1e6 + 4000)

    def test_where_the_least_is_more_than_the_most_the_least_counts_as_in_postfix(self) -> None:
        self.assertEqual(next_due(1e6, 0, 5000, 4000), 1e6 + 5000)

    def test_a_clock_that_lost_its_last_moments_in_a_crash_makes_nothing_due_sooner(self) -> None:
        self.assertEqual(next_due(990, 1000, 300, 4000), 1290)

    @several
    @given(SECONDS, SECONDS, BACKOFF, BACKOFF)
    def test_never_sooner_than_the_least_and_never_later_than_the_most(
        self, now: float, since: float, one: float, other: float
    ) -> None:
        minimal, maximal = sorted((one, other))
        due = next_due(now, since, minimal, maximal)
        self.assertTrue(now + minimal <= due <= now + maximal)

    @several
    @given(SECONDS, SECONDS, SECONDS, BACKOFF, BACKOFF)
    def test_what_came_later_is_not_tried_later(
        self, now: float, one: float, other: float, minimal: float, maximal: float
    ) -> None:
        early, late = sorted((one, other))
        self.assertLessEqual(next_due(now, late, minimal, maximal), next_due(now, early, minimal, maximal))

    @several
    @given(SECONDS, SECONDS, SECONDS, BACKOFF, BACKOFF)
    def test_a_later_failure_is_tried_again_later(
        self, one: float, other: float, since: float, minimal: float, maximal: float
    ) -> None:
        early, late = sorted((one, other))
        self.assertLessEqual(next_due(early, since, minimal, maximal), next_due(late, since, minimal, maximal))

    def test_five_days_are_some_hundred_tries_and_not_a_thousand(self) -> None:
        schedule = Schedule()
        now, tries = 0.0, 0
        while not schedule.expired(now, 0.0, null_sender=False):
            now, tries = schedule.next_due(now, 0.0), tries + 1
        self.assertEqual(tries, 112)  # 0, 300, 600, 1200, 2400, 4800, and every 4000 seconds from there
        self.assertLess(now, schedule.lifetime + schedule.maximal)


class ExpiryTests(SynchronousTestCase):
    def test_a_lifetime_of_nothing_is_one_try(self) -> None:
        self.assertTrue(expired(1000, 1000, 0))

    def test_it_is_over_when_it_is_over(self) -> None:
        self.assertFalse(expired(99.9, 0, 100))
        self.assertTrue(expired(100, 0, 100))

    def test_the_null_sender_has_a_lifetime_of_its_own(self) -> None:
        schedule = Schedule(lifetime=1000, bounce_lifetime=10)
        self.assertTrue(schedule.expired(500, 0, null_sender=True))
        self.assertFalse(schedule.expired(500, 0, null_sender=False))

    def test_what_waits_when_its_life_ends_is_not_given_up_before_its_last_try(self) -> None:
        schedule = Schedule(lifetime=3600, bounce_lifetime=60)
        before, after = schedule.next_due(3599, 0), schedule.next_due(3600, 0)
        self.assertFalse(schedule.given_up(before, 0, null_sender=False))
        self.assertTrue(schedule.given_up(after, 0, null_sender=False))
        self.assertTrue(schedule.given_up(before, 0, null_sender=True))

    def test_with_a_lifetime_of_nothing_the_first_try_was_the_last(self) -> None:
        schedule = Schedule(lifetime=0)
        self.assertTrue(schedule.given_up(schedule.next_due(7, 7), 7, null_sender=False))

    @several
    @given(SECONDS, SECONDS, SECONDS, SECONDS)
    def test_what_has_expired_stays_so(self, one: float, other: float, since: float, lifetime: float) -> None:
        early, late = sorted((one, other))
        self.assertTrue(expired(late, since, lifetime) or not expired(early, since, lifetime))

    @several
    @given(SECONDS, SECONDS)
    def test_nothing_is_younger_than_new(self, now: float, since: float) -> None:
        self.assertGreaterEqual(age(now, since), 0)


class WarningTests(SynchronousTestCase):
    def test_without_a_time_nobody_is_warned(self) -> None:
        self.assertFalse(Schedule(warning=0).late(1e9, 0))

    def test_from_that_time_on_it_is_late(self) -> None:
        schedule = Schedule(warning=14400)
        self.assertFalse(schedule.late(14399, 0))
        self.assertTrue(schedule.late(14400, 0))
