"""SIGTERM and SIGHUP to a whole server that has something to do."""

from __future__ import annotations

import fcntl
import signal
import time

from tests.caller import Caller, smtp, transaction
from tests.live import Server, wait_for
from tests.test_failures import LETTER, PEOPLE, FailureCase


class SignalTests(FailureCase):
    def test_sigterm_lets_a_command_finish_and_nobody_in(self) -> None:
        server = Server(self.mktemp(), people=PEOPLE)
        self.addCleanup(server.stop)
        server.start()
        assert server.process is not None
        idle = Caller(server.pop3)
        busy = smtp(server.smtp, *transaction("one"))
        with server.put_mailbox("one", b"").open("rb+") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            busy.send(LETTER.encode() + b"\r\nNOOP\r\n")
            wait_for(lambda: "message-id=" in server.describe(), server.describe)
            server.process.send_signal(signal.SIGTERM)
            self.assertRegex(idle.reply(), r"^-ERR \[SYS/TEMP\] ")
            self.assertRaises(ConnectionError, Caller, server.smtp)
            self.assertIsNone(server.process.poll())
        began = time.monotonic()
        self.assert_delivered(busy.reply())
        self.assertRegex(busy.reply(), r"^421 4\.3\.2 ")
        server.process.wait(10)
        self.assertLess(time.monotonic() - began, 3)
        self.assertIn(b"Bonjour.", server.mailbox("one"))
        self.assertNotIn("Traceback", server.describe())

    def test_sighup_opens_the_log_file_again(self) -> None:
        server = Server(self.mktemp(), people=PEOPLE)
        file, old = server.folder / "mail.log", server.folder / "mail.log.1"
        with server.main_cf.open("a") as main_cf:
            main_cf.write(f"maillog_file = {file}\n")
        self.addCleanup(server.stop)
        self.watched(server.start())
        assert server.process is not None
        self.assert_delivered(self.deliver(server, "one"))
        file.rename(old)  # as logrotate does
        server.process.send_signal(signal.SIGHUP)
        wait_for(file.exists, server.describe)
        self.assert_delivered(self.deliver(server, "two"))
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
