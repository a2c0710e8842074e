from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import Any

from lanmail.address import NULL_SENDER
from lanmail.spool.entries import Deferral
from lanmail.spool.incoming import Content
from lanmail.spool.journal import Journal
from lanmail.status import Status, TemporaryFailure
from tests.spool.journals import JournalTestCase, intent, message, queue_id, small, to

LATER = Status(451, "4.2.0", "mailbox is locked by pid 4711 (mutt)")


class AdmitTests(JournalTestCase):
    def test_what_was_admitted_is_there_after_a_stop_with_every_word(self) -> None:
        words = {"client": "unknown[::1]", "helo": "pc", "protocol": "ESMTP", "login": "nel"}
        letter = message(1, sender=NULL_SENDER, message_id="<a@b>", ret="HDRS", envid="QQ1", smtputf8=True, **words)
        facts = {
            "rule": "alias staff",
            "notify": "FAILURE,DELAY",
            "orcpt": "rfc822;staff@example.com",
            "expanded": True,
        }
        text = small(b"\0text\n\n")
        self.assertEqual(self.of(self.journal.admit(letter, [to("ann", **facts), to("nel")], text, now=7.5)), [1, 2])
        ((found, recipient, content),) = self.again().due("ann", 7.5, 10, 1000)
        self.assertEqual(found, letter)
        self.assertEqual(recipient, to("ann", number=1, since=7.5, due=7.5, **facts))
        self.assertEqual(list(content.pieces()), [b"\0text\n\n"])

    def test_a_queue_id_that_is_there_fails_alone_and_temporarily(self) -> None:
        self.admit(1)
        futures = [self.journal.admit(message(n), [to("ann")], small(), now=0.0) for n in (2, 1, 3)]
        self.assertEqual(self.refused(futures[1]), 451)
        self.assertEqual(len(futures[0].result(0)), 1)
        self.assertEqual(len(self.waiting_for("ann")), 3)
        self.assertIsNone(self.journal.trouble)  # the disk is not to blame

    def test_what_cannot_be_written_as_text_fails_alone(self) -> None:
        bad = self.journal.admit(message(1, helo="\ud800"), [to("ann")], small(), now=0.0)
        good = self.journal.admit(message(2), [to("ann")], small(), now=0.0)
        self.journal.turn()
        self.assertIsInstance(bad.exception(0), UnicodeEncodeError)
        self.assertEqual(len(good.result(0)), 1)

    def test_a_message_for_nobody_is_an_error_of_the_one_who_asks(self) -> None:
        self.journal.turn()
        nobody = self.journal.admit(message(1), [], small(), now=0.0)
        self.journal.turn()
        self.assertIsInstance(nobody.exception(0), ValueError)

    def test_a_thousand_recipients_and_many_messages_fit_into_one_transaction(self) -> None:
        futures = [
            self.journal.admit(message(n), [to(f"u{k}") for k in range(300)], small(), now=0.0) for n in range(5)
        ]
        self.journal.turn()
        numbers = [number for future in futures for number in future.result(0)]
        self.assertEqual(numbers, list(range(1, 1501)))

    def test_a_number_is_not_given_twice_while_anybody_may_remember_it(self) -> None:
        (first,) = self.admit(1)
        self.assertEqual(self.of(self.journal.delete(None)), [queue_id(1)])
        (second,) = self.admit(2)
        self.assertEqual(self.of(self.journal.intend([intent(first)])), set())
        self.assertNotEqual(first, second)

    def test_nor_when_all_of_an_earlier_process_is_forgotten_before_the_first_new_message_comes(self) -> None:
        """A checkpoint that was at work on it would forget the new one."""
        (before,) = self.admit(1, "ann")
        self.of(self.journal.intend([intent(before)]))
        self.again()
        self.of(self.journal.forget([before]))
        (number,) = self.admit(2, "ann")
        self.assertGreater(number, before)
        self.of(self.journal.forget([before]))
        self.assertEqual(self.waiting_for("ann"), [number])

    def test_the_last_queue_id_is_remembered_though_its_message_is_gone(self) -> None:
        self.assertEqual((self.journal.last_id(), self.journal.last_id_at_start), ("", ""))
        numbers = self.admit(5)
        self.of(self.journal.forget(numbers))
        self.assertEqual(self.journal.last_id(), queue_id(5))
        self.assertEqual(self.again().last_id_at_start, queue_id(5))

    def test_the_queues_clock_is_kept(self) -> None:
        self.assertEqual(self.journal.clock_at_start, 0.0)
        self.of(self.journal.clock(12.25))
        self.assertEqual(self.again().clock_at_start, 12.25)

    def test_after_a_stop_it_takes_nothing_more(self) -> None:
        self.journal.close()
        self.journal.close()
        self.assertEqual(self.refused(self.journal.admit(message(1), [to("ann")], small(), now=0.0)), 451)

    def test_what_waits_at_a_stop_is_still_done(self) -> None:
        future = self.journal.admit(message(1), [to("ann")], small(), now=0.0)
        self.journal.close()
        self.assertEqual(future.result(0), [1])


class BeforeTheStartTests(JournalTestCase):
    """Between making it and starting it, twistd may have gone to the background: another process."""

    def setUp(self) -> None:
        super().setUp()
        self.admit(1)
        self.journal.close()
        self.journal = Journal(self.path, self.incoming, self.report, connect=self.faults.connect)
        self.addCleanup(self.journal.close)

    def test_no_file_is_open_whose_locks_a_fork_would_lose(self) -> None:
        paths = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
        self.assertEqual([path for path in paths if path.startswith(self.path)], [])

    def test_it_can_be_read(self) -> None:
        self.assertEqual(self.journal.waiting(), [("ann", 1, 0.0)])
        self.assertEqual(self.journal.standing_users(), [])

    def test_it_writes_once_it_is_started_in_whatever_process(self) -> None:
        pid = os.fork()
        if not pid:
            try:
                self.journal.start()
                self.journal.admit(message(2), [to("ann")], small(), now=0.0).result(10)
                self.journal.close()
                os._exit(0)
            finally:
                os._exit(1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual(len(self.waiting_for("ann")), 2)


class FileTests(JournalTestCase):
    def test_a_file_is_the_journals_from_the_commit_on_and_goes_with_the_last_recipient(self) -> None:
        content = self.large(1)
        numbers = self.admit(1, "ann", "nel", content=content)
        self.assertTrue(content.kept)
        content.discard()  # as IncomingMessage does at its end
        ((_, _, read),) = self.journal.due("ann", 0.0, 1, 1)
        self.assertEqual(sum(map(len, read.pieces())), content.size)
        self.of(self.journal.forget(numbers[:1]))
        self.assertEqual(self.files(), [queue_id(1)])
        self.of(self.journal.forget(numbers[1:]))
        self.assertEqual(self.files(), [])

    def test_a_file_whose_message_is_refused_stays_the_callers(self) -> None:
        self.admit(1)
        content = self.large(1)
        self.assertEqual(self.refused(self.journal.admit(message(1), [to("ann")], content, now=0.0)), 451)
        self.assertFalse(content.kept)

    def test_two_messages_cannot_have_one_file(self) -> None:
        content = self.large(1)
        self.admit(1, content=content)
        self.assertEqual(self.refused(self.journal.admit(message(2), [to("ann")], content, now=0.0)), 451)

    def test_a_deleted_message_takes_its_file_along(self) -> None:
        self.admit(1, content=self.large(1))
        self.of(self.journal.delete([queue_id(1)]))
        self.assertEqual(self.files(), [])

    def test_at_the_start_files_that_no_row_names_are_swept(self) -> None:
        self.admit(1, content=self.large(1))
        self.large(2)
        journal = self.again()
        journal.start()
        self.assertEqual(self.files(), [queue_id(1)])
        journal.close()


class WayTests(JournalTestCase):
    """From waiting to away."""

    def test_only_one_of_two_may_write_a_recipients_copy(self) -> None:
        (number,) = self.admit(1)
        futures = [self.journal.intend([intent(number, offset=n)]) for n in range(2)]
        self.journal.turn()
        self.assertEqual([future.result(0) for future in futures], [{number}, set()])
        (standing,) = self.journal.standing()
        self.assertEqual((standing.intent.offset, standing.marked), (0, False))

    def test_held_or_gone_or_begun_may_not_be_written(self) -> None:
        numbers = self.admit(1, "ann") + self.admit(2, "ann") + self.admit(3, "ann") + self.admit(4, "ann")
        self.of(self.journal.hold([queue_id(1)]))
        self.of(self.journal.delete([queue_id(2)]))
        self.of(self.journal.intend([intent(numbers[2])]))
        self.assertEqual(self.of(self.journal.intend([intent(n) for n in [*numbers, 999]])), {numbers[3]})

    def test_an_intent_keeps_the_whole_of_what_a_file_system_may_say(self) -> None:
        (number,) = self.admit(1)
        most = intent(number, device=2**64 - 1, inode=2**63, offset=2**40)
        self.of(self.journal.intend([most]))
        (standing,) = self.again().standing("ann")
        self.assertEqual(standing.intent, most)

    def test_what_is_marked_is_standing_and_no_longer_waiting(self) -> None:
        numbers = self.admit(1, "ann", "nel")
        self.of(self.journal.intend([intent(n) for n in numbers]))
        self.of(self.journal.mark(numbers[:1]))
        self.assertEqual([(s.recipient.number, s.marked) for s in self.journal.standing()], [(1, True), (2, False)])
        self.assertEqual(self.journal.waiting(), [])
        self.assertEqual(self.journal.standing_users(), ["ann", "nel"])

    def test_a_mark_needs_an_intent(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.mark(numbers))
        self.assertEqual(self.waiting_for("ann"), numbers)
        self.assertEqual(len(self.journal.listing(0, 10)), 1)

    def test_what_was_not_written_waits_again(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.intend([intent(1)]))
        self.of(self.journal.mark(numbers))  # as recovery finds it when the power took what was marked
        self.of(self.journal.unbegin(numbers))
        self.assertEqual(self.waiting_for("ann"), numbers)
        self.assertEqual(self.of(self.journal.intend([intent(1)])), {1})
        (standing,) = self.journal.standing()
        self.assertFalse(standing.marked)

    def test_what_the_mailbox_has_for_certain_is_forgotten_with_its_message(self) -> None:
        numbers = self.admit(1, "ann", "nel")
        self.of(self.journal.intend([intent(n) for n in numbers]))
        self.of(self.journal.forget(numbers[:1]))
        self.assertEqual(self.rows(), 2)
        self.of(self.journal.forget(numbers))
        self.assertEqual(self.rows(), 0)

    def test_a_deferral_keeps_its_reason_and_its_time(self) -> None:
        numbers = self.admit(1)
        for due in (300.0, 600.5):
            self.of(self.journal.defer([Deferral(numbers[0], due, LATER)]))
        self.assertEqual(self.journal.due("ann", 600.0, 10, 1000), [])
        ((_, recipient, _),) = self.journal.due("ann", 600.5, 10, 1000)
        self.assertEqual((recipient.tries, recipient.reason, recipient.due), (2, LATER, 600.5))
        self.assertEqual(self.journal.waiting(), [("ann", 1, 600.5)])

    def test_what_does_not_wait_is_not_deferred(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.intend([intent(1)]))
        self.of(self.journal.defer([Deferral(numbers[0], 300.0, LATER), Deferral(999, 300.0, LATER)]))
        self.of(self.journal.unbegin(numbers))
        self.assertEqual(self.journal.waiting(), [("ann", 1, 0.0)])

    def test_jobs_are_done_in_the_order_in_which_they_were_asked_for(self) -> None:
        (number,) = self.admit(1)
        futures: list[Future[Any]] = [
            self.journal.hold(None), self.journal.intend([intent(number)]), self.journal.release(None),
            self.journal.intend([intent(number)]), self.journal.mark([number]), self.journal.forget([number]),
        ]  # fmt: skip
        self.journal.turn()
        self.assertEqual([f.result(0) for f in futures], [[queue_id(1)], set(), [queue_id(1)], {1}, None, None])
        self.assertEqual(self.rows(), 0)


class OwedTests(JournalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.numbers = self.admit(1, to("ann", notify="SUCCESS,FAILURE"), to("nel", notify="FAILURE"))
        self.of(self.journal.intend([intent(n) for n in self.numbers]))
        self.assertEqual(self.journal.owed(10), [])
        self.of(self.journal.mark(self.numbers))

    def report_it(self) -> list[list[int]]:
        added = [(message(2, sender=NULL_SENDER), [to("julien")], small())]
        return self.of(self.journal.exchange([], added, now=1.0, reported=[self.numbers[0]]))

    def test_a_success_that_is_owed_outlives_its_mailboxs_checkpoint(self) -> None:
        self.of(self.journal.forget(self.numbers))
        ((_, recipient),) = self.again().owed(10)
        self.assertEqual(recipient.user.name, "ann")
        self.assertEqual(list(self.journal.standing()), [])
        self.assertEqual(self.journal.listing(0, 10), [])
        self.assertEqual(len(self.report_it()), 1)
        self.assertEqual(self.journal.owed(10), [])
        self.assertEqual([found.queue_id for found in self.journal.listing(0, 10)], [queue_id(2)])
        self.assertEqual(self.rows(), 2)

    def test_one_reported_before_the_checkpoint_goes_with_it(self) -> None:
        self.report_it()
        (ann, nel) = self.journal.standing()
        self.assertEqual((ann.owed, nel.owed), (False, False))
        self.of(self.journal.forget(self.numbers))
        self.assertEqual(self.rows(), 2)

    def test_it_is_reported_once(self) -> None:
        self.assertEqual(len(self.report_it()), 1)
        self.assertEqual(self.report_it(), [])
        self.assertEqual(self.waiting_for("julien"), [3])


class ExchangeTests(JournalTestCase):
    def exchange(self, gone: list[int], content: Content | None = None, **more: Any) -> list[list[int]]:
        added = [(message(9, sender=NULL_SENDER), [to("julien"), to("root")], content or small())]
        return self.of(self.journal.exchange(gone, added, now=5.0, **more))

    def test_a_report_takes_the_place_of_what_it_reports(self) -> None:
        numbers = self.admit(1, "ann", "nel", content=self.large(1))
        report = self.large(9)
        ((first, second),) = self.exchange(numbers, report)
        self.assertEqual((self.waiting_for("julien"), self.waiting_for("root")), ([first], [second]))
        self.assertEqual(self.waiting_for("ann"), [])
        self.assertEqual(self.files(), [queue_id(9)])
        self.assertTrue(report.kept)

    def test_what_was_deleted_meanwhile_is_not_reported(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.delete(None))
        report = self.large(9)
        self.assertEqual(self.exchange(numbers, report), [])
        self.assertEqual(self.rows(), 0)

    def test_what_is_held_meanwhile_is_not_reported_and_stays(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.hold(None))
        before = self.rows()
        self.assertEqual(self.exchange(numbers), [])
        self.assertEqual(self.rows(), before)

    def test_what_is_being_written_meanwhile_is_not_reported_and_not_removed(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.intend([intent(1)]))
        self.assertEqual(self.exchange(numbers), [])
        self.assertEqual(len(list(self.journal.standing())), 1)

    def test_one_of_two_is_reason_enough(self) -> None:
        numbers = self.admit(1, "ann", "nel")
        self.of(self.journal.intend([intent(1)]))
        self.assertEqual(len(self.exchange(numbers)), 1)
        self.assertEqual(self.waiting_for("nel"), [])

    def test_with_nothing_to_add_rows_just_go(self) -> None:
        numbers = self.admit(1)
        self.assertEqual(self.of(self.journal.exchange(numbers, [], now=5.0)), [])
        self.assertEqual(self.rows(), 0)

    def test_a_delay_is_told_once(self) -> None:
        numbers = self.admit(1)
        self.of(self.journal.defer([Deferral(numbers[0], 300.0, LATER)]))
        self.assertEqual(len(self.journal.late(100.0, 100.0, 10)), 1)
        self.assertEqual(len(self.exchange([], warned=numbers)), 1)
        self.assertEqual(self.journal.late(100.0, 100.0, 10), [])
        self.assertEqual(self.exchange([], warned=numbers), [])
        self.assertEqual(self.waiting_for("ann"), numbers)

    def test_one_that_fails_leaves_everything_as_it_was(self) -> None:
        numbers = self.admit(1)
        added = [(message(2), [to("julien")], small()), (message(2), [to("julien")], small())]
        self.assertEqual(self.refused(self.journal.exchange(numbers, added, now=0.0)), 451)
        self.assertEqual((self.waiting_for("ann"), self.waiting_for("julien")), (numbers, []))


class QueueCommandTests(JournalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first = self.admit(1, "ann", "nel")
        self.second = self.admit(2, "ann")

    def test_what_is_held_is_not_due_until_it_is_released(self) -> None:
        self.assertEqual(self.of(self.journal.hold([queue_id(1), "FFFFFFFFFF"])), [queue_id(1)])
        self.assertEqual(self.of(self.journal.hold([queue_id(1)])), [])
        self.assertEqual((self.waiting_for("ann"), self.waiting_for("nel")), (self.second, []))
        self.assertEqual(self.journal.waiting(), [("ann", 1, 0.0)])
        self.assertTrue(self.journal.listing(0, 10)[0].recipients[0].held)
        self.assertEqual(self.of(self.journal.release(None)), [queue_id(1)])
        self.assertEqual(self.waiting_for("nel"), self.first[1:])

    def test_all_means_all_that_waits(self) -> None:
        self.of(self.journal.intend([intent(self.first[0])]))
        self.assertEqual(self.of(self.journal.hold(None)), [queue_id(1), queue_id(2)])
        self.assertEqual(self.of(self.journal.delete(None)), [queue_id(1), queue_id(2)])
        # What is being written at this moment is not taken from under the pen.
        (standing,) = self.journal.standing()
        self.assertEqual(standing.recipient.number, self.first[0])
        self.assertEqual(self.of(self.journal.delete(None)), [])

    def test_requeue_begins_a_new_life(self) -> None:
        self.of(self.journal.defer([Deferral(self.second[0], 300.0, LATER)]))
        self.of(self.journal.exchange([], [], now=0.0, warned=self.second))
        self.of(self.journal.hold([queue_id(2)]))
        self.assertEqual(self.of(self.journal.requeue([queue_id(2)], now=50.0)), [queue_id(2)])
        ((_, recipient, _),) = self.journal.due("ann", 50.0, 10, 1000)[1:]
        self.assertEqual(recipient, to("ann", number=self.second[0], since=50.0, due=50.0))
        self.assertEqual(self.journal.overdue(51.0, 10.0, 10.0, 10), [])

    def test_flush_makes_due_what_was_deferred_but_not_what_is_held(self) -> None:
        self.of(self.journal.defer([Deferral(n, 300.0, LATER) for n in self.first + self.second]))
        self.of(self.journal.hold([queue_id(1)]))
        self.assertEqual(self.of(self.journal.flush(None, now=20.0)), [queue_id(2)])
        self.assertEqual(self.journal.waiting(), [("ann", 1, 20.0)])
        # Whoever waited longer does not wait longer still.
        self.of(self.journal.flush([queue_id(2)], now=30.0))
        self.assertEqual(self.journal.waiting(), [("ann", 1, 20.0)])

    def test_a_message_is_unfinished_until_every_mailbox_has_it(self) -> None:
        self.assertEqual(self.journal.unfinished([queue_id(1), "nothing"]), {queue_id(1)})
        self.of(self.journal.intend([intent(number) for number in self.first]))
        self.of(self.journal.mark(self.first[1:]))
        self.assertEqual(self.journal.unfinished([queue_id(1)]), {queue_id(1)})
        self.of(self.journal.mark(self.first))
        self.assertEqual(self.journal.unfinished([queue_id(1)]), set())

    def test_find_and_content_know_a_message_by_its_id(self) -> None:
        found = self.journal.find(queue_id(1))
        assert found is not None
        letter, recipients, content = found
        self.assertEqual((letter, [r.number for r in recipients]), (message(1), self.first))
        self.assertEqual(b"".join(content.pieces()), b"".join(small().pieces()))
        self.assertIsNone(self.journal.find("nothing"))
        self.assertIsNone(self.journal.content("nothing"))
        self.of(self.journal.delete(None))
        self.assertRaises(FileNotFoundError, list, content.pieces())


class ThreadTests(JournalTestCase):
    """The writer as it runs in the service."""

    def setUp(self) -> None:
        super().setUp()
        self.journal.close()
        self.journal = Journal(self.path, self.incoming, self.report, connect=self.faults.connect)
        self.addCleanup(self.journal.close)
        self.journal.start()

    def test_what_comes_while_a_commit_is_under_way_shares_the_next_one(self) -> None:
        begun, may_end = threading.Event(), threading.Event()

        def change(db: object, after: object, asked: list[None]) -> list[None]:
            begun.set()
            may_end.wait(10)
            return asked

        self.journal._commits.submit(change, None, flush=False)
        begun.wait(10)
        self.faults.said.clear()
        futures: list[Future[list[int]]] = []

        def client(number: int) -> None:
            futures.append(self.journal.admit(message(number), [to("ann")], small(), now=0.0))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertFalse(any(future.done() for future in futures))
        may_end.set()
        self.assertEqual(sorted(future.result(10)[0] for future in futures), [1, 2])
        self.assertEqual((self.faults.said.count("BEGIN IMMEDIATE"), self.faults.said.count("COMMIT")), (1, 2))

    def test_many_threads_at_once_are_all_served_and_seen(self) -> None:
        faults: list[BaseException] = []

        def client(of: int) -> None:
            try:
                for n in range(20):
                    (number,) = self.journal.admit(message(of * 100 + n), [to(f"u{of}")], small(), now=0.0).result(30)
                    assert number in [r.number for _, r, _ in self.journal.due(f"u{of}", 0.0, 100, 1 << 20)]
                    assert self.journal.intend([intent(number)]).result(30) == {number}
                    self.journal.mark([number])
                    self.journal.forget([number]).result(30)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=client, args=(of,)) for of in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        self.assertEqual(self.rows(), 0)

    def test_a_job_whose_asker_gave_up_is_not_done(self) -> None:
        begun, may_end = threading.Event(), threading.Event()

        def change(db: object, after: object, asked: list[None]) -> list[None]:
            begun.set()
            may_end.wait(10)
            return asked

        self.journal._commits.submit(change, None, flush=False)
        begun.wait(10)
        future = self.journal.admit(message(1), [to("ann")], small(), now=0.0)
        self.assertTrue(future.cancel())
        may_end.set()
        self.journal.clock(1.0).result(10)
        self.assertEqual(self.journal.waiting(), [])

    def test_after_it_was_closed_no_file_but_its_own_is_left(self) -> None:
        self.journal.admit(message(1), [to("ann")], small(), now=0.0).result(10)
        self.journal.close()
        self.assertEqual(sorted(os.listdir(self.folder)), ["incoming", "journal-0"])
        self.assertRaises(TemporaryFailure, self.journal.admit(message(2), [to("ann")], small(), now=0.0).result, 0)
