"""The text of a report: for people, for programs, for other mailers' programs, and for those who would smuggle something into it."""

from __future__ import annotations

import json
import subprocess
from typing import Any, get_args
from unittest import SkipTest

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.mailbox.mbox import is_ours
from lanmail.message import envelope_headers
from lanmail.queue.words import Kind
from lanmail.queue.words_en import English
from lanmail.queue.words_fr import French
from lanmail.status import Status
from tests.live import need
from tests.queue.reporting import (
    ARRIVED,
    BOUNDARY,
    BUSY,
    FULL,
    HOST,
    JULIEN,
    NEL,
    NOON,
    NULL_SENDER,
    POSTMASTER,
    STAFF,
    UNKNOWN,
    Parsed,
    Told,
    content,
    message,
    recipient,
    report,
    text_of,
)

ZOE = Address("zoé", "iscb-corporation.com")


class HeaderTests(SynchronousTestCase):
    def test_it_says_who_writes_to_whom_and_that_a_machine_does(self) -> None:
        octets = text_of(report())
        self.assertTrue(octets.startswith(f"From: MAILER-DAEMON@{HOST} (Mail Delivery System)\n".encode()))
        whole = Parsed(octets).whole
        self.assertEqual(whole["To"], str(JULIEN))
        self.assertEqual(whole["Auto-Submitted"], "auto-replied")
        self.assertEqual(whole["MIME-Version"], "1.0")
        self.assertEqual(whole["Date"].datetime.timestamp(), NOON)
        self.assertRegex(whole["Message-ID"], rf"^<\d{{14}}\.2230000000@{HOST}>$")
        self.assertEqual(whole.get_param("report-type"), "delivery-status")

    def test_its_received_header_has_the_mark_of_our_messages(self) -> None:
        made = report()
        self.assertTrue(is_ours(envelope_headers(NULL_SENDER, JULIEN, JULIEN) + made.received))
        self.assertIn(b"id 2230000000\n\tfor <julien@", made.received)

    def test_a_subject_beyond_ascii_is_encoded(self) -> None:
        octets = text_of(report(words=French()))
        self.assertTrue(octets.partition(b"\n\n")[0].isascii())
        self.assertEqual(Parsed(octets).whole["Subject"], "Message non remis, retourné à l'expéditeur")


class ForPeopleTests(SynchronousTestCase):
    def test_the_first_words_say_what_happened_and_what_to_do(self) -> None:
        self.assertEqual(
            Parsed(text_of(report())).paragraphs[0],
            "Your message to nel@iscb-corporation.com has not been delivered and will not be tried again."
            " Check the address, then send the message again.",
        )
        self.assertEqual(
            Parsed(text_of(report(words=French()))).paragraphs[0],
            "Votre message adressé à nel@iscb-corporation.com n'a pas été remis, et aucune nouvelle tentative n'aura lieu."
            " Vérifiez l'adresse, puis renvoyez le message.",
        )

    def test_they_name_the_message_by_its_subject(self) -> None:
        letter = content(b"Subject: =?utf-8?q?Devis_d'=C3=A9t=C3=A9?=\n\nBonjour\n")
        self.assertIn('"Devis d\'été" of 23 November 2026 at ', Parsed(text_of(report(), letter)).paragraphs[1])
        self.assertIn("« Devis d'été » du 23 novembre", Parsed(text_of(report(words=French()), letter)).paragraphs[1])

    def test_each_recipient_has_its_reason_and_where_they_differ_its_advice(self) -> None:
        told = (Told(recipient(NEL, STAFF), UNKNOWN), Told(recipient(JULIEN), Status(550, "5.7.1", "Not you")))
        first, _, nel, julien, *_ = Parsed(text_of(report(*told))).paragraphs
        self.assertIn("What to do about each of them is said below.", first)
        self.assertEqual(
            nel,
            "nel@iscb-corporation.com sent to: staff@iscb-corporation.com reason: User unknown in local recipient table (5.1.1)"
            " Check the address, then send the message again.",
        )
        self.assertIn("reason: Not you (5.7.1) Ask postmaster@iscb-corporation.com for help", julien)

    def test_many_recipients_are_counted_and_the_first_fifty_listed(self) -> None:
        told = [Told(recipient(Address(f"u{n}", "x")), UNKNOWN) for n in range(60)]
        parsed = Parsed(text_of(report(*told)))
        self.assertIn("Your message to 60 recipients has not", parsed.paragraphs[0])
        self.assertIn("and 10 more", parsed.paragraphs)
        self.assertNotIn("u50@x", parsed.words)
        self.assertEqual(len(parsed.recipients), 60)

    def test_lines_are_short_enough_to_read(self) -> None:
        for words in (English(), French()):
            text = Parsed(text_of(report(Told(recipient(), BUSY, NOON + 1000), kind="delayed", words=words))).words
            self.assertLessEqual(max(map(len, text.splitlines())), 76)


class ForProgramsTests(SynchronousTestCase):
    def test_a_failure(self) -> None:
        made = report(
            Told(recipient(NEL, STAFF, orcpt="rfc822;team+x@elsewhere.example"), UNKNOWN), message=message(envid="QQ+1")
        )
        parsed = Parsed(text_of(made))
        self.assertEqual(parsed.about["Reporting-MTA"], f"dns; {HOST}")
        self.assertEqual(parsed.about["Original-Envelope-Id"], "QQ+1")
        self.assertIn("23 Nov 2026", str(parsed.about["Arrival-Date"]))
        (one,) = parsed.recipients
        self.assertEqual(one["Original-Recipient"], "rfc822; team+x@elsewhere.example")
        self.assertEqual(one["Final-Recipient"], "rfc822; nel@iscb-corporation.com")
        self.assertEqual((one["Action"], one["Status"]), ("failed", "5.1.1"))
        self.assertEqual(one["Diagnostic-Code"], "X-Lanmail; 550 5.1.1 User unknown in local recipient table")
        self.assertIn("23 Nov 2026", str(one["Last-Attempt-Date"]))
        self.assertNotIn("Will-Retry-Until", one)

    def test_a_delay_says_until_when_it_is_tried(self) -> None:
        (one,) = Parsed(text_of(report(Told(recipient(), BUSY, NOON + 86_400), kind="delayed"))).recipients
        self.assertEqual((one["Action"], one["Status"]), ("delayed", "4.2.0"))
        self.assertIn("24 Nov 2026", str(one["Will-Retry-Until"]))

    def test_a_success_needs_no_diagnosis(self) -> None:
        for kind in ("delivered", "relayed"):
            (one,) = Parsed(text_of(report(Told(recipient(), ARRIVED), kind=kind))).recipients
            self.assertEqual((one["Action"], one["Status"]), (kind, "2.0.0"))
            self.assertNotIn("Diagnostic-Code", one)

    def test_of_a_success_behind_an_alias_of_many_nobody_learns_who_is_in_it(self) -> None:
        octets = text_of(report(Told(recipient(NEL, STAFF, expanded=True), ARRIVED), kind="expanded"))
        self.assertNotIn(b"nel@", octets.replace(b"(Mail Delivery", b""))
        (one,) = Parsed(octets).recipients
        self.assertEqual((one["Action"], one["Final-Recipient"]), ("expanded", f"rfc822; {STAFF}"))
        self.assertNotIn("Original-Recipient", one)

    def test_the_owner_of_a_list_is_not_told_the_senders_name_for_the_message(self) -> None:
        owner = Address("owner-list", "x")
        self.assertNotIn(b"SECRET", text_of(report(to=owner, message=message(envid="SECRET"))))
        self.assertIn(b"SECRET", text_of(report(to=POSTMASTER, hearer="postmaster", message=message(envid="SECRET"))))

    def test_an_address_beyond_ascii_is_written_as_rfc_6533_has_it(self) -> None:
        made = report(Told(recipient(ZOE, orcpt="utf-8;zoé+x\\@y"), UNKNOWN), to=ZOE)
        octets = text_of(made)
        self.assertIn(b"Final-Recipient: utf-8; zo\\x{E9}@iscb-corporation.com\n", octets)
        self.assertIn(b"Original-Recipient: utf-8; zo\\x{E9}\\x{2B}x\\x{5C}@y\n", octets)
        self.assertIn("\nTo: zoé@iscb-corporation.com\n".encode(), octets)

    def test_a_status_that_is_none_becomes_one(self) -> None:
        for kind, expected in (("failed", "5.0.0"), ("delayed", "4.0.0"), ("delivered", "2.0.0")):
            self.assertEqual(
                Parsed(text_of(report(Told(recipient(), Status(550, "x", "?")), kind=kind))).field("Status"), [expected]
            )


class TheMessageTests(SynchronousTestCase):
    def test_its_header_comes_back_with_where_we_had_it_from(self) -> None:
        parsed = Parsed(text_of(report()))
        self.assertEqual(parsed.original.get_content_type(), "text/rfc822-headers")
        self.assertEqual(parsed.returned["Subject"], "Bonjour")
        self.assertIn("portable", parsed.returned["Received"])
        self.assertIsNone(parsed.returned["Delivered-To"])
        self.assertNotIn(b"Bonjour Nel", text_of(report()))

    def test_all_of_it_comes_back_as_it_was_sent(self) -> None:
        octets = text_of(report(full=True))
        parsed = Parsed(octets)
        self.assertEqual(parsed.original.get_content_type(), "message/rfc822")
        self.assertEqual(parsed.returned.get_payload(), "Bonjour Nel.\nFrom me.\n")
        self.assertIn(b"\n\nBonjour Nel.\nFrom me.\n\n--" + BOUNDARY.encode() + b"--\n", octets)

    def test_a_body_beyond_ascii_comes_back_octet_for_octet(self) -> None:
        letter = b"Content-Type: text/plain; charset=latin-1\nContent-Transfer-Encoding: 8bit\n\n\xe9t\xe9\n"
        parsed = Parsed(text_of(report(full=True), content(letter)))
        self.assertEqual(parsed.original.get_content_type(), "message/rfc822")
        self.assertEqual(parsed.returned.get_content(), "été\n")

    def test_a_header_in_utf8_makes_it_a_global_message(self) -> None:
        letter = content("Subject: été\n\nBonjour\n".encode())
        for full, kind in ((False, "message/global-headers"), (True, "message/global")):
            parsed = Parsed(text_of(report(full=full), letter))
            self.assertEqual(parsed.original.get_content_type(), kind)
            self.assertEqual(parsed.returned["Subject"], "été")

    def test_octets_of_a_header_that_are_no_utf8_are_replaced_and_those_of_the_text_are_not(self) -> None:
        octets = text_of(report(full=True), content(b"Subject: \xe9t\xe9\n\n\xe9\n"))
        self.assertIn("Subject: \ufffdt\ufffd\n\n".encode() + b"\xe9\n", octets)

    def test_a_report_within_a_report_keeps_its_parts_to_itself(self) -> None:
        inner = text_of(report(full=True, boundary="f" * 32))
        parsed = Parsed(text_of(report(full=True), content(inner)))
        self.assertEqual(parsed.returned.get_content_type(), "multipart/report")
        self.assertEqual(len(list(parsed.returned.iter_parts())), 3)


# Anything that Python can hold, with what ends lines, headers and parts more often than chance would have it.
ENDS = st.sampled_from(
    ["\r\n", "\n", "\r", "\0", "\x85", "\u2028", "\u202e", "\ud800", "X-Evil: yes", f"\n--{BOUNDARY}\n", ">", "é", " "]
)
OCTETS = st.sampled_from([b"\n", b"\r", b"\r\n", b"From ", b">", b"a: b", b" ", b"--", b"\xff", b"\0"])
TEXT = st.lists(ENDS | st.text(max_size=12), max_size=6).map("".join)
ADDRESSES = st.builds(Address, TEXT, st.sampled_from(["", "x", "iscb-corporation.com"]) | TEXT)


class NothingGetsInTests(SynchronousTestCase):
    @given(ADDRESSES, ADDRESSES, ADDRESSES, TEXT, TEXT, TEXT, st.sampled_from(get_args(Kind)), st.booleans())
    @settings(max_examples=250, deadline=None)
    def test_whatever_stands_in_an_envelope_the_report_is_one_and_has_no_header_but_ours(
        self,
        sender: Address,
        to: Address,
        original: Address,
        diagnosis: str,
        envid: str,
        orcpt: str,
        kind: Kind,
        french: bool,
    ) -> None:
        made = report(
            Told(recipient(to, original, sender, orcpt=f"rfc822;{orcpt}"), Status(550, diagnosis, diagnosis), NOON + 1),
            to=sender,
            kind=kind,
            message=message(sender, envid=envid),
            words=French() if french else English(),
        )
        octets = text_of(made)
        octets.decode()
        header = octets.partition(b"\n\n")[0]
        names = b" ".join(line.partition(b":")[0] for line in header.split(b"\n") if line[:1] not in b" \t")
        self.assertEqual(
            names, b"From Subject To Date Message-ID Auto-Submitted MIME-Version Content-Type Content-Transfer-Encoding"
        )
        self.assertEqual(made.received.count(b"\n"), 3)
        parsed = Parsed(octets)
        self.assertEqual(parsed.field("Action"), [kind])
        self.assertTrue(parsed.status.as_bytes().isascii())
        for block in (parsed.about, *parsed.recipients, parsed.whole, parsed.original, parsed.notification):
            self.assertNotIn("X-Evil", block)

    @given(
        st.lists(
            st.sampled_from([b"\n", b"\r", b"\r\n", b"From ", b">", b"a: b", b" ", b"--", b"\xff", b"\0"]), max_size=14
        ),
        st.booleans(),
    )
    @settings(max_examples=250, deadline=None)
    def test_whatever_the_message_is_the_report_has_three_parts(self, pieces: list[bytes], full: bool) -> None:
        letter = b"".join(pieces)
        octets = text_of(report(full=full), content(letter))
        parsed = Parsed(octets)
        self.assertEqual(parsed.field("Status"), ["5.1.1"])
        self.assertEqual(octets.count(b"--" + BOUNDARY.encode()), 4)


class OtherProgramsTests(SynchronousTestCase):
    """Sisimai reads the reports of a hundred kinds of mailers for those who send mail to many."""

    def read(self, *told: Told, **more: Any) -> list[dict[str, Any]]:
        need("perl")
        if subprocess.run(["perl", "-MSisimai", "-e1"], capture_output=True).returncode:
            raise SkipTest("Sisimai (libsisimai-perl) is not installed")
        path = self.mktemp()
        with open(path, "wb") as file:
            made = report(*told, **more)
            file.write(
                b"From MAILER-DAEMON  Mon Nov 23 12:00:00 2026\nReturn-Path: <>\n" + made.received + text_of(made)
            )
        ran = subprocess.run(
            ["perl", "-MSisimai", "-e", "print Sisimai->dump($ARGV[0], delivered => 1)", path],
            capture_output=True,
            check=True,
        )
        found: list[dict[str, Any]] = json.loads(ran.stdout)
        return found

    def test_sisimai_reads_the_same_out_of_them_in_either_language(self) -> None:
        for words in (English(), French()):
            failed = self.read(Told(recipient(NEL, STAFF), UNKNOWN), Told(recipient(JULIEN), FULL), words=words)
            self.assertEqual(
                [
                    (one["recipient"], one["alias"], one["action"], one["deliverystatus"], one["reason"])
                    for one in failed
                ],
                [
                    (str(NEL), str(STAFF), "failed", "5.1.1", "userunknown"),
                    (str(JULIEN), "", "failed", "4.2.2", "mailboxfull"),
                ],
            )
            self.assertEqual(
                {(one["messageid"], one["subject"], one["rhost"]) for one in failed}, {("1@portable", "Bonjour", HOST)}
            )

    def test_sisimai_tells_a_delay_and_a_success_from_a_failure(self) -> None:
        (delayed,) = self.read(Told(recipient(), BUSY, NOON + 1000), kind="delayed")
        self.assertEqual((delayed["action"], delayed["softbounce"]), ("delayed", 1))
        (delivered,) = self.read(Told(recipient(), ARRIVED), kind="delivered")
        self.assertEqual((delivered["action"], delivered["reason"]), ("delivered", "delivered"))
