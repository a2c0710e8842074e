"""Real users who say in their homes where their mail goes, and a server that asks them. Needs root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import smtplib
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live import Server, system_users, wait_for

MAIN_CF = """\
recipient_delimiter = +
local_recipient_maps =
luser_relay = lmnel+$local
alias_maps = hash:{aliases}
"""
ALIASES = "staff: lmjulien, lmnel\nowner-staff: lmnel\n"
DOMAIN = "iscb-corporation.com"


class ForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can make system users")
        users = contextlib.ExitStack()
        users.enter_context(system_users(lmjulien="x", lmnel="y"))
        self.addCleanup(users.close)
        self.homes = Path(tempfile.mkdtemp(prefix="lanmail-homes-"))
        self.homes.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.homes)
        for name in ("lmjulien", "lmnel"):
            home = self.homes / name
            home.mkdir(mode=0o700)
            os.chown(home, pwd.getpwnam(name).pw_uid, -1)
            subprocess.run(["usermod", "-d", str(home), name], check=True, capture_output=True)
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "aliases").write_text(ALIASES)
        self.server = Server(str(folder), MAIN_CF.format(aliases=folder / "aliases"), accounts="system")
        self.addCleanup(self.server.stop)
        self.server.start()

    def forward(self, name: str, text: str, file: str = ".forward") -> Path:
        path = self.homes / name / file
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, pwd.getpwnam(name).pw_uid, -1)
        return path

    def send(self, to: str, subject: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=30) as client:
            client.sendmail(f"boss@{DOMAIN}", [f"{to}@{DOMAIN}"], f"Subject: {subject}\r\n\r\nBonjour.\r\n")

    def expect(self, subject: str, **headers: str) -> None:
        """That exactly these mailboxes have a message of that subject, each with such a line of its header."""
        line = f"Subject: {subject}\n".encode()
        wait_for(lambda: all(line in self.server.mailbox(name) for name in headers), self.server.describe)
        for name in ("lmjulien", "lmnel"):
            copies = [copy for copy in self.server.mailbox(name).split(b"From ") if line in copy]
            self.assertEqual(len(copies), name in headers, (subject, name, self.server.describe()))
            for copy in copies:
                self.assertIn(f"{headers[name]}\n".encode(), copy)

    def test_mail_goes_where_its_readers_say(self) -> None:
        self.send("lmjulien", "none")
        self.expect("none", lmjulien=f"Delivered-To: lmjulien@{DOMAIN}")
        path = self.forward("lmjulien", "# on holiday\nlmnel\n")
        # At least a second after the last look, the new file counts.
        wait_for(lambda: self.heard("lmjulien") == "lmnel", self.server.describe)
        self.send("lmjulien", "away")
        self.expect("away", lmnel=f"Delivered-To: lmnel@{DOMAIN}")
        self.send("staff", "list")
        self.expect("list", lmnel=f"Return-Path: <owner-staff@{DOMAIN}>")
        self.forward("lmjulien", "\\lmjulien, ann@elsewhere.example, |prog\n", ".forward+x")
        self.send("lmjulien+x", "tag")
        self.expect("tag", lmjulien=f"Delivered-To: lmjulien@{DOMAIN}")
        self.send("who", "unknown")
        self.expect("unknown", lmnel=f"Delivered-To: lmnel+who@{DOMAIN}")
        path.chmod(0o602)
        wait_for(lambda: self.heard("lmjulien") == "lmjulien", self.server.describe)
        self.assertIn("warning: .forward of lmjulien: can be written by everybody", self.server.describe())

    def test_two_who_forward_to_each_other_lose_nothing(self) -> None:
        self.forward("lmjulien", "lmnel\n")
        self.forward("lmnel", "lmjulien\n")
        self.send("lmjulien", "circle")
        self.expect("circle", lmjulien=f"Delivered-To: lmjulien@{DOMAIN}")
        self.assertIn("leads back to lmjulien, whose mailbox gets the mail", self.server.describe())
        # And what was delivered so is not delivered again, should it come back from elsewhere.
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=30) as client:
            text = f"Delivered-To: lmjulien@{DOMAIN}\r\nSubject: again\r\n\r\nBonjour.\r\n"
            refused = self.assertRaises(
                smtplib.SMTPDataError, client.sendmail, f"boss@{DOMAIN}", [f"lmjulien@{DOMAIN}"], text
            )
        self.assertEqual((refused.smtp_code, refused.smtp_error[:5]), (554, b"5.4.6"))

    def heard(self, name: str) -> str:
        """Whose mailbox a message for ``name`` reaches now."""
        before = {each: len(self.server.mailbox(each)) for each in ("lmjulien", "lmnel")}
        self.send(name, "probe")
        wait_for(lambda: any(len(self.server.mailbox(e)) > size for e, size in before.items()), self.server.describe)
        (grown,) = [each for each, size in before.items() if len(self.server.mailbox(each)) > size]
        return grown
