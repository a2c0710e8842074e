"""The mbox format: what is a separator, what is quoted, what is ours."""

from __future__ import annotations

import mailbox
import os
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.mailbox import mbox
from lanmail.message import Trace, envelope_headers, from_line
from tests.mailbox import second_reader
from tests.mailbox.files import SEPARATOR, TRACE, a_file, cut, delivered, index, messages, text

# Of one piece each: a `From ` line and what can be wrong with it.
_WORDS = b'ann@x |Mon |mon\t|Nov |November |3 |23 |8:00 |08:00:00 |MET |DST |+0100 |2026|99| |\\|\r|remote from b|\xff| "a b"@x |"'
_LINE = st.lists(st.sampled_from((*_WORDS.split(b"|"), b"x" * 1000)), max_size=9).map(
    lambda words: b"From " + b"".join(words)
)


class SeparatorTest(SynchronousTestCase):
    def test_what_postfix_and_lanmail_write_is_one(self) -> None:
        self.assertTrue(mbox.is_separator(b"From ann@example.org  Tue Nov 24 21:36:34 2026\n"))
        self.assertTrue(mbox.is_separator(b"From MAILER-DAEMON  Tue Nov  3 21:36:34 2026"))
        self.assertTrue(mbox.is_separator(from_line(Address('a "b', "example.org"), time.time())))

    def test_text_is_none(self) -> None:
        for line in (
            b"From here on",
            b"From ann Monday Nov 24 21:36:34 2026",
            b"From ann Tue Nov 24 2026",
            b">From a Tue Nov 24 21:36:34 2026",
        ):
            self.assertFalse(mbox.is_separator(line), line)

    def test_a_return_path_without_end_is_none_and_takes_no_time(self) -> None:
        self.assertFalse(mbox.is_separator(b"From " + b'"a" ' * 250 + b"x"))
        self.assertFalse(mbox.is_separator(b"From " + b'"' + b"\\a" * 400))

    def test_a_line_made_to_be_tried_in_many_ways_takes_no_more_time_than_any(self) -> None:
        # A message of 50 MB has 50,000 such lines. When each took time in the square of its length they took minutes.
        begun = time.process_time()
        for line in (b"From a Mon Jan " + b"1" * 1000, b"From a Mon Jan 1 1:" + b"1" * 1000, b"From a" + b" " * 1000):
            for _ in range(1000):
                self.assertFalse(mbox.is_separator(line))
        self.assertLess(time.process_time() - begun, 2.0)

    def test_a_line_longer_than_the_limit_is_none(self) -> None:
        line = b"From " + b"a" * 990 + b" Tue Nov 24 21:36:34 2026"
        self.assertEqual(len(line), 1020)
        self.assertTrue(mbox.is_separator(line + b" xyz\r\n"))
        self.assertFalse(mbox.is_separator(line + b" xyzz\r\n"))

    @given(_LINE)
    @settings(max_examples=400, deadline=None)
    def test_the_second_reader_agrees_on_any_line(self, line: bytes) -> None:
        self.assertEqual(mbox.is_separator(line), second_reader.is_separator(line))


class QuotingTest(SynchronousTestCase):
    def test_each_line_that_could_start_a_message_gets_one_more_mark(self) -> None:
        quoted = b"".join(mbox.quoted([b"From a\n>From b\n>>From c\n From d\n> From e\nFrom:\n"]))
        self.assertEqual(quoted, b">From a\n>>From b\n>>>From c\n From d\n> From e\nFrom:\n\n")

    def test_a_last_line_without_end_gets_one(self) -> None:
        self.assertEqual(b"".join(mbox.quoted([b"a\nb"])), b"a\nb\n\n")
        self.assertEqual(b"".join(mbox.quoted([b"a\r"])), b"a\r\n\n")

    @given(messages(), st.integers(1, 9))
    @settings(max_examples=150, deadline=None)
    def test_however_it_is_cut_it_is_the_same(self, message: bytes, size: int) -> None:
        self.assertEqual(b"".join(mbox.quoted(cut(message, size))), b"".join(mbox.quoted([message])))

    @given(messages(), st.integers(1, 9))
    @settings(max_examples=150, deadline=None)
    def test_unquoting_undoes_it_however_it_is_cut(self, message: bytes, size: int) -> None:
        unquoting = mbox.Unquoting()
        quoted = b"".join(mbox.quoted([message]))
        back = b"".join(map(unquoting.feed, cut(quoted, size))) + unquoting.finish()
        self.assertEqual(back, message + b"\n")

    def test_an_endless_run_of_marks_is_not_held_back(self) -> None:
        quoting = mbox.Quoting()
        written = sum(len(quoting.feed(b">" * 1000)) for _ in range(100))
        self.assertGreater(written, 99_000)
        self.assertEqual((quoting.feed(b"From x") + quoting.finish())[-9:], b">From x\n\n")


class SeparationTest(SynchronousTestCase):
    def test_a_message_always_follows_an_empty_line(self) -> None:
        for before in (b"", b"\n", b"\r\n", b"x", b"x\n", b"x\n\n", b"x\r\n", b"x\r\n\r\n", b"x\n\r\n"):
            end = before + mbox.separation(before[-4:])
            self.assertTrue(end == b"" or second_reader.line_before(end, len(end)) in (b"", b"\r"), before)


class OursTest(SynchronousTestCase):
    def test_what_delivery_writes_is_known_again(self) -> None:
        ann, bob = Address("ann", "example.org"), Address("bob", "example.org")
        for recipient in (bob, None):
            trace = Trace("[192.0.2.1]", "[192.0.2.1]", "mail.example.org", "ESMTP", "222CF6745D", 0.0, recipient)
            self.assertTrue(mbox.is_ours(envelope_headers(ann, bob, bob) + trace.received()))

    def test_what_readers_write_above_or_between_changes_nothing(self) -> None:
        first, rest = TRACE.split(b"\n", 1)
        self.assertTrue(mbox.is_ours(b"X-IMAPbase: 1 2\n 3\nStatus: RO\n" + first + b"\nX-UID: 3\n" + rest))

    def test_the_same_fields_below_another_servers_are_its_senders(self) -> None:
        self.assertFalse(mbox.is_ours(b"Received: from x\n\tby y (Postfix) with ESMTP id 1\n" + TRACE))
        self.assertFalse(mbox.is_ours(b"Subject: x\n" + TRACE))
        self.assertFalse(
            mbox.is_ours(
                b"Return-Path: <a>\nReceived: from (lanmail)\n\tby y (Postfix) with SMTP\n\tby y (lanmail) with x\n"
            )
        )

    def test_pythons_mailbox_reads_what_we_wrote(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(
                delivered([b"Subject: one\r\n\r\nFrom here\r\n\r\n" + SEPARATOR])
                + delivered([b"Subject: two\r\n\r\nb\r\n"])
            )
        box = mailbox.mbox(os.path.abspath(path), create=False)
        self.addCleanup(box.close)
        self.assertEqual([message["Subject"] for message in box], ["one", "two"])
        self.assertEqual(box[0].get_payload(), ">From here\n\n>" + SEPARATOR.decode())

    @given(st.lists(messages(), max_size=4), st.integers(1, 9))
    @settings(max_examples=150, deadline=None)
    def test_write_then_read_is_the_identity_for_any_message(self, several: list[bytes], size: int) -> None:
        with a_file(b"".join(delivered(cut(message, size)) for message in several)) as fd:
            now = index(fd)
            trace = TRACE.replace(b"\n", b"\r\n")
            self.assertEqual(
                [text(fd, now, number) for number in range(1, len(now) + 1)], [trace + message for message in several]
            )
