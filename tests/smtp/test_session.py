"""The conversation without any I/O: what it understands and what it says."""

from __future__ import annotations

import base64
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.interfaces import MailParameters, RecipientParameters
from lanmail.smtp.events import Auth, Content, Data, EndOfMessage, Event, Hold, Mail, Recipient, Reset
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.text import CHUNK
from lanmail.status import Status
from tests.smtp.fakes import HOSTNAME
from tests.smtp.talk import BEGIN, Talk


class TransactionTests(SynchronousTestCase):
    def test_a_message_is_mail_recipient_data_content_and_its_end(self) -> None:
        talk = Talk()
        talk.hears(BEGIN + b"Hello\r\n..\r\n.\r\n")
        mail, recipient, data, content, end = talk.events
        assert isinstance(mail, Mail) and isinstance(recipient, Recipient)
        self.assertEqual((mail.sender, recipient.address), (Address("julien", "x"), Address("nel", "x")))
        self.assertEqual((data, content, end), (Data(), Content(b"Hello\n.\n"), EndOfMessage()))

    def test_how_a_report_is_wanted_rides_on_mail_and_recipient(self) -> None:
        talk = Talk()
        talk.hears(b"EHLO c\r\nMAIL FROM:<a@b> RET=FULL ENVID=x\r\nRCPT TO:<nel> NOTIFY=DELAY ORCPT=rfc822;a@b\r\n")
        self.assertEqual(
            talk.events,
            [
                Mail(Address("a", "b"), MailParameters(ret="FULL", envid="x")),
                Recipient(Address("nel"), RecipientParameters("DELAY", "rfc822;a@b")),
            ],
        )

    def test_an_empty_message_has_no_content(self) -> None:
        talk = Talk()
        self.assertEqual(talk.codes(BEGIN + b".\r\n")[-1], "250 2.0.0")
        self.assertEqual(talk.kinds, [Mail, Recipient, Data, EndOfMessage])

    def test_the_null_sender_is_taken(self) -> None:
        talk = Talk()
        talk.hears(b"HELO client\r\nMAIL FROM:<>\r\n")
        self.assertEqual(talk.events, [Mail(NULL_SENDER, talk.events[0].parameters)])  # type: ignore[union-attr]

    def test_after_the_end_of_a_message_the_rest_is_commands_in_order(self) -> None:
        talk = Talk()
        codes = talk.codes(
            BEGIN + b"one\r\n.\r\nNOOP\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nel>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n"
        )
        self.assertEqual(
            codes[-8:], ["354", "250 2.0.0", "250 2.0.0", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
        )
        self.assertEqual([e.chunk for e in talk.events if isinstance(e, Content)], [b"one\n", b"two\n"])

    def test_a_refused_recipient_leaves_the_others(self) -> None:
        talk = Talk()
        codes = talk.codes(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nRCPT TO:<nel>\r\nDATA\r\n")
        self.assertEqual(codes[-3:], ["550 5.1.1", "250 2.1.5", "354"])

    def test_data_without_a_recipient_is_refused(self) -> None:
        talk = Talk()
        self.assertEqual(talk.codes(b"EHLO c\r\nDATA\r\n")[-1], "503 5.5.1")
        self.assertEqual(talk.codes(b"MAIL FROM:<a@b>\r\nDATA\r\n")[-1], "503 5.5.1")
        self.assertEqual(talk.hears(b"RCPT TO:<x@y>\r\nDATA\r\n")[-1], "554 5.5.1 Error: no valid recipients")

    def test_rset_and_ehlo_forget_the_transaction(self) -> None:
        for command in (b"RSET\r\n", b"EHLO again\r\n", b"HELO again\r\n"):
            talk = Talk()
            talk.hears(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nel>\r\n")
            self.assertTrue(talk.codes(command)[-1].startswith("250"))
            self.assertEqual(talk.kinds[-1], Reset)
            self.assertEqual(talk.codes(b"RCPT TO:<nel>\r\n"), ["503 5.5.1"])

    def test_the_end_of_a_message_ends_the_transaction_however_it_is_answered(self) -> None:
        for refused in (None, Status(452, "4.3.1", "Full")):
            talk = Talk()
            talk.decide = lambda event, refused=refused: refused if isinstance(event, EndOfMessage) else None
            codes = talk.codes(BEGIN + b"x\r\n.\r\nRCPT TO:<nel>\r\nMAIL FROM:<a@b>\r\n")
            self.assertEqual(codes[-3:], ["452 4.3.1" if refused else "250 2.0.0", "503 5.5.1", "250 2.1.0"])

    def test_a_refused_data_ends_the_transaction_and_no_text_is_read(self) -> None:
        talk = Talk()
        talk.decide = lambda event: Status(452, "4.3.1", "Full") if isinstance(event, Data) else None
        self.assertEqual(talk.codes(BEGIN + b"NOOP\r\n")[-2:], ["452 4.3.1", "250 2.0.0"])

    def test_what_the_greeting_said_is_kept(self) -> None:
        talk = Talk()
        talk.hears(b"HELO one\r\n")
        assert talk.session.greeting is not None
        self.assertEqual((talk.session.greeting.name, talk.session.greeting.extended), ("one", False))
        talk.hears(b"EHLO two\r\n")
        self.assertEqual((talk.session.greeting.name, talk.session.greeting.extended), ("two", True))


class SizeTests(SynchronousTestCase):
    LIMITS = SmtpLimits(message_size_limit=1000, error_sleep_time=0)

    def test_a_size_announced_past_the_limit_is_refused_at_mail(self) -> None:
        talk = Talk(self.LIMITS)
        talk.hears(b"EHLO c\r\n")
        self.assertEqual(talk.codes(b"MAIL FROM:<a@b> SIZE=1001\r\n"), ["552 5.3.4"])
        self.assertEqual(talk.codes(b"MAIL FROM:<a@b> SIZE=1000\r\n"), ["250 2.1.0"])
        self.assertEqual(len(talk.events), 1)

    def test_a_message_at_the_limit_is_taken(self) -> None:
        talk = Talk(self.LIMITS)
        self.assertEqual(talk.codes(BEGIN + b"x" * 998 + b"\r\n.\r\n")[-1], "250 2.0.0")
        self.assertEqual(len(talk.text), 999)  # its line end is one octet by now

    def test_a_larger_one_is_read_to_its_end_and_nothing_of_it_is_kept(self) -> None:
        octets = BEGIN + b"x" * 400 + b"\r\n" + b"y" * 600 + b"\r\n" + b"z" * 5000 + b"\r\n..\r\n.\r\nNOOP\r\n"
        for pieces in ([octets], [octets[i : i + 7] for i in range(0, len(octets), 7)]):
            talk = Talk(self.LIMITS)
            self.assertEqual(talk.hears(*pieces)[-2:], ["552 5.3.4 Error: message file too big", "250 2.0.0 Ok"])
            self.assertEqual(talk.kinds[-1], Reset)
            self.assertNotIn(EndOfMessage, talk.kinds)

    def test_no_limit_takes_all(self) -> None:
        talk = Talk(SmtpLimits(message_size_limit=0))
        self.assertIn("250-SIZE", talk.hears(b"EHLO c\r\n"))
        self.assertEqual(talk.codes(b"MAIL FROM:<a@b> SIZE=99999999999999999999\r\n"), ["250 2.1.0"])

    def test_chunks_are_large_and_bounded(self) -> None:
        session = Talk().session
        session.receive(BEGIN + b"line\r\n" * 100_000 + b".\r\n")
        sizes = []
        while (event := session.next_event()) is not None:
            if isinstance(event, Content):
                sizes.append(len(event.chunk))
            session.accept()
        self.assertLessEqual(max(sizes), CHUNK + 4)
        self.assertLessEqual(len(sizes), 600_000 // CHUNK + 2)
        self.assertEqual(sum(sizes), 500_000)


class OrderAndSyntaxTests(SynchronousTestCase):
    def test_who_sends_without_a_greeting_is_served(self) -> None:
        """Postfix asks for none (smtpd_helo_required = no), and old printers and scripts give none."""
        talk = Talk()
        self.assertEqual(
            talk.codes(b"MAIL FROM:<a@b>\r\nRCPT TO:<nel>\r\nDATA\r\nx\r\n.\r\n")[-4:],
            ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"],
        )
        self.assertIsNone(talk.session.greeting)

    def test_commands_longer_than_the_limit_are_refused_and_forgotten(self) -> None:
        talk = Talk(SmtpLimits(line_length_limit=100))
        self.assertEqual(talk.codes(b"NOOP " + b"x" * 95 + b"\r\n"), ["250 2.0.0"])
        self.assertEqual(talk.codes(b"NOOP " + b"x" * 96 + b"\r\nNOOP\r\n"), ["500 5.5.2", "250 2.0.0"])

    def test_lines_of_a_message_have_no_limit(self) -> None:
        """Twisted's own server takes what follows the 16,384th octet of a line for commands."""
        forged = b"MAIL FROM:<evil@x>\r\nRCPT TO:<nel>\r\nDATA\r\nforged\r\n"
        for length in (16_383, 16_384, 16_385, 16_386, 200_000):
            talk = Talk()
            talk.hears(BEGIN + b"x" * length + forged + b".\r\n")
            self.assertEqual(talk.kinds, [Mail, Recipient, Data, Content, EndOfMessage])

    def test_a_verb_that_is_not_ascii_is_no_command(self) -> None:
        self.assertEqual(Talk().codes(b"NOOP\xff\r\n"), ["502 5.5.2"])
        self.assertEqual(Talk().codes("NOÖP\r\n".encode()), ["502 5.5.2"])

    def test_a_nul_or_a_bare_cr_is_in_no_address(self) -> None:
        talk = Talk()
        talk.hears(b"EHLO c\r\n")
        self.assertEqual(talk.codes(b"MAIL FROM:<a\0@b>\r\n", b"MAIL FROM:<a@b>\rRCPT TO:<nel>\r\n"), ["501 5.5.4"] * 2)
        self.assertEqual(talk.codes(b"EHLO foo\rbar\r\n"), ["501 5.5.4"])

    def test_lines_may_end_with_a_bare_line_feed(self) -> None:
        self.assertEqual(Talk().codes(b"HELO c\nNOOP\n")[-1], "250 2.0.0")

    def test_who_speaks_http_is_shown_the_door(self) -> None:
        for line in (
            b"GET / HTTP/1.1",
            b"POST /x HTTP/1.0",
            b"CONNECT a:25 HTTP/1.1",
            b"Subject: hi",
            b"From:x",
            b"\x16\x03\x01",
            b".",
        ):
            talk = Talk()
            self.assertEqual(
                talk.hears(line + b"\r\nNOOP\r\n"), ["221 2.7.0 Error: I can break rules, too. Goodbye."], line
            )
            self.assertTrue(talk.session.closing)
            self.assertIn("warning: non-SMTP command from unknown[192.168.1.5]: ", talk.reports[-1])

    def test_a_password_said_behind_an_auth_that_was_refused_is_not_logged(self) -> None:
        # As a printer says it, that sends its lines whatever it hears.
        for offer_auth in (False, True):
            talk = Talk(offer_auth=offer_auth)
            talk.hears(b"EHLO c\r\nAUTH CRAM-MD5\r\n", b"bmVs\r\n", b"1XsecretX==\r\n")
            self.assertTrue(talk.session.closing)
            self.assertIn("warning: non-SMTP command", talk.reports[-1])
            self.assertNotIn("secret", str(talk.reports))

    def test_a_reply_is_one_line_whatever_a_status_says(self) -> None:
        talk = Talk()
        talk.decide = lambda event: Status(550, "5.1.1", "<é\r\n250 2.1.5 Ok\x1b>" + "x" * 2000)
        *_, offers_end, reply = talk.hears(b"EHLO c\r\nMAIL FROM:<a@b>\r\n")
        self.assertEqual(offers_end, "250 SMTPUTF8")
        self.assertTrue(reply.startswith("550 5.1.1 <???250 2.1.5 Ok?>xxx"), reply)
        self.assertEqual(len(reply), 510)

    def test_a_client_that_declared_utf8_is_answered_in_it(self) -> None:
        talk = Talk()
        talk.decide = lambda event: (
            Status(550, "5.1.1", "<jürgen@x>" + "é" * 400) if isinstance(event, Recipient) else None
        )
        reply = talk.hears(b"EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<nel>\r\n")[-1]
        self.assertTrue(reply.startswith("550 5.1.1 <jürgen@x>"))
        self.assertLessEqual(len(reply.encode()), 510)


class LimitTests(SynchronousTestCase):
    def test_too_many_errors_end_the_conversation(self) -> None:
        talk = Talk(SmtpLimits(hard_error_limit=3, error_sleep_time=0))
        self.assertEqual(talk.codes(b"FOO\r\nFOO\r\n"), ["502 5.5.2"] * 2)
        self.assertEqual(talk.codes(b"FOO\r\nNOOP\r\n"), ["502 5.5.2", "421 4.7.0"])
        self.assertTrue(talk.session.closing)
        self.assertEqual(talk.reports[-1], "too many errors after UNKNOWN from unknown[192.168.1.5]")

    def test_refused_recipients_are_errors_and_a_delivered_message_forgives_them(self) -> None:
        talk = Talk(SmtpLimits(hard_error_limit=3, error_sleep_time=0))
        unknown = b"RCPT TO:<x@y>\r\n"
        talk.hears(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nel>\r\n" + unknown * 2 + b"DATA\r\nx\r\n.\r\n")
        self.assertEqual(talk.codes(b"MAIL FROM:<a@b>\r\n" + unknown * 2), ["250 2.1.0", "550 5.1.1", "550 5.1.1"])
        self.assertEqual(talk.codes(unknown), ["550 5.1.1", "421 4.7.0"])

    def test_replies_are_held_back_after_a_few_errors_and_stay_in_order(self) -> None:
        session = Talk(SmtpLimits(soft_error_limit=2, error_sleep_time=1)).session
        session.receive(b"FOO\r\nFOO\r\nNOOP\r\n")
        self.assertEqual(session.next_event(), Hold())
        self.assertEqual(session.output().count(b"502"), 1)
        self.assertIsNone(session.next_event())
        session.accept()
        self.assertEqual(session.next_event(), Hold())
        self.assertEqual(session.output(), b"502 5.5.2 Error: command not recognized\r\n")
        session.accept()
        self.assertIsNone(session.next_event())
        self.assertEqual(session.output(), b"250 2.0.0 Ok\r\n")

    def test_recipients_past_the_limit_are_for_another_transaction(self) -> None:
        talk = Talk(SmtpLimits(recipient_limit=2, recipient_overshoot_limit=30, error_sleep_time=0))
        codes = talk.codes(b"EHLO c\r\nMAIL FROM:<a@b>\r\n" + b"RCPT TO:<nel>\r\n" * 32 + b"DATA\r\n")
        self.assertEqual(codes[-33:], ["250 2.1.5"] * 2 + ["452 4.5.3"] * 30 + ["354"])
        self.assertEqual(sum("too many recipients" in line for line in talk.reports), 1)
        codes = talk.codes(b"x\r\n.\r\nMAIL FROM:<a@b>\r\n" + b"RCPT TO:<nel>\r\n" * 32)
        self.assertEqual(codes[2:], ["250 2.1.5"] * 2 + ["452 4.5.3"] * 30)

    def test_who_goes_on_for_ever_past_the_limit_makes_errors(self) -> None:
        talk = Talk(SmtpLimits(recipient_limit=1, recipient_overshoot_limit=5, hard_error_limit=3, error_sleep_time=0))
        codes = talk.codes(b"EHLO c\r\nMAIL FROM:<a@b>\r\n" + b"RCPT TO:<nel>\r\n" * 100)
        self.assertEqual(codes[-9:], ["452 4.5.3"] * 8 + ["421 4.7.0"])

    def test_commands_that_do_nothing_are_errors_past_their_limit(self) -> None:
        for command, code in (
            (b"NOOP", "250 2.0.0"),
            (b"HELP", "214 2.0.0"),
            (b"VRFY x", "252 2.0.0"),
            (b"HELO c", "250"),
        ):
            talk = Talk(SmtpLimits(junk_command_limit=10, hard_error_limit=5, error_sleep_time=0))
            self.assertEqual(talk.codes((command + b"\r\n") * 100), [code] * 15 + ["421 4.7.0"])


class AuthTests(SynchronousTestCase):
    PLAIN = base64.b64encode(b"\0julien\0secret")

    def begun(self, **given: Any) -> Talk:
        talk = Talk(offer_auth=True, **given)
        self.assertIn("250-AUTH PLAIN LOGIN", talk.hears(b"EHLO c\r\n"))
        return talk

    def test_it_is_neither_announced_nor_understood_where_it_is_not_offered(self) -> None:
        talk = Talk()
        self.assertFalse([line for line in talk.hears(b"EHLO c\r\n") if "AUTH" in line])
        self.assertEqual(talk.codes(b"AUTH PLAIN " + self.PLAIN + b"\r\n"), ["503 5.5.1"])
        self.assertEqual(talk.codes(b"MAIL FROM:<a@b> AUTH=<>\r\n"), ["555 5.5.4"])

    def test_plain_with_and_without_initial_response(self) -> None:
        for said in (b"AUTH PLAIN " + self.PLAIN + b"\r\n", b"auth plain\r\n" + self.PLAIN + b"\r\n"):
            talk = self.begun()
            self.assertEqual(talk.codes(said)[-1], "235 2.7.0")
            self.assertEqual(talk.events, [Auth("PLAIN", b"julien", b"secret")])
            self.assertTrue(talk.session.authenticated)

    def test_login_asks_for_one_thing_after_the_other(self) -> None:
        talk = self.begun()
        self.assertEqual(talk.hears(b"AUTH LOGIN\r\n"), ["334 VXNlcm5hbWU6"])
        self.assertEqual(talk.hears(base64.b64encode(b"julien") + b"\r\n"), ["334 UGFzc3dvcmQ6"])
        self.assertEqual(talk.codes(base64.b64encode(b"secret") + b"\r\n"), ["235 2.7.0"])

    def test_what_cannot_be_an_answer_ends_the_exchange_and_not_the_conversation(self) -> None:
        """Twisted's own server drops the connection for a bare AUTH, for ``=``, and for a PLAIN without two NULs."""
        bad = {
            b"AUTH\r\n": "501 5.5.4",
            b"AUTH CRAM-MD5\r\n": "504 5.5.4",
            b"AUTH \xff\r\n": "504 5.5.4",
            b"AUTH PLAIN =\r\n": "501 5.5.2",
            b"AUTH PLAIN !!!\r\n": "501 5.5.2",
            b"AUTH PLAIN " + base64.b64encode(b"julien") + b"\r\n": "501 5.5.2",
            b"AUTH PLAIN\r\n*\r\n": "501 5.7.0",
            b"AUTH LOGIN\r\n*\r\n": "501 5.7.0",
            b"AUTH PLAIN\r\n" + b"A" * 12_289 + b"\r\n": "500 5.5.6",
        }
        for said, code in bad.items():
            talk = self.begun()
            self.assertEqual(talk.codes(said + b"NOOP\r\n")[-2:], [code, "250 2.0.0"], said)
            self.assertEqual(talk.events, [])

    def test_a_response_may_be_longer_than_a_command(self) -> None:
        password = b"x" * 9000
        talk = self.begun()
        talk.hears(b"AUTH PLAIN\r\n" + base64.b64encode(b"\0julien\0" + password) + b"\r\n")
        self.assertEqual(talk.events, [Auth("PLAIN", b"julien", password)])

    def test_it_has_its_place_in_the_order(self) -> None:
        auth = b"AUTH PLAIN " + self.PLAIN + b"\r\n"
        self.assertEqual(Talk(offer_auth=True).codes(auth), ["503 5.5.1"])
        self.assertEqual(Talk(offer_auth=True).codes(b"HELO c\r\n" + auth)[-1], "503 5.5.1")
        self.assertEqual(self.begun().codes(b"MAIL FROM:<a@b>\r\n" + auth)[-1], "503 5.5.1")
        self.assertEqual(self.begun().codes(auth * 2), ["235 2.7.0", "503 5.5.1"])

    def test_fifty_pipelined_logins_are_tried_one_at_a_time(self) -> None:
        """Twisted's own server begins fifty at once."""
        talk = self.begun(limits=SmtpLimits(error_sleep_time=0, hard_error_limit=60))
        talk.session.receive((b"AUTH PLAIN " + self.PLAIN + b"\r\n") * 50)
        self.assertIsInstance(talk.session.next_event(), Auth)
        self.assertIsNone(talk.session.next_event())

    def test_neither_event_nor_log_shows_a_password(self) -> None:
        talk = self.begun()
        talk.decide = lambda event: Status(535, "5.7.8", "Error: authentication failed")
        self.assertEqual(talk.codes(b"AUTH PLAIN " + self.PLAIN + b"\r\n"), ["535 5.7.8"])
        self.assertNotIn("secret", "".join(talk.reports) + repr(talk.events))
        self.assertEqual(
            talk.reports[-1],
            "warning: unknown[192.168.1.5]: SASL PLAIN authentication failed: Error: authentication failed,"
            " sasl_username=julien",
        )
        self.assertFalse(talk.session.authenticated)


class FailureTests(SynchronousTestCase):
    """What is said when something of ours broke, event by event."""

    def broken_at(self, kind: type, octets: bytes, *, offer_auth: bool = False) -> list[str]:
        talk = Talk(offer_auth=offer_auth)
        talk.decide = lambda event: None
        answer = talk._answer

        def answer_or_fail(event: Event) -> None:
            talk.session.fail() if isinstance(event, kind) else answer(event)

        talk._answer = answer_or_fail  # type: ignore[method-assign]
        return talk.codes(b"EHLO c\r\n" + octets)

    def test_it_is_451_and_the_conversation_goes_on(self) -> None:
        message = b"MAIL FROM:<a@b>\r\nRCPT TO:<nel>\r\nDATA\r\nx\r\n.\r\n"
        self.assertEqual(self.broken_at(Mail, b"MAIL FROM:<a@b>\r\nNOOP\r\n")[-2:], ["451 4.3.0", "250 2.0.0"])
        self.assertEqual(self.broken_at(Recipient, message[:32] + b"NOOP\r\n")[-2:], ["451 4.3.0", "250 2.0.0"])
        self.assertEqual(self.broken_at(Data, message[:38] + b"NOOP\r\n")[-2:], ["451 4.3.0", "250 2.0.0"])
        self.assertEqual(self.broken_at(EndOfMessage, message + b"NOOP\r\n")[-2:], ["451 4.3.0", "250 2.0.0"])

    def test_in_the_middle_of_a_message_it_is_said_at_its_end(self) -> None:
        message = b"MAIL FROM:<a@b>\r\nRCPT TO:<nel>\r\nDATA\r\nx\r\n.\r\n"
        self.assertEqual(self.broken_at(Content, message + b"NOOP\r\n")[-3:], ["354", "451 4.3.0", "250 2.0.0"])

    def test_a_login_is_to_be_tried_later(self) -> None:
        auth = b"AUTH PLAIN " + AuthTests.PLAIN + b"\r\n"
        self.assertEqual(self.broken_at(Auth, auth, offer_auth=True)[-1], "454 4.7.0")

    def test_what_cannot_be_refused_is_answered_as_it_would_have_been(self) -> None:
        self.assertEqual(self.broken_at(Reset, b"MAIL FROM:<a@b>\r\nRSET\r\n")[-1], "250 2.0.0")


class LogTests(SynchronousTestCase):
    def test_a_session_is_told_in_postfixs_words(self) -> None:
        talk = Talk()
        talk.session.greet()
        talk.hears(BEGIN + b"x\r\n.\r\nQUIT\r\n")
        talk.session.lost()
        self.assertEqual(
            talk.reports,
            [
                "connect from unknown[192.168.1.5]",
                "disconnect from unknown[192.168.1.5] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
            ],
        )

    def test_a_refused_recipient_is_told_by_whoever_refused_it_and_not_again(self) -> None:
        talk = Talk()
        talk.hears(b"EHLO portable\r\nMAIL FROM:<>\r\nRCPT TO:<x@y>\r\nQUIT\r\n")
        talk.session.lost()
        self.assertEqual(
            talk.reports, ["disconnect from unknown[192.168.1.5] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"]
        )

    def test_a_refused_message_is_told_by_whoever_refused_it_and_not_again(self) -> None:
        talk = Talk()
        talk.decide = lambda event: Status(452, "4.3.1", "Full") if isinstance(event, EndOfMessage) else None
        talk.hears(BEGIN + b"x\r\n.\r\nQUIT\r\n")
        self.assertFalse([line for line in talk.reports if "reject" in line])

    def test_a_message_that_nobody_could_tell_about_is_told_here(self) -> None:
        class Breaking(Talk):
            def _answer(self, event: Event) -> None:
                if isinstance(event, EndOfMessage):
                    self.session.fail()
                else:
                    super()._answer(event)

        talk = Breaking()
        self.assertEqual(talk.codes(BEGIN + b"x\r\n.\r\n")[-1], "451 4.3.0")
        self.assertIn("NOQUEUE: reject: END-OF-MESSAGE from unknown[192.168.1.5]: 451 4.3.0 ", talk.reports[-1])

    def test_a_size_that_is_refused_is_told_with_all_that_is_known(self) -> None:
        for greeting, told in ((b"EHLO portable\r\n", "proto=ESMTP helo=<portable>"), (b"", "proto=SMTP")):
            talk = Talk(SmtpLimits(message_size_limit=3))
            talk.hears(greeting + b"MAIL FROM:<a@b> SIZE=4\r\n")
            self.assertEqual(
                talk.reports[-1],
                "NOQUEUE: reject: MAIL from unknown[192.168.1.5]: 552 5.3.4 Message size exceeds fixed limit;"
                f" from=<a@b> {told}",
            )

    def test_a_lost_connection_is_told_with_where_it_was(self) -> None:
        for said, where in (
            (b"", "CONNECT"),
            (b"EHLO c\r\n", "EHLO"),
            (BEGIN[:-6], "RCPT"),
            (BEGIN + b"12345\r\nx", "DATA (8 bytes)"),
            (BEGIN + b".\r\n", "END-OF-MESSAGE"),
            (b"FOO\r\n", "UNKNOWN"),
        ):
            talk = Talk()
            talk.hears(said)
            talk.session.lost()
            self.assertEqual(talk.reports[-2], f"lost connection after {where} from unknown[192.168.1.5]")

    def test_a_timeout_is_told_to_the_client_and_to_the_log(self) -> None:
        talk = Talk()
        talk.hears(BEGIN)
        talk.session.time_out()
        self.assertEqual(talk.hears(), [f"421 4.4.2 {HOSTNAME} Error: timeout exceeded"])
        talk.session.lost()
        self.assertEqual(talk.reports[-2], "timeout after DATA (0 bytes) from unknown[192.168.1.5]")
        self.assertIn("data=0/1", talk.reports[-1])

    def test_a_stop_is_told_with_4_3_2(self) -> None:
        talk = Talk()
        talk.session.shut_down()
        self.assertTrue(talk.hears()[0].startswith("421 4.3.2"))

    def test_a_large_message_is_told_as_refused_at_its_end(self) -> None:
        talk = Talk(SmtpLimits(message_size_limit=3))
        talk.hears(BEGIN + b"12345\r\n.\r\n")
        self.assertEqual(
            talk.reports[-1],
            "NOQUEUE: reject: END-OF-MESSAGE from unknown[192.168.1.5]: 552 5.3.4 Error: message file too big;"
            " from=<julien@x> proto=ESMTP helo=<client>",
        )
