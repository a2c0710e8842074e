"""TLS on a whole server: a certificate that it made itself, checked by clients that were given its authority alone."""

from __future__ import annotations

import os
import poplib
import shutil
import smtplib
import ssl
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live import Server, free_port, mail_owner, need, wait_for
from tests.rights.test_trusted import folder_of_root

LIMIT = 20
LETTER = b"Subject: secret\r\n\r\nBonjour.\r\n"


class TlsTests(SynchronousTestCase):
    def server(self, extra: str = "") -> Server:
        """extra: lines of main.cf, in which FOLDER is the server's, where ``mail_owner`` may read too."""
        self.pop3s = free_port()
        folder = Path(self.mktemp()).resolve()
        server = Server(str(folder), f"pop3s_port = {self.pop3s}\n{extra.replace('FOLDER', str(folder))}")
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
