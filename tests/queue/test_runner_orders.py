from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from lanmail.status import PermanentFailure, Status, TemporaryFailure
from tests.queue.house import House
from tests.queue.test_runner import QUOTA, RunnerTestCase

BY = 1000


class OrdersTestCase(RunnerTestCase):
    def asked(self, answer: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(answer))

    def deferred(self, *queue_ids: str, **options: Any) -> House:
        """A house in which these wait, since ann's mailbox is full."""
        house = House(**options)
        house.delivery.fails = dict.fromkeys(queue_ids, QUOTA)
        for queue_id in queue_ids:
            house.accept(queue_id, "ann")
        house.turn()
        house.delivery.fails = {}
        return house


class OrdersTests(OrdersTestCase):
    def test_flush_tries_at_once_what_would_be_tried_later(self) -> None:
        house = self.deferred("A", "B")
        self.assertEqual(self.asked(house.runner.flush(None, BY)), ["A", "B"])
        house.pass_time(2)
        self.assertEqual(house.has("ann"), ["A", "B"])

    def test_flush_of_one_leaves_the_others(self) -> None:
        house = self.deferred("A", "B")
        self.asked(house.runner.flush(["B"], BY))
        house.pass_time(2)
        self.assertEqual(house.has("ann"), ["B"])

    def test_what_is_flushed_while_its_mailbox_is_served_is_found_all_the_same(self) -> None:
        house = self.deferred("A")
        house.threads.closed.add("deliver")
        house.accept("B", "ann")
        house.pass_time(2)
        self.asked(house.runner.flush(None, BY))
        house.pass_time(2)
        house.threads.closed.clear()
        house.threads.open()
        house.pass_time(15)
        self.assertEqual(house.has("ann"), ["B", "A"])

    def test_many_flushes_are_few_looks(self) -> None:
        house = self.deferred("A")
        house.pass_time(10)
        house.journal.calls.clear()
        for _ in range(50):
            self.asked(house.runner.flush(None, BY))
            house.turn(2)
        self.assertLessEqual(house.journal.calls.count("waiting"), 2)

    def test_a_flush_gives_a_locked_mailbox_all_our_patience_again(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(30)
        before = len(house.delivery.rounds)
        self.asked(house.runner.flush(None, BY))
        house.pass_time(19)
        self.assertGreater(len(house.delivery.rounds) - before, 10)

    def test_what_is_held_is_not_tried_until_it_is_released(self) -> None:
        house = self.deferred("A")
        self.assertEqual(self.asked(house.runner.hold(["A"], BY)), ["A"])
        house.pass_time(1000)
        self.assertEqual(house.has("ann"), [])
        self.assertEqual(self.asked(house.runner.release(["A"], BY)), ["A"])
        house.pass_time(2)
        self.assertEqual(house.has("ann"), ["A"])

    def test_what_is_held_in_the_moment_before_it_is_written_stays_out(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(0.3, 0.1)
        self.asked(house.runner.hold(None, BY))
        house.delivery.locked.clear()
        house.pass_time(60)
        self.assertEqual(house.has("ann"), [])
        self.asked(house.runner.release(None, BY))
        house.pass_time(10)
        self.assertEqual(house.has("ann"), ["A"])

    def test_requeue_begins_anew(self) -> None:
        house = self.deferred("A")
        house.pass_time(100)
        self.assertEqual(self.asked(house.runner.requeue(["A"], BY)), ["A"])
        house.pass_time(2)
        self.assertEqual(house.has("ann"), ["A"])

    def test_what_is_deleted_is_gone_and_nobody_is_told(self) -> None:
        house = self.deferred("A", "B")
        self.assertEqual(self.asked(house.runner.delete(None, BY)), ["A", "B"])
        house.pass_time(1000)
        self.assertEqual(
            (house.has("ann"), house.has("julien"), house.reports.made, house.journal.rows), ([], [], [], {})
        )

    def test_what_is_deleted_just_before_its_sender_is_told_makes_no_report(self) -> None:
        house = House(running=True)
        house.users.gone.add("ann")
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(22)
        house.clock.advance(300)
        house.turn()  # it has failed, and its report is about to be made
        self.asked(house.runner.delete(["A"], BY))
        house.pass_time(10)
        self.assertEqual((house.has("julien"), house.reports.made), ([], []))

    def test_what_is_deleted_while_the_report_is_written_takes_that_with_it(self) -> None:
        house = House()
        house.delivery.fails["A"] = PermanentFailure(Status(552, "5.2.3", "Message is too large"))
        house.reports.meanwhile = lambda: house.journal.delete(["A"])
        house.accept("A", "ann")
        house.pass_time(10)
        self.assertEqual(len(house.reports.made), 1)
        self.assertEqual(
            (house.has("julien"), house.journal.rows, house.story("A")), ([], {}, ["received", "recipient"])
        )
        self.assertNotIn("bounced", "".join(self.log()))

    def test_the_log_and_the_story_say_who_did_it(self) -> None:
        house = self.deferred("A")
        self.asked(house.runner.hold(["A"], BY))
        self.asked(house.runner.release(["A"], BY))
        self.asked(house.runner.requeue(["A"], BY))
        self.asked(house.runner.delete(["A"], BY))
        self.assertEqual(house.story("A")[3:], ["held", "released", "requeued", "deleted"])
        self.assertEqual(house.said[-1][2], {"by": BY})
        self.assertEqual(self.log()[-1], "qmgr: A: deleted by uid 1000")

    def test_a_broken_journal_is_told_to_whoever_asks(self) -> None:
        house = self.deferred("A")
        house.journal.fails |= {"hold", "flush"}
        for order in (house.runner.hold, house.runner.flush):
            self.failureResultOf(Deferred.fromCoroutine(order(None, BY)), TemporaryFailure)

    def test_the_queue_can_be_read(self) -> None:
        house = self.deferred("A", "B")
        page = self.asked(house.runner.listing(0, 1))
        self.assertEqual([message.queue_id for message in page], ["A"])
        found = self.asked(house.runner.show("B"))
        self.assertEqual(found[0].queue_id, "B")
        self.assertIsNone(self.asked(house.runner.show("C")))
