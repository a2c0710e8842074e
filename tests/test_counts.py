"""What one message and one session may cost, in system calls, flushes, allocations and so on: bench/limits.json is the word."""

from __future__ import annotations

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.counting import MEMORY, WORKS, above, counted, limits, memory_counted, prepared, totals
from tests.live import need

TRACE = """\
41 openat(AT_FDCWD</>, ""..., O_RDONLY|O_CLOEXEC) = 12</var/mail/ann>
41 futex(0x7f00, FUTEX_WAKE_PRIVATE, 1) = 1
42 fdatasync(9</queue/lanmail/journal-0-wal> <unfinished ...>
41 fdatasync(12</var/mail/ann>) = 0
42 <... fdatasync resumed>) = 0
41 write(12</var/mail/ann>, ""..., 4096) = 4096
"""


class CountTests(SynchronousTestCase):
    def test_a_call_that_others_interrupt_counts_once_and_waiting_is_not_counted(self) -> None:
        self.assertEqual(totals(TRACE), {"system calls": 4, "opens": 1, "flushes": 2, "transactions": 1})

    def test_every_work_has_limits_for_all_that_is_counted(self) -> None:
        self.assertEqual(
            {work.name: {*totals(""), *MEMORY} for work in WORKS}, {name: set(few) for name, few in limits().items()}
        )

    def test_what_is_above_its_limit_is_named_with_both_numbers(self) -> None:
        work, allowed = next(iter(limits().items()))
        found = allowed | {"flushes": allowed["flushes"] + 1}
        self.assertEqual(
            above({work: found}),
            [f"{work}: {found['flushes']:g} flushes, where bench/limits.json allows {allowed['flushes']:g}"],
        )

    def test_nothing_costs_more_than_it_may(self) -> None:
        need("strace")
        server = prepared(self.mktemp())
        self.addCleanup(server.stop)
        try:
            counts = {work.name: counted(server, work) for work in WORKS}
        except AssertionError as error:
            if "strace could not attach" in str(error):
                raise SkipTest("strace may not look at other processes here") from error
            raise
        self.assertEqual(above(counts), [], counts)
        # A count of nothing would be within every limit.
        self.assertGreater(counts["message, a connection each"]["transactions"], 0, counts)

    def test_nothing_takes_more_memory_or_copies_more_than_it_may(self) -> None:
        need("cc")
        server = prepared(self.mktemp(), preload=True)
        self.addCleanup(server.stop)
        counts = {work.name: memory_counted(server, work) for work in WORKS}
        self.assertEqual(above(counts), [], counts)
        # A library that was not loaded counts nothing; and a message of 4 KiB is copied at least once.
        self.assertGreater(counts["message, a connection each"]["allocations"], 100, counts)
        self.assertGreater(counts["message, a connection each"]["octets copied"], 4096, counts)
