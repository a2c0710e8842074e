"""A message as it goes out: whole, in bounded pieces, or not at all."""

from __future__ import annotations

import os
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.interfaces import MessageGone, Torn
from lanmail.mailbox import text as module
from lanmail.mailbox.text import read_text
from tests.mailbox.files import (
    SEPARATOR,
    a_file,
    delivered,
    foreign,
    index,
    jumble,
    messages,
    rewrite,
    shifted,
    text,
    write,
)


def top_of(wire: bytes, lines: int) -> bytes:
    """TOP as RFC 1939 says it, of a message with LF line ends in the file."""
    # The empty line may be the first: the text starts at the start of a line.
    header, empty, body = (b"\r\n" + wire).partition(b"\r\n\r\n")
    return (header + empty)[2:] + b"".join(body.splitlines(keepends=True)[:lines])


class TextTest(SynchronousTestCase):
    @given(jumble(), st.integers(1, 9))
    @settings(max_examples=200, deadline=None)
    def test_however_small_the_pieces_the_message_is_the_same(self, content: bytes, size: int) -> None:
        with a_file(content) as fd:
            now = index(fd)
            numbers = range(1, len(now) + 1)
            whole = [text(fd, now, number) for number in numbers]
            module.PIECE, before = size, module.PIECE
            try:
                self.assertEqual([text(fd, now, number) for number in numbers], whole)
                for number in numbers:
                    tops = [text(fd, now, number, lines) for lines in (0, 1, 3)]
                    self.assertTrue(whole[number - 1].startswith(tops[2]))
            finally:
                module.PIECE = before
            self.assertEqual([text(fd, now, number, 10**9) for number in numbers], whole)

    @given(messages(), st.integers(0, 4), st.integers(1, 9))
    @settings(max_examples=150, deadline=None)
    def test_top_is_the_header_an_empty_line_and_so_many_lines(self, message: bytes, lines: int, size: int) -> None:
        # A CR before a line end is text here, and splitlines would break there.
        message = message.replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
        with a_file(delivered([message])) as fd:
            now = index(fd)
            whole = text(fd, now, 1)
            module.PIECE, before = size, module.PIECE
            try:
                self.assertEqual(text(fd, now, 1, lines), top_of(whole, lines))
            finally:
                module.PIECE = before

    def test_top_does_not_end_a_last_line_that_it_does_not_reach(self) -> None:
        with a_file(foreign(b"one", b"a\nb")[:-1]) as fd:
            now = index(fd)
            self.assertEqual(text(fd, now, 1, 1), b"Subject: one\r\n\r\na\r\n")
            self.assertEqual(text(fd, now, 1, 2), b"Subject: one\r\n\r\na\r\nb\r\n")
            self.assertEqual(text(fd, now, 1), b"Subject: one\r\n\r\na\r\nb\r\n")

    def test_lines_that_we_did_not_quote_keep_their_marks(self) -> None:
        with a_file(foreign(b"one", b">From x\n>>From y\n")) as fd:
            self.assertEqual(text(fd, index(fd), 1), b"Subject: one\r\n\r\n>From x\r\n>>From y\r\n")

    def test_a_line_of_twenty_megabytes_takes_no_more_memory_than_any(self) -> None:
        for body in (b"x" * 20_000_000 + b"\r\n", b">" * 20_000_000 + b"From \r\n", b"\r\n" * 5_000_000):
            with a_file(delivered([b"\r\n", body])) as fd:
                now = index(fd)
                tracemalloc.start()
                try:
                    octets = sum(map(len, read_text(fd, now, 1)))
                    self.assertLess(tracemalloc.get_traced_memory()[1], 2_000_000)
                finally:
                    tracemalloc.stop()
                self.assertEqual(octets, now.entry(1).octets)


class ChangeTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(module, "PIECE", 1000)

    def test_mail_that_arrives_meanwhile_disturbs_nothing(self) -> None:
        with a_file(foreign(b"one", b"line\n" * 1000)) as fd:
            now = index(fd)
            whole = text(fd, now, 1)
            stream = read_text(fd, now, 1)
            begin = next(stream)
            write(fd, foreign(b"two"))
            self.assertEqual(begin + b"".join(stream), whole)

    def test_a_message_removed_before_the_first_piece_is_gone(self) -> None:
        with a_file(foreign(b"one") + foreign(b"two")) as fd:
            now = index(fd)
            rewrite(fd, foreign(b"two"))
            self.assertRaises(MessageGone, next, read_text(fd, now, 1))
            rewrite(fd, b"")
            self.assertRaises(MessageGone, next, read_text(fd, now, 2))

    def test_a_message_without_any_octets_can_be_gone_too(self) -> None:
        with a_file(SEPARATOR + b"\n" + foreign(b"two")) as fd:
            now = index(fd)
            self.assertEqual(list(read_text(fd, now, 1)), [])
            rewrite(fd, foreign(b"two"))
            self.assertRaises(MessageGone, list, read_text(fd, now, 1))

    def test_a_file_rewritten_in_the_middle_tears_the_stream(self) -> None:
        content = foreign(b"one", b"line\n" * 1000)
        for after in (
            content.replace(b"\n\n", b"\nStatus: RO\n\n", 1),
            content.replace(b"line", b"LINE"),
            content[:-1500],
            content.replace(b"line\n", b"", 1) + foreign(b"new"),
        ):
            with a_file(content) as fd:
                stream = read_text(fd, index(fd), 1)
                next(stream)
                rewrite(fd, after)
                self.assertRaises(Torn, list, stream)

    def test_messages_that_moved_in_the_middle_of_a_large_mailbox_are_not_sent_by_halves(self) -> None:
        # Dovecot moves what lies between two messages with room in their headers, and the last message stays where it was.
        subjects = (b"one", b"two", b"three")
        with a_file(shifted(subjects)) as fd:
            now = index(fd)
            streams = [read_text(fd, now, number) for number in (2, 2, 3)]
            next(streams[0])
            rewrite(fd, shifted(subjects, by=10))
            write(fd, foreign(b"new"))
            for stream, error in zip(streams, (Torn, MessageGone, MessageGone), strict=True):
                self.assertRaises(error, lambda stream=stream: sum(map(len, stream)))
            self.assertEqual(text(fd, now, 4), b"Subject: three\r\n\r\ntext\r\n")

    def test_a_file_truncated_while_a_piece_is_read_tears_the_stream(self) -> None:
        with a_file(foreign(b"one", b"line\n" * 1000)) as fd:
            stream = read_text(fd, index(fd), 1)
            next(stream)
            pread = os.pread

            def truncating(fd: int, count: int, at: int) -> bytes:
                os.ftruncate(fd, 1500)
                return pread(fd, count, at)

            self.patch(os, "pread", truncating)
            self.assertRaises(Torn, list, stream)
