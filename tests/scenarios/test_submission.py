"""Submission on a whole server: programs that we did not write hand in mail at both ports, under TLS, checked with our authority alone."""

from __future__ import annotations

import functools
import os
import pwd
import smtplib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live import ROOT, Server, free_port, mail_owner, need, shared, wait_for

LIMIT = 20
DOMAIN = "iscb-corporation.com"
NEL, JULIEN = f"nel@{DOMAIN}", f"julien@{DOMAIN}"
PASSWORD = "secret-of-nel"


@functools.cache
def ports() -> tuple[int, int]:
    """With STARTTLS, and with TLS from the start."""
    return free_port(), free_port()


def make(folder: str) -> Server:
    table = Path(folder) / "senders"
    table.write_text("sales nel\n")
    table.chmod(0o644)
    os.chmod(folder, 0o755)
    starttls, wrapped = ports()
    return Server(
        folder,
        f"submission_port = {starttls}\nsubmissions_port = {wrapped}\nmynetworks_may_send_as = nobody-local\n"
        f"smtpd_sender_login_maps = hash:{table}\nsubmission_hide_client = yes\n",
    )


server = shared(make)


def authority() -> str:
    """The path of our authority's certificate, alone."""
    path = server().folder / "trusted.pem"
    pem = (server().folder / "data/lanmail/authority.pem").read_text()
    path.write_text(pem[pem.index("-----BEGIN CERTIFICATE-----") :])
    return str(path)


def run(*command: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


def letter(subject: str, author: str = NEL) -> str:
    return f"From: Nel <{author}>\nTo: {JULIEN}\nSubject: {subject}\n\nBonjour.\n"


class SubmissionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        server()
        self.starttls, self.wrapped = ports()

    def arrived(self, subject: str) -> bytes:
        """The letter of that subject, from its "From " line on."""
        letters = [
            text for text in server().mailbox("julien").split(b"\nFrom ") if f"Subject: {subject}\n".encode() in text
        ]
        self.assertEqual(len(letters), 1, server().describe())
        return letters[0]

    def not_arrived(self, subject: str) -> None:
        self.assertNotIn(subject.encode(), server().mailbox("julien"))

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=authority())

    def session(self) -> smtplib.SMTP:
        client = smtplib.SMTP("localhost", self.starttls, timeout=LIMIT)
        self.addCleanup(client.close)
        client.starttls(context=self.tls())
        client.login("nel", PASSWORD)
        return client


class ClientTests(SubmissionTestCase):
    def test_swaks_at_both_ports(self) -> None:
        need("swaks")
        for port, tls in ((self.starttls, "--tls"), (self.wrapped, "--tls-on-connect")):
            subject = f"swaks at {tls}"
            common = (f"localhost:{port}", tls, "--tls-verify", "--tls-ca-path", authority(), "--suppress-data")
            who = ("--from", NEL, "--to", JULIEN, "--auth", "PLAIN", "--auth-user", "nel", "--auth-password", PASSWORD)
            done = run("swaks", "--server", *common, *who, "--header", f"Subject: {subject}")
            if "Unknown option" in done.stdout + done.stderr:
                raise SkipTest("this swaks does not check certificates")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(b"with ESMTPSA id", self.arrived(subject))

    def test_msmtp_at_both_ports(self) -> None:
        need("msmtp")
        for port, wrapped in ((self.starttls, "on"), (self.wrapped, "off")):
            subject = f"msmtp with starttls {wrapped}"
            done = run(
                "msmtp",
                "--host=localhost",
                f"--port={port}",
                "--tls=on",
                f"--tls-starttls={wrapped}",
                f"--tls-trust-file={authority()}",
                "--auth=on",
                "--user=nel",
                f"--passwordeval=printf {PASSWORD}",
                f"--from={NEL}",
                JULIEN,
                text=letter(subject),
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"with ESMTPSA id", self.arrived(subject))

    def test_curl_at_both_ports(self) -> None:
        need("curl")
        for url in (f"smtp://localhost:{self.starttls}", f"smtps://localhost:{self.wrapped}"):
            subject = f"curl to {url}"
            done = run(
                *("curl", "-sS", "--crlf", "--ssl-reqd", "--cacert", authority(), url, "--user", f"nel:{PASSWORD}"),
                *("--mail-from", NEL, "--mail-rcpt", JULIEN, "-T", "-"),
                text=letter(subject),
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"with ESMTPSA id", self.arrived(subject))

    def test_mutt_hands_in_a_letter(self) -> None:
        need("mutt")
        home = Path(self.mktemp()).resolve()
        home.mkdir()
        (home / "muttrc").write_text(
            f"set smtp_pass={PASSWORD}\nset certificate_file={authority()}\nset from={NEL}\nset use_from=yes\n"
            f"set envelope_from_address={NEL}\nset use_envelope_from=yes\nset copy=no\n"
        )
        for url in (f"smtp://nel@localhost:{self.starttls}", f"smtps://nel@localhost:{self.wrapped}"):
            subject = f"mutt to {url.partition('@')[0]}"
            done = run(
                *("mutt", "-n", "-F", str(home / "muttrc"), "-e", f"set smtp_url={url}", "-s", subject, "--", JULIEN),
                text="Bonjour.\n",
                HOME=str(home),
            )
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertIn(b"with ESMTPSA id", self.arrived(subject))

    def test_a_client_that_does_not_know_our_authority_sends_nothing(self) -> None:
        need("curl")
        for url in (f"smtp://localhost:{self.starttls}", f"smtps://localhost:{self.wrapped}"):
            done = run(
                *("curl", "-sS", "--ssl-reqd", url, "--user", f"nel:{PASSWORD}"),
                *("--mail-from", NEL, "--mail-rcpt", JULIEN, "-T", "-"),
                text=letter("untrusted"),
            )
            self.assertEqual(done.returncode, 60, done.stderr)
        self.not_arrived("untrusted")


class RuleTests(SubmissionTestCase):
    def test_nothing_goes_without_a_login_at_either_port(self) -> None:
        with smtplib.SMTP("localhost", self.starttls, timeout=LIMIT) as client:
            client.ehlo()
            self.assertEqual(client.mail(NEL), (530, b"5.7.0 Authentication required"))
            client.starttls(context=self.tls())
            client.ehlo()
            self.assertEqual(client.mail(NEL)[0], 530)
        with smtplib.SMTP_SSL("localhost", self.wrapped, timeout=LIMIT, context=self.tls()) as client:
            client.ehlo()
            self.assertNotIn("starttls", client.esmtp_features)
            self.assertEqual(client.mail(NEL)[0], 530)
            self.assertRaises(smtplib.SMTPAuthenticationError, client.login, "nel", "wrong")
            client.login("nel", PASSWORD)
            self.assertEqual(client.mail(NEL)[0], 250)

    def test_who_one_is_stands_in_the_envelope_and_in_the_header(self) -> None:
        client = self.session()
        self.assertEqual(client.mail(JULIEN)[0], 553)
        with self.assertRaises(smtplib.SMTPDataError) as caught:
            client.sendmail(NEL, [JULIEN], letter("forged", JULIEN))
        self.assertEqual(caught.exception.smtp_code, 550)
        self.assertIn(f"set the sender in your mail program to <{NEL}>".encode(), caught.exception.smtp_error)
        self.not_arrived("forged")
        self.assertIn("reject: END-OF-MESSAGE", server().describe())

    def test_a_table_gives_more_senders(self) -> None:
        client = self.session()
        sales = f"sales@{DOMAIN}"
        client.sendmail(sales, [JULIEN], letter("from sales", sales))
        self.arrived("from sales")
        table = server().folder / "senders"
        self.addCleanup(table.write_text, "sales nel\n")
        table.write_text("sales julien\n")

        def refused() -> bool:
            client.rset()
            return client.mail(sales)[0] == 553

        wait_for(refused, server().describe)

    def test_what_is_missing_is_there_and_the_client_is_not(self) -> None:
        self.session().sendmail(NEL, [JULIEN], "Subject: bare\n\nBonjour.\n")
        text = self.arrived("bare")
        self.assertRegex(text, rb"\nMessage-ID: <[0-9]{14}\.[0-9A-F]{10}@srvlinux\.iscb-corporation\.com>\nDate: ")
        self.assertIn(f"\nFrom: {NEL}\n".encode(), text)
        self.assertIn(b"\nReceived: from submission (client hidden)\n\tby srvlinux.", text)
        self.assertNotIn(b"127.0.0.1", text)

    def test_without_a_login_nobody_writes_as_somebody_at_the_other_port(self) -> None:
        """The connection is made by an account that is neither root nor the one that owns nel's mailbox."""
        talk = (
            "import smtplib, sys\n"
            f"with smtplib.SMTP('127.0.0.1', {server().smtp}, timeout={LIMIT}) as client:\n"
            "    client.ehlo()\n"
            "    for sender in sys.argv[1:]:\n"
            "        print(client.mail(sender)[0])\n"
            "        client.rset()\n"
        )
        who = {} if os.geteuid() else {"user": pwd.getpwnam("nobody").pw_uid, "group": 65534, "extra_groups": ()}
        if os.geteuid() and pwd.getpwuid(os.geteuid()).pw_name == mail_owner():
            raise SkipTest("only root can be somebody else")
        python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
        senders = (NEL, f"root@{DOMAIN}", f"printer@{DOMAIN}", "nel@elsewhere.example")
        done = subprocess.run(
            [python, "-I", "-c", talk, *senders], capture_output=True, text=True, timeout=60, cwd="/", **who
        )
        self.assertEqual(done.stdout.split(), ["553", "250", "250", "250"], done.stderr)
        with smtplib.SMTP("127.0.0.1", server().smtp, timeout=LIMIT) as client:
            client.ehlo()
            self.assertEqual(client.mail(NEL)[0], 250 if os.geteuid() == 0 else 553)

    def test_the_start_says_where_it_listens_and_what_is_open(self) -> None:
        log = server().describe()
        self.assertIn(f"listening: submission on 127.0.0.1:{self.starttls}", log)
        self.assertIn(f"listening: submissions on 127.0.0.1:{self.wrapped}", log)
        self.assertIn("closed: nobody sends without a login as somebody who has an account here", log)
        self.assertIn("closed: passwords are taken under TLS alone", log)
        self.assertNotIn("Traceback", log)

    def test_both_ports_speak_the_versions_that_are_meant_for_where_tls_is_required(self) -> None:
        starttls, wrapped = free_port(), free_port()
        made = Server(
            self.mktemp(),
            f"submission_port = {starttls}\nsubmissions_port = {wrapped}\nsmtpd_tls_mandatory_protocols = >=TLSv1.3\n",
        )
        self.addCleanup(made.stop)
        made.start()
        older = ssl._create_unverified_context()
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        for port, speaks in ((made.smtp, True), (starttls, False)):
            with smtplib.SMTP("localhost", port, timeout=LIMIT) as client:
                if speaks:
                    self.assertEqual(client.starttls(context=older)[0], 220)
                else:
                    self.assertRaises(ssl.SSLError, client.starttls, context=older)
                    client.close()
        self.assertRaises(ssl.SSLError, smtplib.SMTP_SSL, "localhost", wrapped, timeout=LIMIT, context=older)


class WithoutCertificateTests(SynchronousTestCase):
    """Where no certificate can be made: its folder is a file."""

    def refused(self, extra: str) -> Server:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "data").write_text("")
        made = Server(str(folder), extra)
        self.addCleanup(made.stop)
        return made

    def test_ports_that_main_cf_names_keep_it_from_starting(self) -> None:
        for name in ("submission_port", "submissions_port"):
            made = self.refused(f"{name} = {free_port()}\n")
            done = subprocess.run(made.command(), capture_output=True, text=True, timeout=60, cwd=ROOT)
            self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
            self.assertRegex(done.stderr, r"\Alanmail: [^\n]*data[^\n]*\n\Z")

    def test_ports_that_nobody_named_are_left_alone(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root has port 25")
        host = "127.0.0.87"
        for port in (25, 110, 465, 587):
            with socket.socket() as sock:
                try:
                    sock.bind((host, port))
                except OSError as error:
                    raise SkipTest(f"port {port}: {error}") from error
        made = self.refused(f"smtp_port = 25\npop3_port = 110\npop3s_port = 0\ninet_interfaces = {host}\n")
        with made.log.open("ab") as log:
            made.process = subprocess.Popen(made.command(), stdout=log, stderr=log, cwd=ROOT)
        wait_for(lambda: " is up" in made.describe(), made.describe, made.process)
        self.assertIn("there is no TLS, and so no submission: ", made.describe())
        self.assertNotIn("listening: submission", made.describe())
        for port, answers in ((25, True), (587, False), (465, False)):
            with socket.socket() as sock:
                self.assertEqual(sock.connect_ex((host, port)) == 0, answers, port)
