"""STLS in the dialogue (RFC 2595), and what somebody is told who would send a password in clear."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.pop3.events import Authenticate, Event, StartTls
from lanmail.pop3.session import Pop3Session
from lanmail.wire.terms import Terms

CLEAR = Terms(starttls=True)
BOTH = Terms(starttls=True, login=True)


class StlsTests(SynchronousTestCase):
    def begin(self, terms: Terms) -> Pop3Session:
        session = Pop3Session("ready", terms=terms)
        session.greet()
        session.output()
        return session

    def hears(self, session: Pop3Session, octets: bytes) -> tuple[list[str], Event | None]:
        session.receive(octets)
        event = session.next_event()
        if isinstance(event, StartTls):
            session.starting_tls()
        return session.output().decode().splitlines(), event

    def test_it_is_offered_until_tls_has_begun(self) -> None:
        session = self.begin(BOTH)
        self.assertIn("STLS", self.hears(session, b"CAPA\r\n")[0])
        self.assertEqual(self.hears(session, b"STLS\r\n"), (["+OK Begin TLS now"], StartTls()))
        session.secured(Terms(login=True))
        self.assertNotIn("STLS", self.hears(session, b"CAPA\r\n")[0])
        self.assertEqual(self.hears(session, b"STLS\r\n")[0], ["-ERR TLS is active already"])

    def test_what_is_pipelined_behind_it_is_not_understood_and_the_name_before_it_forgotten(self) -> None:
        session = self.begin(BOTH)
        self.assertEqual(
            self.hears(session, b"USER julien\r\nSTLS\r\nPASS secret\r\nPASS se")[1],
            StartTls(),
        )
        self.assertIsNone(session.next_event())
        session.secured(Terms(login=True))
        self.assertEqual(self.hears(session, b"PASS secret\r\n"), (["-ERR Say USER first"], None))

    def test_a_password_in_clear_is_not_taken_and_a_person_is_told_what_to_change(self) -> None:
        session = self.begin(CLEAR)
        for command in (b"USER julien\r\n", b"AUTH PLAIN AGp1bGllbgBzZWNyZXQ=\r\n"):
            lines, event = self.hears(session, command)
            self.assertIsNone(event)
            self.assertRegex(lines[0], r"^-ERR \[AUTH\] Passwords are not taken in clear here: .* STARTTLS")
        lines, _ = self.hears(session, b"CAPA\r\n")
        self.assertNotIn("USER", lines)
        self.assertFalse([line for line in lines if line.startswith("SASL")])
        self.hears(session, b"STLS\r\n")
        session.secured(Terms(login=True))
        self.hears(session, b"USER julien\r\n")
        self.assertEqual(self.hears(session, b"PASS secret\r\n")[1], Authenticate(b"julien", b"secret"))

    def test_where_it_is_not_offered_it_is_no_command(self) -> None:
        self.assertEqual(self.hears(self.begin(Terms(login=True)), b"STLS\r\n")[0], ["-ERR Unknown command"])

    def test_after_the_login_it_is_too_late(self) -> None:
        session = self.begin(BOTH)
        self.hears(session, b"USER julien\r\n")
        self.hears(session, b"PASS secret\r\n")
        session.logged_in([])
        session.output()
        self.assertEqual(self.hears(session, b"STLS\r\n")[0], ["-ERR Already logged in"])
