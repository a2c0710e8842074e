"""Twin of lanmail/shared/logins.py: all that tests/accounts/test_remembered.py asks, with the next process asked each time; and more."""

from __future__ import annotations

import itertools
from collections.abc import Hashable

from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.login_memory import Proof
from lanmail.interfaces import User
from lanmail.shared.logins import SharedLogins
from lanmail.shared.table import STAMP, WAYS
from lanmail.shared.tables import Tables
from tests.accounts import test_remembered
from tests.shared.test_counts import workers

ANN = User("ann", 1001, 1001)
OLD, NEW = Proof("pop3", ANN, b"old secret"), Proof("pop3", ANN, b"new secret")


class _Turns:
    """A LoginMemory that is another process each time."""

    def __init__(self) -> None:
        self._next = itertools.cycle(each.logins() for each in workers())

    def knows(self, proof: Proof, state: Hashable, now: float) -> bool:
        return next(self._next).knows(proof, state, now)

    def remember(self, proof: Proof, state: Hashable, until: float, now: float) -> None:
        next(self._next).remember(proof, state, until, now)

    def forget(self) -> None:
        next(self._next).forget()


class SharedRememberedLoginsTests(test_remembered.RememberedLoginsTests):
    def made_memory(self, room: int) -> _Turns:
        return _Turns()

    def test_nothing_wrong_is_ever_remembered(self) -> None:
        self.memory = self.made_memory(0)
        self.assertFalse(self.memory.knows(OLD, "state", 0))

    def test_memory_is_bounded_and_what_is_over_leaves_it(self) -> None:
        """It is as large as it was made."""


class SharedLoginsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.supervisor = Tables.create(3)
        self.tables = [Tables.attach(self.supervisor.fd, number) for number in (1, 2, 3)]
        self.logins = [each.logins() for each in self.tables]

    def known(self, proof: Proof, state: Hashable = "state", now: float = 1.0) -> list[bool]:
        return [each.knows(proof, state, now) for each in self.logins]

    def test_what_one_remembers_all_know_until_it_is_over(self) -> None:
        self.logins[0].remember(OLD, "state", 10, 0)
        self.assertEqual(self.known(OLD), [True] * 3)
        self.assertEqual(self.known(NEW), [False] * 3)
        self.assertEqual(self.known(OLD, now=10.0), [False] * 3)

    def test_an_older_password_is_forgotten_whoever_remembered_it(self) -> None:
        self.logins[0].remember(OLD, "state", 10, 0)
        self.logins[1].remember(NEW, "state", 10, 0)
        self.assertEqual((self.known(OLD), self.known(NEW)), ([False] * 3, [True] * 3))

    def test_whoever_sees_another_state_voids_everything_for_all_and_for_good(self) -> None:
        self.logins[0].remember(OLD, "state", 10, 0)
        self.assertFalse(self.logins[1].knows(OLD, "other", 1))
        self.assertEqual(self.known(OLD), [False] * 3)

    def test_forgetting_is_for_all(self) -> None:
        self.logins[0].remember(OLD, "state", 10, 0)
        self.logins[2].forget()
        self.assertEqual(self.known(OLD), [False] * 3)

    def test_the_next_process_of_that_number_knows_too(self) -> None:
        self.logins[0].remember(OLD, "state", 10, 0)
        self.supervisor.forget(1)
        self.logins[0] = Tables.attach(self.supervisor.fd, 1).logins()
        self.assertEqual(self.known(OLD), [True] * 3)

    def test_no_mixture_of_two_entries_proves_anything(self) -> None:
        def words(proof: Proof, until: float) -> list[int]:
            self.logins[0].remember(proof, "state", until, 0)
            part, at = self.entry(self.logins[0])
            return [part[at + word * WAYS] for word in range(1, 6)]

        old, new = words(OLD, 10), words(NEW, 100)
        part, at = self.entry(self.logins[0])
        for mixture in itertools.product(*zip(old, new, strict=True)):
            for word, value in enumerate(mixture, STAMP):
                part[at + word * WAYS] = value
            whole = {OLD: list(mixture) == old, NEW: list(mixture) == new}
            self.assertEqual({proof: self.known(proof) for proof in whole}, {p: [w] * 3 for p, w in whole.items()})

    def test_no_password_is_in_the_memory_and_each_service_has_a_key_of_its_own(self) -> None:
        other = [Tables.attach(Tables.create(1).fd, 1)]
        for logins in (self.logins[0], other[0].logins()):
            logins.remember(OLD, "state", 10, 0)
        contents = [bytes(tables._map) for tables in (self.supervisor, other[0])]
        self.assertFalse(any(word in content for word in (b"secret", b"ann", b"pop3") for content in contents))
        tags = [logins._tag(OLD, b"", 10) for logins in (self.logins[0], self.logins[1], other[0].logins())]
        self.assertEqual((tags[0] == tags[1], tags[0] == tags[2]), (True, False))

    def test_a_half_begun_generation_proves_nothing_to_anybody(self) -> None:
        """A process is killed after it wrote the new state's mark, and before its generation."""
        self.logins[0].remember(OLD, "state", 10, 0)
        self.logins[0]._cell[1] = self.tables[0].logins()._table.key(repr("other"))
        self.assertEqual(self.known(OLD, "other"), [False] * 3)
        self.assertEqual(self.known(OLD, "state"), [False] * 3)

    def entry(self, logins: SharedLogins) -> tuple[memoryview, int]:
        entry = logins._table.own(logins._key(OLD))
        assert entry is not None
        return entry
