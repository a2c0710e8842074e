"""The system's users, through a name service that may be anything."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.users import SystemUsers
from lanmail.interfaces import User
from lanmail.status import TemporaryFailure
from tests.accounts.fakes import RememberingReport, begin

JULIEN = User("julien", 1001, 1001, "/home/julien")


class RememberingNames:
    """A name service: who is in ``users`` is found at once, unless ``silent``; then nobody is answered until the test does it."""

    def __init__(self, *users: User) -> None:
        self.users = {user.name: user for user in users}
        self.asked: list[str] = []
        self.silent = False
        self.waiting: dict[str, Deferred[User | None]] = {}

    def __call__(self, name: str) -> Deferred[User | None]:
        self.asked.append(name)
        if self.silent:
            self.waiting[name] = Deferred()
            return self.waiting[name]
        return succeed(self.users.get(name))


class SystemUsersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.report = RememberingReport()
        self.names = RememberingNames(
            JULIEN,
            User("root", 0, 0),
            User("nobody", 65534, 65534),
            User("MixedCase", 1002, 1002),
            User("edge", 1000, 1000),
            User("daemon", 999, 999),
        )
        self.users = SystemUsers(
            self.names, self.clock, self.report, uids=[*range(1000, 2000), 4294967293], room=10, look_ups=3
        )

    def find(self, name: str) -> Deferred[User | None]:
        return begin(self.users.find(name))

    def found(self, name: str) -> User | None:
        return self.successResultOf(self.find(name))

    def test_a_name_is_tried_as_it_came_and_then_in_lower_case(self) -> None:
        self.assertEqual(self.found("JULIEN"), JULIEN)
        self.assertEqual(self.names.asked, ["JULIEN", "julien"])
        self.assertEqual(self.found("MixedCase"), User("MixedCase", 1002, 1002))
        self.assertIsNone(self.found("mixedcase"))

    def test_who_is_outside_the_range_is_nobody(self) -> None:
        for name in ("root", "nobody", "daemon"):
            self.assertIsNone(self.found(name), name)
        self.assertIsNotNone(self.found("edge"))

    def test_an_odd_name_never_reaches_the_name_service(self) -> None:
        for name in ("", "..", "a/b", "-x", "a b", "ann.lock", "x" * 33, "diana\u00ebl", "a\0"):
            self.assertIsNone(self.found(name))
        self.assertEqual(self.names.asked, [])

    def test_the_systems_spelling_counts_and_an_odd_one_is_nobody(self) -> None:
        self.names.users["anna"] = User("Anna", 1003, 1003)
        self.assertEqual(self.found("anna"), User("Anna", 1003, 1003))
        self.names.users["sam"] = User("DOMAIN\\sam", 1004, 1004)
        self.assertIsNone(self.found("sam"))

    def test_a_user_is_remembered_for_ten_seconds_and_no_longer(self) -> None:
        self.found("julien")
        del self.names.users["julien"]
        self.clock.advance(9)
        self.assertEqual(self.found("julien"), JULIEN)
        self.clock.advance(1)
        self.assertIsNone(self.found("julien"))

    def test_a_new_user_has_mail_after_a_few_seconds(self) -> None:
        self.assertIsNone(self.found("nel"))
        self.names.users["nel"] = User("nel", 1005, 1005)
        self.assertIsNone(self.found("nel"))
        self.clock.advance(5)
        self.assertIsNotNone(self.found("nel"))

    def test_memory_is_bounded(self) -> None:
        for n in range(100):
            self.found(f"user{n}")
        self.assertEqual(len(self.users._memory), 10)

    def test_who_asks_for_the_same_name_at_the_same_time_shares_one_look_up(self) -> None:
        self.names.silent = True
        asking = [self.find("julien") for _ in range(5)]
        self.assertEqual(self.names.asked, ["julien"])
        self.names.waiting["julien"].callback(JULIEN)
        self.assertEqual([self.successResultOf(each) for each in asking], [JULIEN] * 5)

    def test_a_name_service_that_never_answers_delays_each_only_so_long(self) -> None:
        self.found("edge")
        self.names.silent = True
        asking = self.find("julien")
        self.assertEqual(self.found("edge"), User("edge", 1000, 1000))  # who is remembered does not wait
        self.clock.advance(4.9)
        self.assertNoResult(asking)
        late = self.find("julien")
        self.clock.advance(0.1)
        failure = self.failureResultOf(asking, TemporaryFailure)
        self.assertEqual((failure.value.status.code, failure.value.status.enhanced), (451, "4.3.0"))
        self.assertNoResult(late)  # its own five seconds
        self.clock.advance(4.9)
        self.failureResultOf(late, TemporaryFailure)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stuck_look_ups_are_few_and_then_others_are_told_at_once(self) -> None:
        self.names.silent = True
        stuck = [self.find(f"stuck{n}") for n in range(3)]
        self.failureResultOf(self.find("julien"), TemporaryFailure)
        self.assertEqual(len(self.names.asked), 3)
        self.names.waiting["stuck0"].callback(None)
        self.names.silent = False
        self.assertEqual(self.found("julien"), JULIEN)
        self.clock.advance(5)
        self.successResultOf(stuck[0])
        for each in stuck[1:]:
            self.failureResultOf(each, TemporaryFailure)

    def test_an_answer_after_everybody_gave_up_is_remembered(self) -> None:
        self.names.silent = True
        asking = self.find("julien")
        self.clock.advance(5)
        self.failureResultOf(asking, TemporaryFailure)
        self.names.waiting["julien"].callback(JULIEN)
        self.assertEqual(self.found("julien"), JULIEN)
        self.assertEqual(len(self.names.asked), 1)

    def test_a_name_service_that_fails_is_not_one_that_says_no(self) -> None:
        self.names.silent = True
        asking = self.find("julien")
        self.names.waiting["julien"].errback(OSError(5, "Input/output error"))
        self.failureResultOf(asking, TemporaryFailure)
        self.assertIn("Input/output error", str(self.report))
        self.names.silent = False
        self.assertEqual(self.found("julien"), JULIEN)  # trouble is not remembered
