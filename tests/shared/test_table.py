"""Twin of lanmail/shared/table.py."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.shared.table import WAYS, Table

VALUE = 2 * WAYS


def tables(workers: int = 2, buckets: int = 4, words: int = 3) -> list[Table]:
    parts = [memoryview(bytearray(buckets * WAYS * words * 8)).cast("Q") for _ in range(workers)]
    return [Table(parts, mine, words, b"secret") for mine in range(workers)]


class TableTests(SynchronousTestCase):
    def test_each_writes_its_own_and_sees_the_others(self) -> None:
        one, two = tables()
        key = one.key("ann")
        self.assertEqual(key, two.key("ann"))
        part, at = one.place(key, 5, 7)
        self.assertEqual((part[at + WAYS], part[at + VALUE]), (5, 7))
        self.assertIsNone(two.own(key))
        self.assertEqual([part[at + VALUE] for part, at in two.others(key)], [7])
        self.assertEqual(list(one.others(key)), [])

    def test_what_is_dropped_is_gone_and_leaves_nothing_to_the_next(self) -> None:
        one, two = tables(buckets=1)
        one.place(1, 5, 7)
        entry = one.own(1)
        assert entry is not None
        one.drop(entry)
        self.assertEqual((one.own(1), list(two.others(1))), (None, []))
        part, at = one.place(2, 5)
        self.assertEqual(part[at + VALUE], 0)

    def test_a_full_bucket_forgets_what_has_the_least_stamp(self) -> None:
        (one,) = tables(1, buckets=1)
        for key in range(1, WAYS + 1):
            one.place(key, 100 - key)
        one.place(99, 1000)
        self.assertEqual([key for key in (*range(1, WAYS + 1), 99) if one.own(key) is None], [WAYS])

    def test_or_takes_nobodys_place(self) -> None:
        (one,) = tables(1, buckets=1)
        for key in range(1, WAYS + 1):
            self.assertIsNotNone(one.place_if_free(key))
        self.assertIsNone(one.place_if_free(99))
        self.assertIsNone(one.own(99))

    def test_any_text_has_a_key_and_no_key_is_an_empty_place(self) -> None:
        (one,) = tables(1)
        keys = {one.key(text) for text in ("", "ann", "Ann", "ann ", "\udcff", "\ud800", "é" * 10_000)}
        self.assertEqual(len(keys), 7)
        self.assertNotIn(0, keys)

    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.booleans()), max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_it_is_a_dictionary_for_each_as_long_as_there_is_room(self, steps: list[tuple[int, int, bool]]) -> None:
        shared = tables(3, buckets=8)
        known: list[dict[int, int]] = [{}, {}, {}]
        for number, (worker, key, stays) in enumerate(steps):
            entry = shared[worker].own(key)
            self.assertEqual(entry is not None, key in known[worker])
            if entry is not None:
                shared[worker].drop(entry)
                del known[worker][key]
            if stays and shared[worker].place_if_free(key, 0, number):
                known[worker][key] = number
            seen = sorted(part[at + VALUE] for part, at in shared[0].others(key))
            self.assertEqual(seen, sorted(each[key] for each in known[1:] if key in each))
