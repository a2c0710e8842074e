"""A printer that knows no password, and fail2ban's line, on a whole server."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import pop3, smtp
from tests.live import Server, wait_for

TABLE = """\
127.0.0.7  from=scan@iscb-corporation.com  to=nel@iscb-corporation.com  rate=3/h  # the copier on the stairs
"""


class DeviceTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = self.mktemp()
        os.makedirs(folder)
        self.table = os.path.abspath(os.path.join(folder, "devices"))
        self.write(TABLE)
        self.server = Server(folder, f"device_table = {self.table}\n")
        self.addCleanup(self.server.stop)
        self.server.start()

    def write(self, text: str) -> None:
        with open(self.table, "w") as file:
            file.write(text)
        os.chmod(self.table, 0o644)

    def send(self, recipient: str, source: str = "127.0.0.7") -> str:
        with smtp(self.server.smtp, source=source) as client:
            for command in ("MAIL FROM:<whatever@printer>", f"RCPT TO:<{recipient}>", "DATA"):
                answer = client.say(command)
                if answer.startswith(("4", "5")):
                    return answer
            return client.say("Subject: scan\r\n\r\npage\r\n.")

    def test_it_sends_as_its_line_says_whatever_it_says_itself(self) -> None:
        self.assertTrue(self.send("nel@iscb-corporation.com").startswith("250 "))
        self.assertIn(b"Return-Path: <scan@iscb-corporation.com>", self.server.mailbox("nel"))
        self.assertRegex(self.send("julien@iscb-corporation.com"), r"^554 5\.7\.1 ")
        self.assertTrue(self.send("julien@iscb-corporation.com", "127.0.0.8").startswith("250 "))
        self.assertIn(b"Return-Path: <whatever@printer>", self.server.mailbox("julien"))
        self.assertRegex(self.server.describe(), r"client=unknown\[127\.0\.0\.7\], device=scan@iscb-corporation\.com")

    def test_one_message_too_many_comes_later(self) -> None:
        answers = [self.send("nel@iscb-corporation.com")[:9] for _ in range(4)]
        self.assertEqual([answer[:3] for answer in answers], ["250", "250", "250", "450"])
        self.assertEqual(answers[3], "450 4.7.1")

    def test_a_changed_table_counts_without_a_restart_and_a_bad_one_does_not(self) -> None:
        self.write("nonsense\n")
        wait_for(
            lambda: self.send("nel@iscb-corporation.com") and "devices:1" in self.server.describe(),
            self.server.describe,
        )
        self.assertIn(b"Return-Path: <scan@iscb-corporation.com>", self.server.mailbox("nel"))
        self.write("127.0.0.7 from=other@iscb-corporation.com rate=none\n")

        def counts() -> bool:
            self.send("julien@iscb-corporation.com")
            return b"Return-Path: <other@iscb-corporation.com>" in self.server.mailbox("julien")

        wait_for(counts, self.server.describe)

    def test_a_refused_login_is_the_line_that_fail2ban_reads(self) -> None:
        with pop3(self.server.pop3, "nel", "wrong", "127.0.0.9") as client:
            self.assertTrue(client.answer.startswith("-ERR [AUTH]"))
        self.assertTrue(
            re.search(r"lanmail/auth\[\d+\]: .*127\.0\.0\.9", self.server.describe()), self.server.describe()
        )
