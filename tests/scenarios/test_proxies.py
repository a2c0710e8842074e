"""A proxy before a whole server: its clients are who it says they are, at every port, and never the proxy."""

from __future__ import annotations

import base64
import ssl

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import Caller, announced
from tests.live import Server, free_port, shared

PROXY = "127.0.0.9"
STRANGER = "203.0.113.9"
NEIGHBOUR = "192.168.1.5"
PORTS = {name: free_port() for name in ("submission", "submissions", "pop3s")}
LOGIN = "AUTH PLAIN " + base64.b64encode("\0julien\0dianaël".encode()).decode()
# PP2_TYPE_SSL of a client that spoke TLS to the proxy and showed a certificate: nothing to us.
TLS_AT_THE_PROXY = b"\x20\x00\x05\x07\x00\x00\x00\x00"

server = shared(
    lambda folder: Server(
        folder,
        f"""\
proxy_networks = {PROXY}
smtpd_upstream_proxy_timeout = 2s
mynetworks = 127.0.0.0/8, 192.168.1.0/24
plaintext_login_networks = 192.168.1.0/24
smtpd_client_connection_count_limit = 3
smtpd_client_event_limit_exceptions =
pop3s_port = {PORTS["pop3s"]}
submission_port = {PORTS["submission"]}
submissions_port = {PORTS["submissions"]}
""",
    )
)


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ProxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        begin = len(server().describe())
        self.log = lambda: server().describe()[begin:]
        self.addCleanup(lambda: self.assertNotIn("Traceback", self.log()))

    def come(
        self, port: int, client: str = STRANGER, *, tls: bool = False, header: bytes = b"", behind: bytes = b""
    ) -> Caller:
        header = header or announced(client, "fd00::1" if ":" in client else "192.168.1.1", behind)
        caller = Caller(port, PROXY, first=header, tls=any_certificate() if tls else None)
        self.addCleanup(caller.close)
        return caller

    def test_a_stranger_is_not_trusted_as_the_proxy_is(self) -> None:
        for header in (b"", b"PROXY TCP4 203.0.113.9 192.168.1.1 5555 25\r\n"):
            client = self.come(server().smtp, header=header)
            self.assertRegex(client.greeting, "^220 ")
            client.say("EHLO stranger.example")
            client.say("MAIL FROM:<x@elsewhere.example>")
            self.assertRegex(client.say("RCPT TO:<y@elsewhere.example>"), "^554 5.7.1 ")
            self.assertRegex(client.say("RCPT TO:<nel@iscb-corporation.com>"), "^250 ")
            self.assertRegex(client.say(LOGIN), "^503 5.5.1 Error: authentication not enabled")
        self.assertIn(f"connect from unknown[{STRANGER}]", self.log())
        self.assertNotIn(PROXY, self.log())

    def test_a_message_tells_of_the_client_and_not_of_the_proxy(self) -> None:
        client = self.come(server().smtp, "::ffff:203.0.113.9")
        for command in (
            "EHLO c",
            "MAIL FROM:<>",
            "RCPT TO:<nel@iscb-corporation.com>",
            "DATA",
            "Subject: x\r\n\r\nx\r\n.",
        ):
            self.assertRegex(client.say(command), "^[23]")
        letter = server().mailbox("nel")
        self.assertIn(b"Received: from c (unknown [203.0.113.9])", letter)
        self.assertNotIn(PROXY.encode(), letter)

    def test_a_neighbour_has_what_its_own_address_is_allowed(self) -> None:
        client = self.come(server().smtp, NEIGHBOUR)
        client.say("EHLO c")
        self.assertRegex(client.say(LOGIN), "^235 ")
        client = self.come(server().pop3, NEIGHBOUR)
        client.say("USER nel")
        self.assertRegex(client.say("PASS secret-of-nel"), r"^\+OK ")

    def test_that_the_proxys_client_spoke_tls_is_nothing_to_us(self) -> None:
        client = self.come(server().smtp, behind=TLS_AT_THE_PROXY)
        client.say("EHLO c")
        self.assertRegex(client.say(LOGIN), "^503 ")
        client = self.come(server().pop3, behind=TLS_AT_THE_PROXY)
        self.assertRegex(client.say("USER nel"), r"^-ERR \[AUTH\] ")

    def test_behind_starttls_the_client_is_still_who_it_is(self) -> None:
        for port in (server().smtp, PORTS["submission"]):
            client = self.come(port)
            client.say("EHLO c")
            self.assertRegex(client.say("STARTTLS"), "^220 ")
            client.start_tls(any_certificate())
            self.assertRegex(client.say("EHLO c"), "^250 ")
            self.assertRegex(client.say(LOGIN), "^235 ")
            self.assertRegex(client.say("QUIT"), "^221 ")
        client = self.come(server().pop3)
        self.assertRegex(client.say("STLS"), r"^\+OK ")
        client.start_tls(any_certificate())
        client.say("USER nel")
        self.assertRegex(client.say("PASS secret-of-nel"), r"^\+OK ")
        self.assertIn(f"rip={STRANGER}", self.log())
        self.assertNotIn(PROXY, self.log())

    def test_at_ports_for_tls_alone_the_header_comes_before_it(self) -> None:
        client = self.come(PORTS["submissions"], tls=True)
        client.say("EHLO c")
        self.assertRegex(client.say(LOGIN), "^235 ")
        client = self.come(PORTS["pop3s"], "2001:db8::9", tls=True)
        client.say("USER nel")
        self.assertRegex(client.say("PASS secret-of-nel"), r"^\+OK ")
        self.assertIn("rip=2001:db8::9", self.log())

    def test_limits_count_the_clients_and_not_the_proxy(self) -> None:
        many = [self.come(server().smtp, f"198.51.100.{number}") for number in range(1, 8)]
        self.assertEqual({client.greeting[:3] for client in many}, {"220"})
        same = [self.come(server().smtp, "198.51.100.99") for _ in range(4)]
        self.assertEqual([client.greeting[:3] for client in same], ["220"] * 3 + ["421"])
        self.assertIn("too many connections from 198.51.100.99", same[-1].greeting)

    def test_a_check_of_the_proxys_own_is_answered_as_a_strangers(self) -> None:
        for header in (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", b"PROXY UNKNOWN\r\n"):
            client = self.come(server().smtp, header=header)
            self.assertRegex(client.greeting, "^220 ")
            client.say("EHLO proxy")
            self.assertRegex(client.say(LOGIN), "^503 ")
            self.assertRegex(client.say("QUIT"), "^221 ")

    def test_a_proxy_that_sends_no_header_hears_nothing_and_is_dropped(self) -> None:
        for first in (b"EHLO x\r\n", b""):
            with self.assertRaises(ConnectionResetError):
                Caller(server().smtp, PROXY, first=first)
        self.assertIn(f"warning: {PROXY} is in proxy_networks, and does not begin with the header", self.log())
        self.assertIn(
            f"warning: {PROXY} is in proxy_networks, and has sent no whole PROXY header within 2 s", self.log()
        )

    def test_from_anybody_else_a_header_is_just_a_bad_command(self) -> None:
        with Caller(server().smtp, "127.0.0.10", first=b"PROXY TCP4 192.168.1.5 192.168.1.1 5555 25\r\n") as client:
            self.assertRegex(client.greeting, "^220 ")
            self.assertRegex(client.reply(), "^502 5.5.2 ")
            self.assertRegex(client.say("NOOP"), "^250 ")
        with Caller(server().pop3, "127.0.0.10", first=announced(NEIGHBOUR)) as client:
            self.assertRegex(client.greeting, r"^\+OK ")
            self.assertRegex(client.reply(), "^-ERR ")
        self.assertNotIn(NEIGHBOUR, self.log())
