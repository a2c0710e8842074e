from __future__ import annotations

import dataclasses

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.mail import Copy, Mail
from lanmail.spool.history_events import FACTS
from lanmail.status import Status
from tests.queue.house import address, content, message, recipient

LOCKED = Status(451, "4.2.0", "Mailbox is in use; try again later")


class ChronicleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.told: list[tuple[str, str, dict[str, str | float]]] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)
        self.chronicle = Chronicle(lambda kind, queue_id, /, **facts: self.told.append((kind, queue_id, facts)))

    def hear(self, event: LogEvent) -> None:
        self.lines.append(f"{event['log_namespace']}: {formatEvent(event)}")

    def copy(self, **facts: object) -> Copy:
        return Copy(Mail(message("A"), content(), 1), dataclasses.replace(recipient("nel"), **facts), 7, 100.0)

    def test_every_fact_that_is_told_is_one_that_the_history_keeps(self) -> None:
        copy = self.copy(rule="alias staff")
        self.chronicle.accepted(message("A"), 1)
        self.chronicle.goes_to(message("A"), [copy.recipient])
        self.chronicle.delivered(copy, 101.0)
        self.chronicle.deferred(copy, LOCKED, "held by mutt", 101.0, 401.0)
        self.chronicle.failed(message("A"), [(copy.row, LOCKED)], 101.0)
        self.chronicle.reported("failed", message("A"), [copy.row], message("B"), address("julien"))
        for kind in ("held", "released", "requeued", "deleted"):
            self.chronicle.ordered(kind, ["A"], 0)
        self.assertEqual(len(self.told), 10)
        for kind, _, facts in self.told:
            self.assertLessEqual(set(facts), set(FACTS[kind]), kind)

    def test_the_address_asked_for_stands_beside_what_an_alias_made_of_it(self) -> None:
        self.chronicle.delivered(self.copy(original=address("staff")), 100.25)
        self.assertEqual(
            self.lines,
            [
                "local: A: to=<nel@lan.example>, orig_to=<staff@lan.example>, relay=local, delay=0.25, dsn=2.0.0,"
                " status=sent (delivered to mailbox)"
            ],
        )

    def test_the_log_may_name_a_path_and_the_story_says_what_a_sender_may_hear(self) -> None:
        self.chronicle.deferred(self.copy(), LOCKED, "cannot lock /var/mail/nel: held by pid 4711 (mutt)", 120.0, 420.0)
        self.assertIn("status=deferred (cannot lock /var/mail/nel: held by pid 4711 (mutt))", self.lines[0])
        self.assertEqual(self.told[0][2]["status"], "451 4.2.0 Mailbox is in use; try again later")
        self.assertEqual(self.told[0][2]["wait"], 300)

    def test_a_clock_that_lost_a_second_in_a_crash_makes_no_delay_less_than_none(self) -> None:
        self.chronicle.delivered(self.copy(), 99.5)
        self.assertIn("delay=0.00", self.lines[0])

    def test_a_report_to_an_owner_of_a_list_is_the_sender_s_and_one_to_another_is_postmaster_s(self) -> None:
        heard = [self.copy(sender=address("owner-staff")).row]
        self.chronicle.reported("failed", message("A"), heard, message("B"), address("owner-staff"))
        self.chronicle.reported("delayed", message("A"), heard, message("C"), address("postmaster"))
        self.assertEqual(
            self.lines,
            ["bounce: A: sender non-delivery notification: B", "bounce: A: postmaster delay notification: C"],
        )

    def test_a_null_sender_is_written_as_such(self) -> None:
        self.chronicle.accepted(dataclasses.replace(message("A"), sender=NULL_SENDER), 1)
        self.chronicle.goes_to(message("A"), [recipient("nel")])
        self.assertIn("from=<>, size=10, nrcpt=1", self.lines[0])
