from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.spool import crash


class CrashTests(SynchronousTestCase):
    def test_ten_times_killed_during_delivery(self) -> None:
        """Fifty are one command away: python -m tests.spool.crash --rounds 50"""
        folder = os.path.abspath(self.mktemp())
        os.makedirs(folder)
        self.assertIn("all there once", crash.play(10, 7, folder, wait=0.3))

    def test_the_judge_sees_what_is_wrong(self) -> None:
        folder = os.path.abspath(self.mktemp())
        one = crash.Round(folder, crash.random.Random(1), 0)
        token = "A1-ann.bob-3000"
        whole = b"From julien@lan.example  Mon Nov 23 12:00:00 2026\nReturn-Path: <>\n" + crash.stored(token)
        os.makedirs(one.spool)
        for kind in ("incoming", "intents"):
            os.makedirs(os.path.join(folder, "state", kind))
        one.before = dict.fromkeys(crash.USERS, b"")
        one.answered = [token]
        for ann, bob, right in (
            (whole, whole, True),
            (whole, b"", False),
            (whole + whole, whole, False),
            (whole, whole[:-20], False),
            (whole + whole[:70], whole, False),
            (whole, whole.replace(b"filled", b"killed", 1), False),
        ):
            for name in crash.USERS:
                one.write(name, {"ann": ann, "bob": bob}.get(name, b""))
            if right:
                one.check()
            else:
                self.assertRaises(crash.Wrong, one.check)
