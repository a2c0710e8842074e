from __future__ import annotations

import dataclasses
import os
import sqlite3
import tracemalloc

from lanmail.address import NULL_SENDER
from lanmail.spool import reading, requests
from lanmail.spool.database import connect_to_read
from lanmail.spool.entries import Deferral, Message, Recipient
from lanmail.status import Status, TemporaryFailure
from tests.spool.journals import JournalTestCase, intent, message, queue_id, small, to

BUSY = Status(451, "4.2.0", "busy")


class DueTests(JournalTestCase):
    def test_those_due_longest_come_first(self) -> None:
        (first,) = self.admit(1, now=1.0)
        (second,) = self.admit(2, now=2.0)
        (third,) = self.admit(3, now=2.0)
        self.of(self.journal.defer([Deferral(first, 5.0, BUSY)]))
        self.assertEqual(self.waiting_for("ann"), [second, third, first])
        self.assertEqual([r.number for _, r, _ in self.journal.due("ann", 4.9, 10, 10_000)], [second, third])

    def test_a_portion_is_bounded_by_rows_and_by_octets_but_never_empty(self) -> None:
        for number, size in enumerate((100, 5000, 100, 100)):
            self.admit(number, content=small(b"x" * size))
        sizes = [len(self.journal.due("ann", 0.0, limit, octets)) for limit, octets in ((2, 10**6), (9, 5200), (9, 99))]
        self.assertEqual(sizes, [2, 3, 1])

    def test_one_users_portion_holds_nothing_of_anothers(self) -> None:
        self.admit(1, "ann", "nel")
        self.admit(2, "nel")
        self.assertEqual([m.queue_id for m, _, _ in self.journal.due("nel", 0.0, 10, 1000)], [queue_id(1), queue_id(2)])

    def test_a_file_that_was_lost_is_an_error_when_it_is_read_and_not_before(self) -> None:
        self.admit(1, content=self.large(1))
        os.unlink(self.incoming.path_of(queue_id(1)))
        ((_, _, content),) = self.journal.due("ann", 0.0, 10, 1000)
        self.assertRaises(OSError, list, content.pieces())


class TimeTests(JournalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.of(self.journal.admit(message(1), [to("ann")], small(), now=0.0))
        bounce = dataclasses.replace(to("nel"), sender=NULL_SENDER)
        self.of(self.journal.admit(message(2, sender=NULL_SENDER), [bounce], small(), now=0.0))

    def names(self, rows: list[tuple[Message, Recipient]]) -> list[str]:
        return sorted(recipient.user.name for _, recipient in rows)

    def tried(self, *numbers: int) -> None:
        self.of(self.journal.defer([Deferral(number, 9.0, BUSY) for number in numbers]))

    def test_only_what_was_tried_can_be_overdue_or_late(self) -> None:
        self.assertEqual(self.journal.overdue(1e6, 1.0, 1.0, 10), [])
        self.assertEqual(self.journal.late(1e6, 1.0, 10), [])
        self.tried(1)
        self.assertEqual(self.names(self.journal.overdue(1e6, 1.0, 1.0, 10)), ["ann"])
        self.assertEqual(self.names(self.journal.late(1e6, 1.0, 10)), ["ann"])

    def test_reports_have_a_lifetime_of_their_own(self) -> None:
        self.tried(1, 2)
        for lifetime, bounces, found in (
            (100, 10, ["nel"]),
            (10, 100, ["ann"]),
            (50, 50, ["ann", "nel"]),
            (51, 51, []),
        ):
            self.assertEqual(self.names(self.journal.overdue(50.0, lifetime, bounces, 10)), found)

    def test_held_or_begun_is_neither(self) -> None:
        self.tried(1, 2)
        self.of(self.journal.hold([queue_id(1)]))
        self.of(self.journal.intend([intent(2)]))
        self.assertEqual(self.journal.overdue(1e6, 1.0, 1.0, 10), [])
        self.assertEqual(self.journal.late(1e6, 1.0, 10), [])

    def test_what_was_warned_of_is_still_overdue_in_the_end(self) -> None:
        self.tried(1)
        self.of(self.journal.exchange([], [], now=1.0, warned=[1]))
        self.assertEqual(self.names(self.journal.overdue(1e6, 1.0, 1.0, 10)), ["ann"])


class ManyTests(JournalTestCase):
    def test_a_listing_is_read_page_by_page_and_misses_nothing(self) -> None:
        for number in range(25):
            self.admit(number, *[f"u{k}" for k in range(number % 3 + 1)])
        self.of(self.journal.delete([queue_id(4), queue_id(5)]))
        self.of(self.journal.intend([intent(1)]))
        self.of(self.journal.mark([1]))  # the only recipient of the first
        found: list[str] = []
        after = 0
        while page := self.journal.listing(after, 4):
            self.assertLessEqual(len(page), 4)
            found += [letter.queue_id for letter in page]
            self.assertLess(sum(len(letter.recipients) for letter in page[:-1]), 4)
            after = page[-1].recipients[-1].number
        self.assertEqual(found, [queue_id(n) for n in range(25) if n not in (0, 4, 5)])

    def test_a_listing_has_each_message_with_all_who_still_wait(self) -> None:
        self.admit(1, "ann", "nel", "bob")
        self.admit(2, "carl")
        self.of(self.journal.intend([intent(2)]))
        self.of(self.journal.mark([2]))
        (first,) = self.journal.listing(0, 1)
        self.assertEqual([one.user for one in first.recipients], ["ann", "bob"])
        (second,) = self.journal.listing(first.recipients[-1].number, 1)
        self.assertEqual((second.queue_id, second.recipients[0].user), (queue_id(2), "carl"))

    def test_standing_goes_on_while_its_rows_are_forgotten(self) -> None:
        count = reading.PAGE * 2 + 50
        future = self.journal.admit(message(1), [to("ann" if n % 2 else "nel") for n in range(count)], small(), now=0.0)
        numbers = self.of(future)
        self.of(self.journal.intend([intent(n) for n in numbers]))
        seen = []
        for standing in self.journal.standing():
            seen.append(standing.recipient.number)
            self.of(self.journal.forget([standing.recipient.number]))
        self.assertEqual(sorted(seen), numbers)
        self.assertEqual(self.rows(), 0)

    def test_whatever_waits_nobody_reads_all_of_it_into_memory(self) -> None:
        head = b"x" * 500
        db = self.journal._commits._ledger._db
        assert db is not None
        # Twenty thousand, put there directly; the plans below say that it would be the same with any number.
        self.of(self.journal.admit(message(1), [to("ann")], small(bytes(2000)), now=0.0))
        names = "message, user, uid, gid, home, sender, original, delivered_to, rule, expanded, notify, orcpt, since, due, tries"
        names += ", reason, warned, held, owed"
        db.execute("BEGIN")
        db.execute(
            f"INSERT INTO recipient ({names}, head, boot, device, inode, place)"
            f" WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
            f" SELECT {names.replace('user', 'user || (i % 50)')}, ?, iif(i % 2, 'b', NULL), 1, 1, 1 FROM recipient, n",
            (head,),
        )
        db.execute("COMMIT")
        tracemalloc.start()
        try:
            self.assertEqual(sum(count for _, count, _ in self.journal.waiting()), 10_001)
            self.assertEqual(len(self.journal.due("ann8", 1.0, 100, 1 << 20)), 100)
            self.assertEqual(sum(1 for _ in self.journal.standing()), 10_000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 3_000_000)


class PlanTests(JournalTestCase):
    """What is asked often, or of many rows, finds them by an index, and does not sort."""

    def plan(self, statement: str) -> str:
        db = connect_to_read(self.path)
        try:
            values = (None,) * statement.count("?")
            return "\n".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values))
        finally:
            db.close()

    def test_every_question_has_its_index(self) -> None:
        for statement, index in (
            (reading.WAITING, "USING COVERING INDEX waiting"),
            (reading.DUE, "USING INDEX waiting (user=? AND boot=? AND held=? AND due<?)"),
            (reading.STANDING_USERS, "USING INDEX standing"),
            (reading.STANDING, "USING INDEX standing (user=? AND rowid>?)"),
            (reading.OWED, "USING INDEX owed (marked=?)"),
            (reading.OVERDUE, "USING INDEX tried (warned=? AND since<?)"),
            (reading.LATE, "USING INDEX tried (warned=? AND since<?)"),
            (reading.FOUND, "USING INDEX sqlite_autoindex_message_1 (queue_id=?)"),
            (reading.RECIPIENTS, "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (reading.LISTED, "USING INTEGER PRIMARY KEY (rowid>?)"),
            (reading.NAMED, "INDEX file"),
            (reading.UNFINISHED, "SEARCH m USING INDEX sqlite_autoindex_message_1 (queue_id=?)"),
        ):
            plan = self.plan(statement)
            self.assertIn(index, plan)
            self.assertNotIn("TEMP B-TREE", plan)
            for line in plan.splitlines():
                # A walk through all of an index that holds only what is asked for is what we want; through a table it is not.
                self.assertTrue(
                    line.startswith("SEARCH") or any(word in line for word in ("INDEX", "SUBQUERY", "json_each")),
                    f"{statement}: {line}",
                )

    def test_what_an_administrator_names_is_found_by_its_id(self) -> None:
        where, values = requests._where(requests.Asked([queue_id(1)]), "boot IS NULL")
        db = connect_to_read(self.path)
        self.addCleanup(db.close)
        plan = "\n".join(
            row[3] for row in db.execute(f"EXPLAIN QUERY PLAN UPDATE recipient SET held = 1 WHERE {where}", values)
        )
        self.assertIn("SEARCH recipient USING INTEGER PRIMARY KEY (rowid=?)", plan)
        self.assertNotIn("SCAN m", plan)
        self.assertNotIn("SCAN r", plan)


class BesideTheWriterTests(JournalTestCase):
    def test_a_reader_sees_all_of_a_transaction_or_nothing(self) -> None:
        db = self.journal._commits._ledger._db
        assert db is not None
        self.admit(1, "ann", "nel")
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM recipient WHERE user = 'ann'")
        self.assertEqual([name for name, _, _ in self.journal.waiting()], ["ann", "nel"])
        db.execute("COMMIT")
        self.assertEqual([name for name, _, _ in self.journal.waiting()], ["nel"])

    def test_a_reader_cannot_write(self) -> None:
        db = connect_to_read(self.path)
        self.addCleanup(db.close)
        self.assertRaises(sqlite3.OperationalError, db.execute, "DELETE FROM message")

    def test_what_cannot_be_read_now_is_a_temporary_failure(self) -> None:
        self.admit(1)
        content = self.journal.content(queue_id(1))
        assert content is not None

        def connect(path: str) -> sqlite3.Connection:
            raise sqlite3.OperationalError("unable to open database file")  # EMFILE, say

        self.patch(reading, "connect_to_read", connect)
        failure = self.assertRaises(TemporaryFailure, self.journal.waiting)
        self.assertEqual(failure.status.code, 451)
        self.assertRaises(TemporaryFailure, list, self.journal.standing("ann"))
        self.assertRaises(OSError, list, content.pieces())
