"""Logins that are remembered, and when they are not."""

from __future__ import annotations

import dataclasses
import datetime

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.login_memory import LoginMemory, LoginsHere
from lanmail.accounts.remembered import RememberedLogins
from lanmail.accounts.sources import AccountList
from lanmail.accounts.watched import State
from lanmail.interfaces import Login, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure
from tests.accounts.fakes import RememberingAccounts, RememberingReport, at_once, begin

JULIEN, NEL = User("julien", 1001, 1001), User("nel", 1002, 1002)
NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC).timestamp()


class _Files:
    """A Watch over files that do not exist. ``change`` changes one of them."""

    def __init__(self) -> None:
        self.now = State(((1,),), NOON - 3600)
        self.trouble: OSError | None = None
        self.asked = 0

    def change(self, when: float) -> None:
        self.now = State(((self.now.files[0][0] + 1,),), when)

    def state(self) -> State:
        self.asked += 1
        if self.trouble:
            raise self.trouble
        return self.now


class RememberedLoginsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.start = NOON
        self.files = _Files()
        self.report = RememberingReport()
        self.accounts = RememberingAccounts((JULIEN, b"right"), (NEL, b"nels"))
        self.obstacle = ""
        self.asked_for_obstacles = 0
        self.logins = self.made()

    def what_else(self) -> str:
        self.asked_for_obstacles += 1
        return self.obstacle

    def made(self, room: int = 100) -> RememberedLogins:
        self.memory = self.made_memory(room)
        accounts = AccountList([self.accounts])
        return RememberedLogins(
            accounts,
            accounts,
            self.files,
            at_once,
            self.report,
            lasting=1200,
            clock=self.clock.seconds,
            wall=lambda: self.start + self.clock.seconds(),
            obstacle=self.what_else,
            memory=self.memory,
        )

    def made_memory(self, room: int) -> LoginMemory:
        return LoginsHere(room)

    def login(
        self, name: str | None = "julien", password: bytes = b"right", service: str = "pop3"
    ) -> Deferred[User | None]:
        return begin(self.logins.user_of(name, password, Login(service, Peer("192.168.1.5"))))

    def checks(self, *arguments: object, **named: object) -> int:
        """How often the accounts are asked for that login, which is right."""
        before = len(self.accounts.asked)
        self.assertIsNotNone(self.successResultOf(self.login(*arguments, **named)))  # type: ignore[arg-type]
        return len(self.accounts.asked) - before

    def is_right(self, *arguments: object) -> bool:
        return self.successResultOf(self.login(*arguments)) is not None  # type: ignore[arg-type]

    def test_the_second_login_costs_no_check(self) -> None:
        self.assertEqual([self.checks(), self.checks(), self.checks()], [1, 0, 0])
        self.assertEqual(self.successResultOf(self.login()), JULIEN)

    def test_however_the_name_is_written_it_is_one_login(self) -> None:
        self.assertEqual([self.checks("Julien"), self.checks("julien"), self.checks("JULIEN")], [1, 0, 0])

    def test_a_wrong_password_is_checked_each_time_and_spoils_nothing(self) -> None:
        self.checks()
        for _ in range(3):
            before = len(self.accounts.asked)
            self.assertFalse(self.is_right("julien", b"wrong"))
            self.assertEqual(len(self.accounts.asked), before + 1)
        self.assertEqual(self.checks(), 0)

    def test_nothing_wrong_is_ever_remembered(self) -> None:
        self.assertFalse(self.is_right("julien", b"wrong"))
        self.assertFalse(self.is_right("nobody", b"right"))
        self.assertFalse(self.is_right(None, b"right"))
        self.assertEqual(len(self.memory), 0)

    def test_one_person_and_one_service_are_not_another(self) -> None:
        self.checks("julien")
        self.assertEqual(self.checks("julien", service="smtp"), 1)
        self.assertFalse(self.is_right("nel", b"right"))
        self.assertEqual(self.checks("nel", b"nels"), 1)
        self.assertEqual(self.checks("julien"), 0)

    def test_it_lasts_from_the_check_and_not_from_the_last_use(self) -> None:
        self.checks()
        for _ in range(19):
            self.clock.advance(60)
            self.assertEqual(self.checks(), 0)
        self.clock.advance(60)
        self.assertEqual(self.checks(), 1)

    def test_any_change_of_a_file_forgets_everybody_at_once(self) -> None:
        self.checks("julien"), self.checks("nel", b"nels")
        self.clock.advance(10)
        self.files.change(self.start + self.clock.seconds())
        self.accounts.people["julien"] = (JULIEN, b"new")
        self.assertFalse(self.is_right("julien", b"right"))
        self.assertTrue(self.is_right("julien", b"new"))
        self.assertEqual(self.checks("nel", b"nels"), 1)

    def test_a_change_back_to_an_earlier_state_does_not_bring_a_login_back(self) -> None:
        first = self.files.now
        self.checks()
        self.files.change(NOON - 60)
        self.checks()
        self.files.now = first
        self.assertEqual(self.checks(), 1)

    def test_a_change_while_the_password_is_checked_counts(self) -> None:
        asking: list[Deferred[bool]] = []

        async def slow(user: User | None, password: bytes, peer: Peer) -> bool:
            asking.append(Deferred())
            return await asking[-1]

        self.patch(self.accounts, "verify", slow)
        login = self.login()
        self.files.change(NOON - 60)  # after PAM has read shadow
        asking[0].callback(True)
        self.assertEqual(self.successResultOf(login), JULIEN)
        self.login()
        self.assertEqual(len(asking), 2)

    def test_just_after_a_change_nothing_is_remembered_since_the_next_might_look_like_it(self) -> None:
        self.files.change(NOON)
        self.assertEqual([self.checks(), self.checks()], [1, 1])
        self.clock.advance(3)
        self.assertEqual([self.checks(), self.checks()], [1, 0])

    def test_at_midnight_of_utc_the_dates_in_shadow_take_effect(self) -> None:
        self.start = NOON + 12 * 3600 - 30
        self.assertEqual([self.checks(), self.checks()], [1, 0])
        self.clock.advance(29)
        self.assertEqual(self.checks(), 0)
        self.clock.advance(1)
        self.assertEqual([self.checks(), self.checks()], [1, 0])

    def test_a_wall_clock_that_jumps_to_another_day_forgets(self) -> None:
        for jump in (86400, -2 * 86400):
            self.checks()
            self.start += jump
            self.assertEqual(self.checks(), 1)

    def test_who_is_gone_or_is_somebody_else_now_is_not_remembered(self) -> None:
        self.checks()
        self.accounts.people["julien"] = (dataclasses.replace(JULIEN, uid=2001), b"right")
        self.assertEqual(self.checks(), 1)
        del self.accounts.people["julien"]
        self.assertFalse(self.is_right())

    def test_where_a_file_cannot_be_looked_at_nothing_is_remembered_and_it_is_said_once(self) -> None:
        self.checks()
        self.files.trouble = PermissionError(13, "Permission denied", "/etc/lanmail/passwd")
        self.assertEqual([self.checks(), self.checks()], [1, 1])
        self.assertEqual(
            self.report.lines,
            ["warning: cannot see whether /etc/lanmail/passwd changes: Permission denied; logins are not remembered"],
        )
        self.files.trouble = None
        self.assertEqual([self.checks(), self.checks()], [1, 0])

    def test_where_more_than_the_files_has_a_say_from_now_on_nothing_is_remembered(self) -> None:
        self.assertEqual([self.checks(), self.checks()], [1, 0])
        self.obstacle = "/etc/pam.d/lanmail names pam_faillock.so"
        self.files.change(NOON - 60)
        self.assertEqual([self.checks(), self.checks()], [1, 1])
        self.assertEqual(
            self.report.lines, ["warning: /etc/pam.d/lanmail names pam_faillock.so; logins are not remembered"]
        )
        self.obstacle = ""
        self.files.change(NOON - 30)
        self.assertEqual([self.checks(), self.checks()], [1, 0])
        self.assertEqual(self.asked_for_obstacles, 3)  # as often as the files were others

    def test_trouble_is_not_an_answer(self) -> None:
        self.accounts.trouble = TemporaryFailure(Status(454, "4.7.0", "later"))
        self.failureResultOf(self.login(), TemporaryFailure)
        self.accounts.trouble = None
        self.assertEqual(self.checks(), 1)

    def test_memory_is_bounded_and_what_is_over_leaves_it(self) -> None:
        people = [User(f"user{n}", 2000 + n, 2000) for n in range(20)]
        self.accounts.people |= {user.name: (user, b"x") for user in people}
        self.logins = self.made(room=10)
        for user in people:
            self.checks(user.name, b"x")
        self.assertEqual(len(self.memory), 10)
        self.assertEqual([self.checks("user19", b"x"), self.checks("user0", b"x")], [0, 1])
        self.clock.advance(1201)
        self.checks("julien")
        self.assertEqual(len(self.memory), 1)

    def test_forgetting_forgets(self) -> None:
        self.checks()
        self.logins.forget()
        self.assertEqual(self.checks(), 1)
