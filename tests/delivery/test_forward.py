"""What is remembered of users' .forward files, and how long anybody waits for a home."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.delivery.alias_syntax import Forward
from lanmail.delivery.forward import ForwardsOfUsers
from lanmail.interfaces import ForwardFile, User
from lanmail.status import TemporaryFailure
from tests.delivery.crossroads import Reports


class RememberingHomes:
    """ForwardFiles that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Sequence[str]]] = []
        self.answers: list[Deferred[ForwardFile | None]] = []

    def __call__(self, user: User, names: Sequence[str], /) -> Deferred[ForwardFile | None]:
        self.asked.append((user.name, names))
        self.answers.append(Deferred())
        return self.answers[-1]


class ForwardsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.report = Reports()
        self.homes = RememberingHomes()
        self.ann, self.bob = (User(name, 1000, 1000, f"/home/{name}") for name in ("ann", "bob"))

    def forwards(self, **limits: float) -> ForwardsOfUsers:
        return ForwardsOfUsers(self.homes, self.clock, self.report, **limits)  # type: ignore[arg-type]

    def ask(self, forwards: ForwardsOfUsers, user: User, tag: str = "") -> Deferred[Forward | None]:
        return Deferred.fromCoroutine(forwards(user, tag))

    def members(self, asked: Deferred[Forward | None]) -> list[str] | None:
        forward = self.successResultOf(asked)
        return None if forward is None else [str(member.address) for member in forward.members]

    def later(self, asked: Deferred[Forward | None]) -> str:
        return str(self.failureResultOf(asked, TemporaryFailure).value)

    def test_a_file_is_read_once_for_all_who_ask_within_a_second(self) -> None:
        forwards = self.forwards()
        asked = [self.ask(forwards, self.ann) for _ in range(3)]
        self.homes.answers[0].callback(ForwardFile(".forward", b"bob\n"))
        self.clock.advance(0.9)
        asked.append(self.ask(forwards, self.ann))
        self.assertEqual([self.members(each) for each in asked], [["bob"]] * 4)
        self.assertEqual(self.homes.asked, [("ann", (".forward",))])

    def test_a_change_is_seen_after_a_second_whether_there_was_a_file_or_none(self) -> None:
        forwards = self.forwards()
        for file, members in (
            (None, None),
            (ForwardFile(".forward", b"bob\n"), ["bob"]),
            (ForwardFile(".forward", b"eve\n"), ["eve"]),
            (None, None),
        ):
            asked = self.ask(forwards, self.ann)
            self.homes.answers[-1].callback(file)
            self.assertEqual(self.members(asked), members)
            self.clock.advance(1.0)
        self.assertEqual(len(self.homes.asked), 4)

    def test_a_home_that_does_not_answer_holds_up_only_whoever_asked_and_not_for_long(self) -> None:
        forwards = self.forwards()
        slow, quick = self.ask(forwards, self.ann), self.ask(forwards, self.bob)
        self.homes.answers[1].callback(None)
        self.assertIsNone(self.members(quick))
        self.clock.advance(10)
        self.assertEqual(self.later(slow)[:9], "451 4.3.0")
        # The look-up is not begun anew while it is still at it, and its answer counts when it comes.
        again = self.ask(forwards, self.ann)
        self.assertEqual(len(self.homes.asked), 2)
        self.homes.answers[0].callback(ForwardFile(".forward", b"bob"))
        self.assertEqual(self.members(again), ["bob"])

    def test_trouble_is_later_for_a_while_without_asking_again(self) -> None:
        forwards = self.forwards()
        asked = self.ask(forwards, self.ann)
        self.homes.answers[0].errback(OSError(5, "Input/output error"))
        self.later(asked)
        self.clock.advance(4.9)
        self.later(self.ask(forwards, self.ann))
        self.assertEqual(len(self.homes.asked), 1)
        self.assertEqual(self.report, ["warning: cannot look for .forward of ann: [Errno 5] Input/output error"])
        self.clock.advance(0.2)
        asked = self.ask(forwards, self.ann)
        self.homes.answers[1].callback(None)
        self.assertIsNone(self.members(asked))

    def test_too_many_at_once_are_told_to_come_later(self) -> None:
        forwards = self.forwards(look_ups=1)
        first = self.ask(forwards, self.ann)
        self.later(self.ask(forwards, self.bob))
        self.homes.answers[0].callback(None)
        self.assertIsNone(self.members(first))
        self.ask(forwards, self.bob)
        self.assertEqual(len(self.homes.asked), 2)

    def test_however_many_tags_a_stranger_asks_for_others_are_looked_up(self) -> None:
        forwards = self.forwards()
        asked = [self.ask(forwards, self.ann, f"+{number}") for number in range(70)]
        self.assertEqual(len(self.homes.asked), 4)
        for each in asked[4:]:
            self.later(each)
        quick = self.ask(forwards, self.bob)
        self.homes.answers[-1].callback(None)
        self.assertIsNone(self.members(quick))
        plain = self.ask(forwards, self.ann)
        self.homes.answers[-1].callback(None)
        self.assertIsNone(self.members(plain))
        # And what is wrong with a home is wrong with it for every tag.
        self.homes.answers[0].errback(OSError(5, "Input/output error"))
        self.later(asked[0])
        self.later(self.ask(forwards, self.ann, "+another"))
        self.assertEqual(len(self.homes.asked), 6)

    def test_what_is_remembered_is_bounded_and_old_answers_go(self) -> None:
        forwards = self.forwards(room=10)
        for number in range(30):
            self.ask(forwards, User(f"u{number}", 1000, 1000, "/home/x"))
            self.homes.answers[-1].callback(None)
        self.assertEqual(len(forwards._memory), 10)
        self.clock.advance(2)
        self.ask(forwards, self.ann)
        self.homes.answers[-1].callback(None)
        self.assertEqual(len(forwards._memory), 1)

    def test_who_has_no_home_or_is_root_is_not_asked_about(self) -> None:
        forwards = self.forwards()
        for user in (User("ann", 1000, 1000), User("ann", 1000, 1000, "home"), User("root", 0, 0, "/root")):
            self.assertIsNone(self.members(self.ask(forwards, user)))
        self.assertIsNone(self.members(self.ask(self.forwards(plain=False), self.ann)))
        self.assertEqual(self.homes.asked, [])

    def test_a_tag_has_a_file_of_its_own_whose_name_is_only_a_name(self) -> None:
        for tag, names in (
            ("+x", (".forward+x", ".forward")),
            ("+x y;z$\u00e9", (".forward+x_y_z__", ".forward")),
            ("+../../etc/passwd", (".forward",)),
            ("+..", (".forward+..", ".forward")),
            ("+" + "x" * 300, (".forward",)),
        ):
            self.ask(self.forwards(), self.ann, tag)
            self.assertEqual(self.homes.asked[-1], ("ann", names))
        self.ask(self.forwards(tagged=False), self.ann, "+x")
        self.assertEqual(self.homes.asked[-1][1], (".forward",))
        self.ask(self.forwards(plain=False), self.ann, "+x")
        self.assertEqual(self.homes.asked[-1][1], (".forward+x",))

    def test_what_is_wrong_with_a_file_is_told_once_for_each_state_of_it(self) -> None:
        forwards = self.forwards(lasting=0)

        def say(file: ForwardFile) -> list[str] | None:
            asked = self.ask(forwards, self.ann)
            self.homes.answers[-1].callback(file)
            return self.members(asked)

        for _ in range(3):
            self.assertIsNone(say(ForwardFile(".forward", refused="is a symbolic link")))
        self.assertEqual(self.report, ["warning: .forward of ann: is a symbolic link; it does not count"])
        for _ in range(2):
            self.assertEqual(say(ForwardFile(".forward", b"bob\n|prog\n")), ["bob"])
        told = "warning: .forward of ann: line 2: |prog: a program is not run; the mailbox gets the mail as well"
        self.assertEqual(self.report[1:], [told])
        say(ForwardFile(".forward", b"bob"))
        say(ForwardFile(".forward", b"|prog"))
        self.assertEqual(len(self.report), 3)

    def test_octets_of_any_kind_are_read(self) -> None:
        asked = self.ask(self.forwards(), self.ann)
        self.homes.answers[0].callback(ForwardFile(".forward", b"\xef\xbb\xbfbob\n# \xe9t\xe9\n\xff\xfe\0, eve\n"))
        self.assertEqual(self.members(asked), ["bob", "eve"])
