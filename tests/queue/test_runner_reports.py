from __future__ import annotations

from lanmail.queue import notices
from lanmail.queue.schedule import Schedule
from lanmail.status import PermanentFailure, Status, TemporaryFailure
from tests.queue.house import DISK_FULL, House, content, message, recipient
from tests.queue.test_runner import QUOTA, RunnerTestCase

HOPELESS = PermanentFailure(Status(552, "5.2.3", "Message is too large"))
NOT_NOW = TemporaryFailure(Status(451, "4.3.0", "The list of users cannot be read now"))


class FailureTests(RunnerTestCase):
    def test_what_cannot_be_delivered_is_exchanged_for_a_report_which_is_delivered(self) -> None:
        house = House()
        house.delivery.fails["A"] = HOPELESS
        house.accept("A", "ann")
        house.pass_time(2)
        self.assertEqual(house.reports.made, [("failed", "A", ["ann 5.2.3"])])
        self.assertEqual(house.has("julien"), ["0000000001"])
        house.pass_time(2)
        self.assertEqual(house.journal.rows, {})

    def test_the_log_and_the_story_tell_it_to_the_end(self) -> None:
        house = House()
        house.delivery.fails["A"] = HOPELESS
        house.accept("A", "ann")
        house.turn()
        house.pass_time(2)
        self.assertEqual(
            self.log()[1:5],
            [
                "local: A: to=<ann@lan.example>, relay=local, delay=1.00, dsn=5.2.3, status=bounced (Message is too large)",
                "bounce: A: sender non-delivery notification: 0000000001",
                "qmgr: 0000000001: from=<>, size=10, nrcpt=1 (queue active)",
                "qmgr: A: removed",
            ],
        )
        self.assertEqual(house.story("A"), ["received", "recipient", "failed", "reported"])
        self.assertEqual(house.story("0000000001"), ["received", "recipient", "delivered"])
        (reported,) = [facts for kind, _, facts in house.said if kind == "reported"]
        self.assertEqual(reported, {"what": "failed", "to": "julien@lan.example", "report": "0000000001"})

    def test_one_report_speaks_of_all_that_failed_at_the_same_time(self) -> None:
        house = House(rounds=1)
        house.delivery.fails["A"] = HOPELESS
        names = [f"user{number:02d}" for number in range(50)]  # in three rounds
        house.accept("A", *names)
        house.pass_time(2)
        self.assertEqual(house.reports.made, [("failed", "A", [f"{name} 5.2.3" for name in names])])

    def test_recipients_who_fail_do_not_take_the_others_with_them(self) -> None:
        house = House()
        house.users.gone.add("ann")
        house.delivery.locked.add("ann")
        house.accept("A", "ann", "bob")
        house.pass_time(22)
        house.pass_time(310)
        self.assertEqual(house.has("bob"), ["A"])
        self.assertEqual(house.reports.made, [("failed", "A", ["ann 5.1.1"])])
        self.assertEqual(self.log().count("qmgr: A: removed"), 1)

    def test_nobody_who_may_hear_of_it_is_no_obstacle(self) -> None:
        house = House()
        house.delivery.fails["A"] = HOPELESS
        house.accept("A", "ann", sender="")
        house.pass_time(4)
        self.assertEqual(house.journal.rows, {})
        self.assertIn("status=bounced", self.log()[1])

    def test_where_no_report_can_be_made_now_it_is_tried_again_and_not_lost(self) -> None:
        house = House()
        house.delivery.fails["A"] = HOPELESS
        house.reports.trouble = NOT_NOW
        house.accept("A", "ann")
        house.pass_time(100)
        (row,) = house.journal.rows.values()
        self.assertEqual((row.recipient.reason, row.recipient.tries), (HOPELESS.status, 1))
        self.assertIn("bounce: warning: A: its sender cannot be told yet", "\n".join(self.log()))
        house.reports.trouble = None
        house.pass_time(220)
        self.assertEqual(house.has("julien"), ["0000000001"])

    def test_nor_is_it_lost_where_the_journal_cannot_take_the_report(self) -> None:
        house = House()
        house.delivery.fails["A"] = HOPELESS
        house.journal.fails.add("exchange")
        house.accept("A", "ann")
        house.pass_time(100)
        self.assertEqual(len(house.journal.rows), 1)
        house.journal.fails.clear()
        house.pass_time(220)
        self.assertEqual(house.has("julien"), ["0000000002"])

    def test_a_report_that_breaks_is_logged_whole_and_tried_again(self) -> None:
        house = House()
        house.delivery.fails["A"] = HOPELESS
        house.reports.trouble = ZeroDivisionError()
        house.accept("A", "ann")
        house.pass_time(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        house.reports.trouble = None
        house.pass_time(310)
        self.assertEqual(house.has("julien"), ["0000000001"])

    def test_a_flood_of_failures_is_told_to_the_last(self) -> None:
        self.patch(notices, "MOST_GATHERED", 50)
        house = House(running=False)
        house.users.gone.add("ann")
        for number in range(300):
            house.journal.admit(message(f"A{number}"), [recipient("ann")], content(), now=0.0)
        house.runner.start()
        house.turn(50)
        house.pass_time(10_000, 10)
        self.assertEqual(sorted(queue_id for _, queue_id, _ in house.reports.made), sorted(f"A{n}" for n in range(300)))


class ExpiryTests(RunnerTestCase):
    def test_with_a_lifetime_of_nothing_one_try_is_all(self) -> None:
        house = House(schedule=Schedule(lifetime=0))
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.pass_time(2)
        self.assertEqual(house.reports.made, [("failed", "A", ["ann 4.2.2"])])
        self.assertIn("qmgr: A: from=<julien@lan.example>, status=expired, returned to sender", self.log())

    def test_after_the_first_try_beyond_its_lifetime_its_sender_hears_and_not_before(self) -> None:
        house = House(schedule=Schedule(minimal=1000, maximal=1000, lifetime=7200))
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.pass_time(7_990, 5)
        self.assertEqual(house.reports.made, [])
        house.pass_time(100, 5)
        self.assertEqual(house.reports.made, [("failed", "A", ["ann 4.2.2"])])

    def test_the_null_sender_has_a_lifetime_of_its_own(self) -> None:
        house = House(schedule=Schedule(lifetime=1e6, bounce_lifetime=600))
        house.delivery.fails["A"] = house.delivery.fails["B"] = QUOTA
        house.accept("A", "ann", sender="")
        house.accept("B", "ann")
        house.pass_time(1300, 5)
        self.assertEqual([queue_id for _, queue_id, _ in house.reports.made], ["A"])

    def test_what_was_never_tried_does_not_expire(self) -> None:
        house = House(running=False, schedule=Schedule(lifetime=100))
        house.journal.admit(message("A"), [recipient("ann")], content(), now=0.0)
        house.clock.advance(1e6)
        house.runner.start()
        house.turn()
        self.assertEqual((house.has("ann"), house.reports.made), (["A"], []))

    def test_what_is_held_does_not_expire(self) -> None:
        house = House(schedule=Schedule(lifetime=1000))
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.turn()
        house.journal.hold(None)
        house.pass_time(5000, 5)
        self.assertEqual(house.reports.made, [])

    def test_what_is_put_on_hold_while_its_mailbox_is_locked_does_not_expire_with_that(self) -> None:
        house = House(schedule=Schedule(lifetime=0))
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(5)
        house.journal.hold(["A"])
        house.pass_time(60)
        self.assertEqual(house.reports.made, [])
        self.assertEqual([row.recipient.held for row in house.journal.rows.values()], [True])

    def test_what_is_requeued_meanwhile_has_a_whole_lifetime(self) -> None:
        house = House(schedule=Schedule(minimal=10, lifetime=18))
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(15)
        house.journal.requeue(["A"], now=house.queue_clock.seconds())
        house.pass_time(10)
        self.assertEqual(house.reports.made, [])
        house.pass_time(60)
        self.assertEqual(len(house.reports.made), 1)

    def test_what_waits_for_its_next_try_when_its_life_ends_has_that_one(self) -> None:
        house = House(schedule=Schedule(minimal=10_000, maximal=10_000, lifetime=600))
        house.delivery.fails["A"] = house.delivery.fails["B"] = QUOTA
        house.accept("A", "ann")
        house.accept("B", "bob")
        house.pass_time(9_990, 10)
        self.assertEqual(house.reports.made, [])
        del house.delivery.fails["A"]
        house.pass_time(30, 10)
        self.assertEqual(house.has("ann"), ["A"])
        self.assertEqual(house.reports.made, [("failed", "B", ["bob 4.2.2"])])

    def test_what_is_due_when_its_life_ends_has_a_last_try(self) -> None:
        house = House(schedule=Schedule(lifetime=600), queue_run_delay=1000)
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.turn()
        house.delivery.fails.clear()
        house.journal.clock_at_start = 2000.0
        house = House(house.journal, schedule=Schedule(lifetime=600))
        house.pass_time(2)
        self.assertEqual((house.has("ann"), house.reports.made), (["A"], []))

    def test_a_mass_of_them_is_told_page_by_page(self) -> None:
        self.patch(notices, "MOST_GATHERED", 50)
        house = House(schedule=Schedule(minimal=10_000, maximal=10_000, lifetime=0))
        house.delivery.locked.add("ann")
        for number in range(1200):
            house.accept(f"A{number}", "ann")
        house.pass_time(1000, 5)
        self.assertEqual(len(house.reports.made), 1200)
        self.assertEqual(len(house.has("julien")), 1200)


class DelayTests(RunnerTestCase):
    def test_a_sender_is_told_once_that_it_is_late(self) -> None:
        house = House(schedule=Schedule(warning=1000))
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.pass_time(999, 3)
        self.assertEqual(house.reports.made, [])
        house.pass_time(5000, 5)
        self.assertEqual(house.reports.made, [("delayed", "A", ["ann 4.2.2"])])
        self.assertIn("bounce: A: sender delay notification: 0000000001", self.log())
        house.delivery.fails.clear()
        house.pass_time(4100, 5)
        self.assertEqual(house.has("ann"), ["A"])

    def test_without_a_time_nobody_is(self) -> None:
        house = House()
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.pass_time(50_000, 50)
        self.assertEqual(house.reports.made, [])

    def test_who_does_not_want_to_hear_is_not_asked_at_every_look(self) -> None:
        house = House(schedule=Schedule(warning=1000))
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann", sender="")
        house.pass_time(10_000, 10)
        self.assertEqual(len(house.reports.made), 1)


class SuccessTests(RunnerTestCase):
    def test_who_asked_for_it_hears_that_it_arrived(self) -> None:
        house = House()
        house.accept("A", "ann", notify="SUCCESS,FAILURE")
        house.pass_time(4)
        self.assertEqual(house.reports.made, [("delivered", "A", ["ann 2.0.0"])])
        self.assertEqual(house.has("julien"), ["0000000001"])
        self.assertIn("bounce: A: sender delivery status notification: 0000000001", self.log())
        self.assertEqual(house.journal.rows, {})

    def test_who_did_not_does_not(self) -> None:
        house = House()
        house.accept("A", "ann")
        house.accept("B", "ann", notify="FAILURE,DELAY")
        house.pass_time(400)
        self.assertEqual(house.reports.made, [])

    def test_of_a_list_it_is_told_that_it_was_served_and_not_who_is_in_it(self) -> None:
        house = House()
        house.accept("A", "ann", "bob", notify="SUCCESS", expanded=True)
        house.pass_time(4)
        self.assertEqual([kind for kind, _, _ in house.reports.made], ["expanded"])

    def test_an_arrival_that_nobody_told_before_a_crash_is_told_by_the_next_run(self) -> None:
        house = House()
        house.accept("A", "ann", notify="SUCCESS")
        house.turn()
        house = House(house.journal)
        house.pass_time(4)
        self.assertEqual(house.reports.made, [("delivered", "A", ["ann 2.0.0"])])

    def test_an_arrival_is_told_once_though_the_journal_is_looked_through_meanwhile(self) -> None:
        house = House()
        house.threads.closed.add("content")
        house.accept("A", "ann", notify="SUCCESS")
        house.pass_time(400)
        house.threads.closed.clear()
        house.threads.open()
        house.pass_time(400)
        self.assertEqual(len(house.reports.made), 1)

    def test_where_it_cannot_be_told_now_it_is_told_later(self) -> None:
        house = House()
        house.reports.trouble = DISK_FULL
        house.accept("A", "ann", notify="SUCCESS")
        house.pass_time(10)
        self.assertEqual(len(house.journal.rows), 1)
        house.reports.trouble = None
        house.pass_time(300)
        self.assertEqual(house.reports.made, [("delivered", "A", ["ann 2.0.0"])])
        self.assertEqual(house.journal.rows, {})
