"""When an index is believed, when what was appended is added to it, and when the file is read again."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import windows
from lanmail.mailbox.index import SMALL, Changed, Index, Stamp, refresh, scan
from tests.mailbox.files import SEPARATOR, a_file, delivered, entries, foreign, index, jumble, rewrite, shifted, write

LARGE = delivered([b"x" * 70 + b"\r\n"] * 8000)  # half of what is read whole


def settled(fd: int, previous: Index | None = None) -> Index:
    """As it is taken when the file has been left alone for a while."""
    stat = os.fstat(fd)
    return refresh(fd, stat, previous, now_ns=stat.st_ctime_ns + 1_000_000_000)


class UnchangedTest(SynchronousTestCase):
    def test_a_file_left_alone_is_not_read(self) -> None:
        with a_file(foreign(b"one")) as fd:
            first = settled(fd)
            self.patch(os, "pread", None)
            self.assertIs(settled(fd, first), first)

    def test_a_change_within_one_tick_of_the_clock_is_seen(self) -> None:
        with a_file(foreign(b"one") + foreign(b"two")) as fd:
            first = scan(fd, os.fstat(fd), now_ns=os.fstat(fd).st_ctime_ns + 1_000_000)
            rewrite(fd, foreign(b"one", b"x\n" * ((first.size - len(foreign(b"one", b""))) // 2)))
            self.assertEqual(os.fstat(fd).st_size, first.size)
            # As if the clock had not ticked in between.
            first.stamp = Stamp.of(os.fstat(fd))
            again = index(fd, first)
            self.assertEqual((len(first), len(again)), (2, 1))
            self.assertFalse(again.continues(first))

    def test_a_touched_file_of_the_same_octets_keeps_its_numbers(self) -> None:
        with a_file(foreign(b"one")) as fd:
            first = settled(fd)
            os.utime(fd, (1, 1))
            self.assertTrue(settled(fd, first).continues(first))

    def test_a_large_file_changed_in_place_is_read_again(self) -> None:
        with a_file(foreign(b"one") + LARGE * 3) as fd:
            first = settled(fd)
            self.assertGreater(first.size, SMALL)
            os.pwrite(fd, b"\n\n" + SEPARATOR, first.entry(2).text + 5000)
            again = settled(fd, first)
            self.assertFalse(again.continues(first))
            self.assertEqual(entries(again), entries(scan(fd, os.fstat(fd))))


class GrownTest(SynchronousTestCase):
    @given(jumble(), st.lists(st.one_of(jumble(6), st.just(foreign(b"new"))), max_size=4))
    @settings(max_examples=300, deadline=None)
    def test_however_it_grows_the_index_is_that_of_a_fresh_reading(self, content: bytes, more: list[bytes]) -> None:
        with a_file(content) as fd:
            now = index(fd)
            for piece in more:
                write(fd, piece)
                now = index(fd, now)
                self.assertEqual(entries(now), entries(scan(fd, os.fstat(fd))))

    def test_only_what_is_new_is_read(self) -> None:
        with a_file(LARGE * 4 + foreign(b"last")) as fd:
            first = settled(fd)
            write(fd, foreign(b"new"))
            octets = []
            pread = os.pread
            self.patch(os, "pread", lambda fd, count, at: (octets.append(count), pread(fd, count, at))[1])
            now = settled(fd, first)
            self.assertEqual(len(now), 6)
            self.assertTrue(now.continues(first))
            self.assertLess(sum(octets), 10_000)

    def test_a_program_that_stamps_every_message_is_not_taken_for_growth(self) -> None:
        # mutt: the file is longer, and nothing stands where it stood.
        for filler in (b"", LARGE * 3):
            plain = [foreign(b"one"), foreign(b"two"), filler + foreign(b"three")]
            with a_file(b"".join(plain)) as fd:
                first = settled(fd)
                rewrite(
                    fd,
                    b"".join(message.replace(b"\n\n", b"\nStatus: O\n\n", 1) for message in plain) + foreign(b"four"),
                )
                now = settled(fd, first)
                self.assertFalse(now.continues(first))
                self.assertEqual(entries(now), entries(scan(fd, os.fstat(fd))))

    def test_growth_does_not_hide_what_moved_in_the_middle(self) -> None:
        subjects = (b"one", b"two", b"three")
        with a_file(shifted(subjects)) as fd:
            first = settled(fd)
            self.assertGreater(first.size, SMALL)
            rewrite(fd, shifted(subjects, by=10))
            self.assertEqual(os.fstat(fd).st_size, first.size)
            write(fd, foreign(b"new"))
            now = settled(fd, first)
            self.assertFalse(now.continues(first))
            self.assertEqual(entries(now), entries(scan(fd, os.fstat(fd))))

    def test_a_length_that_comes_true_when_the_file_grows_is_believed_as_in_a_fresh_reading(self) -> None:
        second = foreign(b"two")
        with a_file(foreign(b"one", b"b\n", b"Content-Length: %d\n" % (len(second) * 2 + 3)) + second) as fd:
            now = index(fd)
            self.assertEqual(len(now), 2)
            write(fd, second)
            now = index(fd, now)
            self.assertEqual(entries(now), entries(scan(fd, os.fstat(fd))))
            self.assertEqual(len(now), 1)

    def test_a_message_appended_without_the_empty_line_before_it_is_read_rightly(self) -> None:
        with a_file(foreign(b"one", b"no line end")[:-1]) as fd:
            first = index(fd)
            write(fd, b"\n\n" + foreign(b"two"))
            self.assertEqual(entries(index(fd, first)), entries(scan(fd, os.fstat(fd))))


class ShrinkingTest(SynchronousTestCase):
    def test_a_file_truncated_during_the_reading_is_said_to_have_changed(self) -> None:
        self.patch(windows, "WINDOW", 4200)
        with a_file(foreign(b"one", b"line\n" * 50_000)) as fd:
            pread = os.pread

            def truncating(fd: int, count: int, at: int) -> bytes:
                if at > 100_000:
                    os.ftruncate(fd, 90_000)
                return pread(fd, count, at)

            self.patch(os, "pread", truncating)
            self.assertRaises(Changed, index, fd)

    def test_a_file_rewritten_during_the_reading_is_said_to_have_changed(self) -> None:
        with a_file(foreign(b"one")) as fd:
            stat = os.fstat(fd)
            write(fd, foreign(b"two"))
            self.assertRaises(Changed, refresh, fd, stat, None)


class SizeTest(SynchronousTestCase):
    def test_a_hundred_thousand_messages_take_a_few_megabytes(self) -> None:
        body = b"x" * 60 + b"\n"
        with a_file(b"".join(foreign(b"%d" % number, body * 3) for number in range(100_000))) as fd:
            now = scan(fd, os.fstat(fd))
            self.assertEqual(len(now), 100_000)
            arrays = (now.starts, now.lines, now.gaps, now.octets, now.flags)
            self.assertLess(sum(map(sys.getsizeof, arrays)), 2_500_000)
            octets = now.octets
            self.assertEqual(octets[0] + octets[-1], 2 * 62 * 3 + len(b"Subject: 0\r\n\r\nSubject: 99999\r\n\r\n"))
            write(fd, foreign(b"new"))
            begun = time.process_time()
            self.assertTrue(index(fd, now).continues(now))
            self.assertLess(time.process_time() - begun, 1.0)

    def test_reading_a_large_message_takes_a_window_or_two(self) -> None:
        with a_file(foreign(b"one", b"x" * 20_000_000 + b"\n") + foreign(b"two", b"y\n" * 5_000_000)) as fd:
            tracemalloc.start()
            try:
                self.assertEqual(len(index(fd)), 2)
                self.assertLess(tracemalloc.get_traced_memory()[1], 4_000_000)
            finally:
                tracemalloc.stop()
