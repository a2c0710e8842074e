"""Several sources of accounts as one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.sources import AccountList
from lanmail.interfaces import Login, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure
from tests.accounts.fakes import RememberingAccounts, begin

LOGIN = Login("pop3", Peer("192.168.1.5"))
JULIEN_OF_THE_FILE = User("julien", 990, 990)
JULIEN_OF_THE_SYSTEM = User("julien", 1001, 1001)
NEL = User("nel", 1002, 1002)


class AccountListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = RememberingAccounts((JULIEN_OF_THE_FILE, b"file"))
        self.system = RememberingAccounts((JULIEN_OF_THE_SYSTEM, b"system"), (NEL, b"nel"))
        self.accounts = AccountList([self.file, self.system])

    def test_the_first_source_that_knows_a_name_has_it(self) -> None:
        self.assertEqual(self.successResultOf(begin(self.accounts.find("julien"))), JULIEN_OF_THE_FILE)
        self.assertEqual(self.successResultOf(begin(self.accounts.find("nel"))), NEL)
        self.assertIsNone(self.successResultOf(begin(self.accounts.find("nobody"))))

    def test_only_the_source_that_has_the_name_is_asked_for_its_password(self) -> None:
        self.assertIsNone(self.successResultOf(begin(self.accounts.user_of("julien", b"system", LOGIN))))
        self.assertEqual(self.system.asked, [])
        self.assertEqual(self.successResultOf(begin(self.accounts.user_of("nel", b"nel", LOGIN))), NEL)

    def test_an_unknown_name_costs_a_check_that_says_no(self) -> None:
        for name in ("nobody", None):
            self.assertIsNone(self.successResultOf(begin(self.accounts.user_of(name, b"x", LOGIN))))
        self.assertEqual([name for name, _, _ in self.file.asked], [None, None])

    def test_a_source_that_cannot_answer_is_not_passed_over(self) -> None:
        self.file.trouble = TemporaryFailure(Status(451, "4.3.0", "later"))
        self.failureResultOf(begin(self.accounts.find("nel")), TemporaryFailure)

    def test_a_list_without_a_source_is_a_mistake(self) -> None:
        self.assertRaises(ValueError, AccountList, [])
