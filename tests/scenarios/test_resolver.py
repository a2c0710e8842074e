"""A network whose DNS never answers: the server asks it nothing, neither at its start nor for anybody's mail."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.caller import pop3, smtp, transaction
from tests.live import Server, need, wait_for

RESOLVER = "127.0.0.254"  # which hears every question, and answers none


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        need("unshare", "mount", "getent")
        if os.geteuid() != 0:
            raise SkipTest("only root can give a process a resolver of its own")
        self.resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(self.resolver.close)
        try:
            self.resolver.bind((RESOLVER, 53))
        except OSError as error:
            raise SkipTest(f"{RESOLVER} has a resolver already: {error}") from error
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        for name, text in (
            ("resolv.conf", f"nameserver {RESOLVER}\n"),
            ("hosts", "127.0.0.1 localhost\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
        ):
            (self.folder / name).write_text(text)

    def with_it(self, *command: str) -> Sequence[str]:
        """The command with that resolver, and with no host in /etc/hosts but localhost: not even its own."""
        mounts = "".join(f"mount --bind {self.folder / name} /etc/{name} && " for name in os.listdir(self.folder))
        return ("unshare", "--mount", "sh", "-c", f'{mounts}exec "$@"', "sh", *command)

    def was_asked(self) -> bool:
        try:
            return bool(self.resolver.recv(512))
        except BlockingIOError:
            return False

    def test_it_is_never_asked(self) -> None:
        try:
            subprocess.run(self.with_it("getent", "hosts", "printer.example"), timeout=2, capture_output=True)
        except subprocess.TimeoutExpired:
            pass
        if not self.was_asked():
            raise SkipTest("this machine lets no process have a resolver of its own")
        while self.was_asked():
            pass
        server = Server(self.mktemp())
        # Without these the names come from the machine, whose own name nothing knows here.
        text = server.main_cf.read_text()
        server.main_cf.write_text(text.replace("myhostname = srvlinux.iscb-corporation.com\n", "", 1))
        self.addCleanup(server.stop)
        server.start(self.with_it(*server.command()))
        with smtp(server.smtp, *transaction("julien")) as client:
            self.assertRegex(client.say("Subject: Essai\r\n\r\nBonjour.\r\n."), r"^250 ")
            client.say("MAIL FROM:<somebody@unknown.example>")
            self.assertRegex(client.say("RCPT TO:<printer@printer.example>"), r"^550 5\.4\.4 ")
        with pop3(server.pop3, "julien", "dianaël") as client:
            self.assertEqual(client.answer, "+OK Mailbox open, 1 messages")
        wait_for(lambda: "logout" in server.describe(), server.describe)
        self.assertFalse(self.was_asked())
