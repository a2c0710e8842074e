"""However the octets are cut, the conversation is the same; and one message stays one message."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.smtp.events import Content, Data, EndOfMessage, Event, Hold, Mail, Recipient, Reset
from lanmail.smtp.limits import SmtpLimits
from tests.smtp.talk import BEGIN, Talk
from tests.wire.cuts import cut_up, every_cut


class CutTests(SynchronousTestCase):
    """However the octets are cut, the conversation is the same: replies, events and text."""

    def whole(self, pieces: Iterable[bytes], **given: Any) -> tuple[list[str], list[Event], list[str]]:
        talk = Talk(
            SmtpLimits(line_length_limit=60, message_size_limit=90, error_sleep_time=0, hard_error_limit=8), **given
        )
        replies = talk.hears(*pieces)
        # How much of a message was given before it became too large does depend on the cuts; none of it is kept.
        kept = [
            e
            for e, then in itertools.pairwise([*talk.events, Hold()])
            if not (isinstance(e, Content) and then == Reset())
        ]
        return replies, kept, talk.reports

    def test_the_usual_conversation_cut_at_each_place(self) -> None:
        octets = BEGIN + b"Subject: x\r\n\r\n..\r\nb\n.\r\n.\r\nNOOP\r\nMAIL FROM:<a@b>\r\nRSET\r\nQUIT\r\n"
        expected = self.whole([octets])
        self.assertEqual(expected[0][-1], "221 2.0.0 Bye")
        for pieces in every_cut(octets):
            self.assertEqual(self.whole(pieces), expected, pieces)

    lines = st.sampled_from(
        [
            *(b"EHLO c\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<a@b> SIZE=91\r\n", b"RCPT TO:<nel>\r\n"),
            *(b"RCPT TO:<x@y>\r\n", b"DATA\r\n", b"DATA\n", b".\r\n", b"x\r\n.\r\n", b"..\r\n", b"x\n.\n", b"\r\n"),
            *(b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"y" * 70 + b"\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n"),
            *(b"bmVs\r\n", b"AG5lbABzZWNyZXQ=\r\n", b"*\r\n", b"\xff\r\n", b"a\r", b"GET / HTTP/1.0\r\n"),
            *(BEGIN, BEGIN + b"a\r\n.\r\n", BEGIN + b"y" * 100 + b"\r\n.\r\n"),
        ]
    )

    @given(st.lists(lines, max_size=14), st.data(), st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_any_conversation_cut_anywhere(self, said: list[bytes], data: st.DataObject, offer_auth: bool) -> None:
        octets = b"".join(said)
        self.assertEqual(
            self.whole(data.draw(cut_up(octets)), offer_auth=offer_auth), self.whole([octets], offer_auth=offer_auth)
        )

    @given(st.binary(max_size=300), st.data())
    @settings(max_examples=300, deadline=None)
    def test_noise_cut_anywhere(self, noise: bytes, data: st.DataObject) -> None:
        octets = b"EHLO c\r\n" + noise
        self.assertEqual(self.whole(data.draw(cut_up(octets))), self.whole([octets]))


class SmugglingTests(SynchronousTestCase):
    def test_one_message_stays_one_whatever_stands_around_the_dot(self) -> None:
        """CVE-2023-51764: servers that took LF.LF, or CRLF.CR, for the end let one message bring a second with it."""
        ends = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\0\r\n", b"\r\0\n", b"\n\n", b"")
        forged = b"MAIL FROM:<evil@x>\r\nRCPT TO:<nel@x>\r\nDATA\r\nforged\r\n"
        tried = 0
        for before, dots, after in itertools.product(ends, (b".", b".."), ends):
            if b"\r\n.\r\n" in before + dots + after:
                continue
            octets = b"hello" + before + dots + after + forged + b".\r\n"
            at = len(BEGIN) + len(b"hello")
            for place in range(at, at + len(before + dots + after) + 1):
                whole = BEGIN + octets
                talk = Talk()
                codes = talk.codes(whole[:place], whole[place:])
                self.assertEqual(codes[-2:], ["354", "250 2.0.0"], (before, dots, after, place))
                self.assertEqual(talk.kinds, [Mail, Recipient, Data, Content, EndOfMessage])
                self.assertTrue(talk.text.endswith(b"\nforged\n"))
                tried += 1
        self.assertGreater(tried, 500)
