"""The judge of a kill sees what is wrong, and only that."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.crash.books import Books


class BooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        """One letter to ann and bob that was answered, one that was not, and one that the other program gave to bob."""
        self.books = Books(["ann", "bob"])
        for token in ("answered", "unanswered"):
            self.books.sending(token, ["ann", "bob"])
        self.books.answered("answered")
        self.books.put("bob", "foreign")

    def audit(self, ann: str, bob: str) -> list[str]:
        """Of tokens; the UIDL of each is its name in capitals, where none is given as ``token=UIDL``."""
        pairs = {user: [word.partition("=") for word in words.split()] for user, words in (("ann", ann), ("bob", bob))}
        found = {user: [(token, uidl or token.upper()) for token, _, uidl in each] for user, each in pairs.items()}
        return self.books.audit(found)

    def fetched(self, user: str, *tokens: str, since: int | None = None) -> list[str]:
        letters = [(token, token.upper()) for token in tokens]
        return self.books.fetched(user, letters, self.books.now() if since is None else since)

    def test_every_250_once_and_nothing_else_is_well(self) -> None:
        self.assertEqual(self.audit("answered", "foreign answered"), [])

    def test_what_was_not_answered_may_have_come_in(self) -> None:
        self.assertEqual(self.audit("answered unanswered", "unanswered foreign answered"), [])

    def test_but_then_everywhere(self) -> None:
        self.assertEqual(
            self.audit("answered unanswered", "foreign answered"),
            ["unanswered was not answered, and is with ['ann'] and not with ['bob']", "bob: unanswered is lost"],
        )

    def test_and_where_it_was_seen_it_is_there(self) -> None:
        self.fetched("ann", "answered", "unanswered")
        self.assertEqual(
            self.audit("answered", "answered foreign"), ["ann: unanswered is lost", "bob: unanswered is lost"]
        )

    def test_and_where_it_was_nowhere_it_does_not_come_later(self) -> None:
        self.audit("answered", "answered foreign")
        self.assertEqual(
            self.audit("answered unanswered", "answered foreign"), ["ann: unanswered was deleted, and is there again"]
        )

    def test_a_loss(self) -> None:
        self.assertEqual(self.audit("", "answered foreign"), ["ann: answered is lost"])

    def test_a_loss_of_the_other_program(self) -> None:
        self.assertEqual(self.audit("answered", "answered"), ["bob: foreign is lost"])

    def test_a_duplicate(self) -> None:
        self.assertEqual(self.audit("answered answered", "answered foreign"), ["ann: answered is there 2 times"])

    def test_a_letter_of_nobody(self) -> None:
        self.assertEqual(
            self.audit("answered strange", "answered foreign"), ["ann: strange is there, and nobody has sent it"]
        )

    def test_a_letter_of_somebody_else(self) -> None:
        self.assertEqual(
            self.audit("answered foreign", "answered foreign"), ["ann: foreign is there, and nobody has sent it"]
        )

    def test_another_uidl(self) -> None:
        self.audit("answered", "answered foreign")
        self.assertEqual(
            self.audit("answered=NEW", "answered foreign"), ["ann: answered had the UIDL ANSWERED, and has NEW"]
        )

    def test_a_uidl_a_second_time(self) -> None:
        self.audit("answered", "answered foreign")
        self.books.taken("bob", "foreign")
        self.books.sending("later", ["bob"])
        self.assertEqual(
            self.audit("answered", "answered later=FOREIGN"),
            ["bob: later has the UIDL FOREIGN, which was that of foreign"],
        )

    def test_what_was_deleted_and_answered_is_gone(self) -> None:
        self.books.deleting("ann", ["answered"])
        self.books.deleted("ann", ["answered"], well=True)
        self.assertEqual(self.audit("answered", "answered foreign"), ["ann: answered was deleted, and is there again"])

    def test_and_no_client_is_shown_it_later(self) -> None:
        before = self.books.now()
        self.books.taken("bob", "foreign")
        self.assertEqual(self.fetched("bob", "foreign", since=before), [])
        self.assertEqual(self.fetched("bob", "foreign"), ["bob: foreign was deleted, and a client is shown it"])

    def test_what_was_deleted_and_not_answered_may_be_there_or_not(self) -> None:
        for found in ("answered foreign", ""):
            with self.subTest(found):
                self.setUp()
                self.books.deleting("bob", ["answered", "foreign"])
                self.assertEqual(self.audit("answered", found), [])
                self.assertEqual(self.audit("answered", found), [])

    def test_but_not_by_halves(self) -> None:
        self.books.deleting("bob", ["answered", "foreign"])
        self.assertEqual(self.audit("answered", "foreign"), ["bob: of what one session deleted 1 of 2 are there"])

    def test_nor_after_it_was_gone(self) -> None:
        self.books.deleting("bob", ["answered", "foreign"])
        self.audit("answered", "")
        self.assertEqual(self.audit("answered", "foreign"), ["bob: foreign was deleted, and is there again"])

    def test_halves_of_which_the_other_program_took_one_are_none(self) -> None:
        self.books.deleting("bob", ["answered", "foreign"])
        self.books.taken("bob", "foreign")
        self.assertEqual(self.audit("answered", "answered"), [])

    def test_a_quit_that_was_answered_with_err_may_have_removed_some(self) -> None:
        self.books.deleting("bob", ["answered", "foreign"])
        self.books.deleted("bob", ["answered", "foreign"], well=False)
        self.assertEqual(self.audit("answered", "foreign"), [])
