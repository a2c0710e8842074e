"""STARTTLS in the dialogue (RFC 3207): what was said in clear counts for nothing, and what came behind it is never understood."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.smtp.events import Auth, Mail, StartTls
from lanmail.wire.terms import LOGIN_FIRST, TLS_FIRST, Terms
from tests.smtp.talk import Talk

OVER_TLS = Terms(login=True)
AUTH = b"AUTH PLAIN AGp1bGllbgBzZWNyZXQ=\r\n"


class StartTlsTests(SynchronousTestCase):
    def talk(self, terms: Terms) -> Talk:
        talk = Talk()
        talk.session._terms = terms
        return talk

    def test_it_is_offered_until_tls_has_begun(self) -> None:
        talk = self.talk(Terms(starttls=True))
        self.assertIn("250-STARTTLS", talk.hears(b"EHLO pc\r\n"))
        self.assertEqual(talk.hears(b"STARTTLS\r\n"), ["220 2.0.0 Ready to start TLS"])
        talk.session.secured(OVER_TLS)
        lines = talk.hears(b"EHLO pc\r\n")
        self.assertNotIn("250-STARTTLS", lines)
        self.assertIn("250-AUTH PLAIN LOGIN", lines)
        self.assertEqual(talk.hears(b"STARTTLS\r\n"), ["554 5.5.1 Error: TLS already active"])

    def test_what_is_pipelined_behind_it_is_not_understood(self) -> None:
        talk = self.talk(Terms(starttls=True, login=True))
        injected = b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x>\r\nRSET\r\n"
        self.assertEqual(talk.hears(b"EHLO pc\r\n" + injected)[-1], "220 2.0.0 Ready to start TLS")
        self.assertEqual(talk.kinds, [StartTls])
        talk.session.secured(OVER_TLS)
        self.assertEqual(talk.hears(b""), [])
        self.assertIsNone(talk.session.greeting)
        self.assertEqual(talk.codes(b"NOOP\r\n"), ["250 2.0.0"])

    def test_half_a_line_behind_it_begins_no_command(self) -> None:
        talk = self.talk(Terms(starttls=True))
        talk.hears(b"EHLO pc\r\nSTARTTLS\r\nMAIL FROM:<e")
        talk.session.secured(OVER_TLS)
        self.assertEqual(talk.codes(b"NOOP\r\n"), ["250 2.0.0"])

    def test_login_greeting_and_transaction_are_forgotten(self) -> None:
        talk = self.talk(Terms(starttls=True, login=True))
        talk.hears(b"EHLO pc\r\n", AUTH, b"MAIL FROM:<julien@x>\r\nSTARTTLS\r\n")
        self.assertTrue(talk.session.authenticated)
        talk.session.secured(OVER_TLS)
        self.assertFalse(talk.session.authenticated)
        self.assertEqual(talk.codes(b"RCPT TO:<nel@x>\r\n", AUTH), ["503 5.5.1", "503 5.5.1"])

    def test_where_tls_must_come_first_nothing_else_does(self) -> None:
        talk = self.talk(Terms(starttls=True, login=True, first=TLS_FIRST))
        self.assertEqual(talk.codes(b"NOOP\r\nEHLO pc\r\n")[0], "250 2.0.0")
        for command in (b"MAIL FROM:<julien@x>\r\n", AUTH, b"VRFY nel\r\n", b"RSET\r\n"):
            self.assertEqual(talk.hears(command), ["530 5.7.0 Must issue a STARTTLS command first"])
        self.assertEqual(talk.events, [])

    def test_where_a_login_is_needed_mail_comes_after_it(self) -> None:
        talk = self.talk(Terms(login=True, mail=LOGIN_FIRST))
        talk.hears(b"EHLO pc\r\n")
        self.assertEqual(talk.hears(b"MAIL FROM:<julien@x>\r\n"), ["530 5.7.0 Authentication required"])
        self.assertEqual(talk.codes(AUTH, b"MAIL FROM:<julien@x>\r\n"), ["235 2.7.0", "250 2.1.0"])
        self.assertEqual(talk.kinds, [Auth, Mail])

    def test_where_it_is_not_offered_it_is_no_command(self) -> None:
        self.assertEqual(self.talk(Terms()).hears(b"STARTTLS\r\n"), ["502 5.5.1 Error: command not implemented"])

    def test_it_takes_no_argument(self) -> None:
        self.assertEqual(self.talk(Terms(starttls=True)).codes(b"STARTTLS now\r\n"), ["501 5.5.4"])
