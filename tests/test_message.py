from __future__ import annotations

import itertools
import os
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.mailbox.mbox import is_separator
from lanmail.message import (
    QueueIds,
    TopHeader,
    Trace,
    envelope_headers,
    from_line,
    latest_id,
    maker_of,
    protocol,
    rfc5322_date,
)

EVENING = 1_795_556_194.0  # 2026-11-24 21:36:34 UTC
DROP = frozenset((b"status", b"x-uidl", b"lines", b"bcc"))


class InZone(SynchronousTestCase):
    def zone(self, name: str) -> None:
        """Local time is that of ``name`` until the end of the test."""
        before = os.environ.get("TZ")

        def back() -> None:
            os.environ.pop("TZ", None)
            if before is not None:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(back)
        os.environ["TZ"] = name
        time.tzset()


class QueueIdsTests(SynchronousTestCase):
    def test_ten_upper_case_hex_digits_each_greater_than_the_one_before(self) -> None:
        ids = QueueIds(lambda: EVENING)
        names = [ids.next() for _ in range(1000)]
        self.assertEqual(names, sorted(set(names)))
        for name in names:
            self.assertRegex(name, r"\A[0-9A-F]{10}\Z")

    def test_a_clock_that_goes_back_repeats_nothing(self) -> None:
        now = [EVENING]
        ids = QueueIds(lambda: now[0])
        first = ids.next()
        now[0] -= 3600
        self.assertGreater(ids.next(), first)

    def test_a_restart_a_sixteenth_of_a_second_later_repeats_nothing(self) -> None:
        before = QueueIds(lambda: EVENING)
        used = {before.next() for _ in range(500)}
        after = QueueIds(lambda: EVENING + 1 / 16)
        self.assertFalse(used & {after.next() for _ in range(500)})

    def test_a_clock_that_was_set_back_while_we_were_away_repeats_nothing(self) -> None:
        before = QueueIds(lambda: EVENING)
        used = {before.next() for _ in range(500)}
        after = QueueIds(lambda: EVENING - 30 * 86400, last=max(used))
        self.assertFalse(used & {after.next() for _ in range(500)})

    def test_after_the_highest_id_they_begin_anew(self) -> None:
        ids = QueueIds(lambda: 0.0, last="FFFFFFFFFF")
        self.assertEqual([ids.next(), ids.next()], ["0000000000", "0000000001"])

    def test_no_two_workers_give_the_same_id_and_each_tells_who_gave_it(self) -> None:
        for count in (1, 2, 3, 64):
            workers = [QueueIds(lambda: EVENING, place=place, count=count) for place in range(count)]
            given = [(place, ids.next()) for place, ids in enumerate(workers) for _ in range(300)]
            self.assertEqual(len({name for _, name in given}), len(given))
            for place, name in given:
                self.assertEqual(maker_of(name, count), place)

    def test_a_worker_begins_behind_the_last_of_all_whoever_gave_it(self) -> None:
        for last in range(0x222CF60000, 0x222CF60010):
            for place in range(3):
                ids = QueueIds(lambda: 0.0, f"{last:010X}", place=place, count=3)
                self.assertGreater(int(ids.next(), 16), last)

    def test_the_latest_of_several_also_where_ids_have_begun_anew(self) -> None:
        self.assertEqual(latest_id(["222CF60001", "", "222CF60009"]), "222CF60009")
        self.assertEqual(latest_id(["0000000004", "FFFFFFFFF0"]), "0000000004")
        self.assertEqual(latest_id(["", ""]), "")

    def test_a_clock_that_is_right_again_is_followed(self) -> None:
        ids = QueueIds(lambda: EVENING, last=QueueIds(lambda: EVENING - 90 * 86400).next())
        self.assertEqual(ids.next(), QueueIds(lambda: EVENING).next())


class DateTests(InZone):
    def test_local_time_with_its_numeric_zone(self) -> None:
        self.zone("CET-1CEST,M3.5.0,M10.5.0/3")
        self.assertEqual(rfc5322_date(EVENING), "Tue, 24 Nov 2026 22:36:34 +0100 (CET)")

    def test_a_zone_west_of_greenwich_with_half_an_hour(self) -> None:
        self.zone("NST3:30")
        self.assertEqual(rfc5322_date(EVENING), "Tue, 24 Nov 2026 18:06:34 -0330 (NST)")

    def test_a_zone_without_a_name(self) -> None:
        self.zone("<+0545>-5:45")
        self.assertEqual(rfc5322_date(EVENING), "Wed, 25 Nov 2026 03:21:34 +0545 (+0545)")

    def test_a_day_of_one_digit_is_padded_as_postfix_does(self) -> None:
        self.zone("UTC0")
        self.assertEqual(rfc5322_date(EVENING - 21 * 86400), "Tue,  3 Nov 2026 21:36:34 +0000 (UTC)")


class FromLineTests(InZone):
    def test_it_is_postfix_s_with_two_spaces(self) -> None:
        self.zone("UTC0")
        line = from_line(Address("julien", "iscb-corporation.com"), EVENING)
        self.assertEqual(line, b"From julien@iscb-corporation.com  Tue Nov 24 21:36:34 2026\n")

    def test_the_null_sender_is_mailer_daemon(self) -> None:
        self.zone("UTC0")
        self.assertEqual(from_line(NULL_SENDER, EVENING), b"From MAILER-DAEMON  Tue Nov 24 21:36:34 2026\n")

    def test_a_sender_too_long_for_such_a_line_is_left_to_return_path(self) -> None:
        sender = Address("a" * 900, "b" * 120)
        self.assertTrue(is_separator(from_line(sender, EVENING)))
        self.assertNotIn(b"aaa", from_line(sender, EVENING))
        self.assertIn(b"a" * 900, envelope_headers(sender, Address("ann"), Address("ann")))

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=30), st.sampled_from(("lan.example", "[192.168.1.5]", "")))
    def test_whoever_the_sender_is_readers_know_the_line(self, local: str, domain: str) -> None:
        self.assertTrue(is_separator(from_line(Address(local, domain), EVENING)))

    def test_a_line_end_in_an_address_makes_no_line(self) -> None:
        self.assertEqual(from_line(Address("a\nFrom b", "c"), EVENING).count(b"\n"), 1)
        headers = envelope_headers(Address("a\r\nX: y"), Address("b\u0085c"), Address("d"))
        self.assertEqual(headers.count(b"\n"), 3)


class TraceTests(InZone):
    def trace(self, recipient: Address | None) -> bytes:
        self.zone("CET-1CEST,M3.5.0,M10.5.0/3")
        return Trace(
            "[192.168.1.5]", "[192.168.1.5]", "srvlinux.iscb-corporation.com", "ESMTP", "222CF6745D", EVENING, recipient
        ).received()

    def test_received_names_the_one_recipient(self) -> None:
        self.assertEqual(
            self.trace(Address("nel", "iscb-corporation.com")),
            b"Received: from [192.168.1.5] (unknown [192.168.1.5])\n"
            b"\tby srvlinux.iscb-corporation.com (lanmail) with ESMTP id 222CF6745D\n"
            b"\tfor <nel@iscb-corporation.com>; Tue, 24 Nov 2026 22:36:34 +0100 (CET)\n",
        )

    def test_received_names_none_of_several(self) -> None:
        self.assertEqual(
            self.trace(None),
            b"Received: from [192.168.1.5] (unknown [192.168.1.5])\n"
            b"\tby srvlinux.iscb-corporation.com (lanmail) with ESMTP id 222CF6745D;"
            b" Tue, 24 Nov 2026 22:36:34 +0100 (CET)\n",
        )

    def test_the_headers_of_the_envelope(self) -> None:
        self.assertEqual(
            envelope_headers(NULL_SENDER, Address("sales", "a.example"), Address("odd name", "a.example")),
            b'Return-Path: <>\nX-Original-To: sales@a.example\nDelivered-To: "odd name"@a.example\n',
        )

    def test_protocols_of_rfc_3848_and_rfc_6531(self) -> None:
        self.assertEqual(protocol(extended=False), "SMTP")
        self.assertEqual(protocol(extended=True), "ESMTP")
        self.assertEqual(protocol(extended=True, tls=True, authenticated=True), "ESMTPSA")
        self.assertEqual(protocol(extended=True, smtputf8=True), "UTF8SMTP")
        self.assertEqual(protocol(extended=True, smtputf8=True, authenticated=True), "UTF8SMTPA")


def filtered(text: bytes, *cuts: int) -> bytes:
    top = TopHeader(DROP)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [top.feed(text[start:end]) for start, end in itertools.pairwise(edges)]
    return b"".join(pieces) + top.finish()


class TopHeaderTests(SynchronousTestCase):
    def test_state_goes_with_its_continuation_lines(self) -> None:
        text = b"Subject: a\nStatus: RO\n and more\nX-UIDL: 1\nTo: b\n\tc\n\nStatus: body\n"
        self.assertEqual(filtered(text), b"Subject: a\nTo: b\n\tc\n\nStatus: body\n")

    def test_names_are_compared_without_case_and_with_the_old_space_before_the_colon(self) -> None:
        self.assertEqual(filtered(b"STATUS : RO\nx-uidl:1\nStatusx: 2\n\n"), b"Statusx: 2\n\n")

    def test_a_message_without_headers_is_kept_as_it_is(self) -> None:
        self.assertEqual(filtered(b"\nStatus: x\n"), b"\nStatus: x\n")

    def test_text_that_begins_without_a_header_gets_an_empty_line_before_it(self) -> None:
        for text in (b"hello\nStatus: x\n", b" Status: x\n", b"\xff\xfe\x00: y\n", b": x\n"):
            self.assertEqual(filtered(text), b"\n" + text)

    def test_the_header_ends_before_a_line_that_is_none(self) -> None:
        text = b"Subject: a\nhello\nStatus: x\n\n"
        self.assertEqual(filtered(text), text)

    def test_a_from_line_belongs_to_the_header_behind_it(self) -> None:
        text = b"From ann  Tue Nov 24 21:36:34 2026\nSubject: a\nStatus: O\n\nb\n"
        self.assertEqual(filtered(text), text.replace(b"Status: O\n", b""))

    def test_a_from_line_before_text_is_text(self) -> None:
        for text in (
            b"From here\nwe go\n",
            b"From here\n",
            b"From here\n\nwe go\n",
            b"From here\n on\n",
        ):
            self.assertEqual(filtered(text), b"\n" + text)

    def test_nothing_is_nothing(self) -> None:
        self.assertEqual(filtered(b""), b"")

    def test_received_is_counted_in_the_top_header_only(self) -> None:
        top = TopHeader(DROP)
        top.feed(b"Received: a\n\tb\nreceived: c\nDelivered-To: Ann@Lan\n\nReceived: d\nDelivered-To: e\n")
        self.assertEqual((top.received, top.delivered_to), (2, {"ann@lan"}))

    def test_the_message_id_may_stand_on_a_continuation_line(self) -> None:
        top = TopHeader(DROP)
        top.feed(b"Message-ID:\n <a@b>\nMessage-ID: <second@b>\n\n")
        self.assertEqual(top.message_id, "<a@b>")

    def test_a_line_that_never_ends_is_not_held(self) -> None:
        for start, kept in ((b"Subject: ", True), (b"Status: ", False), (b"no header", True)):
            top = TopHeader(DROP)
            given_back = len(top.feed(start))
            for _ in range(100):
                given_back += len(top.feed(b"x" * 10_000))
            self.assertEqual(given_back > 990_000, kept, start)
            self.assertLess(len(top._rest), 4096)

    def test_a_header_at_its_limit_is_taken_and_one_of_an_octet_more_is_given_up(self) -> None:
        for octets, endless in ((100, False), (101, True)):
            top = TopHeader(DROP, longest=102)
            top.feed(b"X-Line: ".ljust(octets - 2, b"x") + b"\n\n")
            self.assertEqual(top.endless, endless)

    def test_a_header_of_too_many_lines_is_given_up_and_one_of_long_lines_is_not(self) -> None:
        for line, endless in (
            (b"Status: x\n", True),
            (b" more\n", True),
            (b"X: " + b"x" * 500_000 + b"\n", False),
        ):
            top = TopHeader(DROP)
            top.feed(b"Bcc: y\n")
            for _ in range(20):
                top.feed(line * max(1, 100_000 // len(line)))
            self.assertEqual(top.endless, endless, line[:20])

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Status: x",
                    b"Status",
                    b" more",
                    b"Subject: y",
                    b"",
                    b"From z",
                    b">From z",
                    b"hello",
                    b"\x00",
                    b"Bcc:",
                    b"x" * 3000,
                ]
            ),
            max_size=8,
        ),
        st.lists(st.integers(0, 400), max_size=6),
    )
    def test_however_the_octets_are_cut_the_result_is_the_same(self, lines: list[bytes], cuts: list[int]) -> None:
        text = b"".join(line + b"\n" for line in lines)
        self.assertEqual(filtered(text, *cuts), filtered(text))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.binary(max_size=12), max_size=6))
    def test_without_dropped_fields_the_text_is_kept_to_the_octet(self, lines: list[bytes]) -> None:
        text = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
        top = TopHeader(())
        kept = top.feed(text) + top.finish()
        self.assertIn(kept, (text, b"\n" + text))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 60), max_size=30))
    def test_fields_that_are_noted_are_kept_as_they_came_however_the_text_is_cut(self, cuts: list[int]) -> None:
        text = (
            b"From: ann@lan.example\nSubject: x\nBcc: eve\nfrom : Bob\n <bob@lan.example>\n"
            b"Date:\nX: " + b"y" * 5000 + b"\n\nFrom: text\n"
        )
        top = TopHeader(DROP, (b"from", b"date", b"bcc", b"sender"))
        kept = b""
        for size in [*cuts, len(text)]:
            kept, text = kept + top.feed(text[:size]), text[size:]
        kept += top.finish()
        self.assertEqual(top.values(b"from"), [b"ann@lan.example", b"Bob\n <bob@lan.example>"])
        self.assertEqual((top.values(b"date"), top.values(b"bcc"), top.values(b"sender")), ([b""], [], []))
        self.assertEqual(top.ambiguous, "")
        self.assertNotIn(b"Bcc", kept)

    def test_no_field_and_no_number_of_fields_fills_the_memory(self) -> None:
        top = TopHeader(DROP, (b"from",))
        for _ in range(20):
            top.feed(b"From: " + b"x" * 100_000 + b"\n")
        self.assertEqual([len(value) for value in top.values(b"from")], [(16 << 10) - 6] * 3)
