"""Token buckets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.rates import Bucket, Buckets


class BucketTests(SynchronousTestCase):
    def test_sixty_an_hour_may_come_at_once_and_then_one_a_minute(self) -> None:
        bucket = Bucket()
        self.assertEqual(sum(bucket.take(60, 3600, 1000.0) for _ in range(100)), 60)
        self.assertFalse(bucket.take(60, 3600, 1059.0))
        self.assertTrue(bucket.take(60, 3600, 1060.0))
        self.assertFalse(bucket.take(60, 3600, 1061.0))

    def test_a_refusal_costs_nothing(self) -> None:
        bucket = Bucket()
        self.assertTrue(bucket.take(1, 60, 0.0))
        for second in range(1, 60):
            self.assertFalse(bucket.take(1, 60, float(second)))
        self.assertTrue(bucket.take(1, 60, 60.0))

    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
    def test_in_any_stretch_of_time_no_more_than_twice_the_count_come_through(
        self, count: int, waits: list[float]
    ) -> None:
        bucket, now, taken = Bucket(), 0.0, []
        for wait in waits:
            now += wait
            if bucket.take(count, 60, now):
                taken.append(now)
        for start in taken:
            within = sum(start <= moment < start + 60 for moment in taken)
            self.assertLessEqual(within, 2 * count)


class BucketsTests(SynchronousTestCase):
    def test_each_client_has_its_own_and_only_so_many_are_kept(self) -> None:
        buckets = Buckets(10)
        self.assertTrue(buckets.of("busy").take(1, 60, 0.0))
        for n in range(100):
            self.assertTrue(buckets.of(n).take(1, 60, 0.0))
            self.assertFalse(buckets.of("busy").take(1, 60, 0.0))  # used again and again, it is never forgotten
        self.assertEqual(len(buckets), 10)
