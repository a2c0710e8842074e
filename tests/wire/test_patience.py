"""A client's time: it runs in its own turns alone, is renewed by what is finished, and forgiven for what comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.wire.patience import Patience


class PatienceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.patience = Patience(lambda: self.now)

    def test_before_anybodys_turn_nothing_is_spent(self) -> None:
        self.now += 10
        self.assertEqual(self.patience.spent, 0)

    def test_only_the_clients_turns_are_added_up(self) -> None:
        for theirs, ours in ((3, 50), (4, 60)):
            self.patience.run()
            self.now += theirs
            self.patience.rest()
            self.now += ours
        self.assertEqual(self.patience.spent, 7)

    def test_to_begin_a_turn_twice_changes_nothing(self) -> None:
        self.patience.run()
        self.now += 3
        self.patience.run()
        self.now += 3
        self.patience.rest()
        self.patience.rest()
        self.assertEqual(self.patience.spent, 6)

    def test_what_is_finished_begins_the_time_anew_in_whosever_turn(self) -> None:
        self.patience.run()
        self.now += 3
        self.patience.renew()
        self.now += 2
        self.assertEqual(self.patience.spent, 2)
        self.patience.rest()
        self.patience.renew()
        self.assertEqual(self.patience.spent, 0)

    def test_no_more_is_forgiven_than_was_spent(self) -> None:
        self.patience.run()
        self.now += 3
        self.patience.credit(1)
        self.assertEqual(self.patience.spent, 2)
        self.patience.credit(100)
        self.now += 5
        self.assertEqual(self.patience.spent, 5)

    @given(st.lists(st.tuples(st.sampled_from(["run", "rest", "renew", "credit"]), st.integers(0, 100)), max_size=30))
    @settings(max_examples=200, deadline=None)
    def test_it_is_never_less_than_nothing_nor_more_than_the_time_that_passed(
        self, steps: list[tuple[str, int]]
    ) -> None:
        now = 0
        patience = Patience(lambda: now)
        spent, running = 0, False
        for step, seconds in steps:
            now += seconds
            spent += seconds if running else 0
            match step:
                case "run" | "rest":
                    getattr(patience, step)()
                    running = step == "run"
                case "renew":
                    patience.renew()
                    spent = 0
                case "credit":
                    patience.credit(seconds)
                    spent = max(0, spent - seconds)
            self.assertEqual(patience.spent, spent)
