from __future__ import annotations

from itertools import pairwise

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.locks import UNSAFE, MailboxUnsafe
from lanmail.mailbox.turns import WithColleague
from lanmail.queue import runner
from lanmail.queue.rounds import HELD_UP
from lanmail.queue.schedule import Schedule
from lanmail.status import PermanentFailure, Status, TemporaryFailure
from tests.queue.house import DISK_FULL, House, RememberedJournal, content, message, recipient

QUOTA = TemporaryFailure(Status(452, "4.2.2", "Mailbox is full"))
HOPELESS = PermanentFailure(Status(552, "5.2.3", "Message is too large"))
LARGE = 2 * 1024 * 1024


class RunnerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def log(self) -> list[str]:
        mine = ("qmgr", "local", "bounce")
        return [f"{e['log_namespace']}: {formatEvent(e)}" for e in self.events if e.get("log_namespace") in mine]

    def stop(self, house: House) -> None:
        self.successResultOf(Deferred.fromCoroutine(house.runner.stop()))


class AcceptTests(RunnerTestCase):
    def test_a_message_is_in_its_mailboxes_a_moment_later(self) -> None:
        house = House()
        self.successResultOf(house.accept("A", "ann", "bob"))
        self.assertEqual(house.has("ann"), [])  # nobody waited for it
        house.turn()
        self.assertEqual((house.has("ann"), house.has("bob")), (["A"], ["A"]))

    def test_the_answer_does_not_wait_for_the_delivery(self) -> None:
        house = House()
        house.threads.closed.add("deliver")
        for number in range(100):
            self.successResultOf(house.accept(f"A{number}", "ann"))
            house.turn(1)
        self.assertEqual(house.has("ann"), [])

    def test_the_log_says_what_postfix_would(self) -> None:
        house = House()
        house.accept("222CF6745D", "ann", "bob", size=4711)
        house.turn()
        self.assertEqual(
            self.log(),
            [
                "qmgr: 222CF6745D: from=<julien@lan.example>, size=4711, nrcpt=2 (queue active)",
                "local: 222CF6745D: to=<ann@lan.example>, relay=local, delay=0.00, dsn=2.0.0, status=sent"
                " (delivered to mailbox)",
                "local: 222CF6745D: to=<bob@lan.example>, relay=local, delay=0.00, dsn=2.0.0, status=sent"
                " (delivered to mailbox)",
                "qmgr: 222CF6745D: removed",
            ],
        )

    def test_its_story_is_told(self) -> None:
        house = House()
        house.accept("A", "ann", "bob")
        house.turn()
        self.assertEqual(house.story("A"), ["received", "recipient", "recipient", "delivered", "delivered"])
        self.assertEqual(house.said[0][2]["message_id"], "<A@lan.example>")
        self.assertEqual(house.said[3][2], {"user": "ann", "recipient": "ann@lan.example", "delay": 0.0})

    def test_a_large_one_is_flushed_before_the_journal_hears_of_it(self) -> None:
        house = House()
        self.successResultOf(house.accept("A", "ann", size=LARGE))
        self.assertEqual(house.folder.synced, ["222CF6745D"])

    def test_a_large_one_that_cannot_be_flushed_is_not_taken(self) -> None:
        house = House()
        house.folder.raises = OSError(28, "No space left on device")
        failure = self.failureResultOf(house.accept("A", "ann", size=LARGE), TemporaryFailure).value
        self.assertEqual(failure.status.code, 452)
        self.assertEqual(house.journal.rows, {})

    def test_what_the_journal_does_not_take_is_told_to_whoever_waits_and_to_nobody_else(self) -> None:
        house = House()
        house.journal.fails.add("admit")
        failure = self.failureResultOf(house.accept("A", "ann"), TemporaryFailure).value
        house.turn()
        self.assertEqual(failure.status, DISK_FULL.status)
        self.assertEqual((house.has("ann"), self.log(), house.said), ([], [], []))

    def test_who_no_longer_waits_for_the_answer_has_sent_it_all_the_same(self) -> None:
        house = House()
        house.journal.held_back = []
        sent = house.accept("A", "ann")
        sent.addErrback(lambda _: None)
        sent.cancel()
        house.journal.resolve()
        house.turn()
        self.assertEqual(house.has("ann"), ["A"])

    def test_before_a_start_and_after_a_stop_it_stays_in_the_journal(self) -> None:
        house = House(running=False)
        self.successResultOf(house.accept("A", "ann"))
        house.turn()
        self.assertEqual((house.has("ann"), len(house.journal.rows)), ([], 1))
        house.runner.start()
        house.turn()
        self.assertEqual(house.has("ann"), ["A"])


class FairnessTests(RunnerTestCase):
    def test_a_thousand_for_one_do_not_delay_one_each_for_two_hundred_others(self) -> None:
        house = House()
        house.threads.closed.add("deliver")
        for number in range(1000):
            house.accept(f"F{number:04d}", "flooded")
        for number in range(200):
            house.accept(f"A{number:03d}", f"user{number}")
        rounds = 0
        while not all(house.has(f"user{number}") for number in range(200)):
            house.turn(2)
            house.threads.open()
            house.turn(2)
            rounds += 1
            self.assertLess(rounds, 20)
        self.assertLess(len(house.has("flooded")), 800)
        house.threads.closed.clear()
        house.threads.open()
        house.turn(200)
        self.assertEqual(house.has("flooded"), [f"F{number:04d}" for number in range(1000)])

    def test_a_locked_mailbox_delays_nobody_else(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann", *(f"user{number}" for number in range(200)))
        house.turn()
        self.assertTrue(all(house.has(f"user{number}") for number in range(200)))
        house.accept("B", "ann", "bob")
        house.turn()
        self.assertEqual(house.has("bob"), ["B"])
        house.delivery.locked.clear()
        house.pass_time(2, 0.05)
        self.assertEqual(house.has("ann"), ["A", "B"])

    def test_where_a_colleague_has_it_nothing_is_deferred_however_long_that_takes(self) -> None:
        for worker in (None, 2):  # at work in it; and gone, with something left to put right
            with self.subTest(worker=worker):
                house = House(patience=1.0)
                house.delivery.troubles["ann"] = WithColleague("ann", worker)
                house.accept("A", "ann")
                house.pass_time(300, 0.25)
                self.assertEqual((house.has("ann"), house.journal.calls.count("defer")), ([], 0))
                house.delivery.troubles.clear()
                house.pass_time(2, 0.25)
                self.assertEqual(house.has("ann"), ["A"])

    def test_many_locked_mailboxes_take_no_thread_and_little_memory(self) -> None:
        house = House(room=1_000_000)
        names = [f"user{number}" for number in range(300)]
        house.delivery.locked.update(names)
        for name in names:
            house.accept(f"A{name}", name, size=50_000)
        house.turn(50)
        house.accept("B", "bob")
        house.turn()
        self.assertEqual(house.has("bob"), ["B"])
        house.delivery.locked.clear()
        house.pass_time(10)
        self.assertTrue(all(house.has(name) == [f"A{name}"] for name in names))

    def test_large_messages_leave_a_thread_to_the_small_ones(self) -> None:
        house = House(rounds=4)
        house.threads.closed.add("deliver")
        for number in range(10):
            house.accept(f"L{number}", f"large{number}", size=LARGE)
        house.turn()
        house.accept("S", "ann")
        house.turn()
        self.assertEqual(len(house.threads.waiting), 4)
        self.assertEqual([batch.user.name for batch in house.threads.waiting[-1][2][0]], ["ann"])
        self.assertTrue(all(len(args[0]) == 1 for _, _, args in house.threads.waiting))

    def test_while_all_threads_are_at_work_mail_gathers_for_the_next_round(self) -> None:
        house = House(rounds=1)
        house.threads.closed.add("deliver")
        house.accept("A0", "ann")
        house.turn()
        for number in range(1, 41):
            house.accept(f"A{number}", "ann")
            house.turn(1)
        house.threads.open()
        house.turn()
        house.threads.open()
        self.assertEqual([len(one["ann"]) for one in house.delivery.rounds], [1, 40])

    def test_one_round_is_under_way_and_others_begin_where_it_is_held_up(self) -> None:
        house = House(rounds=4)
        house.threads.closed.add("deliver")

        def at_work() -> list[str]:
            return [batch.user.name for _, _, args in house.threads.waiting for batch in args[0]]

        for name in ("ann", "bob", "carl"):
            house.accept(name[0], name)
            house.turn()
        self.assertEqual(at_work(), ["ann"])
        house.pass_time(HELD_UP, HELD_UP)
        self.assertEqual(at_work(), ["ann", "bob", "carl"])  # the two that gathered are one round
        house.accept("D", "dora")
        house.turn()
        self.assertEqual(len(at_work()), 3)
        house.threads.open()
        house.turn()
        self.assertEqual(at_work(), ["dora"])

    def test_where_only_those_that_are_held_up_are_left_nobody_waits(self) -> None:
        house = House(rounds=4)
        house.threads.closed.add("deliver")
        house.accept("A", "ann")
        house.pass_time(2 * HELD_UP, HELD_UP)
        house.threads.closed.clear()
        house.accept("B", "bob")
        house.turn()
        house.accept("C", "carl")
        house.turn()
        self.assertEqual((house.has("ann"), house.has("bob"), house.has("carl")), ([], ["B"], ["C"]))


class BusyTests(RunnerTestCase):
    def test_it_is_tried_again_in_pauses_that_grow_to_a_second(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.turn()
        house.pass_time(2, 0.01)
        early = len(house.delivery.rounds)
        self.assertTrue(4 <= early <= 10, early)
        house.pass_time(10, 0.01)
        self.assertTrue(6 <= len(house.delivery.rounds) - early <= 20, len(house.delivery.rounds) - early)

    def test_when_patience_is_over_all_that_waits_for_it_is_deferred(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        for number in range(3):
            house.accept(f"A{number}", "ann")
        house.pass_time(22, 0.1)
        rows = [row.recipient for row in house.journal.rows.values()]
        self.assertEqual([row.tries for row in rows], [1, 1, 1])
        self.assertTrue(all(315 < row.due < 325 for row in rows))
        self.assertRegex(
            self.log()[-1],
            r"\Alocal: A2: to=<ann@lan\.example>, relay=local, delay=2\d\.\d\d, dsn=4\.2\.0, status=deferred"
            r" \(cannot lock /var/mail/ann: held by pid 4711 \(mutt\)\)\Z",
        )
        self.assertEqual(house.story("A0"), ["received", "recipient", "deferred"])

    def test_all_of_it_at_once_and_not_portion_by_portion(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        for number in range(90):
            house.accept(f"A{number}", "ann")
        before = 0
        while not any(row.recipient.tries for row in house.journal.rows.values()):
            before = len(house.delivery.rounds)
            house.clock.advance(0.1)
        self.assertEqual(len(house.delivery.rounds) - before, 1)
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [1] * 90)

    def test_a_mailbox_that_was_free_in_between_gets_all_our_patience_again(self) -> None:
        house = House()
        for queue_id in "ABC":
            house.delivery.locked.add("ann")
            house.accept(queue_id, "ann")
            house.pass_time(12)
            house.delivery.locked.clear()
            house.pass_time(2)
        self.assertEqual(house.has("ann"), ["A", "B", "C"])
        self.assertEqual([line for line in self.log() if "deferred" in line], [])

    def test_what_comes_for_it_later_has_one_try(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(22, 0.1)
        before = len(house.delivery.rounds)
        house.accept("B", "ann")
        house.pass_time(20)
        self.assertEqual(len(house.delivery.rounds) - before, 1)
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [1, 1])

    def test_it_is_delivered_when_it_is_tried_again_and_free(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(22, 0.1)
        house.delivery.locked.clear()
        house.pass_time(290)
        self.assertEqual(house.has("ann"), [])
        house.pass_time(20)
        self.assertEqual(house.has("ann"), ["A"])
        self.assertIn("qmgr: A: removed", self.log())

    def test_a_flood_for_a_locked_mailbox_is_deferred_to_the_last(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        for number in range(500):
            house.accept(f"A{number}", "ann")
        house.pass_time(60, 0.5)
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [1] * 500)
        house.delivery.locked.clear()
        house.pass_time(400)
        self.assertEqual(sorted(house.has("ann")), sorted(f"A{number}" for number in range(500)))

    def test_a_message_for_nobody_is_told_about_and_not_kept(self) -> None:
        house = House()
        house.accept("A")
        house.turn()
        self.assertEqual((house.journal.calls.count("admit"), house.story("A")), (0, ["received"]))
        self.assertIn("qmgr: A: from=<julien@lan.example>, size=10", self.log()[0])

    def test_a_mailbox_that_cannot_be_used_is_deferred_at_once(self) -> None:
        house = House()
        house.delivery.troubles["ann"] = MailboxUnsafe("/var/mail/ann is a symbolic link")
        house.accept("A", "ann")
        house.turn()
        self.assertIn("status=deferred (/var/mail/ann is a symbolic link)", self.log()[-1])
        self.assertEqual(len(house.delivery.rounds), 1)

    def test_postmaster_hears_of_what_he_may_put_right_and_not_of_a_lock_or_a_full_mailbox(self) -> None:
        told: list[tuple[str, Status, str]] = []
        house = House(undelivered=lambda *trouble: told.append(trouble))
        house.delivery.troubles["ann"] = MailboxUnsafe("/var/mail/ann is a symbolic link")
        house.delivery.locked.add("bob")
        house.delivery.fails["C"] = QUOTA
        for queue_id, name in (("A", "ann"), ("B", "bob"), ("C", "zoe")):
            house.accept(queue_id, name)
        house.pass_time(60)
        self.assertEqual(told, [("ann", UNSAFE, "/var/mail/ann is a symbolic link")])


class DeferralTests(RunnerTestCase):
    def test_one_message_that_cannot_be_written_does_not_hold_up_its_neighbours(self) -> None:
        house = House()
        house.delivery.fails["B"] = QUOTA
        for queue_id in "ABC":
            house.accept(queue_id, "ann")
        house.turn()
        self.assertEqual(house.has("ann"), ["A", "C"])
        self.assertIn("dsn=4.2.2, status=deferred (Mailbox is full)", self.log()[-1])

    def test_it_waits_as_the_schedule_says(self) -> None:
        house = House(schedule=Schedule(minimal=100, maximal=1000), queue_run_delay=50)
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        tries = []
        for second in range(5000):
            before = len(house.delivery.rounds)
            house.clock.advance(1)
            if len(house.delivery.rounds) > before:
                tries.append(second)
        pauses = [later - sooner for sooner, later in pairwise(tries)]
        self.assertEqual(len(pauses), 8)
        for pause, wait in zip(pauses, [100, 100, 200, 400, 800, 1000, 1000, 1000], strict=True):
            self.assertTrue(
                wait <= pause <= 1.06 * wait, pauses
            )  # a look comes up to 5 s late, and the next wait grows by that

    def test_a_round_that_fails_unexpectedly_defers_and_goes_on(self) -> None:
        house = House()
        house.delivery.raises = ValueError("nobody thought of this")
        house.accept("A", "ann")
        house.turn()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(house.delivery.rounds), 1)
        house.delivery.raises = None
        house.accept("B", "ann")
        house.turn()
        self.assertEqual(house.has("ann"), ["B"])
        house.pass_time(310)
        self.assertEqual(house.has("ann"), ["B", "A"])

    def test_a_row_that_the_journal_refuses_is_left_alone(self) -> None:
        house = House()
        house.threads.closed.add("deliver")
        house.accept("A", "ann")
        house.turn()
        house.journal.hold(None)
        house.threads.closed.clear()
        house.threads.open()
        house.pass_time(600)
        self.assertEqual(house.has("ann"), [])
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [0])


class StartTests(RunnerTestCase):
    def test_what_an_earlier_run_left_is_delivered(self) -> None:
        house = House(running=False)
        for number in range(50):
            house.journal.admit(message(f"A{number}"), [recipient(f"user{number % 7}")], content(), now=0.0)
        house.runner.start()
        house.turn(50)
        self.assertEqual(sum(len(house.has(f"user{number}")) for number in range(7)), 50)

    def test_a_start_does_not_fire_everything_at_once(self) -> None:
        house = House(running=False, rounds=2)
        house.threads.closed.add("deliver")
        for number in range(5000):
            house.journal.admit(message(f"A{number}"), [recipient(f"user{number % 500}")], content(), now=0.0)
        house.runner.start()
        house.turn(50)
        house.pass_time(5 * HELD_UP, HELD_UP)
        self.assertEqual(len(house.threads.waiting), 2)
        self.assertLess(house.runner._mailboxes.octets, 2_000_000)
        house.threads.closed.clear()
        house.threads.open()
        house.turn(300)
        self.assertEqual(sum(map(len, house.delivery.boxes.values())), 5000)

    def test_a_user_who_is_gone_is_told_to_the_sender_for_all_their_mail(self) -> None:
        house = House(running=False)
        house.users.gone.add("ann")
        for number in range(250):
            house.journal.admit(message(f"A{number}"), [recipient("ann")], content(), now=0.0)
        house.runner.start()
        house.turn(50)
        house.pass_time(10)
        self.assertEqual(len(house.reports.made), 250)
        self.assertEqual(house.reports.made[0], ("failed", "A0", ["ann 5.1.1"]))
        self.assertEqual(house.delivery.boxes.keys(), {"julien"})

    def test_root_has_a_mailbox_though_no_list_of_users_names_it(self) -> None:
        house = House(running=False, also=[recipient("root").user])
        house.users.gone.add("root")
        house.journal.admit(message("A"), [recipient("root")], content(), now=0.0)
        house.runner.start()
        house.turn()
        self.assertEqual(house.has("root"), ["A"])

    def test_while_users_cannot_be_looked_up_their_mail_waits(self) -> None:
        house = House(running=False)
        house.users.trouble = TemporaryFailure(Status(451, "4.3.0", "The list of users cannot be read now"))
        house.journal.admit(message("A"), [recipient("ann")], content(), now=0.0)
        house.runner.start()
        house.turn()
        self.assertIn("status=deferred (The list of users cannot be read now)", self.log()[-1])
        house.users.trouble = None
        house.pass_time(310)
        self.assertEqual(house.has("ann"), ["A"])

    def test_a_look_up_that_breaks_is_a_deferral_and_is_logged_whole(self) -> None:
        house = House(running=False)
        house.users.trouble = ZeroDivisionError()  # type: ignore[assignment]
        house.journal.admit(message("A"), [recipient("ann")], content(), now=0.0)
        house.runner.start()
        house.turn()
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [1])

    def test_the_next_look_comes_when_something_is_due_and_not_only_at_its_interval(self) -> None:
        house = House(queue_run_delay=3600)
        house.delivery.fails["A"] = QUOTA
        house.accept("A", "ann")
        house.turn()
        house.delivery.fails.clear()
        house.pass_time(302)
        self.assertEqual(house.has("ann"), ["A"])

    def test_the_others_have_their_turn_between_the_many_mailboxes_of_a_look(self) -> None:
        self.patch(runner, "NOTICED_AT_ONCE", 2)
        house = House(running=False)
        for number in range(5):
            house.accept(f"A{number}", f"user{number}")
        house = House(house.journal, running=False)
        house.threads.closed.add("_nothing")
        house.runner.start()
        for _ in range(2):
            house.turn()
            self.assertEqual((house.has("user4"), len(house.threads.waiting)), ([], 1))
            house.threads.open()
        house.turn()
        self.assertEqual([house.has(f"user{number}") for number in range(5)], [[f"A{number}"] for number in range(5)])

    def test_an_idle_queue_reads_nothing_between_two_looks(self) -> None:
        house = House()
        house.journal.calls.clear()
        house.pass_time(299)
        self.assertEqual(house.journal.calls, [])
        house.pass_time(2)
        self.assertEqual(house.journal.calls.count("waiting"), 1)

    def test_what_came_in_the_moment_before_a_crash_is_due_at_once(self) -> None:
        house = House(running=False)
        for number in range(100):
            house.clock.advance(0.7)
            house.accept(f"A{number}", "ann")
        self.assertIsNotNone(house.journal.kept_clock)
        house.journal.clock_at_start = house.journal.kept_clock or 0.0
        house = House(house.journal)
        house.turn()
        self.assertEqual(len(house.has("ann")), 100)

    def test_a_clock_on_the_wall_that_jumps_is_not_looked_at(self) -> None:
        journal = RememberedJournal()
        journal.clock_at_start = 5000.0
        journal.admit(message("A"), [recipient("ann")], content(), now=4900.0)
        house = House(journal)
        house.turn()
        self.assertIn("delay=100.00", self.log()[0])


class TroubleTests(RunnerTestCase):
    def test_while_the_journal_cannot_write_nothing_is_tried_and_nothing_spins(self) -> None:
        house = House()
        house.threads.closed.add("deliver")
        house.accept("A", "ann")
        house.turn()
        house.journal.trouble = DISK_FULL.status
        house.threads.closed.clear()
        house.threads.open()
        house.journal.calls.clear()
        house.pass_time(100)
        self.assertEqual(house.has("ann"), [])
        self.assertEqual(house.journal.calls.count("intend"), 0)
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [0])
        house.journal.trouble = None
        house.pass_time(3)
        self.assertEqual(house.has("ann"), ["A"])

    def test_a_journal_that_refuses_is_tried_again_after_a_moment(self) -> None:
        house = House()
        house.journal.fails.add("intend")
        house.accept("A", "ann")
        house.pass_time(15)
        self.assertTrue(5 <= len(house.delivery.rounds) <= 25, house.delivery.rounds)
        house.journal.fails.clear()
        house.pass_time(3)
        self.assertEqual(house.has("ann"), ["A"])

    def test_trouble_that_one_mailbox_has_with_the_journal_delays_nobody_else(self) -> None:
        house = House()
        house.delivery.troubles["ann"] = DISK_FULL
        house.accept("A", "ann")
        house.turn()
        house.accept("B", "bob")
        house.turn()
        self.assertEqual(house.has("bob"), ["B"])
        house.pass_time(30)
        self.assertEqual([row.recipient.tries for row in house.journal.rows.values()], [1])

    def test_a_deferral_that_cannot_be_written_down_is_tried_again_and_does_not_spin(self) -> None:
        house = House()
        house.delivery.fails["A"] = QUOTA
        house.journal.fails.add("defer")
        house.accept("A", "ann")
        house.pass_time(20)
        self.assertTrue(5 <= len(house.delivery.rounds) <= 15, house.delivery.rounds)
        house.delivery.fails.clear()
        house.pass_time(3)
        self.assertEqual(house.has("ann"), ["A"])

    def test_a_queue_that_cannot_be_read_is_read_later_and_does_not_spin(self) -> None:
        house = House(running=False)
        house.journal.admit(message("A"), [recipient("ann")], content(), now=0.0)
        house.journal.fails.add("due")
        house.runner.start()
        house.pass_time(20)
        self.assertTrue(5 <= house.journal.calls.count("due") <= 15)
        house.journal.fails.clear()
        house.pass_time(3)
        self.assertEqual(house.has("ann"), ["A"])

    def test_a_look_that_fails_is_followed_by_the_next(self) -> None:
        house = House(running=False)
        house.journal.admit(message("A"), [recipient("ann")], content(), now=0.0)
        house.journal.fails.add("waiting")
        house.runner.start()
        house.pass_time(10)
        house.journal.fails.clear()
        house.pass_time(300)
        self.assertEqual(house.has("ann"), ["A"])


class FlushingTests(RunnerTestCase):
    def test_a_second_after_a_delivery_the_mailboxes_are_flushed_and_the_rows_are_gone(self) -> None:
        house = House()
        house.accept("A", "ann")
        house.turn()
        self.assertEqual((house.checkpoints.runs, len(house.journal.rows)), (0, 1))
        house.pass_time(1)
        self.assertEqual((house.checkpoints.runs, len(house.journal.rows)), (1, 0))
        house.pass_time(60)
        self.assertEqual(house.checkpoints.runs, 1)

    def test_so_many_messages_do_not_wait_for_the_second(self) -> None:
        house = House(checkpoint_messages=10)
        for number in range(10):
            house.accept(f"A{number}", "ann")
        house.turn()
        self.assertEqual(house.checkpoints.runs, 1)

    def test_never_are_two_under_way(self) -> None:
        house = House(checkpoint_messages=1)
        house.threads.closed.add("run")
        for number in range(10):
            house.accept(f"A{number}", "ann")
            house.pass_time(1)
        self.assertEqual(len(house.threads.waiting), 1)
        house.threads.open()
        house.accept("B", "ann")
        house.turn()
        self.assertEqual(len(house.threads.waiting), 1)

    def test_one_that_fails_is_tried_again_after_a_while(self) -> None:
        house = House()
        house.checkpoints.raises = OSError(5, "Input/output error")
        house.accept("A", "ann")
        house.pass_time(30)
        self.assertTrue(2 <= house.checkpoints.runs <= 4, house.checkpoints.runs)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), house.checkpoints.runs)
        house.checkpoints.raises = None
        house.pass_time(11)
        self.assertEqual(house.journal.rows, {})

    def test_the_clock_is_kept_with_each_and_once_a_minute(self) -> None:
        house = House()
        house.pass_time(130)
        self.assertTrue(house.journal.kept_clock is not None and house.journal.kept_clock > 60)
        house.accept("A", "ann")
        house.pass_time(2)
        self.assertGreaterEqual(house.journal.kept_clock, 131)


class StopTests(RunnerTestCase):
    def test_what_was_delivered_is_flushed_and_the_clock_is_kept(self) -> None:
        house = House()
        house.pass_time(42)
        house.accept("A", "ann")
        house.turn()
        self.stop(house)
        self.assertEqual((house.checkpoints.runs, house.journal.rows), (1, {}))
        self.assertEqual(house.journal.kept_clock, 42)
        self.assertEqual(house.clock.getDelayedCalls(), [])

    def test_rounds_under_way_end_and_none_begins(self) -> None:
        house = House(rounds=1)
        house.threads.closed.add("deliver")
        house.accept("A", "ann")
        house.turn()
        house.accept("B", "ann")
        stopped = Deferred.fromCoroutine(house.runner.stop())
        house.turn()
        self.assertNoResult(stopped)
        self.assertEqual(house.checkpoints.runs, 0)
        house.threads.open()
        house.turn()
        self.successResultOf(stopped)
        self.assertEqual(house.has("ann"), ["A"])
        self.assertEqual([row.message.queue_id for row in house.journal.rows.values()], ["B"])
        self.assertEqual(house.clock.getDelayedCalls(), [])

    def test_with_locked_mailboxes_and_owed_reports_it_ends_at_once(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann", "bob", notify="SUCCESS")
        house.pass_time(0.3, 0.01)
        self.stop(house)
        self.assertEqual(house.clock.getDelayedCalls(), [])
        self.assertEqual(len(house.journal.rows), 2)  # one waits, one is owed

    def test_with_a_broken_disk_it_ends_too(self) -> None:
        house = House()
        house.accept("A", "ann")
        house.turn()
        house.checkpoints.raises = DISK_FULL
        self.stop(house)

    def test_an_order_that_comes_after_it_begins_nothing(self) -> None:
        house = House()
        self.stop(house)
        self.successResultOf(Deferred.fromCoroutine(house.runner.flush(None, 0)))
        self.assertEqual(house.clock.getDelayedCalls(), [])

    def test_the_next_run_goes_on(self) -> None:
        house = House()
        house.delivery.locked.add("ann")
        house.accept("A", "ann")
        house.pass_time(5)
        self.stop(house)
        house.journal.clock_at_start = house.journal.kept_clock or 0.0
        house = House(house.journal)
        house.turn()
        self.assertEqual(house.has("ann"), ["A"])
