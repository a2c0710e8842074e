"""The lines of the log about one SMTP connection. Those that follow from a conversation are in test_session.py."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.interfaces import Greeting
from lanmail.smtp.replies import AUTH_FAILED
from lanmail.smtp.story import Story
from lanmail.status import Status

FULL = Status(452, "4.3.1", "Insufficient system storage")


class StoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.story = Story("unknown[192.168.1.5]", lambda line, /, **fields: self.lines.append(line.format(**fields)))

    def test_who_could_not_log_in_is_named_by_what_they_wrote(self) -> None:
        for username, told in ((b"julien", "julien"), (b"\xff{x}", "\\xff{x}"), (b"a" * 300, "a" * 100)):
            self.story.login_failed("LOGIN", username, AUTH_FAILED)
            self.assertEqual(
                self.lines[-1],
                "warning: unknown[192.168.1.5]: SASL LOGIN authentication failed: Error: authentication failed,"
                f" sasl_username={told}",
            )

    def test_a_refusal_tells_who_wrote_to_whom_and_how(self) -> None:
        self.story.refused("RCPT", FULL, Address("a", "b"), Address("c", "d"), Greeting("c", extended=True))
        self.story.refused("DATA", FULL, None, None, None)
        self.story.refused("DATA", FULL, None, None, Greeting("", extended=True))
        self.assertEqual(
            self.lines,
            [
                f"NOQUEUE: reject: RCPT from unknown[192.168.1.5]: {FULL}; from=<a@b> to=<c@d> proto=ESMTP helo=<c>",
                f"NOQUEUE: reject: DATA from unknown[192.168.1.5]: {FULL}; from=<> proto=SMTP",
                f"NOQUEUE: reject: DATA from unknown[192.168.1.5]: {FULL}; from=<> proto=ESMTP",
            ],
        )
