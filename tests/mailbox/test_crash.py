"""``kill -9`` in the middle of it, for real: some rounds of ``crash.py``."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.mailbox.crash import play


class Killed(SynchronousTestCase):
    def test_the_mailbox_is_as_before_or_as_after(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        outcome = play(folder, rounds=10, seed=1)
        self.assertEqual(outcome.faults, [])
        self.assertEqual(outcome.rounds, 10)
        self.assertEqual(outcome.as_before + outcome.as_after, 10)
        # Not by luck alone: some were killed in the middle.
        self.assertGreater(outcome.in_expunge + outcome.in_append, 2, str(outcome))
