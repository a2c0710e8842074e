"""Lines out of a stream: the same lines however the octets are cut, and never more kept than is allowed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.wire.lines import LineBuffer, TooLong
from tests.wire.cuts import cut_up

LIMIT = 8


def lines_of(pieces: list[bytes], limit: int = LIMIT) -> list[bytes | TooLong]:
    buffer = LineBuffer()
    found: list[bytes | TooLong] = []
    for piece in pieces:
        buffer.feed(piece)
        while (line := buffer.line(limit)) is not None:
            found.append(line)
    return found


class LineBufferTests(SynchronousTestCase):
    def test_both_line_ends_are_taken(self) -> None:
        self.assertEqual(lines_of([b"NOOP\r\nQUIT\n"]), [b"NOOP", b"QUIT"])

    def test_a_bare_cr_is_part_of_the_line(self) -> None:
        self.assertEqual(lines_of([b"a\rb\r\r\n"]), [b"a\rb\r"])

    def test_an_unfinished_line_is_no_line(self) -> None:
        buffer = LineBuffer()
        buffer.feed(b"NOOP\r")
        self.assertIsNone(buffer.line(LIMIT))
        buffer.feed(b"\n")
        self.assertEqual(buffer.line(LIMIT), b"NOOP")

    def test_a_line_at_the_limit_is_taken_and_one_past_it_is_not(self) -> None:
        self.assertEqual(lines_of([b"12345678\r\n123456789\r\n1\n"]), [b"12345678", TooLong.LINE, b"1"])

    def test_a_line_that_never_ends_is_not_kept(self) -> None:
        buffer = LineBuffer()
        for _ in range(1000):
            buffer.feed(b"x" * 1000)
            self.assertIsNone(buffer.line(LIMIT))
            self.assertEqual(len(buffer), 0)
        buffer.feed(b"x\nNOOP\n")
        self.assertEqual(buffer.line(LIMIT), TooLong.LINE)
        self.assertEqual(buffer.line(LIMIT), b"NOOP")

    def test_a_large_piece_is_given_on_as_it_is_and_is_lines_like_any_other(self) -> None:
        buffer, large = LineBuffer(), b"x" * 30_000 + b"\n" + b"y" * 30_000
        buffer.feed(large)
        self.assertEqual(len(buffer), 60_001)
        self.assertIs(buffer.take(60_001), large)
        self.assertEqual(len(buffer), 0)
        for before, behind, taken in ((b"", b"z", 70_000), (b"a", b"", 70_000), (b"a", b"z", 70_000), (b"", b"", 5)):
            for piece in (before, large, behind):
                buffer.feed(piece)
            self.assertEqual(buffer.take(taken), (before + large + behind)[:taken])
            self.assertEqual(buffer.discard(), len((before + large + behind)[taken:]))
        buffer.feed(large)
        self.assertEqual(buffer.line(30_000), b"x" * 30_000)
        self.assertEqual(buffer.take(30_000), b"y" * 30_000)
        buffer.feed(large)
        buffer.push_back(b"w")
        self.assertEqual(buffer.take(3), b"wxx")

    def test_what_is_taken_raw_and_pushed_back_is_read_again(self) -> None:
        buffer = LineBuffer()
        buffer.feed(b"text\r\n.\r\nQUIT\r\n")
        self.assertEqual(buffer.take(6), b"text\r\n")
        self.assertEqual(buffer.take(100), b".\r\nQUIT\r\n")
        self.assertEqual(buffer.take(100), b"")
        buffer.push_back(b"QUIT\r\n")
        self.assertEqual(buffer.line(LIMIT), b"QUIT")

    def test_discarding_says_how_much_it_was_and_forgets_an_overlong_line(self) -> None:
        buffer = LineBuffer()
        buffer.feed(b"x" * 100)
        self.assertIsNone(buffer.line(LIMIT))
        buffer.feed(b"yz")
        self.assertEqual(buffer.discard(), 2)
        buffer.feed(b"NOOP\n")
        self.assertEqual(buffer.line(LIMIT), b"NOOP")

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"12345678", b"1234567"]), max_size=12), st.data())
    @settings(max_examples=300, deadline=None)
    def test_however_the_octets_are_cut_the_lines_are_the_same(self, parts: list[bytes], data: st.DataObject) -> None:
        octets = b"".join(parts)
        expected: list[bytes | TooLong] = []
        for line in octets.split(b"\n")[:-1]:
            line = line.removesuffix(b"\r")
            expected.append(line if len(line) <= LIMIT else TooLong.LINE)
        self.assertEqual(lines_of(data.draw(cut_up(octets))), expected)
