"""A file seen through a moving window."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import windows
from lanmail.mailbox.windows import Changed, Window, read_exactly
from tests.mailbox.files import a_file


class WindowTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(windows, "WINDOW", 10)

    def test_pieces_are_the_file_and_none_is_longer_than_the_window(self) -> None:
        content = bytes(range(256))
        with a_file(content) as fd:
            pieces = list(Window(fd, 256).pieces(3, 250))
        self.assertEqual(b"".join(pieces), content[3:250])
        self.assertLessEqual(max(map(len, pieces)), 10)

    def test_a_run_of_marks_is_known_across_windows(self) -> None:
        with a_file(b"a\n" + b">" * 25 + b"b" + b">" * 25) as fd:
            window = Window(fd, 53)
            for start in range(0, 53, 5):
                window.show(start, 1)
                self.assertEqual(window.marks_only(window.stop), 2 <= window.stop <= 27, window.stop)

    def test_what_comes_next_is_asked_for_once_and_only_where_one_goes_on(self) -> None:
        asked: list[tuple[int, int]] = []
        self.patch(windows, "_AHEAD", 40)
        self.patch(windows, "_STEP", 20)
        self.patch(os, "posix_fadvise", lambda fd, offset, length, advice: asked.append((offset, length)))
        with a_file(bytes(200)) as fd:
            window = Window(fd, 200)
            window.show(0, 1)
            window.show(50, 1)
            self.assertEqual(asked, [])
            window.show(60, 1)
            self.assertEqual(asked, [(60, 20), (80, 20)])
            list(window.pieces(60, 200))
        self.assertEqual(asked, [(offset, 20) for offset in range(60, 200, 20)])

    def test_advice_that_nobody_takes_is_no_trouble(self) -> None:
        def refuse(*advice: int) -> None:
            raise OSError(errno.EINVAL, "no")

        self.patch(os, "posix_fadvise", refuse)
        with a_file(bytes(100)) as fd:
            self.assertEqual(b"".join(Window(fd, 100).pieces(0, 100)), bytes(100))

    def test_a_file_that_is_shorter_than_it_was_is_a_changed_one(self) -> None:
        with a_file(b"short") as fd:
            self.assertRaises(Changed, read_exactly, fd, 6, 0)
            self.assertRaises(Changed, list, Window(fd, 100).pieces(0, 100))
