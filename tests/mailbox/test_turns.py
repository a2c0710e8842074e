"""Turns at a mailbox, between two workers' eyes on one folder."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.turns import WAITS, Turns, WithColleague, forget_notes


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.makedirs(self.folder)
        self.unsettled: set[str] = set()
        self.slept = 0
        self.meanwhile: dict[int, Callable[[], None]] = {}  # what happens at which of the sleeps

    def worker(self, number: int) -> Turns:
        return Turns(self.folder, number, lambda name: name in self.unsettled, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.meanwhile.pop(self.slept, lambda: None)()

    def note(self, name: str = "ann") -> bytes:
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read().strip()

    def refused(self, number: int, name: str = "ann") -> WithColleague:
        return self.assertRaises(WithColleague, self.worker(number).take, name)

    def test_one_at_a_time_and_each_user_apart(self) -> None:
        let_go = self.worker(1).take("ann")
        self.assertFalse(self.refused(2).left)
        self.worker(2).take("bob")()
        let_go()
        self.worker(2).take("ann")()

    def test_also_between_two_threads_of_one_worker(self) -> None:
        worker = self.worker(1)
        let_go = worker.take("ann")
        self.assertRaises(WithColleague, worker.take, "ann")
        let_go()

    def test_who_is_next_waits_and_has_it_as_soon_as_it_is_free(self) -> None:
        self.meanwhile[3] = self.worker(1).take("ann")
        self.worker(2).take("ann")()
        self.assertEqual(self.slept, 3)

    def test_nobody_waits_for_long(self) -> None:
        let_go = self.worker(1).take("ann")
        self.refused(2)
        self.assertEqual(self.slept, WAITS)
        let_go()

    def test_who_has_it_and_wants_it_again_comes_behind_whoever_is_next(self) -> None:
        first, second = self.worker(1), self.worker(2)
        let_go = first.take("ann")

        def again() -> None:
            let_go()
            self.assertRaises(WithColleague, first.take, "ann")

        self.meanwhile[1] = again
        second.take("ann")()
        self.assertEqual(self.slept, 1)

    def test_a_third_does_not_wait(self) -> None:
        let_go = self.worker(1).take("ann")
        self.meanwhile[2] = lambda: self.assertEqual((self.refused(3).left, self.slept), (False, 2))
        self.meanwhile[4] = let_go
        self.worker(2).take("ann")()

    def test_who_lets_go_cleanly_leaves_no_note(self) -> None:
        let_go = self.worker(1).take("ann")
        self.assertEqual(self.note(), b"1")
        let_go()
        self.assertEqual(self.note(), b"0")

    def test_what_a_worker_left_is_for_no_other(self) -> None:
        self.unsettled.add("ann")
        self.worker(1).take("ann")()
        refused = self.refused(2)
        self.assertTrue(refused.left)
        self.assertIn("worker 1, which has to put it right first", refused.detail)
        self.unsettled.clear()
        self.worker(1).take("ann")()
        self.worker(2).take("ann")()

    def test_at_a_start_what_must_be_looked_into_is_ours_and_all_else_is_free_again(self) -> None:
        self.unsettled.update(("ann", "bob"))
        self.worker(1).take("ann")()
        self.worker(1).take("bob")()
        self.worker(1).begin(["bob", "carl"])
        self.assertEqual([self.note(name) for name in ("ann", "bob", "carl")], [b"0", b"1", b"1"])
        self.worker(2).take("ann")()

    def test_at_a_start_nobody_loses_what_they_have(self) -> None:
        self.unsettled.add("bob")
        let_go = self.worker(2).take("ann")
        self.worker(3).take("bob")()
        self.worker(1).begin(["ann", "bob"])
        self.assertEqual([self.note("ann"), self.note("bob")], [b"2", b"3"])
        let_go()

    def test_before_the_first_worker_no_note_means_anything(self) -> None:
        self.unsettled.add("ann")
        self.worker(7).take("ann")()
        forget_notes(self.folder)
        self.worker(2).take("ann")()
        forget_notes(os.path.join(self.folder, "missing"))

    def test_something_else_in_the_place_of_a_note_is_nobodys(self) -> None:
        with open(os.path.join(self.folder, "ann"), "wb") as file:
            file.write(b"\xff garbage")
        self.worker(1).take("ann")()
        self.worker(2).take("ann")()
