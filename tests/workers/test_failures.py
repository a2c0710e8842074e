"""All that goes wrong in tests/test_failures.py, with a service of three workers: what is promised holds whoever of them is asked."""

from __future__ import annotations

from tests import test_failures as one
from tests.live import Server

NUMBER = 3


class RefusedRecipientTests(one.RefusedRecipientTests):
    workers = NUMBER


class RefusedMessageTests(one.RefusedMessageTests):
    workers = NUMBER

    def start_without_room(self, server: Server) -> None:
        """It depends on what lies there whether they can open their journals. Where they can they serve, and take no mail."""
        try:
            server.start()
        except AssertionError as refused:
            self.assertIn("disk is full", str(refused))
        else:
            for _ in range(2 * NUMBER):
                self.assertRegex(self.answer(server, "one"), r"^45[12] 4\.3\.[01] ")
            server.stop()


class MailboxTests(one.MailboxTests):
    workers = NUMBER


class SessionTests(one.SessionTests):
    workers = NUMBER


class LimitTests(one.LimitTests):
    workers = NUMBER
