"""Mail programs with verification on, given nothing but the network's authority: they send and fetch under TLS, by address and by name.

Each is also run without the authority, and must then refuse: otherwise it would prove nothing.
"""

from __future__ import annotations

import functools
import smtplib
import subprocess

from tests.live import Server, free_port, need, shared
from tests.scenarios.test_clients import ClientCase

LIMIT = 30
PASSWORD = "dianaël"
DOMAIN = "iscb-corporation.com"
SENDERS = ("curl", "msmtp", "mutt")
FETCHERS = ("curl", "mpop", "mutt", "fetchmail")
HOSTS = ("127.0.0.1", "localhost")
OVERRIDE = f"mail.{DOMAIN}"  # for programs that can be told by which name they shall verify
NAMES = (*(f"to-{name}" for name in SENDERS), *(f"of-{name}" for name in FETCHERS))

PORTS: dict[str, int] = {}


def _made(folder: str) -> Server:
    PORTS.update((name, free_port()) for name in ("submission", "submissions", "pop3s"))
    lines = "".join(f"{name}_port = {port}\n" for name, port in PORTS.items())
    return Server(folder, lines, people=dict.fromkeys(NAMES, PASSWORD))


server = shared(_made)


@functools.cache
def authority() -> str:
    """As ``lanmail certificate export-ca`` gives it; a path."""
    pem = (server().folder / "data/lanmail/authority.pem").read_text()
    path = server().folder / "lanmail-ca.crt"
    path.write_text(pem[pem.index("-----BEGIN CERTIFICATE-----") :])
    return str(path)


def _curlrc(user: str) -> str:
    lines = [f'user = "{user}:{PASSWORD}"']
    lines += [f'resolve = "{OVERRIDE}:{port}:127.0.0.1"' for port in (*PORTS.values(), server().pop3)]
    return "\n".join([*lines, 'noproxy = "*"', ""])


class TlsClientCase(ClientCase):
    def setUp(self) -> None:
        super().setUp()
        server()
        self.authority = authority()

    def try_client(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, env=self.environment, cwd=self.home, timeout=LIMIT
        )

    def accepted(self, *command: str, text: str = "") -> str:
        """What it wrote to standard output."""
        ended = self.try_client(*command, text=text)
        if ended.returncode:
            self.fail(
                f"{command} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}\n{server().describe()[-3000:]}"
            )
        return ended.stdout

    def refused(self, *command: str, text: str = "") -> str:
        """What it said."""
        ended = self.try_client(*command, text=text)
        self.assertNotEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout + ended.stderr

    def delivered(self, name: str) -> int:
        """How many messages are in the mailbox; all of them came from somebody who was logged in, under TLS."""
        mailbox = server().mailbox(name)
        found = mailbox.count(b"with ESMTPSA id")
        self.assertEqual(mailbox.count(b"\nReceived: "), found)
        return found

    def fill(self, name: str) -> None:
        with smtplib.SMTP("127.0.0.1", server().smtp, timeout=LIMIT) as client:
            client.sendmail(f"{name}@{DOMAIN}", [f"{name}@{DOMAIN}"], b"Subject: secret\r\n\r\nBonjour.\r\n")
        server().wait_until_delivered()


class SendingTests(TlsClientCase):
    def test_curl(self) -> None:
        need("curl")
        letter = self.file("letter", "Subject: secret\r\n\r\nBonjour.\r\n")
        rc = self.file("curlrc", _curlrc("to-curl"))
        address = f"to-curl@{DOMAIN}"
        mail = ("-T", letter, "--mail-from", address, "--mail-rcpt", address)
        urls = [f"smtps://{host}:{PORTS['submissions']}" for host in (*HOSTS, OVERRIDE)]
        urls += [f"smtp://{host}:{PORTS['submission']}" for host in (*HOSTS, OVERRIDE)]
        for url in urls:
            self.accepted("curl", "-sS", "-K", rc, "--ssl-reqd", "--cacert", self.authority, *mail, url)
            self.assertIn("curl: (60)", self.refused("curl", "-sS", "-K", rc, "--ssl-reqd", *mail, url))
        self.assertEqual(self.delivered("to-curl"), len(urls))

    def test_msmtp(self) -> None:
        need("msmtp")
        address = f"to-msmtp@{DOMAIN}"
        lines = f"account default\nauth plain\nuser to-msmtp\npassword {PASSWORD}\nfrom {address}\ntls on\n"
        ways = [(host, way, "") for host in HOSTS for way in ("on", "off")]
        ways += [("127.0.0.1", way, f"tls_host_override {OVERRIDE}\n") for way in ("on", "off")]
        for host, starttls, more in ways:
            port = PORTS["submission" if starttls == "on" else "submissions"]
            rc = self.file("msmtprc", f"{lines}host {host}\nport {port}\ntls_starttls {starttls}\n{more}")
            send = ("msmtp", "-C", rc)
            self.accepted(*send, f"--tls-trust-file={self.authority}", address, text="Subject: secret\n\nBonjour.\n")
            self.assertIn("certificate verification failed", self.refused(*send, address, text="Subject: x\n\nx\n"))
        self.assertEqual(self.delivered("to-msmtp"), len(ways))

    def test_mutt(self) -> None:
        need("mutt")
        address = f"to-mutt@{DOMAIN}"
        for host in HOSTS:
            for url in (
                f"smtp://to-mutt@{host}:{PORTS['submission']}/",
                f"smtps://to-mutt@{host}:{PORTS['submissions']}/",
            ):
                text = f"""\
set smtp_url="{url}" smtp_pass="{PASSWORD}" smtp_authenticators="plain" from={address} use_from=yes use_envelope_from=yes
set hostname=client.example copy=no ssl_force_tls=yes ssl_starttls=yes ssl_verify_host=yes ssl_verify_dates=yes
"""
                send = ("mutt", "-n", "-s", "secret", "-F")
                trusting = self.file("trusting", f'{text}set certificate_file="{self.authority}"\n')
                self.accepted(*send, trusting, "--", address, text="Bonjour.\n")
                # Its own list of servers accepted before is empty, and the system's of authorities knows nothing of ours.
                self.refused(*send, self.file("strange", text), "--", address, text="Bonjour.\n")
        self.assertEqual(self.delivered("to-mutt"), 4)


class FetchingTests(TlsClientCase):
    def test_curl(self) -> None:
        need("curl")
        self.fill("of-curl")
        rc = self.file("curlrc", _curlrc("of-curl"))
        for host in (*HOSTS, OVERRIDE):
            for url in (f"pop3://{host}:{server().pop3}/1", f"pop3s://{host}:{PORTS['pop3s']}/1"):
                fetch = ("curl", "-sS", "-K", rc, "--ssl-reqd", url)
                self.assertIn("Bonjour.", self.accepted(*fetch, "--cacert", self.authority))
                self.assertIn("curl: (60)", self.refused(*fetch))

    def test_mpop(self) -> None:
        need("mpop")
        self.fill("of-mpop")
        ways = [(host, way, "") for host in HOSTS for way in ("on", "off")]
        ways += [("127.0.0.1", way, f"tls_host_override {OVERRIDE}\n") for way in ("on", "off")]
        for number, (host, starttls, more) in enumerate(ways):
            fetched = self.home / f"fetched-{number}"
            rc = self.file(
                "mpoprc",
                f"""\
account default
host {host}
port {server().pop3 if starttls == "on" else PORTS["pop3s"]}
user of-mpop
password {PASSWORD}
tls on
tls_starttls {starttls}
auth plain
keep on
delivery mbox {fetched}
uidls_file {self.home}/uidls-{number}
{more}""",
            )
            self.assertIn("certificate verification failed", self.refused("mpop", "-C", rc))
            self.accepted("mpop", "-C", rc, f"--tls-trust-file={self.authority}")
            self.assertIn("Bonjour.", fetched.read_text())

    def test_mutt(self) -> None:
        need("mutt")
        for host in HOSTS:
            for scheme, port in (("pop", server().pop3), ("pops", PORTS["pop3s"])):
                self.fill("of-mutt")
                text = f"""\
set folder="{self.home}" mbox_type=mbox pop_pass="{PASSWORD}" pop_authenticators="user" ssl_starttls=yes ssl_force_tls=yes
set ssl_verify_host=yes ssl_verify_dates=yes delete=yes quit=yes wait_key=no confirmappend=no confirmcreate=no
set pop_checkinterval=0 pop_reconnect=no pop_delete=yes sleep_time=0
"""
                look = ("mutt", "-n", "-f", f"{scheme}://of-mutt@{host}:{port}/", "-F")
                self.assert_asks(*look, self.file("strange", text))
                keys = 'push "<save-message>=x<enter><sync-mailbox><quit>"'
                trusting = self.file("trusting", f'{text}set certificate_file="{self.authority}"\n{keys}\n')
                self.run_on_a_terminal(*look, trusting)
                self.assertIn("Bonjour.", (self.home / "x").read_text())
                (self.home / "x").unlink()
        self.assertEqual(server().mailbox("of-mutt"), b"")

    def assert_asks(self, *command: str) -> None:
        """On a terminal, whether to accept a certificate that it does not trust."""
        said, _ = self.on_a_terminal(*command, until=b"(r)eject")
        self.assertIn(b"(r)eject", said)

    def test_fetchmail_by_name_alone(self) -> None:
        need("fetchmail")
        self.environment["FETCHMAILHOME"] = str(self.home)
        for host, port, how in (
            ("localhost", server().pop3, "sslproto 'TLS1.2+'"),
            ("localhost", PORTS["pop3s"], "ssl"),
        ):
            self.fill("of-fetchmail")
            self.assertIn("Bonjour.", self.accepted(*self.fetchmail(host, port, how, self.authority)))
            self.assertEqual(server().mailbox("of-fetchmail"), b"")
            self.assertIn("unable to get local issuer", self.refused(*self.fetchmail(host, port, how, "")))
        # It looks among the names of a certificate for what it was given, an address too; docs/clients.md says so.
        self.assertIn("mismatch", self.refused(*self.fetchmail("127.0.0.1", PORTS["pop3s"], "ssl", self.authority)))

    def fetchmail(self, host: str, port: int, how: str, trusted: str) -> tuple[str, ...]:
        file = f'sslcertfile "{trusted}"' if trusted else ""
        rc = self.file(
            "fetchmailrc",
            f"""\
set invisible
poll {host} service {port} protocol pop3 auth password
    user of-fetchmail with password "{PASSWORD}" {how} sslcertck {file}
    fetchall nokeep no rewrite pass8bits mda "/bin/cat"
""",
        )
        return ("fetchmail", "-f", rc, "--nosyslog", "--nodetach")

    def test_nss(self) -> None:
        """What Thunderbird and Evolution verify with; its own test client says every word of POP3 itself."""
        need("certutil", "tstclnt")
        (self.home / "nss").mkdir()
        self.accepted("certutil", "-N", "-d", "sql:nss", "--empty-password")
        # Without -a it verifies the address.
        look = ("tstclnt", "-d", "sql:nss", "-h", "127.0.0.1", "-p", str(PORTS["pop3s"]), "-Q")
        self.assertIn("SEC_ERROR_UNKNOWN_ISSUER", self.refused(*look))
        self.accepted("certutil", "-A", "-d", "sql:nss", "-n", "lan", "-t", "C,,", "-i", self.authority)
        for who in ((), ("-a", "localhost"), ("-a", OVERRIDE)):
            self.accepted(*look, *who)
        self.assertIn("BAD_CERT_DOMAIN", self.refused(*look, "-a", "www.example.com"))
