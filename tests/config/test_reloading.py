from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.parameters import PARAMETERS, Settings
from lanmail.config.reloading import ONLY_BY_A_RESTART, applied
from lanmail.config.settings import read_text
from tests.config.fake import FakeMachine


def settings(text: str) -> Settings:
    return read_text(text, machine=FakeMachine()).settings


class ReloadingTests(SynchronousTestCase):
    def test_what_changed_holds(self) -> None:
        now, kept = applied(settings("message_size_limit = 1000000"), settings("message_size_limit = 2000000"))
        self.assertEqual((now.message_size_limit, kept), (2000000, []))

    def test_what_a_restart_alone_changes_is_kept_and_named(self) -> None:
        before = settings("smtp_port = 2525\nqueue_directory = /var/spool/one\n")
        after = settings("smtp_port = 2526\nqueue_directory = /var/spool/two\nrecipient_delimiter = +\n")
        now, kept = applied(before, after)
        self.assertEqual(kept, ["smtp_port", "queue_directory"])
        self.assertEqual((now.smtp_port, now.queue_directory), (2525, "/var/spool/one"))
        self.assertEqual((now.recipient_delimiter, now.written["smtp_port"].text), ("+", "2525"))

    def test_the_same_said_in_other_words_is_no_change(self) -> None:
        before, after = settings("inet_interfaces = 127.0.0.1, ::1"), settings("inet_interfaces =\n  127.0.0.1,\n  ::1")
        self.assertEqual(applied(before, after)[1], [])

    def test_everything_that_needs_a_restart_is_a_parameter(self) -> None:
        self.assertEqual(set(ONLY_BY_A_RESTART) - set(PARAMETERS), set())
        named = {"inet_interfaces", "mail_owner", "queue_directory", "accounts"}
        ports = {name for name in PARAMETERS if name.endswith(("_port", "_endpoint"))}
        self.assertLessEqual(named | ports, set(ONLY_BY_A_RESTART))
