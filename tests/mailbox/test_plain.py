"""Plain messages: found by the short way as by the long one, and as many as one would think."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import mbox, scan, windows
from lanmail.mailbox.found import OURS, Run
from lanmail.mailbox.plain import Plain, line_ends
from tests.mailbox import second_reader
from tests.mailbox.files import SEPARATOR, TRACE, a_file, delivered, entries, foreign, index

_SENDERS = (b"ann@example.org  ", b"ann@example.org ", b"From ", b'"a b"@c ', b"Mon ", b"", b"  x ", b"x" * 1000 + b" ")
_DATES = (
    b"Tue Nov 24 21:36:34 2026",
    b"tue nov 4 21:36 MET DST 26",
    b"Tue Tue Nov  4 21:36:34 2026",
    b"Tue Nov 24 2026",
)
_FIELDS = (
    b"Subject: x\n",
    b"Subject: (lanmail) x\n",
    b"From: Ann\n",
    b"From me\n",
    b"Subject: x\r\n",
    b"content-LENGTH: 5\n",
    b"Content-Length: 60\n",
    TRACE,
    TRACE + b"X: y\n" * 2000,
)
_LINES = (
    b"text\n",
    b"\n",
    b"\r\n",
    b"From here on\n",
    b">From me\n",
    b" From x\n",
    b"x\r\n",
    b"x" * 3000 + b"\n",
    SEPARATOR,
)


def _separators() -> st.SearchStrategy[bytes]:
    return st.builds(b"From %s%s\n".__mod__, st.tuples(st.sampled_from(_SENDERS), st.sampled_from(_DATES)))


def _messages() -> st.SearchStrategy[bytes]:
    """Mostly plain ones, and what is nearly one."""
    fields = st.lists(st.sampled_from(_FIELDS), max_size=3).map(b"".join)
    lines = st.lists(st.sampled_from(_LINES), max_size=4).map(b"".join)
    return st.builds(
        lambda *parts: b"".join(parts),
        st.one_of(st.just(SEPARATOR), _separators()),
        fields,
        st.sampled_from((b"\n", b"\n", b"\n", b"\r\n", b"")),
        lines,
        st.sampled_from((b"\n", b"\n", b"\n", b"\r\n", b"")),
    )


class PlainTest(SynchronousTestCase):
    @given(st.lists(_messages(), min_size=2, max_size=8).map(b"".join), st.booleans())
    @settings(max_examples=400, deadline=None)
    def test_a_plain_message_is_what_the_second_reader_says_and_the_long_way_too(
        self, content: bytes, small: bool
    ) -> None:
        windows.WINDOW, whole = 4200 if small else windows.WINDOW, windows.WINDOW
        try:
            with a_file(content) as fd:
                now = index(fd)
                theirs = second_reader.read(content)
                self.assertEqual(entries(now), [(m.start, m.text, m.end, m.next, len(m.wire)) for m in theirs])
                scan.Plain, short = _None, scan.Plain  # type: ignore[misc,assignment]
                try:
                    long = index(fd)
                finally:
                    scan.Plain = short  # type: ignore[misc]
                self.assertEqual((entries(now), now.flags), (entries(long), long.flags))
        finally:
            windows.WINDOW = whole

    def test_what_people_write_to_each_other_is_plain(self) -> None:
        content = foreign(b"one") + foreign(b"two", b"a\nFrom: b\n") + delivered([b"Subject: x\r\n\r\nb\r\n"]) * 2
        first = len(foreign(b"one"))
        run = Plain(content + SEPARATOR, 100).run(100 + first)
        self.assertEqual(run.flags, [0, OURS, OURS])
        self.assertEqual(run.starts[0], 100 + first)
        self.assertEqual(run.next, 100 + len(content))

    def test_it_goes_on_behind_one_that_is_not_plain(self) -> None:
        odd = foreign(b"odd", b"From here to there\n")
        content = foreign(b"one") + foreign(b"two") + odd + foreign(b"three") + SEPARATOR
        plain = Plain(content, 0)
        one, two = len(foreign(b"one")), len(foreign(b"two"))
        self.assertEqual(plain.run(one).starts, [one])
        self.assertEqual(plain.run(one + two).starts, [])
        self.assertEqual(plain.run(one + two + len(odd)).starts, [one + two + len(odd)])
        self.assertEqual(plain.run(len(content)).next, len(content))

    def test_what_is_cut_by_the_window_is_not_plain(self) -> None:
        content = foreign(b"one") + foreign(b"two") + foreign(b"three")
        start = len(foreign(b"one"))
        behind = start + len(foreign(b"two")) + len(SEPARATOR)
        self.assertEqual(len(Plain(content[:behind], 0).run(start).starts), 1)
        self.assertEqual(len(Plain(content[: behind - 1], 0).run(start).starts), 0)

    @given(
        st.lists(st.sampled_from((b"Mon", b"Tue", b" ", b"\t", b"a", b'"', b"\\")), max_size=6).map(b"".join),
        st.sampled_from((b" Tue Nov 24 21:36:34 2026", b" Tue Nov  4 21:36:34 2026", b" Tue Nov 24 21:36 2026")),
    )
    def test_what_usually_separates_separates(self, sender: bytes, date: bytes) -> None:
        rest = sender + date
        self.assertEqual(mbox.separates(rest, len(rest)), mbox.is_separator(b"From " + rest))
        if mbox.USUAL.match(rest):
            self.assertTrue(mbox.separates(rest, len(rest)))


class LineEndsTest(SynchronousTestCase):
    @given(
        st.lists(st.sampled_from((b"\n", b"\r\n", b"x" * 70, b"\n" * 100, b"y" * 70_000)), max_size=12).map(b"".join)
    )
    @settings(max_examples=200, deadline=None)
    def test_each_counts_once(self, text: bytes) -> None:
        self.assertEqual(line_ends(text), text.count(b"\n"))

    def test_nothing_but_line_ends_takes_no_longer(self) -> None:
        begun = time.process_time()
        self.assertEqual(line_ends(b"\n" * 8_000_000), 8_000_000)
        self.assertLess(time.process_time() - begun, 1.0)  # sixty times what it takes


class _None:
    """No message is plain."""

    def __init__(self, data: bytes, base: int) -> None:
        pass

    def run(self, start: int) -> Run:
        return Run(start)
