"""Twin of lanmail/accounts/login_memory.py; what is asked of it, test_remembered.py asks."""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.login_memory import LoginsHere, Proof, parts
from lanmail.interfaces import User

JULIEN = Proof("pop3", User("julien", 1001, 1001), b"right")


class LoginsHereTests(SynchronousTestCase):
    def test_no_password_is_kept(self) -> None:
        logins = LoginsHere()
        logins.remember(JULIEN, "state", 10, 0)
        held = repr([(dataclasses.astuple(right), who) for who, right in logins._right.items()])
        self.assertNotIn("right", held)
        self.assertNotIn("right", repr(JULIEN))

    def test_each_memory_has_a_key_of_its_own(self) -> None:
        logins = LoginsHere()
        digests = [each._digest(JULIEN) for each in (logins, logins, LoginsHere())]
        self.assertEqual((digests[0] == digests[1], digests[0] == digests[2]), (True, False))


class PartsTests(SynchronousTestCase):
    def test_no_two_logins_are_one_text(self) -> None:
        ann = User("ann", 1, 1)
        logins = [
            Proof("pop3", ann, b"x"),
            Proof("pop", dataclasses.replace(ann, name="3ann"), b"x"),
            Proof("pop3", dataclasses.replace(ann, uid=11), b"x"),
            Proof("pop3", ann, b"1x"),
        ]
        self.assertEqual(len(set(map(parts, logins))), 4)
