"""Twin of lanmail/maillog.py."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.log_lines import printable
from lanmail.maillog import Logger, MailLogFile

log = Logger("smtpd")


class MailLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())

    def begin(self) -> MailLogFile:
        file = MailLogFile(self.path, "srvlinux.iscb-corporation.com")
        file.begin()
        self.addCleanup(file.end)
        return file

    def lines(self, path: str | None = None) -> list[str]:
        with open(path or self.path, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_a_line_looks_as_postfix_writes_it(self) -> None:
        self.begin()
        log.info("connect from unknown[{host}]", host="192.168.1.5")
        (line,) = self.lines()
        expected = (
            r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d srvlinux lanmail/smtpd\[%d\]: connect from unknown\[192\.168\.1\.5\]"
        )
        self.assertTrue(re.fullmatch(expected % os.getpid(), line), line)

    def test_what_a_client_says_never_makes_a_line_of_its_own(self) -> None:
        self.begin()
        log.info("helo=<{helo}>", helo="a\r\nNov 24 00:00:00 srvlinux lanmail/smtpd[1]: forged \x1b[2J \u202e")
        (line,) = self.lines()
        self.assertIn(r"a\r\nNov 24", line)
        self.assertIn(r"\x1b[2J \u202e", line)

    def test_nothing_turns_the_direction_of_a_line(self) -> None:
        self.assertEqual(printable("a\u200fb\u061cc\u2067d\u202ee"), r"a\u200fb\u061cc\u2067d\u202ee")

    def test_octets_that_are_no_text_are_shown_as_octets(self) -> None:
        self.begin()
        log.info("user=<{user}>", user=b"dian\xe9\x00")
        self.assertTrue(self.lines()[0].endswith(r"user=<dian\xe9\x00>"))

    def test_braces_from_outside_are_not_a_format(self) -> None:
        self.begin()
        log.info("from=<{sender}>", sender="{log_namespace}")
        self.assertTrue(self.lines()[0].endswith("from=<{log_namespace}>"))

    def test_after_reopen_lines_go_to_the_new_file(self) -> None:
        file = self.begin()
        log.info("one")
        os.rename(self.path, self.path + ".1")
        log.info("two")
        file.reopen()
        log.info("three")
        self.assertEqual([line[-3:] for line in self.lines(self.path + ".1")], ["one", "two"])
        self.assertTrue(self.lines()[0].endswith("three"))

    def test_the_lines_of_one_turn_are_one_write(self) -> None:
        turns: list[Callable[[], object]] = []
        file = MailLogFile(self.path, "srvlinux")
        file.begin(turns.append)
        log.info("one")
        log.info("two")
        self.assertEqual((self.lines(), len(turns)), ([], 1))
        turns.pop()()
        self.assertEqual([line[-3:] for line in self.lines()], ["one", "two"])
        log.info("three")
        file.end()
        self.assertEqual(len(self.lines()), 3)

    def test_a_warning_waits_for_no_turn_and_nor_does_another_thread(self) -> None:
        file = MailLogFile(self.path, "srvlinux")
        file.begin(lambda write: None)
        self.addCleanup(file.end)
        log.info("one")
        log.warn("two")
        self.assertEqual([line[-3:] for line in self.lines()], ["one", "two"])
        log.info("three")
        thread = threading.Thread(target=lambda: log.info("four"))
        thread.start()
        thread.join()
        self.assertEqual([line.split()[-1] for line in self.lines()], ["one", "two", "three", "four"])

    def test_root_writes_to_no_file_of_its_own_that_has_another_name(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root has files of root's")
        precious, path = self.mktemp(), self.mktemp()
        with open(precious, "wb"):
            os.link(precious, path)
        with self.assertRaises(OSError):
            MailLogFile(path, "srvlinux", owner=1)
        self.assertEqual(os.stat(precious).st_uid, 0)

    def test_a_report_that_begins_with_warning_is_one(self) -> None:
        self.begin()
        log.report("warning: {path} is a link", path="/var/mail/ann")
        self.assertIn("warning: /var/mail/ann is a link", self.lines()[0])

    def test_without_a_file_everything_goes_where_twisted_logs(self) -> None:
        seen: list[str] = []

        def watch(event: dict[str, object]) -> None:
            seen.append(str(event.get("host")))

        globalLogPublisher.addObserver(watch)
        self.addCleanup(globalLogPublisher.removeObserver, watch)
        log.info("connect from unknown[{host}]", host="::1")
        self.assertEqual(seen, ["::1"])

    def test_printable_leaves_accents_alone(self) -> None:
        self.assertEqual(printable("Hélène, 日本"), "Hélène, 日本")
