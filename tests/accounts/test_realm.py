"""What somebody gets who logged in, or did not."""

from __future__ import annotations

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.credentials import Anonymous
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3, IMessageDelivery, IMessageDeliveryFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from lanmail.accounts.checkers import PasswordChecker
from lanmail.accounts.credentials import LoginCredentials
from lanmail.accounts.realm import MailRealm, make_portal
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.interfaces import IMaildrop, ITransactions, Login, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure
from tests.accounts.fakes import RememberingAccounts

JULIEN = User("julien", 1001, 1001)


@implementer(ITransactions)
class _Transactions:
    def __init__(self, user: User | None) -> None:
        self.login = user.name if user else None
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


@implementer(IMaildrop)
class _Maildrop:
    def __init__(self, user: User) -> None:
        self.user = user
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class RealmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.opening: list[Deferred[_Maildrop]] = []
        self.accounts = RememberingAccounts((JULIEN, b"secret"))
        self.realm = MailRealm(self.accounts, _Transactions, self.open)
        checker = PasswordChecker(AccountList([self.accounts]), (), Throttle(Clock()))
        self.portal = make_portal(self.realm, checker)

    def open(self, user: User) -> Deferred[_Maildrop]:
        opening: Deferred[_Maildrop] = Deferred()
        self.opening.append(opening)
        return opening

    def login(self, *interfaces: type[Interface]) -> Deferred:
        credentials = LoginCredentials(b"Julien", b"secret", Login("smtp", Peer("192.168.1.5")))
        return self.portal.login(credentials, None, *interfaces)

    def test_it_is_a_realm(self) -> None:
        verifyObject(IRealm, self.realm)

    def test_who_logs_in_by_smtp_may_send_under_their_name(self) -> None:
        interface, avatar, logout = self.successResultOf(self.login(ITransactions))
        self.assertIs(interface, ITransactions)
        self.assertEqual(avatar.login, "julien")
        logout()
        self.assertEqual(avatar.resets, 1)

    def test_an_anonymous_client_may_send(self) -> None:
        _, avatar, _ = self.successResultOf(self.portal.login(Anonymous(), None, ITransactions))
        self.assertIsNone(avatar.login)

    def test_an_anonymous_client_gets_no_maildrop(self) -> None:
        for interface in (IMaildrop, IMailboxPOP3):
            self.failureResultOf(self.portal.login(Anonymous(), None, interface), UnauthorizedLogin)
        self.assertEqual(self.opening, [])

    def test_who_logs_in_by_pop3_gets_a_maildrop_once_it_is_open(self) -> None:
        login = self.login(IMaildrop)
        self.assertNoResult(login)
        self.opening[0].callback(_Maildrop(JULIEN))
        interface, avatar, logout = self.successResultOf(login)
        self.assertIs(interface, IMaildrop)
        self.assertEqual(avatar.user, JULIEN)
        logout()
        self.assertEqual(avatar.closed, 1)

    def test_a_mailbox_that_is_in_use_fails_the_login_as_it_is(self) -> None:
        login = self.login(IMaildrop)
        self.opening[0].errback(TemporaryFailure(Status(450, "4.2.0", "in use")))
        self.assertEqual(self.failureResultOf(login, TemporaryFailure).value.status.text, "in use")

    def test_twisteds_own_protocols_get_theirs(self) -> None:
        interface, factory, _ = self.successResultOf(self.login(IMessageDeliveryFactory, IMessageDelivery))
        self.assertIs(interface, IMessageDeliveryFactory)
        verifyObject(IMessageDeliveryFactory, factory)
        first, second = factory.getMessageDelivery(), factory.getMessageDelivery()
        self.assertIsNot(first, second)
        self.assertEqual(first.login, "julien")
        interface, _, _ = self.successResultOf(self.login(IMessageDelivery))
        self.assertIs(interface, IMessageDelivery)
        login = self.login(IMailboxPOP3)
        self.opening[0].callback(_Maildrop(JULIEN))
        self.assertIs(self.successResultOf(login)[0], IMailboxPOP3)

    def test_a_user_who_is_gone_since_the_password_was_checked_is_refused(self) -> None:
        self.accounts.people.clear()
        for avatar in (b"julien", b"\xff", b""):
            self.failureResultOf(self.realm.requestAvatar(avatar, None, ITransactions), UnauthorizedLogin)

    def test_what_it_does_not_have_it_says(self) -> None:
        self.failureResultOf(self.realm.requestAvatar(ANONYMOUS, None, Interface), NotImplementedError)
