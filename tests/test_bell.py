from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from twisted.trial.unittest import SynchronousTestCase

from lanmail.bell import Bell
from lanmail.status import Status, TemporaryFailure


class Loop:
    """callFromThread of a reactor whose turns the test decides."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class BellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.bell = Bell(self.loop)
        self.heard: list[int] = []

    def test_a_hundred_words_wake_the_reactor_once(self) -> None:
        for number in range(100):
            self.bell.put(self.heard.append, number)
        self.assertEqual(len(self.loop.calls), 1)
        self.loop.turn()
        self.assertEqual(self.heard, list(range(100)))

    def test_it_rings_again_for_what_comes_later(self) -> None:
        for number in range(3):
            self.bell.put(self.heard.append, number)
            self.loop.turn()
        self.assertEqual(self.heard, [0, 1, 2])

    def test_what_is_said_while_it_is_answered_is_heard_in_the_next_turn(self) -> None:
        self.bell.put(lambda _: self.bell.put(self.heard.append, 2), None)
        self.loop.turn()
        self.assertEqual(self.heard, [])
        self.loop.turn()
        self.assertEqual(self.heard, [2])

    def test_one_who_fails_does_not_silence_the_others(self) -> None:
        self.bell.put(lambda _: 1 / 0, None)
        self.bell.put(self.heard.append, 1)
        self.loop.turn()
        self.assertEqual(self.heard, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_outcome_of_a_future_is_that_of_the_deferred(self) -> None:
        well: Future[int] = Future()
        badly: Future[int] = Future()
        answers = self.bell.outcome(well), self.bell.outcome(badly)
        well.set_result(7)
        badly.set_exception(TemporaryFailure(Status(452, "4.3.1", "full")))
        self.assertNoResult(answers[0])
        self.loop.turn()
        self.assertEqual(self.successResultOf(answers[0]), 7)
        self.failureResultOf(answers[1], TemporaryFailure)

    def test_a_future_that_is_resolved_already_is_heard_as_well(self) -> None:
        done: Future[int] = Future()
        done.set_result(7)
        answer = self.bell.outcome(done)
        self.loop.turn()
        self.assertEqual(self.successResultOf(answer), 7)

    def test_whoever_lets_go_of_an_outcome_disturbs_nobody(self) -> None:
        future: Future[int] = Future()
        answer = self.bell.outcome(future)
        answer.addErrback(lambda _: None)
        answer.cancel()
        future.set_result(7)
        self.loop.turn()

    def test_nothing_is_lost_between_threads(self) -> None:
        threads = [
            threading.Thread(target=lambda: [self.bell.put(self.heard.append, n) for n in range(2000)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.loop.turn()
        self.loop.turn()
        self.assertEqual(len(self.heard), 8000)
