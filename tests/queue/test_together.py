"""Desks of several workers, near and far, answer as one."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.desk import PAGE, Desk
from lanmail.queue.far import AT_ONCE, PATIENCE, FarDesk, Window
from lanmail.queue.questions import Question
from lanmail.queue.together import Answers, Together
from lanmail.status import TemporaryFailure
from tests.queue.switchboard import Switchboard
from tests.queue.waiting import ListedQueue, content, here, message, recipient


def name(number: int) -> str:
    return f"{0x222CF60000 + number:010X}"


def ids(told: list[dict[str, Any]]) -> list[str]:
    """Of what a list tells of, without its last line."""
    return [one["queue_id"] for said in told[:-1] for one in said["messages"]]


class NearTests(SynchronousTestCase):
    count = 3

    def setUp(self) -> None:
        self.switchboard = Switchboard(self.count)
        self.clock = Clock()
        self.queues: list[ListedQueue] = []

    def queue(self, *numbers: int, **facts: Any) -> ListedQueue:
        """Of one worker: messages of these numbers, with as many rows."""
        queue = ListedQueue(
            *((message(name(number)), [recipient(at)]) for at, number in enumerate(numbers, 1)), **facts
        )
        self.queues.append(queue)
        return queue

    def desks(self) -> list[Answers]:
        return [Desk(queue, here, lambda: 1000.0, lambda: 5000.0) for queue in self.queues]

    def ask(self, verb: str, *ids: str) -> list[dict[str, Any]]:
        together = Together(self.desks())

        async def whole() -> bytes:
            return b"".join([piece async for piece in together.answer(Question(verb, ids or None), 42)])

        said = self.successResultOf(Deferred.fromCoroutine(whole()))
        return [json.loads(line) for line in said.splitlines()]

    def test_what_waits_is_listed_by_age_whoever_has_it(self) -> None:
        self.queue(1, 4, 5)
        self.queue()
        self.queue(2, 3, 6)
        told = self.ask("list")
        self.assertEqual(ids(told), [name(n) for n in (1, 2, 3, 4, 5, 6)])
        self.assertEqual(told[-1], {"ok": {"messages": 6}})

    def test_a_long_queue_comes_whole(self) -> None:
        self.queue(*range(0, 700, 2))
        self.queue(*range(1, 700, 2))
        told = self.ask("list")
        self.assertEqual(ids(told), [name(n) for n in range(700)])
        self.assertLessEqual(max(len(said["messages"]) for said in told[:-1]), PAGE)

    def test_one_message_is_shown_by_whoever_has_it(self) -> None:
        self.queue(1)
        self.queue(2)
        told = self.ask("show", name(2))
        self.assertEqual(told[0]["message"]["queue_id"], name(2))
        self.assertIn("text", told[1])
        self.assertEqual(told[-1], {"ok": {}})

    def test_one_that_nobody_has_is_missing(self) -> None:
        self.queue(1)
        self.queue(2)
        self.assertEqual(self.ask("show", name(3)), [{"ok": {"missing": [name(3)]}}])

    def test_an_order_reaches_all_and_what_only_one_has_is_not_missing(self) -> None:
        self.queue(1)
        self.queue(2)
        (told,) = self.ask("hold", name(1), name(2), name(3))
        self.assertEqual((told["ok"]["messages"], told["ok"]["missing"]), (2, [name(3)]))
        (told,) = self.ask("delete")
        self.assertEqual(told["ok"]["messages"], 2)

    def test_ping(self) -> None:
        self.assertEqual(self.ask("ping"), [{"ok": {}}])


class FarTests(NearTests):
    """The same between processes."""

    def desks(self) -> list[Answers]:
        self.switchboard.count = len(self.queues)
        for number, desk in enumerate(super().desks(), 1):
            Window(self.switchboard.desk(number), desk, self.clock)
        ask = self.switchboard.desk(0).ask
        return [FarDesk(ask, number) for number in range(1, len(self.queues) + 1)]

    def test_a_text_of_any_length_comes_in_bounded_steps(self) -> None:
        self.queue(1, text=content(b"0123456789abcde\n" * 40_000))
        told = self.ask("show", name(1))
        self.assertEqual(told[-1], {"ok": {}})
        self.assertGreater(len(self.switchboard.asked), 5)

    def test_one_that_is_down_is_an_error_and_no_shorter_list(self) -> None:
        self.queue(1)
        self.queue(2)
        desks = self.desks()
        self.switchboard.down.add(2)

        async def whole() -> list[bytes]:
            return [piece async for piece in Together(desks).answer(Question("list"), 0)]

        failure = self.failureResultOf(Deferred.fromCoroutine(whole()), TemporaryFailure)
        self.assertIn("worker 2 does not answer", failure.value.status.text)

    def test_an_answer_that_nobody_goes_on_with_is_given_up(self) -> None:
        self.queue(*range(2000))
        ((far),) = self.desks()
        ask = self.switchboard.desk(0).ask
        question = {"question": Question("list").line().decode(), "uid": 0}
        begun = [self.successResultOf(Deferred.fromCoroutine(ask("desk", question, 1)))[0][1] for _ in range(AT_ONCE)]
        self.failureResultOf(Deferred.fromCoroutine(ask("desk", question, 1)), TemporaryFailure)
        self.clock.advance(PATIENCE)
        again = {"more": begun[0]["more"]}
        self.failureResultOf(Deferred.fromCoroutine(ask("desk", again, 1)), TemporaryFailure)
        self.successResultOf(Deferred.fromCoroutine(ask("desk", question, 1)))
        self.assertIsInstance(far, FarDesk)

    def test_what_makes_no_sense_is_refused(self) -> None:
        self.queue(1)
        self.desks()
        ask = self.switchboard.desk(0).ask
        for payload in ({}, {"question": "{", "uid": 0}, {"more": 7}):
            self.failureResultOf(Deferred.fromCoroutine(ask("desk", payload, 1)), TemporaryFailure)
