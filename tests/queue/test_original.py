"""What a report brings back of a message, however that message is shaped and wherever its text is cut."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.original import MOST_HEADER, Original
from lanmail.spool.incoming import Content
from tests.queue.reporting import content


class Cut(Content):
    """A content that comes in pieces of so many octets."""

    def __init__(self, text: bytes, at: int) -> None:
        super().__init__(len(text), text)
        self._at = at

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, len(self.memory), self._at):
            yield self.memory[start : start + self._at]


class OriginalTests(SynchronousTestCase):
    def header(self, letter: bytes, trace: bytes = b"") -> bytes:
        return Original(content(letter), trace).header

    def test_the_header_ends_at_the_empty_line(self) -> None:
        self.assertEqual(self.header(b"A: 1\nB: 2\n c\n\nC: 3\n"), b"A: 1\nB: 2\n c\n")
        self.assertEqual(self.header(b"A: 1\nB: 2\n c\n\nC: 3\n", b"Received: x\n"), b"Received: x\nA: 1\nB: 2\n c\n")

    def test_or_before_the_first_line_that_is_no_field(self) -> None:
        self.assertEqual(self.header(b"A: 1\nHello you\n\nBye\n"), b"A: 1\n")
        self.assertEqual(b"".join(Original(content(b"A: 1\nHello\n")).rest()), b"\nHello\n")

    def test_or_with_the_message(self) -> None:
        self.assertEqual(self.header(b"A: 1\nB: 2"), b"A: 1\nB: 2\n")
        self.assertEqual(self.header(b""), b"")

    def test_a_message_without_a_header_has_none(self) -> None:
        self.assertEqual(self.header(b"\nHello\n"), b"")

    def test_the_line_from_an_mbox_above_a_header_does_not_end_ours(self) -> None:
        self.assertEqual(self.header(b"From me Mon\nA: 1\n\n"), b"A: 1\n")

    def test_of_an_endless_header_the_beginning_comes_back(self) -> None:
        original = Original(content(b"".join(b"X%d: %s\n" % (n, b"y" * 90) for n in range(2000)) + b"\ntext\n"))
        self.assertFalse(original.whole)
        self.assertLessEqual(len(original.header), MOST_HEADER)
        self.assertGreater(len(original.header), MOST_HEADER - 200)
        self.assertTrue(original.header.endswith(b"y\n"))

    def test_the_subject_in_words(self) -> None:
        for line, expected in (
            (b"Subject: Bonjour", "Bonjour"),
            (b"SUBJECT:  =?utf-8?b?w6l0w6k=?=\n =?utf-8?q?_2026?=", "été 2026"),
            (b"Subject: \xc3\xa9t\xc3\xa9", "été"),
            (b"Subject: =?no-such-charset?q?x?=", ""),
            (b"Subject: =?utf-8?b?!?=", "=?utf-8?b?!?="),
            (b"Subject:", ""),
            (b"X-Subject: x", ""),
        ):
            subject = Original(content(line + b"\n\nSubject: text\n")).subject
            self.assertIn(subject, (expected, ""), line)
            if expected.isalpha():
                self.assertEqual(subject, expected)

    @given(
        st.lists(st.sampled_from([b"A: b", b"\n", b" ", b"From ", b">", b"x", b"\xff"]), max_size=12).map(b"".join),
        st.integers(1, 9),
    )
    @settings(max_examples=300, deadline=None)
    def test_wherever_its_text_is_cut_it_is_the_same_and_nothing_is_lost(self, letter: bytes, at: int) -> None:
        kept = content(letter).memory
        whole, cut = Original(Content(len(kept), kept)), Original(Cut(kept, at))
        self.assertEqual((whole.header, whole.whole), (cut.header, cut.whole))
        rest = b"".join(whole.rest())
        self.assertEqual(rest, b"".join(cut.rest()))
        self.assertTrue(rest.startswith(b"\n"))
        text = letter if letter.endswith(b"\n") or not letter else letter + b"\n"
        if letter.isascii() and not letter.startswith((b"From ", b">From ")) and not rest.startswith(b"\n\n"):
            self.assertIn((whole.header + rest).replace(b"\n", b""), (text.replace(b"\n", b""),))
