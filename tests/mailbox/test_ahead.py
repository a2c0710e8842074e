"""What is read ahead, how much of it, and for how long it is kept."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.ahead import FIRST, WINDOW, Ahead, Shelf, Whole
from lanmail.mailbox.origin import Origin


def letters(count: int, octets: int = 10) -> list[Whole]:
    return [Whole(bytes(octets), Origin(str(number))) for number in range(count)]


class AheadTests(SynchronousTestCase):
    def test_each_letter_is_given_out_once(self) -> None:
        ahead = Ahead(Shelf())
        two = letters(2)
        ahead.keep(5, two)
        self.assertEqual([ahead.take(number) for number in (4, 5, 5, 6, 7)], [None, two[0], None, two[1], None])

    def test_more_is_read_for_whoever_fetches_one_after_the_other(self) -> None:
        ahead = Ahead(Shelf())
        self.assertEqual(ahead.window(1), FIRST)
        ahead.keep(1, letters(2))
        ahead.take(1), ahead.take(2)
        self.assertEqual((ahead.window(3), ahead.window(9)), (WINDOW, FIRST))

    def test_who_has_not_read_for_longest_makes_room(self) -> None:
        shelf = Shelf(room=100)
        first, second, third = (Ahead(shelf) for _ in range(3))
        first.keep(1, letters(4))
        second.keep(1, letters(4))
        first.keep(5, letters(4))
        third.keep(1, letters(4))
        self.assertIsNone(second.take(1))
        self.assertIsNotNone(first.take(5))
        self.assertIsNotNone(third.take(1))
        first.close()
        third.close()
        second.keep(1, letters(10))
        self.assertIsNotNone(second.take(1))

    def test_what_is_larger_than_all_the_room_is_not_kept(self) -> None:
        ahead = Ahead(Shelf(room=100))
        ahead.keep(1, letters(1, 101))
        self.assertIsNone(ahead.take(1))
