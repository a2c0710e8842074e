"""Each limit of docs/limits.md on a whole server: at it all is well, and one past it comes the answer that the page has."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import Caller, announced, pop3, smtp, transaction
from tests.limits_page import rows
from tests.live import Server, free_port, shared, wait_for

PASSWORD = "dianaël"
PEOPLE = dict.fromkeys(("nel", "julien", "full"), PASSWORD)
WRONG = "AUTH PLAIN " + base64.b64encode(b"\0julien\0wrong").decode()
PROXY, NEIGHBOUR = "127.0.0.9", "192.168.1.5"

small = shared(
    lambda folder: Server(
        folder,
        """\
line_length_limit = 100
smtpd_recipient_limit = 2
smtpd_recipient_overshoot_limit = 3
smtpd_hard_error_limit = 3
smtpd_junk_command_limit = 5
pop3_error_limit = 3
pop3_login_command_limit = 5
login_tries_limit = 2
message_size_limit = 2000
message_header_size_limit = 500
mailbox_size_limit = 2000
hopcount_limit = 3
""",
        people=PEOPLE,
    )
)
crowded = shared(
    lambda folder: Server(
        folder,
        f"""\
proxy_networks = {PROXY}
mynetworks = {NEIGHBOUR}
max_connections = 8
reserved_connections = 2
smtpd_client_connection_count_limit = 3
""",
    )
)
often = shared(
    lambda folder: Server(
        folder,
        """\
smtpd_client_event_limit_exceptions = 127.0.0.1
smtpd_client_connection_rate_limit = 3
smtpd_client_message_rate_limit = 2
smtpd_client_recipient_rate_limit = 4
smtpd_client_auth_rate_limit = 2
anvil_rate_time_unit = 1h
plaintext_login_networks = 127.0.0.0/8
""",
        people=PEOPLE,
    )
)
SUBMISSIONS = free_port()
impatient = shared(
    lambda folder: Server(
        folder,
        f"""\
smtpd_timeout = 4s
smtpd_starttls_timeout = 2s
pop3_login_timeout = 4s
pop3_timeout = 4s
submissions_port = {SUBMISSIONS}
""",
        people=PEOPLE,
    )
)


class LimitCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = "127.0.0.1"
        self.addCleanup(self.no_surprise)

    def no_surprise(self) -> None:
        for server in (small, crowded, often, impatient):
            if server.cache_info().currsize:  # type: ignore[attr-defined]
                self.assertEqual(server().describe().partition("Traceback")[2][:2000], "")

    def past(self, parameter: str, reply: str, start: str) -> None:
        """What was answered is what the page has for that parameter, the answer that begins with ``start``."""
        self.assertEqual(reply, rows()[parameter].answer(start, self.source))

    def call(self, port: int, source: str | None = None) -> Caller:
        caller = Caller(port, source or self.source)
        self.addCleanup(caller.close)
        return caller

    def smtp(self, server: Server, *commands: str) -> Caller:
        caller = smtp(server.smtp, *commands, source=self.source)
        self.addCleanup(caller.close)
        return caller

    def closed(self, caller: Caller) -> None:
        self.assertEqual(caller.rest(), [])
        caller.close()


class CommandTests(LimitCase):
    def test_the_line_of_a_command(self) -> None:
        client = self.smtp(small())
        self.assertEqual(client.say("NOOP " + "x" * 95), "250 2.0.0 Ok")
        self.past("line_length_limit", client.say("NOOP " + "x" * 96), "500")

    def test_recipients(self) -> None:
        client = self.smtp(small(), *transaction("nel", "julien")[:-1])
        for _ in range(4):  # of which the last is an error
            self.past("smtpd_recipient_limit", client.say("RCPT TO:<nel@iscb-corporation.com>"), "452")
        self.assertRegex(client.say("FOO"), "^502 ")
        self.assertRegex(client.say("DATA"), "^354 ")
        self.assertRegex(client.say("Subject: x\r\n\r\nx\r\n."), "^250 ")
        for command in transaction("nel", "julien")[:-1]:
            self.assertRegex(client.say(command), "^250 ")
        for _ in range(6):
            self.past("smtpd_recipient_limit", client.say("RCPT TO:<nel@iscb-corporation.com>"), "452")
        self.past("smtpd_hard_error_limit", client.reply(), "421")

    def test_commands_that_bring_no_mail(self) -> None:
        client = self.call(small().smtp)
        for _ in range(5 + 3):
            self.assertEqual(client.say("NOOP"), "250 2.0.0 Ok")
        self.past("smtpd_hard_error_limit", client.reply(), "421")

    def test_errors(self) -> None:
        client = self.smtp(small())
        for _ in range(2):
            self.assertRegex(client.say("FOO"), "^502 ")
        self.assertRegex(client.say("NOOP"), "^250 ")
        self.assertRegex(client.say("FOO"), "^502 ")
        self.past("smtpd_hard_error_limit", client.reply(), "421")
        self.closed(client)
        client = self.call(small().pop3)
        for _ in range(2):
            self.assertEqual(client.say("FOO"), "-ERR Unknown command")
        self.past("pop3_error_limit", client.say("FOO"), "-ERR")
        self.closed(client)

    def test_commands_before_a_login(self) -> None:
        client = self.call(small().pop3)
        for _ in range(5):
            client.send(b"CAPA\r\n")
            self.assertIn("UIDL", client.text())
        self.past("pop3_login_command_limit", client.say("CAPA"), "-ERR")
        self.closed(client)
        client = self.call(small().pop3)
        for _ in range(3):
            client.send(b"CAPA\r\n")
            client.text()
        client.say("USER nel")
        self.assertRegex(client.say(f"PASS {PASSWORD}"), r"^\+OK ")

    def test_logins(self) -> None:
        # Refusals come later each time for an address, or a name; these have theirs at the same time.
        person = self.call(small().pop3, "127.0.0.31")
        person.send(b"USER nel\r\nPASS wrong\r\nUSER nel\r\nPASS wrong\r\n")
        self.source = "127.0.0.30"
        client = self.smtp(small())
        for _ in range(2):
            self.assertEqual(client.say(WRONG), "535 5.7.8 Error: authentication failed")
        self.past("login_tries_limit", client.reply(), "421")
        self.closed(client)
        person.reply()
        self.assertEqual(person.reply(), "-ERR [AUTH] Wrong user name or password")
        person.reply()
        self.past("login_tries_limit", person.reply(), "-ERR")
        self.closed(person)


class SizeTests(LimitCase):
    def message(self, size: int) -> str:
        return ("Subject: x\r\n\r\n" + "x" * 2000)[: size - 2] + "\r\n."

    def test_messages(self) -> None:
        client = self.smtp(small())
        self.past("message_size_limit", client.say("MAIL FROM:<> SIZE=2001"), "552 5.3.4 M")
        for size in (2000, 2001):
            for command in ("MAIL FROM:<> SIZE=2000", "RCPT TO:<nel@iscb-corporation.com>", "DATA"):
                self.assertRegex(client.say(command), "^[23]")
            reply = client.say(self.message(size))
            if size == 2000:
                self.assertRegex(reply, "^250 ")
                # It is larger with its headers than a mailbox may be, and the next one is for another.
                small().wait_until_delivered()
                (small().spool / "nel").unlink(missing_ok=True)
            else:
                self.past("message_size_limit", reply, "552 5.3.4 E")

    def test_headers(self) -> None:
        client = self.smtp(small(), *transaction("julien"))
        self.assertRegex(client.say("X: ".ljust(496, "x") + "\r\n\r\nx\r\n."), "^250 ")
        for command in transaction("julien"):
            client.say(command)
        self.past("message_header_size_limit", client.say("X: ".ljust(497, "x") + "\r\n\r\nx\r\n."), "552")

    def test_hops(self) -> None:
        client = self.smtp(small(), *transaction("julien"))
        self.assertRegex(client.say("Received: x\r\n" + "\r\nx\r\n."), "^250 ")
        for command in transaction("julien"):
            client.say(command)
        self.past("hopcount_limit", client.say("Received: x\r\n" * 2 + "\r\nx\r\n."), "554")

    def test_mailboxes(self) -> None:
        client = self.smtp(small(), "MAIL FROM:<>")
        for octets, start in ((1999, "250"), (2000, "452")):
            small().put_mailbox("nel", b"From x Fri Nov 21 15:42:42 2003\n\n".ljust(octets - 1, b"x") + b"\n")
            reply = client.say("RCPT TO:<nel@iscb-corporation.com>")
            if start == "250":
                self.assertRegex(reply, "^250 ")
            else:
                self.past("mailbox_size_limit", reply, start)
        (small().spool / "nel").unlink()


class ConnectionTests(LimitCase):
    """Strangers come through a proxy: all of 127.0.0.0/8 is this machine itself."""

    def stranger(self, port: int, host: str) -> Caller:
        caller = Caller(port, PROXY, first=announced(host))
        self.addCleanup(caller.close)
        return caller

    def setUp(self) -> None:
        super().setUp()
        wait_for(self._empty, crowded().describe)  # those of the test before may still be leaving

    def _empty(self) -> bool:
        callers = [Caller(crowded().smtp, PROXY, first=announced(f"192.0.2.{number}")) for number in range(6)]
        for caller in callers:
            caller.close()
        return all(caller.greeting.startswith("220") for caller in callers)

    def test_one_client(self) -> None:
        self.source = "203.0.113.9"
        for port, well, start in ((crowded().smtp, "220", "421"), (crowded().pop3, "+OK", "-ERR")):
            callers = [self.stranger(port, self.source) for _ in range(4)]
            self.assertEqual([caller.greeting[:3] for caller in callers[:3]], [well] * 3)
            self.past("smtpd_client_connection_count_limit", callers[3].greeting, start)
            self.closed(callers[3])
            for caller in callers:
                caller.close()

    def test_strangers_leave_room_for_our_own(self) -> None:
        callers = [self.stranger(crowded().smtp, f"203.0.113.{number}") for number in range(7)]
        self.assertEqual([caller.greeting[:3] for caller in callers], ["220"] * 6 + ["421"])
        self.past("max_connections", callers[6].greeting, "421")
        self.closed(callers[6])
        neighbour = self.stranger(crowded().smtp, NEIGHBOUR)
        self.assertRegex(neighbour.greeting, "^220 ")
        with smtp(crowded().smtp, *transaction("nel")) as own:
            self.assertRegex(own.say("Subject: x\r\n\r\nx\r\n."), "^250 ")

    def test_all_together(self) -> None:
        strangers = [self.stranger(crowded().smtp, f"203.0.113.{number}") for number in range(6)]
        own = [self.call(crowded().pop3) for _ in range(2)]
        self.assertEqual([caller.greeting[:3] for caller in (*strangers, *own)], ["220"] * 6 + ["+OK"] * 2)
        for port, start in ((crowded().smtp, "421"), (crowded().pop3, "-ERR")):
            refused = self.call(port)
            self.past("max_connections", refused.greeting, start)
            self.closed(refused)


class RateTests(LimitCase):
    def test_connections(self) -> None:
        self.source = "127.0.0.20"
        for port, well, start in ((often().smtp, "220", "421"), (often().pop3, "+OK", "-ERR")):
            greetings = []
            for _ in range(4):
                with Caller(port, self.source) as caller:
                    greetings.append(caller.greeting)
            self.assertEqual([greeting[:3] for greeting in greetings[:3]], [well] * 3)
            self.past("smtpd_client_connection_rate_limit", greetings[3], start)
        told = "warning: Connection rate limit exceeded: 4 from unknown[127.0.0.20] for service smtp"
        self.assertIn(told, often().describe())

    def test_messages(self) -> None:
        self.source = "127.0.0.21"
        client = self.smtp(often())
        for _ in range(2):
            self.assertRegex(client.say("MAIL FROM:<>"), "^250 ")
            client.say("RSET")
        self.past("smtpd_client_message_rate_limit", client.say("MAIL FROM:<>"), "450")
        self.source = "127.0.0.1"
        client = self.smtp(often())  # one of the exceptions
        for _ in range(5):
            self.assertRegex(client.say("MAIL FROM:<>"), "^250 ")
            client.say("RSET")

    def test_recipients(self) -> None:
        self.source = "127.0.0.22"
        client = self.smtp(often(), "MAIL FROM:<>")
        for name, code in (("nel", 250), ("nobody", 550), ("nel", 250), ("julien", 250)):
            self.assertRegex(client.say(f"RCPT TO:<{name}@iscb-corporation.com>"), f"^{code} ")
        self.past("smtpd_client_recipient_rate_limit", client.say("RCPT TO:<nel@iscb-corporation.com>"), "450")

    def test_logins(self) -> None:
        self.source = "127.0.0.23"
        client = self.smtp(often())
        for _ in range(2):
            self.assertRegex(client.say(WRONG), "^535 ")
        self.past("smtpd_client_auth_rate_limit", client.say(WRONG), "450")
        for _ in range(2):
            with pop3(often().pop3, "nel", PASSWORD, self.source) as client:
                self.assertRegex(client.answer, r"^\+OK ")
                client.say("QUIT")
        with pop3(often().pop3, "nel", PASSWORD, self.source) as client:
            self.past("smtpd_client_auth_rate_limit", client.answer, "-ERR")


class TimeTests(LimitCase):
    def test_every_time_ends_whatever_a_client_does_in_it(self) -> None:
        """On a real clock only this: to the second it is measured elsewhere. Those that drip say an octet now and then."""
        server = impatient()
        session = pop3(server.pop3, "nel", PASSWORD)
        self.addCleanup(session.close)
        self.assertRegex(session.answer, r"^\+OK ")
        login = self.call(server.pop3)
        login.say("USER nel")
        handshake = self.smtp(server)
        self.assertRegex(handshake.say("STARTTLS"), "^220 ")
        drip = {
            "smtpd_timeout": self.call(server.smtp),
            "smtpd_min_data_rate": self.smtp(server, *transaction("nel")),
            "pop3_login_timeout": login,
            "pop3_timeout": session,
        }
        silent = self.call(server.smtp)
        heard = self.drip(drip)
        for parameter, start in (
            *(("smtpd_timeout", "421"), ("smtpd_min_data_rate", "421")),
            *(("pop3_login_timeout", "-ERR"), ("pop3_timeout", "-ERR")),
        ):
            self.past(parameter, heard[parameter], start)
        self.past("smtpd_timeout", silent.reply(), "421")
        self.closed(silent)
        with contextlib.suppress(ConnectionError):
            self.assertEqual(handshake.line(), "")
        with socket.create_connection(("127.0.0.1", SUBMISSIONS), 30) as wrapped, contextlib.suppress(ConnectionError):
            self.assertEqual(wrapped.recv(1), b"")
        self.assertEqual(server.mailbox("nel"), b"")

    def drip(self, callers: dict[str, Caller]) -> dict[str, str]:
        """What each is told in the end."""
        heard: dict[str, str] = {}
        until = time.monotonic() + 60
        while len(heard) < len(callers):
            self.assertLess(time.monotonic(), until, "it may go on for ever")
            for name, caller in callers.items():
                with contextlib.suppress(ConnectionError):
                    if name not in heard:
                        caller.send(b"x")
            listening = {caller.socket: name for name, caller in callers.items() if name not in heard}
            for sock in select.select(listening, (), (), 0.2)[0]:
                heard[listening[sock]] = callers[listening[sock]].line()
            time.sleep(0.2)
        return heard
