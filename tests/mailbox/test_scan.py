"""Finding the messages: as the second reader finds them, in whatever windows the file is seen."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import windows
from lanmail.mailbox.text import read_several
from tests.mailbox import second_reader
from tests.mailbox.files import SEPARATOR, a_file, delivered, entries, foreign, index, jumble, text

SMALLEST_WINDOW = 4200  # a separator and its neighbourhood must fit


class ScanTest(SynchronousTestCase):
    @given(jumble(), st.booleans())
    @settings(max_examples=400, deadline=None)
    def test_any_octets_are_split_as_the_second_reader_splits_them(self, content: bytes, small: bool) -> None:
        windows.WINDOW, whole = SMALLEST_WINDOW if small else windows.WINDOW, windows.WINDOW
        try:
            with a_file(content) as fd:
                now = index(fd)
                theirs = second_reader.read(content)
                self.assertEqual(entries(now), [(m.start, m.text, m.end, m.next, len(m.wire)) for m in theirs])
                self.assertEqual(list(now.octets), [len(m.wire) for m in theirs])
                self.assertEqual([text(fd, now, n) for n in range(1, len(now) + 1)], [m.wire for m in theirs])
                if len(now):
                    self.assertEqual(read_several(fd, now, 1, len(content)), [m.wire for m in theirs])
        finally:
            windows.WINDOW = whole

    def test_an_empty_file_has_no_messages(self) -> None:
        with a_file(b"") as fd:
            self.assertEqual(len(index(fd)), 0)

    def test_a_believed_length_hides_separators_and_a_wrong_one_hides_nothing(self) -> None:
        body = b"\n" + SEPARATOR + b"Subject: inner\n\nx\n"
        for length, expected in ((len(body), 2), (len(body) + 1, 2), (len(body) - 1, 3), (10**17, 3)):
            with a_file(foreign(b"one", body, b"Content-Length: %d\n" % length) + foreign(b"two")) as fd:
                self.assertEqual(len(index(fd)), expected, length)

    def test_a_length_given_twice_is_not_believed(self) -> None:
        body = b"\n" + SEPARATOR + b"Subject: inner\n\nx\n"
        with a_file(foreign(b"one", body, b"Content-Length: %d\n" % len(body) * 2) + foreign(b"two")) as fd:
            self.assertEqual(len(index(fd)), 3)

    def test_what_we_wrote_needs_no_length(self) -> None:
        later = delivered([b"Subject: two\r\n\r\nb\r\n"])
        first = delivered([b"Content-Length: %d\r\n\r\nb\r\n" % (len(later) + 3)])
        with a_file(first + later) as fd:
            self.assertEqual(len(index(fd)), 2)

    def test_c_clients_own_message_is_not_counted_and_stays(self) -> None:
        fields = b"X-IMAP: 1036929121 0000000005\n"
        pseudo = foreign(b"DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA", b"data\n", fields)
        with a_file(pseudo + foreign(b"one")) as fd:
            now = index(fd)
            self.assertEqual(len(now), 1)
            self.assertEqual(now.extent(1)[0], len(pseudo))
        with a_file(foreign(b"one") + pseudo) as fd:
            self.assertEqual(len(index(fd)), 2)

    def test_a_pair_that_a_window_cuts_is_one_line_end(self) -> None:
        self.patch(windows, "WINDOW", SMALLEST_WINDOW)
        # The first window shows a whole header; the small ones come after it.
        for padding in range(3):
            content = foreign(b"x" * padding, b"\n" * 60_000).replace(b"\n", b"\r\n")
            with a_file(content) as fd:
                now = index(fd)
                self.assertEqual(now.entry(1).octets, len(text(fd, now, 1)))
                self.assertEqual(now.entry(1).octets, now.entry(1).end - now.entry(1).text)

    def test_hostile_lines_take_time_in_proportion(self) -> None:
        # Each of these was quadratic in some draft. A second is a hundred times what they need.
        for body in (
            b">" * 3_000_000,
            b">From " * 500_000,
            b"\n\nFrom " * 200_000,
            b"\n>" * 500_000,
            b"\r" * 3_000_000,
        ):
            with a_file(
                delivered([b"\r\n"]) + SEPARATOR + b"\n" + body + delivered([b"Subject: x\r\n\r\n" + body])
            ) as fd:
                begun = time.process_time()
                now = index(fd)
                self.assertLess(time.process_time() - begun, 5.0)
                self.assertGreaterEqual(len(now), 2)
