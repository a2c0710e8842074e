"""The guard over helpers in memory: turns, limits, and what becomes of a helper that does not behave."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts import helper
from lanmail.accounts.guard import Answer, Guard, GuardTrouble
from lanmail.accounts.helper import ANSWERS, BROKEN, CHECK_PASSWORD, NO, REQUESTS, TROUBLE, YES, frame, parts
from tests.accounts.fakes import RememberingReport


class RememberingProcess:
    """A helper's process: keeps what it was asked; answers, hangs and dies as the test says."""

    count = 0

    def __init__(self, protocol: IProcessProtocol) -> None:
        self.protocol = protocol
        self.asked: list[list[bytes]] = []
        RememberingProcess.count += 1
        self.pid = (1 << 23) + RememberingProcess.count  # beyond the kernel's largest
        protocol.makeConnection(self)

    def writeToChild(self, fd: int, octets: bytes) -> None:
        assert fd == REQUESTS
        assert len(octets) == 4 + struct.unpack("!I", octets[:4])[0]
        self.asked.append(parts(octets[4:])[1])

    def loseConnection(self) -> None:
        pass

    def say(self, octets: bytes) -> None:
        self.protocol.childDataReceived(ANSWERS, octets)

    def die(self) -> None:
        self.protocol.processExited(Failure(ProcessTerminated(signal=9)))
        self.protocol.processEnded(Failure(ProcessTerminated(signal=9)))


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.report = RememberingReport()
        self.processes: list[RememberingProcess] = []
        self.killed: list[int] = []
        self.patch(helper, "end", self.killed.append)
        self.guard = Guard(
            self.launch, self.clock, self.report, helpers=2, most=4, time_limit=15, slow=2, waiting=10, per_name=1
        )

    def launch(self, protocol: IProcessProtocol) -> RememberingProcess:
        self.processes.append(RememberingProcess(protocol))
        return self.processes[-1]

    def ask(self, name: str, host: str = "192.168.1.5") -> Deferred[Answer]:
        return self.guard.ask(CHECK_PASSWORD, name.encode(), b"secret", name=name, host=host)

    def trouble(self, question: Deferred[Answer]) -> str:
        return str(self.failureResultOf(question, GuardTrouble).value)

    def test_no_helper_is_started_before_somebody_asks_or_it_is_told_to(self) -> None:
        self.assertEqual(self.processes, [])
        self.guard.start()
        self.guard.start()
        self.assertEqual(len(self.processes), 1)

    def test_a_question_is_answered_and_the_helper_used_again(self) -> None:
        question = self.ask("julien")
        self.processes[0].say(frame(YES, b"1"))
        self.assertEqual(self.successResultOf(question), Answer(True, [b"1"]))
        question = self.ask("julien")
        self.processes[0].say(frame(NO))
        self.assertEqual(self.successResultOf(question), Answer(False, []))
        self.assertEqual(len(self.processes), 1)
        self.guard.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_answer_may_come_octet_by_octet(self) -> None:
        question = self.ask("julien")
        for octet in frame(YES, b"julien", b"1001"):
            self.assertNoResult(question)
            self.processes[0].say(bytes([octet]))
        self.assertEqual(self.successResultOf(question).fields, [b"julien", b"1001"])

    def test_each_helper_is_asked_one_thing_at_a_time(self) -> None:
        questions = [self.ask(f"user{n}") for n in range(5)]
        self.assertEqual([len(each.asked) for each in self.processes], [1, 1])
        for process in self.processes:
            process.say(frame(YES))
        self.assertEqual([len(each.asked) for each in self.processes], [2, 2])
        self.assertEqual([each.called for each in questions], [True, True, False, False, False])

    def test_one_that_hangs_is_killed_at_the_limit_and_holds_up_only_its_own(self) -> None:
        hanging = self.ask("hanging")
        for n in range(10):
            question = self.ask(f"user{n}")
            self.processes[1].say(frame(YES))
            self.successResultOf(question)
        self.clock.advance(14.9)
        self.assertNoResult(hanging)
        self.clock.advance(0.1)
        self.assertEqual(self.trouble(hanging), "no answer within 15 s")
        self.assertIn(self.processes[0].pid, self.killed)
        self.assertIn("no answer within 15 s", str(self.report))
        self.processes[0].die()
        first, second = self.ask("ann"), self.ask("bob")
        self.assertEqual(len(self.processes), 3)
        for process in self.processes[1:]:
            process.say(frame(YES))
        self.successResultOf(first)
        self.successResultOf(second)

    def test_one_that_is_ending_is_asked_nothing_more(self) -> None:
        """Its pipes are closed before the kernel's signal says that it is gone; a login may come between."""
        self.guard.start()
        self.processes[0].protocol.childConnectionLost(REQUESTS)
        question = self.ask("julien")
        self.assertEqual([len(each.asked) for each in self.processes], [0, 1])
        self.processes[0].die()
        self.processes[1].say(frame(YES))
        self.assertTrue(self.successResultOf(question).yes)

    def test_slow_calls_make_room_for_others_but_not_without_end(self) -> None:
        hanging = [self.ask(f"hang{n}") for n in range(2)]
        quick = self.ask("quick")
        self.assertEqual(len(self.processes), 2)
        self.clock.advance(2)
        self.processes[2].say(frame(YES))
        self.successResultOf(quick)
        hanging += [self.ask(f"hang{n}") for n in range(2, 8)]
        self.clock.advance(2)
        self.clock.advance(2)
        self.assertEqual(len(self.processes), 4)
        self.clock.advance(15)
        for question in hanging[:4]:
            self.trouble(question)
        self.clock.advance(15)
        self.clock.advance(15)
        for question in hanging[4:]:
            self.trouble(question)

    def test_helpers_that_stood_in_for_hanging_ones_end_when_they_are_not_needed(self) -> None:
        questions = [self.ask(f"user{n}") for n in range(2)]
        self.clock.advance(2)
        questions += [self.ask(f"user{n}") for n in range(2, 4)]
        self.assertEqual(len(self.processes), 4)
        for process in self.processes:
            process.say(frame(YES))
        for question in questions:
            self.successResultOf(question)
        self.assertEqual([each.pid in self.killed for each in self.processes], [False, False, True, True])
        self.assertEqual(self.report.lines, [])

    def test_those_that_nobody_needs_for_a_while_end_and_the_next_question_has_a_new_one(self) -> None:
        self.guard.start()
        self.clock.advance(40)
        question = self.ask("julien")
        self.processes[0].say(frame(YES))
        self.successResultOf(question)
        self.clock.advance(59)
        self.assertNotIn(self.processes[0].pid, self.killed)
        self.clock.advance(1)
        self.assertIn(self.processes[0].pid, self.killed)
        self.assertEqual((self.clock.getDelayedCalls(), self.report.lines), ([], []))
        question = self.ask("julien")
        self.processes[1].say(frame(YES))
        self.successResultOf(question)

    def test_one_that_has_answered_often_is_replaced_without_a_word(self) -> None:
        for _ in range(1001):
            question = self.ask("julien")
            self.processes[-1].say(frame(YES))
            self.successResultOf(question)
        self.assertEqual(len(self.processes), 2)
        self.assertIn(self.processes[0].pid, self.killed)
        self.assertEqual(self.report.lines, [])

    def test_one_that_dies_is_replaced(self) -> None:
        question = self.ask("julien")
        self.processes[0].die()
        self.assertIn("signal 9", self.trouble(question))
        question = self.ask("julien")
        self.processes[1].say(frame(YES))
        self.successResultOf(question)

    def test_one_that_dies_while_idle_is_not_asked_again(self) -> None:
        self.guard.start()
        self.processes[0].die()
        self.ask("julien").addErrback(lambda _: None)
        self.assertEqual(len(self.processes), 2)

    def test_trouble_fails_the_question_and_keeps_the_helper(self) -> None:
        question = self.ask("julien")
        self.processes[0].say(frame(TROUBLE, b"PAM cannot say: system error (4)"))
        self.assertEqual(self.trouble(question), "PAM cannot say: system error (4)")
        self.assertNotIn(self.processes[0].pid, self.killed)

    def test_one_that_is_broken_ends_and_its_reason_is_told(self) -> None:
        self.guard.start()
        self.processes[0].say(frame(BROKEN, b"the helper failed: ModuleNotFoundError"))
        self.assertIn(self.processes[0].pid, self.killed)
        self.assertIn("ModuleNotFoundError", str(self.report))

    def test_an_answer_that_nobody_asked_for_ends_a_helper(self) -> None:
        self.guard.start()
        self.processes[0].say(frame(YES))
        self.assertIn(self.processes[0].pid, self.killed)

    def test_two_answers_to_one_question_end_a_helper(self) -> None:
        question = self.ask("julien")
        self.processes[0].say(frame(YES) + frame(YES))
        self.trouble(question)
        self.assertIn(self.processes[0].pid, self.killed)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_noise_is_never_a_yes(self, pieces: list[bytes]) -> None:
        self.setUp()
        question = self.ask("julien")
        for piece in pieces:
            self.processes[0].say(piece)
        answers: list[object] = []
        question.addBoth(answers.append)
        told = b"".join(pieces)
        if told[:5] != frame(YES)[:5] and any(isinstance(each, Answer) and each.yes for each in answers):
            length = struct.unpack("!I", told[:4])[0]
            self.assertEqual(told[4:5], YES)
            self.assertEqual(len(told), 4 + length)
        self.clock.advance(15)
        self.assertTrue(answers)

    def test_addresses_take_turns(self) -> None:
        flood = [self.ask(f"guess{n}", "192.168.1.66") for n in range(6)]
        for question in flood:
            question.addErrback(lambda _: None)
        julien = self.ask("julien", "192.168.1.5")
        self.processes[0].say(frame(NO))
        self.processes[0].say(frame(NO))
        self.assertEqual(self.processes[0].asked[-1][0], b"julien")
        self.processes[0].say(frame(YES))
        self.assertTrue(self.successResultOf(julien).yes)

    def test_one_name_does_not_take_every_helper(self) -> None:
        hanging = [self.ask("hanging") for _ in range(4)]
        other = self.ask("julien")  # of the same address: a webmail's, say
        self.processes[1].say(frame(YES))
        self.successResultOf(other)
        self.assertEqual([each.asked[0][0] for each in self.processes], [b"hanging", b"julien"])
        self.clock.advance(15)
        self.clock.advance(15)
        for question in hanging:
            self.trouble(question)

    def test_who_waits_too_long_for_a_turn_is_told(self) -> None:
        first, second = self.ask("julien"), self.ask("julien")
        self.clock.advance(1)
        third, other = self.ask("julien"), self.ask("nel")
        self.clock.advance(14)
        self.trouble(first)
        self.assertNoResult(second)  # asked now, of another helper
        self.clock.advance(1)
        self.assertEqual(self.trouble(third), "every helper is held up")
        self.processes[2].say(frame(YES))
        self.successResultOf(second)
        self.trouble(other)  # which had its own helper, and 15 s of it

    def test_too_many_questions_are_refused_and_one_address_has_half(self) -> None:
        flood = [self.ask("hanging", "192.168.1.66") for _ in range(10)]
        self.assertEqual([each.called for each in flood], [False] * 6 + [True] * 4)
        for question in flood[6:]:
            self.assertIn("too many", self.trouble(question))
        stopped = self.guard.stop()
        for question in flood[:6]:
            self.trouble(question)
        self.assertNoResult(stopped)

    def test_a_queue_that_is_full_has_room_for_an_address_with_fewer_questions(self) -> None:
        floods = [self.ask("hanging", f"192.168.1.{60 + n % 2}") for n in range(11)]
        others = [self.ask("hanging", f"192.168.1.{n}") for n in range(10)]
        # The last questions of the two made room, until each had one like the newcomers; then newcomers are refused.
        refused = [question for question in (*floods, *others) if question.called]
        self.assertEqual(len(refused), 10)
        for question in refused:
            self.assertIn("too many", self.trouble(question))
        self.assertEqual([question.called for question in floods], [False] * 3 + [True] * 8)
        self.assertEqual([question.called for question in others], [False] * 8 + [True] * 2)
        stopped = self.guard.stop()
        for question in (*floods, *others):
            if question not in refused:
                self.trouble(question)
        self.assertNoResult(stopped)

    def test_a_question_nobody_waits_for_any_more_is_no_trouble(self) -> None:
        question = self.ask("julien")
        question.cancel()
        question.addErrback(lambda _: None)
        self.processes[0].say(frame(YES))
        question = self.ask("julien")
        self.processes[0].say(frame(YES))
        self.successResultOf(question)

    def test_stopping_kills_and_refuses_and_waits_for_the_processes(self) -> None:
        questions = [self.ask(f"user{n}") for n in range(3)]
        stopped = self.guard.stop()
        for question in [*questions, self.ask("late")]:
            self.assertEqual(self.trouble(question), "the service is stopping")
        self.assertNoResult(stopped)
        for process in self.processes:
            self.assertIn(process.pid, self.killed)
            process.protocol.processExited(Failure(ProcessDone(0)))
            process.protocol.processEnded(Failure(ProcessDone(0)))
        self.successResultOf(stopped)
        self.assertEqual(len(self.processes), 2)
        self.assertEqual(self.report.lines, [])

    def test_a_helper_that_cannot_be_started_is_trouble_for_whoever_asked(self) -> None:
        def no_memory(protocol: IProcessProtocol) -> RememberingProcess:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        guard = Guard(no_memory, self.clock, self.report)
        guard.start()
        self.assertIn("cannot start a helper", self.trouble(guard.ask(CHECK_PASSWORD, name="julien")))
        self.assertEqual(len(self.report.lines), 1)

    def test_no_password_is_in_the_log(self) -> None:
        question = self.ask("julien")
        self.processes[0].say(b"\xff" * 10)
        self.assertNotIn("secret", self.trouble(question))
        self.assertNotIn("secret", str(self.report))
