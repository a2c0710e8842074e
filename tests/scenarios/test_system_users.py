"""The dossier's own way: accounts made with useradd, passwords checked by PAM, the service file as it is shipped. Needs root."""

from __future__ import annotations

import contextlib
import grp
import os
import poplib
import pwd
import shutil
import smtplib
import socket
import stat
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live import ROOT, Server, system_users

SERVICE = Path("/etc/pam.d/lanmail-test")
JULIEN, NEL = "dianaël", "naël et ses clés"
LIMIT = 30  # seconds
REMEMBERED = 15.0  # seconds; docs/accounts.md: a user removed with userdel has no mail after ten
MESSAGE = "Subject: Essai\r\n\r\nBonjour Nel.\r\n"


class SystemUsersTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can make system users")
        if not Path("/etc/pam.d/common-auth").exists():
            raise SkipTest("/etc/pam.d/common-auth is not there: the service file tested here is Debian's")
        users = contextlib.ExitStack()
        users.enter_context(system_users(lmjulien=JULIEN, lmnel=NEL))
        self.addCleanup(users.close)
        shutil.copy(ROOT / "etc/pam.d/lanmail", SERVICE)
        self.addCleanup(SERVICE.unlink)
        self.server = Server(self.mktemp(), f"pam_service = {SERVICE.name}\n", accounts="system")
        self.addCleanup(self.server.stop)
        self.server.start()

    def send(self, to: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=LIMIT) as client:
            client.sendmail("lmjulien@iscb-corporation.com", [to], MESSAGE)

    def log_in(self, name: str, password: str, source: str = "127.0.0.1") -> poplib.POP3:
        """source: the client's address; failures of one address are slowed down more and more."""
        box = _POP3From(source, self.server.pop3)
        self.addCleanup(box.close)
        box.user(name)
        box.pass_(password)
        return box

    def test_mail_from_one_to_the_other_is_fetched_with_the_systems_password(self) -> None:
        self.send("lmnel@iscb-corporation.com")
        self.server.wait_until_delivered()
        found = (self.server.spool / "lmnel").stat()
        self.assertEqual(pwd.getpwuid(found.st_uid).pw_name, "lmnel")
        self.assertEqual(grp.getgrgid(found.st_gid).gr_name, "mail")
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)
        box = self.log_in("lmnel", NEL)
        self.assertEqual(box.stat()[0], 1)
        text = box.retr(1)[1]
        self.assertEqual(text[0], b"Return-Path: <lmjulien@iscb-corporation.com>")
        self.assertEqual(text[-3:], [b"Subject: Essai", b"", b"Bonjour Nel."])
        box.dele(1)
        box.quit()
        left = (self.server.spool / "lmnel").stat()
        self.assertEqual(
            (left.st_size, left.st_ino, left.st_uid, stat.S_IMODE(left.st_mode)),
            (0, found.st_ino, found.st_uid, 0o660),
        )

    def test_a_wrong_password_and_an_unknown_name_get_the_same_words_after_the_same_time(self) -> None:
        answers, times = set(), []
        for last, (name, password) in enumerate(
            (("lmnel", JULIEN), ("lmnobody", NEL), ("root", NEL), ("../lmnel", NEL)), 2
        ):
            began = time.monotonic()
            refused = self.assertRaises(poplib.error_proto, self.log_in, name, password, f"127.0.0.{last}")
            times.append(time.monotonic() - began)
            answers.add(refused.args[0])
        self.assertEqual(answers, {b"-ERR [AUTH] Wrong user name or password"})
        self.assertLess(max(times) - min(times), 0.5, times)
        self.assertEqual(self.log_in("lmnel", NEL).stat(), (0, 0))

    def test_however_a_name_is_written_it_is_one_person(self) -> None:
        names = ("lmjulien", "Lmjulien", "LMJULIEN@ISCB-Corporation.com", "lmjulien@srvlinux.iscb-corporation.com")
        for name in names:
            self.send(name if "@" in name else f"{name}@iscb-corporation.com")
        self.server.wait_until_delivered()
        self.assertEqual([path.name for path in self.server.spool.iterdir() if path.suffix != ".lock"], ["lmjulien"])
        for name in names:
            box = self.log_in(name, JULIEN)
            self.assertEqual(box.stat()[0], len(names))
            box.quit()

    def test_after_userdel_mail_is_refused_and_a_login_too(self) -> None:
        self.send("lmnel@iscb-corporation.com")  # from here on the name is remembered
        subprocess.run(["userdel", "lmnel"], check=True, stderr=subprocess.DEVNULL)
        removed = time.monotonic()
        self.addCleanup(subprocess.run, ["useradd", "-M", "-s", "/sbin/nologin", "lmnel"], check=True)
        refused = self.assertRaises(poplib.error_proto, self.log_in, "lmnel", NEL)
        self.assertEqual(refused.args[0], b"-ERR [AUTH] Wrong user name or password")
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=LIMIT) as client:
            while True:
                client.ehlo_or_helo_if_needed()
                client.mail("lmjulien@iscb-corporation.com")
                asked = time.monotonic()
                code, text = client.rcpt("lmnel@iscb-corporation.com")
                client.rset()
                if code != 250:
                    break
                self.assertLess(asked - removed, REMEMBERED, "mail for a user who is gone is still taken")
                time.sleep(0.5)
        self.assertEqual(code, 550)
        self.assertTrue(text.startswith(b"5.1.1 "), text)
        # What lies there stays, as with every mail server: it is the administrator's to keep or to remove.
        self.assertIn(b"Bonjour Nel.", self.server.mailbox("lmnel"))


class _POP3From(poplib.POP3):
    """poplib, from another address of loopback."""

    def __init__(self, source: str, port: int) -> None:
        self._source = source
        super().__init__("127.0.0.1", port, timeout=LIMIT)

    def _create_socket(self, timeout: float):  # type: ignore[no-untyped-def]  # poplib's own
        return socket.create_connection((self.host, self.port), timeout, source_address=(self._source, 0))
