"""SIGTERM and SIGHUP to a whole server that has something to do."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time

from tests.caller import Caller, smtp, transaction
from tests.live import Server, mail_owner, wait_for
from tests.test_failures import FOREIGN, PASSWORD, PEOPLE, FailureCase


class SignalTests(FailureCase):
    def test_sigterm_lets_a_command_finish_and_nobody_in(self) -> None:
        server = Server(self.mktemp(), people=PEOPLE)
        self.addCleanup(server.stop)
        server.start()
        assert server.process is not None
        idle = Caller(server.pop3)
        busy = Caller(server.pop3)
        with server.put_mailbox("one", FOREIGN % 1).open("rb+") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            busy.say("USER one")
            busy.send(f"PASS {PASSWORD}\r\nNOOP\r\n".encode())
            wait_for((server.queue / "lanmail/claims/one").exists, server.describe)
            server.process.send_signal(signal.SIGTERM)
            self.assertRegex(idle.reply(), r"^-ERR \[SYS/TEMP\] ")
            self.assertRaises(ConnectionError, Caller, server.smtp)
            self.assertIsNone(server.process.poll())
        began = time.monotonic()
        self.assertEqual(busy.reply(), "+OK Mailbox open, 1 messages")
        self.assertRegex(busy.reply(), r"^-ERR \[SYS/TEMP\] ")
        server.process.wait(10)
        self.assertLess(time.monotonic() - began, 3)
        self.assertNotIn("Traceback", server.describe())

    def test_mail_that_waits_when_the_server_is_stopped_is_delivered_by_the_next(self) -> None:
        server = self.own()
        with server.put_mailbox("one", FOREIGN % 1).open("rb+") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            began = time.monotonic()
            self.assert_delivered(self.deliver(server, "one", "two"))
            self.assertIn(b"Bonjour.", server.mailbox("two"))
            server.stop()
            self.assertLess(time.monotonic() - began, 10)
            self.assertEqual(server.mailbox("one"), FOREIGN % 1)
        server.start()
        self.assertEqual(server.mailbox("one").count(b"Bonjour."), 1)
        self.assertEqual(server.mailbox("two").count(b"Bonjour."), 1)

    def test_sighup_opens_the_log_file_again(self) -> None:
        server = Server(self.mktemp(), people=PEOPLE)
        logs = server.folder / "logs"
        logs.mkdir()
        if os.geteuid() == 0:
            shutil.chown(logs, mail_owner())  # who opens the new file
        file, old = logs / "mail.log", logs / "mail.log.1"
        with server.main_cf.open("a") as main_cf:
            main_cf.write(f"maillog_file = {file}\n")
        self.addCleanup(server.stop)
        self.watched(server.start())
        assert server.process is not None
        self.assert_delivered(self.deliver(server, "one"))
        server.wait_until_delivered()
        file.rename(old)  # as logrotate does
        server.process.send_signal(signal.SIGHUP)
        wait_for(file.exists, server.describe)
        self.assert_delivered(self.deliver(server, "two"))
        server.wait_until_delivered()
        self.assertRegex(old.read_text(), r"to=<one@.*status=sent \(delivered to mailbox\)")
        self.assertRegex(file.read_text(), r"to=<two@.*status=sent \(delivered to mailbox\)")
        self.assertNotIn("to=<two@", old.read_text())

    def test_a_command_that_does_not_end_is_cut_off(self) -> None:
        server = Server(self.mktemp(), "shutdown_timeout = 1s\n", people=PEOPLE)
        self.addCleanup(server.stop)
        server.start()
        with smtp(server.smtp, *transaction("one")) as client:
            client.send(b"the beginning of a message")
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, 4)
        self.assertEqual(server.mailbox("one"), b"")
        self.assertNotIn("Traceback", server.describe())
