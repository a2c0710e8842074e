"""The main.cf files that Debian and Fedora install with their Postfix start the server as they are, with warnings only."""

from __future__ import annotations

import contextlib
import os
import pwd
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live import ROOT, Server


@contextlib.contextmanager
def account(name: str) -> Iterator[None]:
    """A system's account of that name, where the machine has none."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        yield
        return
    subprocess.run(["useradd", "-r", "-M", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", name], check=True)
    try:
        yield
    finally:
        subprocess.run(["userdel", name], check=True)


class DistributionTests(SynchronousTestCase):
    def starts(self, file: Path, owner: str) -> None:
        """With that file, and only ports and folders changed, by -o, as this machine's own are not for a test."""
        if os.geteuid() != 0:
            raise SkipTest("needs root: the file names an account that must own the queue")
        server = Server(self.mktemp())
        self.addCleanup(server.stop)
        overrides = [
            f"smtp_port={server.smtp}",
            f"pop3_port={server.pop3}",
            "inet_interfaces=127.0.0.1",
            f"queue_directory={server.queue}",
            f"mail_spool_directory={server.spool}",
        ]
        options = [word for override in overrides for word in ("-o", override)]
        command = (sys.executable, "-m", "twisted", "lanmail", "--config", str(file), *options)
        with account(owner):
            checked = subprocess.run([*command, "--check"], cwd=ROOT, capture_output=True, text=True)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
            server.start(command)
            self.assertEqual(pwd.getpwuid((server.queue / "lanmail").stat().st_uid).pw_name, owner)
            with smtplib.SMTP("127.0.0.1", server.smtp, timeout=20) as client:
                self.assertEqual(client.ehlo("here")[0], 250)
                self.assertEqual(client.mail("root@localhost")[0], 250)
                self.assertEqual(client.rcpt("nobody-of-that-name@localhost")[0], 550)
            server.stop()

    def test_debians(self) -> None:
        self.starts(ROOT / "tests/config/debian.main.cf", "lanmail")

    def test_fedoras(self) -> None:
        self.starts(ROOT / "tests/config/fedora.main.cf", "postfix")
