"""The end of Postfix's disconnect line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.smtp.tally import UNKNOWN, Tally


class TallyTests(SynchronousTestCase):
    def test_commands_stand_in_postfixs_order_with_what_worked_before_what_was_given(self) -> None:
        tally = Tally()
        for verb, works in (("QUIT", True), ("RCPT", True), ("RCPT", False), ("EHLO", True), (UNKNOWN, False)):
            tally.given(verb)
            if works:
                tally.done(verb)
        self.assertEqual(str(tally), "ehlo=1 rcpt=1/2 quit=1 unknown=0/1 commands=3/5")

    def test_nothing_given_is_no_commands(self) -> None:
        self.assertEqual(str(Tally()), "commands=0")
