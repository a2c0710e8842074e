"""Several workers in one folder: whose is what."""

from __future__ import annotations

import os

from lanmail.message import QueueIds
from lanmail.spool.journal import Journal
from lanmail.spool.shares import Colleagues, Share, Unknown, histories, journals
from tests.delivery.house import NOON
from tests.spool.journals import JournalTestCase, queue_id


class ShareTests(JournalTestCase):
    def second(self) -> Journal:
        """Of the second of three, the first of which is ``self.journal``."""
        journal = Journal(os.path.join(self.folder, "journal-1"), self.incoming, self.report)
        journal.open()
        self.addCleanup(journal.close)
        return journal

    def colleagues(self, number: int, count: int = 3) -> Colleagues:
        return Colleagues(self.folder, Share(number, count), self.report)

    def body(self, name: str) -> None:
        with open(self.incoming.path_of(name), "xb"):
            pass

    def test_the_only_process_and_the_first_worker_have_the_same_files(self) -> None:
        self.assertEqual(
            (Share().journal, Share(1, 3).journal, Share(3, 3).journal), ("journal-0", "journal-0", "journal-2")
        )
        self.assertEqual((Share().history, Share(2, 3).history), ("history-0", "history-1"))

    def test_they_are_found_in_the_order_of_their_workers(self) -> None:
        for name in (
            "journal-10",
            "journal-2",
            "journal-2-wal",
            "adopting-3",
            "history-1",
            "history-0.damaged",
            "journal-x",
        ):
            with open(os.path.join(self.folder, name), "wb"):
                pass
        names = [os.path.basename(path) for path in journals(self.folder)]
        self.assertEqual(names, ["journal-0", "journal-2", "journal-10"])
        self.assertEqual([os.path.basename(path) for path in histories(self.folder)], ["history-1"])

    def test_each_worker_sweeps_what_it_made_and_together_they_sweep_everything(self) -> None:
        for count in (1, 2, 3, 5, 64):
            bodies = [f"{0x222CF60000 + number:010X}" for number in range(256)] + ["stray"]
            swept = [name for number in range(1, count + 1) for name in bodies if Share(number, count).is_ours(name)]
            self.assertEqual(sorted(swept), sorted(bodies))
            ids = QueueIds(lambda: NOON, place=count - 1, count=count)
            self.assertTrue(all(Share(count, count).is_ours(ids.next()) for _ in range(300)))

    def test_what_a_colleague_is_taking_in_stays(self) -> None:
        ours = QueueIds(lambda: NOON, place=0, count=3).next()
        theirs = QueueIds(lambda: NOON, place=1, count=3).next()
        self.body(ours)
        self.body(theirs)
        self.assertEqual(self.colleagues(1).orphans([ours, theirs]), [ours])

    def test_what_we_made_once_and_a_colleagues_journal_has_now_stays(self) -> None:
        number = next(n for n in range(8) if Share(2, 3).is_ours(queue_id(n)))
        self.admit(number, content=self.large(number))
        self.assertEqual(self.colleagues(2).orphans([queue_id(number)]), [])

    def test_one_that_has_no_tables_yet_has_no_rows(self) -> None:
        with open(os.path.join(self.folder, "journal-2"), "wb"):
            pass
        number = next(n for n in range(8) if Share(2, 3).is_ours(queue_id(n)))
        self.assertEqual(self.colleagues(2).orphans([queue_id(number)]), [queue_id(number)])

    def test_where_one_cannot_be_read_nothing_is_swept_and_the_log_says_so(self) -> None:
        with open(os.path.join(self.folder, "journal-2"), "wb") as file:
            file.write(b"no database at all" * 1000)
        number = next(n for n in range(8) if Share(2, 3).is_ours(queue_id(n)))
        self.assertEqual(self.colleagues(2).orphans([queue_id(number)]), [])
        self.assertRegex(self.report[-1], "stays there for now: .*journal-2")
        self.assertRaises(Unknown, self.colleagues(2).last_id)

    def test_the_last_id_is_the_greatest_of_the_others(self) -> None:
        self.admit(7)
        second = self.second()
        self.assertEqual(self.colleagues(2).last_id(), queue_id(7))
        self.assertEqual(self.colleagues(1).last_id(), "")
        second.close()
