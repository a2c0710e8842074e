"""What makes two messages the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import essence
from lanmail.mailbox.essence import Essence
from tests.mailbox.files import cut, jumble

_FIELDS = st.lists(
    st.sampled_from(
        (
            b"A: b\n",
            b" more\n",
            b"Status: RO\n",
            b"X-Keywords:\n",
            b"\tx\n",
            b"Lines",
            b": 3\n",
            b"\n",
            b"\r\n",
            b"x" * 60,
        )
    )
)


def digest(*pieces: bytes) -> bytes:
    this = Essence()
    for piece in pieces:
        this.feed(piece)
    return this.digest()


class EssenceTest(SynchronousTestCase):
    def test_what_readers_write_does_not_count(self) -> None:
        plain = digest(b"Subject: x\nTo: y\n\nbody\n")
        self.assertEqual(
            digest(
                b"Subject: x\nStatus: RO\nX-UID: 3\nTo: y\nX-KEYWORDS : a\n b\n c\nLines: 1\nContent-length: 5\n\nbody\n"
            ),
            plain,
        )
        self.assertEqual(digest(b"X-IMAPbase: 1 2\n\tfoo\nSubject: x\nTo: y\nX-Status:\n\nbody\n\n\n"), plain)
        self.assertEqual(digest(b"Subject: x\nTo: y\n\nbody"), plain)

    def test_everything_else_counts(self) -> None:
        messages = (
            b"Subject: x\n\nb\n",
            b"Subject: x\n\nStatus: RO\n\nb\n",
            b"Subject: X\n\nb\n",
            b"Subject: x\n\n\nb\n",
            b"Subject: x\nb\n",
            b"X-Status-Of: x\n\nb\n",
        )
        self.assertEqual(len(set(map(digest, messages))), len(messages))

    @given(st.one_of(_FIELDS.map(b"".join), jumble()), st.integers(1, 9))
    @settings(max_examples=300, deadline=None)
    def test_however_it_is_cut_it_is_the_same(self, message: bytes, size: int) -> None:
        whole = digest(message)
        self.assertEqual(digest(*cut(message, size)), whole)
        essence._LINE, before = 20, essence._LINE  # so that lines are long
        try:
            self.assertEqual(digest(*cut(message, size * 7)), whole)
        finally:
            essence._LINE = before
