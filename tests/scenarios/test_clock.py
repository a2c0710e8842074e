"""A machine whose clock is set while mail is under way: libfaketime sets it, for the server alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import smtplib
import sqlite3
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live import Server, need, wait_for

DOMAIN = "iscb-corporation.com"


def library() -> str:
    """libfaketime's, or SkipTest."""
    need("faketime")
    for found in Path("/usr/lib").rglob("libfaketime.so.1"):
        return str(found)
    raise SkipTest("libfaketime is not installed")


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.clock = folder / "clock"
        self.set_clock("+0")
        self.server = Server(str(folder))
        self.addCleanup(self.server.stop)
        false = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with mock.patch.dict(os.environ, false):
            self.server.start()

    def set_clock(self, offset: str) -> None:
        draft = self.clock.with_suffix(".new")
        draft.write_text(offset)
        draft.rename(self.clock)

    def send(self, subject: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp) as client:
            client.sendmail(f"julien@{DOMAIN}", f"nel@{DOMAIN}", f"Subject: {subject}\r\n\r\n".encode())

    def waits_through(self, offset: str) -> None:
        """Mail for a mailbox that another program holds is delivered when it lets go, and flushed, although the clock was set meanwhile."""
        self.send("first")
        wait_for(lambda: b"first" in self.server.mailbox("nel"), self.server.describe, self.server.process)
        fd = os.open(self.server.spool / "nel", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)
            with smtplib.SMTP("127.0.0.1", self.server.smtp) as idle:
                idle.ehlo()
                self.send("second")
                self.set_clock(offset)
                self.send("third")
                self.assertEqual(idle.noop()[0], 250)  # and nobody is cut off
        finally:
            os.close(fd)
        wait_for(lambda: not self.rows(), self.server.describe, self.server.process)
        text = self.server.mailbox("nel")
        self.assertEqual([text.count(word) for word in (b"first", b"second", b"third")], [1, 1, 1])

    def rows(self) -> int:
        """Of the journal: of what is not delivered, or not flushed."""
        journal = self.server.queue / "lanmail" / "journal-0"
        with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute("SELECT count(*) FROM recipient").fetchone()[0])

    def test_a_clock_that_is_set_back_stops_nothing(self) -> None:
        self.waits_through("-1d")

    def test_a_clock_that_is_set_right_after_years_makes_nobody_impatient(self) -> None:
        self.waits_through("+20000d")
