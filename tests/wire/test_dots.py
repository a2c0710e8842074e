"""The text of a message: one end and only one, dots given back, whatever the mix of CR, LF and dots and wherever it is cut."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.wire.dots import DotReader, stuff
from tests.wire.cuts import cut_up, every_cut

END = b"\r\n.\r\n"


def read(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """Text and rest, as DotReader has them; None while the message has not ended."""
    reader = DotReader()
    text, rest = b"", b""
    for piece in pieces:
        if reader.ended:
            rest += piece
        else:
            text += reader.feed(piece)
    return None if reader.rest is None else (text, reader.rest + rest)


def by_the_line(octets: bytes) -> tuple[bytes, bytes] | None:
    """The same, understood anew and slowly, line by line: the reference."""
    text, start, after_crlf = b"", 0, True
    while (end := octets.find(b"\n", start)) >= 0:
        line, crlf = octets[start:end], octets[start:end].endswith(b"\r")
        line = line.removesuffix(b"\r")
        if line == b"." and after_crlf and crlf:
            return text, octets[end + 1 :]
        # A dot alone between other line ends is text: taking it away would make an empty line of it.
        text += (line[1:] if line.startswith(b".") and line != b"." else line) + b"\n"
        after_crlf, start = crlf, end + 1
    return None


class DotReaderTests(SynchronousTestCase):
    def test_a_message_ends_with_a_dot_alone_and_what_follows_is_not_its_own(self) -> None:
        self.assertEqual(read([b"a\r\nb\r\n.\r\nQUIT\r\n"]), (b"a\nb\n", b"QUIT\r\n"))

    def test_an_empty_message_is_just_its_end(self) -> None:
        for pieces in every_cut(b".\r\nQUIT\r\n"):
            self.assertEqual(read(pieces), (b"", b"QUIT\r\n"))

    def test_stuffed_dots_are_given_back_on_the_first_line_too(self) -> None:
        for pieces in every_cut(b"..\r\n...x\r\n.y\r\n.\r\n"):
            self.assertEqual(read(pieces), (b".\n..x\ny\n", b""))

    def test_bare_line_feeds_are_line_ends(self) -> None:
        for pieces in every_cut(b"a\nb\n\n..c\n.\r\n.\r\n"):
            self.assertEqual(read(pieces), (b"a\nb\n\n.c\n.\n", b""))

    def test_a_bare_cr_stays_where_it_is(self) -> None:
        for pieces in every_cut(b"a\rb\r\r\n\r.\r\r\n.\r\n"):
            self.assertEqual(read(pieces), (b"a\rb\r\n\r.\r\n", b""))

    def test_no_other_mix_of_line_ends_around_a_dot_ends_a_message(self) -> None:
        ends = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\0\r\n", b"\r\0\n")
        for before, after in itertools.product((*ends, b"\r\n"), repeat=2):
            if END in before + b"." + after:
                continue
            octets = b"hello" + before + b"." + after + b"MAIL FROM:<evil@x>\r\n.\r\nQUIT\r\n"
            for pieces in every_cut(octets):
                found = read(pieces)
                assert found is not None
                self.assertEqual(found[1], b"QUIT\r\n", (before, after, pieces))
                self.assertIn(b"MAIL FROM:<evil@x>\n", found[0])

    def test_nothing_is_lost_or_doubled_in_a_long_text(self) -> None:
        text = b"".join(b".%d..\r\n" % n for n in range(20_000))
        wire = stuff(text, True) + b".\r\n"
        pieces = [wire[i : i + 1000] for i in range(0, len(wire), 1000)]
        self.assertEqual(read(pieces), (text.replace(b"\r\n", b"\n"), b""))

    def test_every_short_text_is_read_as_the_reference_reads_it(self) -> None:
        for length in range(7):
            for letters in itertools.product((b"\r", b"\n", b".", b"a"), repeat=length):
                octets = b"".join(letters) + END
                expected = by_the_line(octets)
                self.assertEqual(read([octets]), expected, octets)
                self.assertEqual(read([octets[i : i + 1] for i in range(len(octets))]), expected, octets)

    @given(
        st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", END, b"..", b"\n.\n", b"\r\n.\r"]), max_size=14),
        st.data(),
    )
    @settings(max_examples=500, deadline=None)
    def test_however_the_octets_are_cut_the_text_is_the_references(
        self, parts: list[bytes], data: st.DataObject
    ) -> None:
        octets = b"".join(parts)
        self.assertEqual(read(data.draw(cut_up(octets))), by_the_line(octets))

    def test_its_length_is_that_of_the_text_as_it_came_but_for_stuffed_dots(self) -> None:
        for pieces in every_cut(b"a\r\n..b\n\r.\r\r\n.\r\n"):
            reader = DotReader()
            for piece in pieces:
                if not reader.ended:
                    reader.feed(piece)
            self.assertEqual(reader.octets, len(b"a\r\n.b\n\r.\r\r\n"))

    def test_nothing_is_held_back_but_what_may_be_the_end(self) -> None:
        reader = DotReader()
        self.assertEqual(reader.feed(b"a" * 1000 + b"\r\n.\r"), b"a" * 1000)
        self.assertEqual(reader.feed(b"x"), b"\n\rx")


class StuffTests(SynchronousTestCase):
    def test_a_dot_counts_where_the_chunk_begins_a_line(self) -> None:
        self.assertEqual(stuff(b".a\r\n.", True), b"..a\r\n..")
        self.assertEqual(stuff(b".a\r\n.", False), b".a\r\n..")

    @given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r"]), max_size=14), st.data())
    @settings(max_examples=300, deadline=None)
    def test_what_is_stuffed_in_chunks_is_read_back(self, parts: list[bytes], data: st.DataObject) -> None:
        text = b"".join(parts) + b"\r\n"
        wire, at_line_start = b"", True
        for piece in data.draw(cut_up(text)):
            wire += stuff(piece, at_line_start)
            if piece:
                at_line_start = piece.endswith(b"\n")
        self.assertEqual(read([wire + b".\r\n"]), (text.replace(b"\r\n", b"\n"), b""))
