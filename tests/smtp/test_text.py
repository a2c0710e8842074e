"""The text of a message as it comes in: pieces, its end, and a limit that it goes past."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.smtp import replies
from lanmail.smtp.text import CHUNK, Text
from lanmail.wire.lines import LineBuffer


class TextTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = LineBuffer()

    def test_what_stands_behind_the_end_stays_where_it_was(self) -> None:
        text = Text(0)
        self.source.feed(b"one\r\n..two\r\n.\r\nQUIT\r\n")
        self.assertEqual(text.read(self.source), b"one\n.two\n")
        self.assertTrue(text.ended)
        self.assertEqual(self.source.line(100), b"QUIT")

    def test_where_nothing_has_come_it_says_so(self) -> None:
        text = Text(0)
        self.assertIsNone(text.read(self.source))
        self.source.feed(b"\r")
        self.assertEqual(text.read(self.source), b"")
        self.assertIsNone(text.read(self.source))

    def test_a_piece_is_never_larger_than_a_read_of_a_socket(self) -> None:
        text = Text(0)
        self.source.feed(b"x" * (2 * CHUNK))
        self.assertEqual(len(text.read(self.source) or b""), CHUNK)

    def test_past_its_limit_the_verdict_is_there_and_the_rest_is_thrown_away(self) -> None:
        text = Text(5)
        self.source.feed(b"12345")
        self.assertEqual(text.read(self.source), b"12345")
        self.assertIsNone(text.verdict)
        self.source.feed(b"6")
        text.read(self.source)
        self.assertEqual(text.verdict, replies.TOO_LARGE)
        self.source.feed(b"7\r\n.\r\n")
        self.assertEqual(text.read(self.source), b"")
        self.assertTrue(text.ended)
