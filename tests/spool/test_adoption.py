"""Several journals become one, whoever is stopped in between."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool.adoption import adopt
from lanmail.spool.database import JournalTrouble
from lanmail.spool.entries import Deferral
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.journal import Journal
from lanmail.status import Status
from tests.delivery.house import Reports, at_once
from tests.spool.journals import BOOT, intent, message, queue_id, small, to

STEPS = ("seal", "rename", "copy", "last id", "remove")


class Killed(Exception):
    pass


class AdoptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.report = Reports()
        self.incoming = IncomingFolder(os.path.join(self.folder, "incoming"), at_once, self.report)
        self.addCleanup(self.incoming.close)

    def opened(self, name: str) -> Journal:
        journal = Journal(os.path.join(self.folder, name), self.incoming, self.report)
        journal.open()
        self.addCleanup(journal.close)
        return journal

    def admit(
        self, journal: Journal, number: int, *names: str, content: Content | None = None, now: float = 0.0
    ) -> list[int]:
        done = journal.admit(message(number), [to(name) for name in names], content or small(), now=now)
        journal.turn()
        return done.result(timeout=0)

    def filled(self, *, large: bool = False) -> None:
        """Two of the first worker's, three of the third's, of which one is begun, one is marked, one waits for two."""
        first, third = self.opened("journal-0"), self.opened("journal-2")
        self.admit(first, 1, "ann")
        self.admit(first, 2, "bob")
        begun, marked = self.admit(third, 3, "ann"), self.admit(third, 4, "bob", "carl")
        self.admit(third, 5, "ann", "bob")
        third.intend([intent(begun[0], offset=7), intent(marked[0], offset=9, inode=1 << 63)])
        third.mark([marked[0]])
        third.defer([Deferral(marked[1], 300.0, Status(451, "4.2.0", "Mailbox is in use"))])
        third.turn()
        first.close()
        third.close()

    def adopted(self) -> Journal:
        adopt(self.folder, self.report)
        return self.opened("journal-0")

    def test_what_waited_waits_still_and_each_has_a_number_of_its_own(self) -> None:
        self.filled()
        journal = self.adopted()
        page = journal.listing(0, 100)
        self.assertEqual([one.queue_id for one in page], [queue_id(n) for n in (1, 2, 3, 4, 5)])
        numbers = [recipient.number for one in page for recipient in one.recipients]
        self.assertEqual(len(set(numbers)), len(numbers))
        self.assertEqual([name for name, _, _ in journal.waiting()], ["ann", "bob", "carl"])
        self.assertEqual(
            [(one.message.queue_id, one.recipient.user.name) for one in journal.standing()],
            [(queue_id(3), "ann"), (queue_id(4), "bob")],
        )

    def test_intents_marks_and_reasons_go_along(self) -> None:
        self.filled()
        journal = self.adopted()
        begun, marked = journal.standing()
        self.assertEqual((begun.intent.boot, begun.intent.offset, begun.marked), (BOOT, 7, False))
        self.assertEqual((marked.intent.inode, marked.intent.offset, marked.marked), (1 << 63, 9, True))
        ((_, carl, _),) = journal.due("carl", 300.0, 9, 1 << 20)
        self.assertEqual((carl.tries, carl.reason and carl.reason.text, carl.due), (1, "Mailbox is in use", 300.0))

    def test_the_others_are_gone_and_the_log_says_where_to(self) -> None:
        self.filled()
        self.adopted().close()
        self.assertEqual(sorted(os.listdir(self.folder)), ["incoming", "journal-0"])
        self.assertRegex(self.report[-1], "adopting-2: 3 messages are taken over into .*/journal-0")

    def test_with_one_journal_nothing_is_opened(self) -> None:
        self.opened("journal-0").close()
        before = os.stat(os.path.join(self.folder, "journal-0")).st_mtime_ns
        adopt(self.folder, self.report)
        self.assertEqual(os.stat(os.path.join(self.folder, "journal-0")).st_mtime_ns, before)
        self.assertEqual(os.listdir(self.folder).count("journal-0"), 1)

    def test_what_is_waited_for_on_another_clock_is_as_old_as_it_was(self) -> None:
        first, second = self.opened("journal-0"), self.opened("journal-1")
        first.clock(5000.0)
        first.turn()
        self.admit(second, 1, "ann", now=40.0)
        second.clock(100.0)
        second.turn()
        first.close()
        second.close()
        _, (recipient,), _ = self.adopted().find(queue_id(1)) or self.fail("it is gone")
        self.assertEqual((recipient.since, recipient.due), (4940.0, 4940.0))

    def test_queue_ids_go_on_behind_everybodys(self) -> None:
        self.filled()
        journal = self.adopted()
        self.assertEqual(journal.last_id(), queue_id(5))

    def test_a_large_body_has_its_row_and_is_not_swept(self) -> None:
        second = self.opened("journal-1")
        path = self.incoming.path_of(queue_id(9))
        with open(path, "xb") as file:
            file.write(b"x" * 100_000)
        self.admit(second, 9, "ann", content=Content(100_000, name=queue_id(9), path=path))
        second.close()
        journal = self.adopted()
        journal.sweep()
        self.assertEqual(self.incoming.names(), [queue_id(9)])

    def test_stopped_at_any_step_it_is_done_the_next_time_and_nothing_is_there_twice(self) -> None:
        for stop in STEPS:
            for workers_then in ("as before", "the third again"):
                with self.subTest(stop, then=workers_then):
                    self.setUp()
                    self.filled()

                    def step(name: str, stop: str = stop) -> None:
                        if name == stop:
                            raise Killed

                    self.assertRaises(Killed, adopt, self.folder, self.report, step=step)
                    if workers_then == "the third again" and not os.path.exists(f"{self.folder}/journal-2"):
                        # Its name is free: it may have begun a new one, before somebody came to finish this.
                        third = self.opened("journal-2")
                        self.admit(third, 6, "dora")
                        third.close()
                    ids = [one.queue_id for one in self.adopted().listing(0, 100)]
                    there = {queue_id(number) for number in (1, 2, 3, 4, 5)}
                    self.assertEqual(sorted(set(ids) - {queue_id(6)}), sorted(there))
                    self.assertEqual(len(ids), len(set(ids)))

    def test_in_portions_that_are_bounded(self) -> None:
        second = self.opened("journal-1")
        for number in range(5):
            self.admit(second, number, "ann", content=small(b"x" * (3 << 20)))
        second.close()
        steps: list[str] = []
        adopt(self.folder, self.report, step=steps.append)
        self.assertEqual(steps.count("copy"), 3)  # two of them are 6 MiB, three were more than 8
        self.assertEqual(len(self.opened("journal-0").listing(0, 9)), 5)

    def test_another_message_of_the_same_name_is_not_thrown_away(self) -> None:
        first, second = self.opened("journal-0"), self.opened("journal-1")
        self.admit(first, 1, "ann")
        done = second.admit(message(1, message_id="<other@pc>"), [to("bob")], small(), now=0.0)
        second.turn()
        done.result(timeout=0)
        first.close()
        second.close()
        self.assertRaisesRegex(JournalTrouble, f"it has a message {queue_id(1)}", adopt, self.folder, self.report)
        self.assertEqual(len(self.opened("adopting-1").listing(0, 9)), 1)

    def test_a_damaged_one_is_named_and_nothing_is_lost(self) -> None:
        self.filled()
        with open(os.path.join(self.folder, "journal-1"), "wb") as file:
            file.write(b"no database at all" * 1000)
        self.assertRaisesRegex(JournalTrouble, "journal-1 is damaged", adopt, self.folder, self.report)
        os.unlink(os.path.join(self.folder, "journal-1"))
        self.assertEqual(len(self.adopted().listing(0, 100)), 5)

    def test_what_a_kill_left_in_a_log_comes_along(self) -> None:
        second = self.opened("journal-1")
        self.admit(second, 1, "ann")
        there = os.path.join(self.folder, "journal-1")
        copies = {}
        for end in ("", "-wal"):
            with open(there + end, "rb") as file:
                copies[end] = file.read()
        second.close()
        for end, octets in copies.items():
            with open(there + end, "wb") as file:
                file.write(octets)
        with closing(sqlite3.connect(there)) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM message").fetchone(), (1,))
        self.assertEqual(len(self.adopted().listing(0, 9)), 1)
