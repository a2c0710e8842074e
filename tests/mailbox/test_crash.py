"""``kill -9`` in the middle of it, for real: some rounds of ``crash.py``."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.mailbox.crash import play


class Killed(SynchronousTestCase):
    def test_the_mailbox_is_as_before_or_as_after(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        # Where a kill falls is chance, and how the machine is loaded. Nearly every round hits one or the other.
        outcome = play(folder, rounds=10, seed=1, hits=2, most=100)
        self.assertEqual(outcome.faults, [])
        self.assertGreaterEqual(outcome.rounds, 10)
        self.assertEqual(outcome.as_before + outcome.as_after, outcome.rounds)
        self.assertGreaterEqual(min(outcome.in_expunge, outcome.in_append), 2, str(outcome))
