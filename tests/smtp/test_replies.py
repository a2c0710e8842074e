"""Replies as octets: one line each, whatever their text holds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.smtp import replies
from lanmail.status import Status


class OnTheWireTests(SynchronousTestCase):
    def test_postfixs_words(self) -> None:
        self.assertEqual(replies.on_the_wire(replies.RECIPIENT_OK), b"250 2.1.5 Ok\r\n")
        self.assertEqual(replies.on_the_wire(replies.SEND_TEXT), b"354 End data with <CR><LF>.<CR><LF>\r\n")
        self.assertEqual(replies.on_the_wire(replies.queued("222CF6745D")), b"250 2.0.0 Ok: queued as 222CF6745D\r\n")
        self.assertEqual(replies.queued(""), replies.OK)

    @given(st.text(max_size=700), st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_a_reply_is_one_line_of_at_most_512_octets(self, text: str, utf8: bool) -> None:
        octets = replies.on_the_wire(Status(550, "5.1.1", text), utf8=utf8)
        self.assertTrue(octets.startswith(b"550 5.1.1 ") and octets.endswith(b"\r\n"))
        self.assertLessEqual(len(octets), 512)
        self.assertFalse(set(octets[:-2]) & set(range(32)))
        self.assertTrue(utf8 or octets.isascii())
        octets.decode("utf-8")
