"""A name and a password become a user, or the one refusal there is."""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lanmail.accounts.checkers import ForeignPasswords, PasswordChecker
from lanmail.accounts.credentials import LoginCredentials
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.interfaces import Login, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure
from tests.accounts.fakes import RememberingAccounts, RememberingReport

OURS = ("iscb-corporation.com",)
JULIEN = User("julien", 1001, 1001)


def credentials(name: bytes, password: bytes, host: str = "192.168.1.5") -> LoginCredentials:
    return LoginCredentials(name, password, Login("pop3", Peer(host)))


class PasswordCheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.accounts = RememberingAccounts((JULIEN, "dianaël".encode()))
        self.report = RememberingReport()
        self.checker = PasswordChecker(AccountList([self.accounts]), OURS, Throttle(self.clock), self.report)

    def login(self, name: bytes, password: bytes, host: str = "192.168.1.5") -> Deferred[bytes | tuple[()]]:
        return self.checker.requestAvatarId(credentials(name, password, host))

    def test_it_is_a_checker_for_names_and_passwords(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)
        self.assertEqual(self.checker.credentialInterfaces, (IUsernamePassword,))

    def test_however_julien_writes_his_name_he_is_one_person(self) -> None:
        for name in (b"julien", b"Julien", b"JULIEN", b"julien@iscb-corporation.com", b"Julien@ISCB-corporation.COM"):
            self.assertEqual(self.successResultOf(self.login(name, "dianaël".encode())), b"julien")

    def test_a_right_password_is_answered_at_once_however_many_failed_before(self) -> None:
        failing = [self.login(b"julien", b"wrong") for _ in range(50)]
        self.assertEqual(self.successResultOf(self.login(b"julien", "dianaël".encode())), b"julien")
        self.clock.advance(8)
        for login in failing:
            self.failureResultOf(login, UnauthorizedLogin)

    def test_wrong_unknown_and_impossible_are_one_refusal_at_one_time(self) -> None:
        logins = [
            self.login(b"julien", b"wrong", "192.168.1.1"),
            self.login(b"nobody", b"wrong", "192.168.1.2"),
            self.login(b"../../etc/passwd", b"wrong", "192.168.1.3"),
            self.login(b"nel@example.com", b"wrong", "192.168.1.4"),
            self.login(b"", b"wrong", "192.168.1.5"),
            self.login(b"ann", b"", "192.168.1.6"),
            self.login(b"bob", b"x" * 513, "192.168.1.7"),
            self.login(b"cid", b"a\0b", "192.168.1.8"),
            self.login(b"\xff\xfe", b"\xff", "192.168.1.9"),
        ]
        for login in logins:
            self.assertNoResult(login)
        self.clock.advance(1)
        for login in logins:
            self.failureResultOf(login, UnauthorizedLogin)
        # Each cost one check, and none but the first under a name.
        self.assertEqual([name for name, _, _ in self.accounts.asked], ["julien"] + [None] * 8)

    def test_how_long_the_check_took_does_not_show(self) -> None:
        asking: list[Deferred[bool]] = []

        async def slow(user: User | None, password: bytes, peer: Peer) -> bool:
            asking.append(Deferred())
            return await asking[-1]

        self.patch(self.accounts, "verify", slow)
        quick, late = self.login(b"nobody", b"x", "192.168.1.1"), self.login(b"julien", b"x", "192.168.1.2")
        asking[0].callback(False)
        self.clock.advance(0.75)
        asking[1].callback(False)
        self.clock.advance(0.125)
        self.assertNoResult(quick), self.assertNoResult(late)
        self.clock.advance(0.125)
        self.failureResultOf(quick, UnauthorizedLogin)
        self.failureResultOf(late, UnauthorizedLogin)

    def test_a_client_of_ipv6_is_slowed_down_whichever_of_its_addresses_it_uses(self) -> None:
        first, second, third = (self.login(b"nobody%d" % n, b"wrong", f"fd00::{n}") for n in range(3))
        for login, late in ((first, 1), (second, 1), (third, 2)):
            self.assertNoResult(login)
            self.clock.advance(late)
            self.failureResultOf(login, UnauthorizedLogin)
        elsewhere = self.login(b"nobody4", b"wrong", "fd00:0:0:1::1")
        self.clock.advance(1)
        self.failureResultOf(elsewhere, UnauthorizedLogin)

    def test_no_password_is_never_right(self) -> None:
        self.accounts.people["julien"] = (JULIEN, b"")
        login = self.login(b"julien", b"")
        self.clock.advance(8)
        self.failureResultOf(login, UnauthorizedLogin)

    def test_odd_octets_reach_no_source(self) -> None:
        odd = (b"a/b", b"..", b"julien\0", b"julien\n", b"-rf", b"a" * 100_000)
        logins = [self.login(name, b"x") for name in odd]
        self.clock.advance(8)
        for login in logins:
            self.failureResultOf(login, UnauthorizedLogin)
        self.assertEqual({name for name, _, _ in self.accounts.asked}, {None})

    def test_trouble_is_said_in_a_logins_words_and_counts_against_nobody(self) -> None:
        self.accounts.trouble = TemporaryFailure(Status(451, "4.3.0", "no name service"))
        for _ in range(5):
            failure = self.failureResultOf(self.login(b"julien", b"x"), TemporaryFailure)
            self.assertEqual((failure.value.status.code, failure.value.status.enhanced), (454, "4.7.0"))
        self.accounts.trouble = None
        login = self.login(b"julien", b"wrong")
        self.clock.advance(1)
        self.failureResultOf(login, UnauthorizedLogin)

    def test_each_refusal_is_one_line_of_the_log_at_once_and_what_is_right_or_unknown_now_is_none(self) -> None:
        self.login(b"julien", b"a secret typed wrongly").addErrback(lambda _: None)
        self.login(b"\xff" + b"x" * 1000, b"wrong", "fd00::5").addErrback(lambda _: None)
        self.login(b"julien", "dianaël".encode())
        self.accounts.trouble = TemporaryFailure(Status(451, "4.3.0", "no name service"))
        self.login(b"julien", b"wrong").addErrback(lambda _: None)
        self.assertEqual(
            self.report.lines,
            [
                "login refused: client=192.168.1.5, service=pop3, user=<julien>",
                "login refused: client=fd00::5, service=pop3, user=<\\xff" + "x" * 96 + ">",
            ],
        )
        self.clock.advance(8)

    def test_the_source_hears_where_the_client_is(self) -> None:
        login = self.login(b"julien", b"x", "fd00::5")
        self.clock.advance(1)
        self.failureResultOf(login, UnauthorizedLogin)
        self.assertEqual(self.accounts.asked[0][2], Peer("fd00::5"))

    def test_credentials_that_another_program_made_will_do(self) -> None:
        login = self.checker.requestAvatarId(UsernamePassword(b"julien", "dianaël".encode()))
        self.assertEqual(self.successResultOf(login), b"julien")


@implementer(ICredentialsChecker)
class _Says:
    """A checker that answers as it is told to."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.names: list[bytes] = []

    def requestAvatarId(self, credentials: IUsernamePassword) -> object:
        self.names.append(credentials.username)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class ForeignPasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.report = RememberingReport()
        self.users = RememberingAccounts((JULIEN, b"its own password"))

    def login(self, name: bytes, password: bytes, *checkers: object) -> Deferred[bytes | tuple[()]]:
        passwords = ForeignPasswords(checkers, self.users, OURS, self.report)
        return PasswordChecker(passwords, OURS, Throttle(self.clock)).requestAvatarId(credentials(name, password))

    def refused(self, login: Deferred[bytes | tuple[()]]) -> None:
        self.clock.advance(1)
        self.failureResultOf(login, UnauthorizedLogin)

    def test_twisteds_own_memory_checker_takes_the_place_of_the_passwords_alone(self) -> None:
        memory = InMemoryUsernamePasswordDatabaseDontUse(julien=b"memory", stranger=b"memory")
        self.assertEqual(self.successResultOf(self.login(b"Julien@iscb-corporation.com", b"memory", memory)), b"julien")
        self.refused(self.login(b"julien", b"its own password", memory))
        self.refused(self.login(b"stranger", b"memory", memory))
        self.assertEqual(self.users.asked, [])

    def test_it_is_given_the_canonical_name(self) -> None:
        checker = _Says(b"julien")
        self.successResultOf(self.login(b"JULIEN", b"x", checker))
        self.assertEqual(checker.names, [b"julien"])

    def test_it_lets_in_nobody_without_a_mailbox(self) -> None:
        for answer in (b"root", b"../julien", b"julien@example.com", b"", (), None, 7, succeed(b"stranger")):
            self.refused(self.login(b"julien", b"x", _Says(answer)))

    def test_the_first_that_takes_the_password_decides(self) -> None:
        self.assertEqual(
            self.successResultOf(self.login(b"julien", b"x", _Says(UnauthorizedLogin()), _Says(b"Julien"))), b"julien"
        )

    def test_what_it_raises_otherwise_is_trouble_not_a_refusal(self) -> None:
        failure = self.failureResultOf(
            self.login(b"julien", b"x", _Says(ValueError("its database is gone"))), TemporaryFailure
        )
        self.assertEqual(failure.value.status.code, 454)
        self.assertIn("its database is gone", str(self.report))
