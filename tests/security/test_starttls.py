"""What somebody in the middle puts into a connection before TLS is never obeyed after it, and nothing said in clear is remembered."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live import Server, free_port, shared
from tests.security.wires import Wire

PASSWORD = "dianaël"
PORTS: dict[str, int] = {}  # chosen when the server is made: a port that is free now may be some client's in a minute
PLAIN = "AUTH PLAIN " + base64.b64encode(f"\0julien\0{PASSWORD}".encode()).decode()
VICTIM = "nel@iscb-corporation.com"
EVIL = f"MAIL FROM:<evil@x.example>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nSubject: injected\r\n\r\nx\r\n.\r\n".encode()
FOREIGN = b"From old@iscb-corporation.com Fri Nov 21 15:42:42 2003\nSubject: kept\n\nText.\n\n"


def make(folder: str) -> Server:
    PORTS.update((name, free_port()) for name in ("submission", "submissions", "pop3s"))
    ports = "".join(f"{name}_port = {port}\n" for name, port in PORTS.items())
    return Server(folder, ports, people={"julien": PASSWORD, "nel": PASSWORD})


server = shared(make)


class InjectionCase(SynchronousTestCase):
    def setUp(self) -> None:
        begin = len(server().describe())
        self.addCleanup(lambda: self.assertNotIn("Traceback", server().describe()[begin:]))

    def come(self, port: int) -> Wire:
        wire = Wire(port)
        self.addCleanup(wire.close)
        if port not in (PORTS["submissions"], PORTS["pop3s"]):
            self.assertRegex(wire.reply(), r"^220 |^\+OK ")
        return wire

    def refused_or_dropped(self, wire: Wire, with_hello: bytes = b"") -> bool:
        """Whether TLS came about. Where it did not, the server has closed, or waits for what was begun so to go on."""
        wire.give_up_after(2.0)
        try:
            wire.handshake(with_hello)
        except OSError:  # ssl.SSLError too
            return False
        return True


class SmtpInjectionTests(InjectionCase):
    ports = (lambda: server().smtp, lambda: PORTS["submission"])

    def each(self, test: Callable[[int], None]) -> None:
        for port in self.ports:
            test(port())
        self.assertNotIn(b"injected", server().mailbox("nel"))

    def goes_on(self, wire: Wire) -> None:
        """One reply to each command, no more and no less, of somebody whom nobody knows yet."""
        self.assertRegex(wire.say("NOOP"), "^250 2.0.0 Ok$")
        self.assertRegex(wire.say(f"RCPT TO:<{VICTIM}>"), "^503 5.5.1 |^530 ")
        self.assertRegex(wire.say("EHLO after.example"), "^250 ")
        self.assertRegex(wire.say("HELP"), "^214 ")
        self.assertRegex(wire.say("QUIT"), "^221 ")
        self.assertEqual(wire.line(), "")

    def test_what_is_pipelined_behind_it_in_the_same_segment(self) -> None:
        def test(port: int) -> None:
            for injected in (
                b"NOOP\r\n",
                b"EHLO evil\r\n",
                EVIL,
                b"RSET\r\n" * 50,
                b"QUIT\r\n",
                b"NOOP",
                b"\r\n",
                b"\0" * 300,
            ):
                wire = self.come(port)
                wire.say("EHLO before.example")
                wire.send(b"STARTTLS\r\n" + injected)
                self.assertRegex(wire.reply(), "^220 2.0.0 ")
                wire.handshake()
                self.goes_on(wire)

        self.each(test)

    def test_with_ehlo_before_it_and_everything_in_one_segment(self) -> None:
        def test(port: int) -> None:
            wire = self.come(port)
            wire.send(b"EHLO before.example\r\nSTARTTLS\r\nEHLO evil\r\n" + EVIL)
            self.assertRegex(wire.reply(), "^250 ")
            self.assertRegex(wire.reply(), "^220 2.0.0 ")
            wire.handshake()
            self.goes_on(wire)

        self.each(test)

    def test_octets_in_clear_that_come_where_the_handshake_should(self) -> None:
        def test(port: int) -> None:
            for injected in (b"NOOP\r\n", EVIL, b"x", b"\x16\x03\x01", b"\x15\x03\x01\x00\x02\x01\x00", bytes(5)):
                wire = self.come(port)
                wire.say("EHLO before.example")
                self.assertRegex(wire.say("STARTTLS"), "^220 ")
                if self.refused_or_dropped(wire, injected):
                    self.goes_on(wire)
            self.goes_on_in_clear(port)

        self.each(test)

    def goes_on_in_clear(self, port: int) -> None:
        wire = self.come(port)
        self.assertRegex(wire.say("EHLO x"), "^250 ")

    def test_in_pieces_however_the_command_is_cut(self) -> None:
        def test(port: int) -> None:
            octets = b"EHLO b\r\nSTARTTLS\r\nNOOP\r\n"
            for place in range(len(b"EHLO b\r\n"), octets.index(b"NOOP")):
                wire = self.come(port)
                wire.send(octets[:place])
                self.assertRegex(wire.reply(), "^250 ")
                wire.send(octets[place:])
                self.assertRegex(wire.reply(), "^220 ")
                wire.handshake()
                self.goes_on(wire)

        self.each(test)

    def test_neither_greeting_nor_transaction_nor_login_survives(self) -> None:
        wire = self.come(server().smtp)
        wire.say("EHLO evil.example")
        self.assertRegex(wire.say(PLAIN), "^235 ")  # loopback may
        self.assertRegex(wire.say("MAIL FROM:<julien@iscb-corporation.com>"), "^250 ")
        self.assertRegex(wire.say(f"RCPT TO:<{VICTIM}>"), "^250 ")
        self.assertRegex(wire.say("STARTTLS"), "^220 ")
        wire.handshake()
        self.assertRegex(wire.say("DATA"), "^503 ")
        self.assertRegex(wire.say(f"RCPT TO:<{VICTIM}>"), "^503 ")
        self.assertRegex(wire.say(PLAIN), "^503 5.5.1 Error: send HELO/EHLO first")
        for command in ("MAIL FROM:<anybody@x.example>", f"RCPT TO:<{VICTIM}>"):
            self.assertRegex(wire.say(command), "^250 ", command)
        self.assertRegex(wire.say("DATA"), "^354 ")
        self.assertRegex(wire.say("Subject: after TLS\r\n\r\nx\r\n."), "^250 ")
        letter = server().mailbox("nel").rpartition(b"From anybody@x.example")[2]
        self.assertIn(b"Subject: after TLS", letter)
        self.assertNotIn(b"evil.example", letter)
        self.assertIn(b"(lanmail) with SMTP id", letter)  # no EHLO was said, and nobody is logged in

    def test_a_login_half_said_is_not_continued(self) -> None:
        wire = self.come(server().smtp)
        wire.say("EHLO b")
        self.assertRegex(wire.say("AUTH LOGIN"), "^334 ")
        # In the exchange it is no command: a name, and then a password, both of which happen to be base64.
        self.assertRegex(wire.say("STARTTLS"), "^334 ")
        self.assertRegex(wire.say("STARTTLS"), "^535 ")
        self.assertRegex(wire.say("STARTTLS"), "^220 ")
        wire.handshake()
        self.assertRegex(wire.say(base64.b64encode(b"julien").decode()), "^50[02] ")

    def test_clear_text_where_tls_comes_first_is_no_conversation(self) -> None:
        wire = self.come(PORTS["submissions"])
        wire.send(b"EHLO x\r\nNOOP\r\n" + EVIL)
        heard = wire.rest()
        self.assertNotIn(b"220 ", heard)
        self.assertNotIn(b"250", heard)


class Pop3InjectionTests(InjectionCase):
    def goes_on(self, wire: Wire) -> None:
        self.assertEqual(wire.say("STAT"), "-ERR Log in first")
        self.assertEqual(wire.say("PASS " + PASSWORD), "-ERR Say USER first")
        self.assertRegex(wire.say("USER julien"), r"^\+OK ")
        self.assertRegex(wire.say("QUIT"), r"^\+OK ")
        self.assertEqual(wire.line(), "")

    def test_what_is_pipelined_behind_it_in_the_same_segment(self) -> None:
        mailbox: Path = server().put_mailbox("julien", FOREIGN)
        login = f"USER julien\r\nPASS {PASSWORD}\r\n".encode()
        for injected in (
            b"CAPA\r\n",
            login,
            login + b"DELE 1\r\nQUIT\r\n",
            b"USER julien\r\n",
            b"USER jul",
            b"QUIT\r\n",
            b"\0\r\n",
        ):
            wire = self.come(server().pop3)
            wire.send(b"STLS\r\n" + injected)
            self.assertEqual(wire.reply(), "+OK Begin TLS now")
            wire.handshake()
            self.goes_on(wire)
        self.assertEqual(mailbox.read_bytes(), FOREIGN)

    def test_octets_in_clear_that_come_where_the_handshake_should(self) -> None:
        for injected in (b"CAPA\r\n", b"x", b"\x16\x03\x01", bytes(5)):
            wire = self.come(server().pop3)
            self.assertRegex(wire.say("STLS"), r"^\+OK ")
            if self.refused_or_dropped(wire, injected):
                self.goes_on(wire)

    def test_a_name_said_in_clear_is_forgotten(self) -> None:
        wire = self.come(server().pop3)
        self.assertRegex(wire.say("USER julien"), r"^\+OK ")
        self.assertRegex(wire.say("STLS"), r"^\+OK ")
        wire.handshake()
        self.assertEqual(wire.say("PASS " + PASSWORD), "-ERR Say USER first")

    def test_a_login_half_said_is_not_continued(self) -> None:
        wire = self.come(server().pop3)
        self.assertEqual(wire.say("AUTH LOGIN"), "+ VXNlcm5hbWU6")
        self.assertEqual(wire.say("STLS"), "+ UGFzc3dvcmQ6")  # no command in there, but a name
        self.assertRegex(wire.say("STLS"), r"^-ERR \[AUTH\]")
        self.assertRegex(wire.say("STLS"), r"^\+OK ")
        wire.handshake()
        self.assertRegex(wire.say(base64.b64encode(b"julien").decode()), "^-ERR ")

    def test_after_the_login_it_is_too_late(self) -> None:
        wire = self.come(server().pop3)
        wire.say("USER nel")
        self.assertRegex(wire.say("PASS " + PASSWORD), r"^\+OK ")
        self.assertEqual(wire.say("STLS"), "-ERR Already logged in")
        self.assertRegex(wire.say("NOOP"), r"^\+OK ")

    def test_clear_text_where_tls_comes_first_is_no_conversation(self) -> None:
        wire = self.come(PORTS["pop3s"])
        wire.send(b"CAPA\r\n" * 30)
        heard = wire.rest()
        self.assertNotIn(b"OK", heard)
