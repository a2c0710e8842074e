"""SIGHUP to a server that runs: what it reads again holds as a whole, or not at all."""

from __future__ import annotations

import signal
import smtplib
import ssl

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls.certificate import Chain
from tests.caller import Caller, pop3
from tests.live import PATIENCE, Server, wait_for
from tests.scenarios.test_least_privilege import manager
from tests.tls.made import foreign

DOMAIN = "iscb-corporation.com"


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(self.mktemp())
        self.addCleanup(self.server.stop)
        self.text = self.server.main_cf.read_text()
        self.devices, self.aliases = self.server.folder / "devices", self.server.folder / "aliases"
        self.devices.write_text("")
        self.aliases.write_text("postmaster: julien\n")
        self.write()
        self.server.start()

    def write(self, more: str = "") -> None:
        files = f"device_table = {self.devices}\nalias_maps = {self.aliases}\n"
        self.server.main_cf.write_text(f"{self.text}{files}{more}")

    def hang_up(self, said: str) -> str:
        """SIGHUP; what the log tells of it, once it has told ``said``."""
        begin = len(self.server.describe())
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: said in self.server.describe()[begin:], self.server.describe)
        return self.server.describe()[begin:]

    def reload(self) -> str:
        return self.hang_up("the configuration was read again")

    def refused(self) -> str:
        return self.hang_up("nothing of the configuration was changed")

    def rcpt(self, address: str, sender: str = "nel@iscb-corporation.com") -> str:
        with Caller(self.server.smtp) as client:
            client.say("EHLO here")
            client.say(f"MAIL FROM:<{sender}>")
            return client.say(f"RCPT TO:<{address}>")

    def size(self) -> str:
        with Caller(self.server.smtp) as client:
            client.send(b"EHLO here\r\n")
            lines = [client.line()]
            while lines[-1][3:4] == "-":
                lines.append(client.line())
            return next(line[4:] for line in lines if line[4:].startswith("SIZE"))

    def test_what_changed_holds_for_whoever_comes_next(self) -> None:
        with Caller(self.server.smtp) as earlier:
            earlier.say("EHLO here")
            self.write(
                "message_size_limit = 1000000\nsmtpd_banner = $myhostname ready\nrecipient_delimiter = +\n"
                f"mydestination = {DOMAIN}, second.example\npop3_banner = another greeting\nqueue_run_delay = 7s\n"
            )
            self.aliases.write_text("postmaster: julien\nstaff: julien, nel\n")
            self.devices.write_text("127.0.0.1 from=scan@iscb-corporation.com\n")
            self.assertIn("550", self.rcpt("julien@second.example"))
            self.assertIn("550", self.rcpt(f"staff@{DOMAIN}"))
            self.reload()
            self.assertRegex(earlier.say("MAIL FROM:<nel@iscb-corporation.com>"), r"^250 ")  # who was there stays there
        self.assertNotIn("Traceback", self.server.describe())
        self.assertEqual(self.size(), "SIZE 1000000")
        self.assertRegex(self.rcpt("julien+tag@second.example"), r"^250 ")
        self.assertRegex(self.rcpt(f"staff@{DOMAIN}"), r"^250 ")
        with Caller(self.server.smtp) as client:
            self.assertEqual(client.greeting, f"220 srvlinux.{DOMAIN} ready")
        with Caller(self.server.pop3) as client:
            self.assertEqual(client.greeting, "+OK another greeting")
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=PATIENCE) as client:
            client.sendmail(f"printer@{DOMAIN}", [f"julien@{DOMAIN}"], "Subject: Scan\r\n\r\nText.\r\n")
        self.assertIn(f"Return-Path: <scan@{DOMAIN}>".encode(), self.server.mailbox("julien"))
        pop3(self.server.pop3, "julien", self.server.ACCOUNTS["julien"]).close()

    def test_what_only_a_restart_changes_is_named_and_the_rest_holds(self) -> None:
        self.write(
            "message_size_limit = 1000000\nqueue_directory = /somewhere/else\ninet_interfaces = ::1\nsmtp_port = 9\n"
        )
        log = self.reload()
        for name in ("queue_directory", "inet_interfaces", "smtp_port"):
            self.assertIn(f"warning: {name} stays ", log)
        self.assertEqual(self.size(), "SIZE 1000000")

    def test_one_error_in_the_configuration_keeps_all_of_it_as_it_was(self) -> None:
        before = self.size()
        self.aliases.write_text("postmaster: julien\n")
        self.write("message_size_limit = 1000000\nmydestinations = here\n")
        self.assertIn('unknown parameter "mydestinations"', self.refused())
        self.assertEqual(self.size(), before)
        self.write("message_size_limit = 1000000\n")
        self.reload()
        self.assertEqual(self.size(), "SIZE 1000000")

    def test_a_configuration_that_is_just_being_written_changes_nothing(self) -> None:
        self.server.main_cf.write_text("")
        self.assertIn("main.cf sets nothing", self.refused())
        self.assertRegex(self.rcpt(f"julien@{DOMAIN}"), r"^250 ")

    def test_one_bad_line_in_the_device_table_keeps_all_of_it_as_it_was(self) -> None:
        before = self.size()
        self.write("message_size_limit = 1000000\n")
        self.devices.write_text("127.0.0.1 from=scan@iscb-corporation.com\nprinter\n")
        self.assertIn(f"{self.devices}:2: ", self.refused())
        self.assertEqual(self.size(), before)

    def test_a_key_that_does_not_fit_keeps_all_of_it_as_it_was_and_a_good_one_serves(self) -> None:
        before, first = self.size(), self.shown()
        pem = self.server.folder / "certificate.pem"
        one, other = foreign(f"srvlinux.{DOMAIN}"), foreign(f"srvlinux.{DOMAIN}")
        pem.write_bytes(Chain(one.key, other.certificates).text)
        self.write(f"message_size_limit = 1000000\nsmtpd_tls_cert_file = {pem}\n")
        self.assertIn("does not fit", self.refused())
        self.assertEqual((self.size(), self.shown()), (before, first))
        pem.write_bytes(one.text)
        self.reload()
        self.assertEqual(self.size(), "SIZE 1000000")
        self.assertNotEqual(self.shown(), first)

    def test_an_alias_file_that_is_away_keeps_all_of_it_as_it_was(self) -> None:
        before = self.size()
        self.aliases.unlink()
        self.write("message_size_limit = 1000000\n")
        self.assertIn(f"cannot read {self.aliases}", self.refused())
        self.assertEqual(self.size(), before)

    def shown(self) -> int:
        """The number of the certificate that is served."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=PATIENCE) as client:
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)
            certificate = client.sock.getpeercert(binary_form=True)
            assert certificate is not None
            return x509.load_der_x509_certificate(certificate).serial_number

    def test_a_service_manager_hears_when_it_begins_and_when_it_is_done(self) -> None:
        self.server.stop()
        with manager() as (address, heard):
            self.server.start(("env", f"NOTIFY_SOCKET={address}", *self.server.command()))
            self.assertEqual(heard.recv(1000), b"READY=1")
            self.reload()
            self.assertRegex(heard.recv(1000), rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
            self.assertEqual(heard.recv(1000), b"READY=1")
            self.write("mydestinations = here\n")
            self.refused()
            self.assertRegex(heard.recv(1000), rb"^RELOADING=1\n")
            self.assertEqual(heard.recv(1000), b"READY=1")
            self.server.stop()
            self.assertEqual(heard.recv(1000), b"STOPPING=1")
