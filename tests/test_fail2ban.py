"""etc/fail2ban/filter.d/lanmail.conf, judged by Fail2Ban over lines that our own log wrote."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.checkers import PasswordChecker
from lanmail.accounts.credentials import LoginCredentials
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.interfaces import Login, User
from lanmail.maillog import Logger, MailLogFile, standard_output
from lanmail.network import Peer
from lanmail.smtp.story import Story
from tests.accounts.fakes import RememberingAccounts
from tests.live import ROOT, need

FILTER = ROOT / "etc/fail2ban/filter.d/lanmail.conf"
FORGED = b"lanmail/auth[1]: login refused: client=9.9.9.9, service=smtp, user=<x>"


class FilterTests(SynchronousTestCase):
    def setUp(self) -> None:
        need("fail2ban-regex")
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.file = MailLogFile(str(self.folder / "log"), "srvlinux.iscb-corporation.com", lambda event: None)
        self.printed = io.StringIO()
        self.events = LogPublisher(self.file, standard_output(self.printed))
        auth = Logger("auth", observer=self.events)
        accounts = AccountList([RememberingAccounts((User("julien", 1001, 1001), b"right"))])
        self.clock = Clock()
        self.checker = PasswordChecker(accounts, (), Throttle(self.clock), auth.report)

    def log_in(self, name: bytes, password: bytes, host: str, service: str = "pop3") -> None:
        login: Deferred[object] = self.checker.requestAvatarId(
            LoginCredentials(name, password, Login(service, Peer(host)))
        )
        login.addErrback(lambda _: None)
        self.clock.advance(10)

    def banned(self, text: str | None = None) -> list[str]:
        """The addresses that Fail2Ban reads out of the log, one for each line."""
        log = self.folder / "judged"
        log.write_text((self.folder / "log").read_text() if text is None else text)
        done = subprocess.run(["fail2ban-regex", "-o", "ip", str(log), str(FILTER)], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout.split()

    def test_each_refused_login_is_one_failure_of_its_client(self) -> None:
        self.log_in(b"julien", b"wrong", "192.168.1.66")
        self.log_in(b"nobody", b"right", "fd00::66", "smtp")
        self.log_in(b"julien", b"right", "192.168.1.5")
        self.log_in(b"", b"", "192.168.1.67")
        self.log_in(b"julien", b"wrong", "")  # a UNIX socket's
        self.assertEqual(self.banned(), ["192.168.1.66", "fd00::66", "192.168.1.67"])

    def test_nobody_can_have_another_banned(self) -> None:
        for text in (
            FORGED,
            b"x>\n" + FORGED,
            b"x>\r\nNov 24 21:36:34 srvlinux " + FORGED,
            b"julien>, client=9.9.9.9, service=pop3, user=<x",
            b"\x1b[1A\x85" + FORGED,
            "\u2028".encode() + FORGED,
            b"x" * 200 + FORGED,
            b"2026-11-24T21:36:34 srvlinux " + FORGED,
        ):
            self.log_in(text, b"wrong", "192.168.1.66")
            log = Logger("smtpd", observer=self.events)
            story = Story("unknown[192.168.1.66]", log.report)
            story.not_smtp(text)
            story.bad_address("MAIL", text)
            log.report("{id}: client={client}", id=text, client=text)
        self.assertEqual(self.banned(), ["192.168.1.66"] * 8)

    def test_the_same_is_read_from_standard_output_and_from_systemds_journal(self) -> None:
        self.log_in(b"julien", b"wrong", "192.168.1.66")
        line = self.printed.getvalue()
        self.assertEqual(self.banned(line), ["192.168.1.66"])
        ours = line[line.index("lanmail/auth") :]
        # As Fail2Ban's own backend puts an entry of the journal together: time, host, identifier[pid].
        for identifier in ("twist[4711]", "lanmail[4711]", "python3.11[1]"):
            self.assertEqual(self.banned(f"2026-11-24T21:36:34.123456 srvlinux {identifier}: {ours}"), ["192.168.1.66"])
