"""TLS on a whole server: a certificate that it made itself, checked by clients that were given its authority alone."""

from __future__ import annotations

import base64
import contextlib
import os
import poplib
import shutil
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import Caller, pop3
from tests.live import ROOT, Server, free_port, mail_owner, need, wait_for
from tests.rights.test_trusted import folder_of_root

LIMIT = 20
PLAIN = base64.b64encode(b"\0nel\0secret-of-nel")
LETTER = b"Subject: secret\r\n\r\nBonjour.\r\n"


class TlsTests(SynchronousTestCase):
    def server(self, extra: str = "") -> Server:
        """extra: lines of main.cf, in which FOLDER is the server's, where ``mail_owner`` may read too."""
        self.pop3s, self.submission, self.submissions = free_port(), free_port(), free_port()
        ports = (
            f"pop3s_port = {self.pop3s}\nsubmission_port = {self.submission}\nsubmissions_port = {self.submissions}\n"
        )
        folder = Path(self.mktemp()).resolve()
        server = Server(str(folder), ports + extra.replace("FOLDER", str(folder)))
        self.addCleanup(server.stop)
        return server.start()

    def trusting(self, server: Server) -> ssl.SSLContext:
        """Only our authority."""
        authority = Path(self.mktemp())
        pem = (server.folder / "data/lanmail/authority.pem").read_text()
        authority.write_text(pem[pem.index("-----BEGIN CERTIFICATE-----") :])
        context = ssl.create_default_context(cafile=str(authority))
        self.authority = str(authority.resolve())
        return context

    def nameless(self, server: Server) -> ssl.SSLContext:
        """The same, for a client that has no name to look for."""
        context = self.trusting(server)
        context.check_hostname = False
        return context

    def test_mail_goes_in_and_out_under_tls_by_name_and_by_address(self) -> None:
        server = self.server()
        context = self.trusting(server)
        for host in ("localhost", "127.0.0.1"):
            with smtplib.SMTP(host, server.smtp, timeout=LIMIT) as client:
                client.starttls(context=context)
                client.sendmail("julien@iscb-corporation.com", ["nel@iscb-corporation.com"], LETTER)
        server.wait_until_delivered()
        self.assertEqual(server.mailbox("nel").count(b"with ESMTPS id"), 2)
        box = poplib.POP3("127.0.0.1", server.pop3, timeout=LIMIT)
        box.stls(context=context)
        box.user("nel")
        box.pass_("secret-of-nel")
        self.assertEqual(box.stat()[0], 2)
        box.quit()
        wrapped = poplib.POP3_SSL("127.0.0.1", self.pop3s, timeout=LIMIT, context=context)
        wrapped.user("nel")
        wrapped.pass_("secret-of-nel")
        self.assertIn(b"Bonjour.", wrapped.retr(1)[1])
        wrapped.dele(1)
        wrapped.quit()
        self.assertRegex(server.describe(), r"TLS connection established from .*: TLSv1\.3 with cipher ")
        self.assertNotIn("Traceback", server.describe())

    def test_a_login_under_tls_is_one(self) -> None:
        server = self.server()
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=LIMIT) as client:
            client.starttls(context=self.trusting(server))
            client.login("nel", "secret-of-nel")
            client.sendmail("nel@iscb-corporation.com", ["nel@iscb-corporation.com"], LETTER)
            self.assertEqual(client.mail("julien@iscb-corporation.com")[0], 553)
        self.assertIn(b"with ESMTPSA id", server.mailbox("nel"))

    def test_where_it_is_asked_for_mail_comes_under_tls_alone(self) -> None:
        server = self.server("smtpd_tls_security_level = encrypt\n")
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=LIMIT) as client:
            client.ehlo()
            self.assertEqual(client.mail("nel@iscb-corporation.com")[0], 530)
            client.starttls(context=self.trusting(server))
            client.ehlo()
            self.assertEqual(client.mail("nel@iscb-corporation.com")[0], 250)

    def test_the_certificate_is_kept_over_a_restart_and_a_given_one_serves_once_it_is_there(self) -> None:
        need("openssl")
        server = self.server("smtpd_tls_cert_file = FOLDER/given\n")
        given = server.folder / "given"
        first = self.shown(server)
        self.assertIn(f"smtpd_tls_cert_file: {given}", server.describe())
        server.stop()
        server.start()
        self.assertEqual(self.shown(server), first)
        draft = self.bought(given.with_suffix(".new"))
        # Its folder is not root's alone, so root's guard does not hand over what is in it: the service opens it with its own rights.
        shutil.chown(draft, mail_owner())
        os.replace(draft, given)
        wait_for(lambda: self.shown(server) != first, server.describe)
        self.assertIn("another certificate is served", server.describe())

    def test_certbots_folders_are_for_root_alone_to_enter_and_what_is_renewed_there_is_served(self) -> None:
        need("openssl")
        folder = folder_of_root(self)
        (folder / "live").mkdir(mode=0o700)
        (folder / "archive").mkdir(mode=0o700)
        self.bought(folder / "archive/1.pem")
        link = folder / "live/both.pem"
        link.symlink_to("../archive/1.pem")
        server = self.server(f"smtpd_tls_chain_files = {link}\n")
        first = ssl.PEM_cert_to_DER_cert((folder / "archive/1.pem.crt").read_text())
        self.assertEqual(self.shown(server), first)
        self.bought(folder / "archive/2.pem")
        (folder / "live/new").symlink_to("../archive/2.pem")
        os.replace(folder / "live/new", link)
        wait_for(lambda: self.shown(server) != first, server.describe)
        self.assertNotIn("warning: smtpd_tls", server.describe())

    # what came before TLS

    def test_nothing_that_is_pipelined_behind_starttls_is_obeyed(self) -> None:
        """Whoever sits between could put it there: it would be the client's, and under TLS (CVE-2011-0411, NO STARTTLS)."""
        server = self.server()
        context = self.nameless(server)
        ours = "MAIL FROM:<nel@iscb-corporation.com>"
        for behind in (
            b"RSET\r\n",
            b"MAIL FROM:<julien@iscb-corporation.com>\r\nRCPT TO:<nel@iscb-corporation.com>\r\nDATA\r\n",
            b"AUTH PLAIN " + PLAIN + b"\r\n",
            b"NOOP\r\n" * 2000,
            b"EHLO half a line",
        ):
            with Caller(server.smtp) as client:
                client.say("EHLO client.example")
                client.send(b"STARTTLS\r\n" + behind)
                self.assertEqual(client.reply(), "220 2.0.0 Ready to start TLS")
                client.start_tls(context)
                # The first answer is that to the first command which is said under TLS, and to nothing else.
                self.assertRegex(client.say("EHLO client.example"), "^250 ")
                self.assertRegex(client.say("RCPT TO:<nel@iscb-corporation.com>"), "^503 ")
                self.assertRegex(client.say(ours), "^250 2.1.0")
                self.assertRegex(client.say("QUIT"), "^221 ")
                self.assertEqual(client.rest(), [])
        # A login was not among what counted: nobody logged in, though the password was right.
        self.assertNotIn("sasl_username", server.describe())
        self.assertEqual(server.mailbox("nel"), b"")

    def test_nothing_that_was_said_before_starttls_survives_it(self) -> None:
        server = self.server()
        context = self.nameless(server)
        mail, recipient = "MAIL FROM:<nel@iscb-corporation.com>", "RCPT TO:<nel@iscb-corporation.com>"
        for before in ([mail, recipient], [f"AUTH PLAIN {PLAIN.decode()}"]):
            with Caller(server.smtp) as client:
                client.say("EHLO before.example")
                for command in (*before, "STARTTLS"):
                    self.assertRegex(client.say(command), "^2")
                client.start_tls(context)
                # The name that it gave is forgotten with the rest (RFC 3207, 4.2).
                self.assertRegex(client.say(recipient), "^503 ")
                self.assertRegex(client.say("DATA"), "^503 ")
                for command in ("EHLO after.example", mail, recipient):
                    self.assertRegex(client.say(command), "^250 ")
                self.assertRegex(client.say("DATA"), "^354 ")
                client.send(LETTER + b".\r\n")
                self.assertRegex(client.reply(), "^250 ")
        mailbox = server.mailbox("nel")
        self.assertEqual((mailbox.count(b"with ESMTPS id"), mailbox.count(b"with ESMTPSA id")), (2, 0))
        self.assertNotIn(b"before.example", mailbox)

    def test_nothing_that_is_pipelined_behind_stls_is_obeyed(self) -> None:
        server = self.server()
        context = self.nameless(server)
        for behind in (
            b"USER nel\r\nPASS secret-of-nel\r\nDELE 1\r\n",
            b"AUTH PLAIN " + PLAIN + b"\r\n",
            b"NOOP\r\n" * 2000,
            b"US",
        ):
            with Caller(server.pop3) as client:
                client.send(b"STLS\r\n" + behind)
                self.assertRegex(client.reply(), "^.OK")
                client.start_tls(context)
                self.assertRegex(client.say("STAT"), "^-ERR")
                self.assertRegex(client.say("USER nel"), "^.OK")
                self.assertRegex(client.say("PASS secret-of-nel"), "^.OK")
                self.assertRegex(client.say("STAT"), "^.OK 0 0")
                client.say("QUIT")
                self.assertEqual(client.rest(), [])

    def test_nothing_that_was_said_before_stls_survives_it(self) -> None:
        server = self.server()
        with Caller(server.pop3) as client:
            self.assertRegex(client.say("USER nel"), "^.OK")
            self.assertRegex(client.say("STLS"), "^.OK")
            client.start_tls(self.nameless(server))
            self.assertRegex(client.say("PASS secret-of-nel"), "^-ERR")
            # And under TLS there is no second one; nor once somebody is logged in.
            self.assertRegex(client.say("STLS"), "^-ERR")
        with pop3(server.pop3, "nel", "secret-of-nel") as client:
            self.assertRegex(client.answer, "^.OK")
            self.assertRegex(client.say("STLS"), "^-ERR")

    def test_clear_text_in_place_of_a_handshake_ends_the_connection_and_is_no_command(self) -> None:
        server = self.server()
        for port, start in ((server.smtp, "STARTTLS"), (server.pop3, "STLS")):
            with Caller(port) as client:
                client.say("EHLO client.example" if port == server.smtp else "CAPA")
                if port == server.pop3:
                    client.text()
                self.assertRegex(client.say(start), r"^(220|\+OK) ")
                client.send(b"NOOP\r\nQUIT\r\n")
                client.socket.settimeout(LIMIT)
                heard = b""
                with contextlib.suppress(ConnectionError):
                    while piece := client.socket.recv(4096):
                        heard += piece
                # At most an alert of TLS: a record that begins with 21.
                self.assertIn(heard[:1], (b"", b"\x15"))
        self.assertNotIn("Traceback", server.describe())

    # devices that are too old

    def test_an_old_device_sends_at_a_port_of_its_own_and_what_that_costs_is_said(self) -> None:
        port = free_port()
        server = self.server(f"tls_legacy_clients = {port}\n")
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with smtplib.SMTP_SSL("127.0.0.1", port, timeout=LIMIT, context=self.of_age(version)) as client:
                client.ehlo()
                self.assertNotIn("starttls", client.esmtp_features)
                client.login("nel", "secret-of-nel")
                client.sendmail("nel@iscb-corporation.com", ["nel@iscb-corporation.com"], LETTER)
        self.assertEqual(server.mailbox("nel").count(b"with ESMTPSA id"), 4)
        log = server.describe()
        self.assertIn(f"tls_legacy_clients: at port {port} TLS 1.0 is good enough: whoever can read and change", log)
        self.assertIn(f"listening: smtps-old on 127.0.0.1:{port}", log)
        self.assertRegex(log, r"TLS connection established from .*: TLSv1 with cipher ECDHE-RSA-AES")
        self.assertNotIn("Traceback", log)

    def test_the_other_ports_refuse_what_is_older_than_today(self) -> None:
        server = self.server(f"tls_legacy_clients = {free_port()}\n")
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with smtplib.SMTP("127.0.0.1", server.smtp, timeout=LIMIT) as client:
                self.assertRaises(ssl.SSLError, client.starttls, context=self.of_age(version))
            box = poplib.POP3("127.0.0.1", server.pop3, timeout=LIMIT)
            self.assertRaises(ssl.SSLError, box.stls, context=self.of_age(version))
            self.assertRaises(
                ssl.SSLError, poplib.POP3_SSL, "127.0.0.1", self.pop3s, timeout=LIMIT, context=self.of_age(version)
            )
            with smtplib.SMTP("127.0.0.1", self.submission, timeout=LIMIT) as client:
                self.assertRaises(ssl.SSLError, client.starttls, context=self.of_age(version))
            self.assertRaises(
                ssl.SSLError,
                smtplib.SMTP_SSL,
                "127.0.0.1",
                self.submissions,
                timeout=LIMIT,
                context=self.of_age(version),
            )
        self.assertNotIn("Traceback", server.describe())

    def test_a_key_that_does_not_fit_keeps_it_from_starting_and_check_knows_before(self) -> None:
        need("openssl")
        folder = Path(self.mktemp()).resolve()
        server = Server(str(folder), f"smtpd_tls_cert_file = {folder}/one\nsmtpd_tls_key_file = {folder}/two\n")
        for name in ("one", "two"):
            shutil.chown(self.bought(folder / name), mail_owner())
        for arguments in (["--check"], []):
            ended = subprocess.run(
                [*server.command(), *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT
            )
            said = ended.stdout + ended.stderr
            self.assertNotEqual(ended.returncode, 0, said)
            self.assertIn(f"smtpd_tls_cert_file: the private key does not fit the certificate in {folder}/one", said)
            self.assertNotIn("Traceback", said)

    def test_where_openssl_has_no_old_version_any_more_nothing_is_started(self) -> None:
        server = Server(self.mktemp(), f"tls_legacy_clients = {free_port()}\n")
        program = (
            "import runpy, sys; from OpenSSL import SSL; SSL.Connection.get_protocol_version = lambda _: SSL.TLS1_2_VERSION;"
            f" sys.argv[1:] = ['lanmail', '--config', {str(server.main_cf)!r}]; runpy.run_module('twisted', run_name='__main__')"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
        self.assertNotEqual(ended.returncode, 0)
        self.assertRegex(
            ended.stdout + ended.stderr, "tls_legacy_clients: OpenSSL .*, which Python uses here, has no TLS 1.0"
        )
        self.assertNotIn("Traceback", ended.stderr)

    def of_age(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """A client that speaks this version alone, and takes what it is shown, as such devices do."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        return context

    def bought(self, path: Path) -> Path:
        """A key and a certificate for it that somebody else made, in one file."""
        certificate = f"{path}.crt"
        command = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout {path} -out {certificate}"
            " -subj /CN=srvlinux.iscb-corporation.com -addext subjectAltName=DNS:srvlinux.iscb-corporation.com"
        )
        subprocess.run(command.split(), check=True, stderr=subprocess.DEVNULL)
        path.write_bytes(path.read_bytes() + Path(certificate).read_bytes())
        path.chmod(0o600)
        return path

    def shown(self, server: Server) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=LIMIT) as client:
            client.starttls(context=context)
            assert isinstance(client.sock, ssl.SSLSocket)
            certificate = client.sock.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate
