from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.describe import describe, refusal, verdict
from lanmail.config.openings import openings
from lanmail.config.parameters import PARAMETERS
from lanmail.config.settings import read, read_text
from tests.config.fake import FakeMachine

TEXT = """\
mydomain = lan.example
myorigin = $mydomain
biff = no
smtpd_helo_required = yes
relayhost = mail.isp.example
"""


class TestDescribe(SynchronousTestCase):
    def test_it_shows_what_is_set_what_it_comes_to_and_each_problem_under_its_class(self) -> None:
        shown = describe(read_text(TEXT, machine=FakeMachine())).split("\n")
        self.assertEqual(shown[1:4], ["mydomain = lan.example", "myorigin = $mydomain", "#   that is: lan.example"])
        headings = [line for line in shown if line.startswith("# ") and line.endswith(":")]
        self.assertEqual([heading.split()[1].strip(":;") for heading in headings], ["Errors", "Warnings", "Of"])
        self.assertIn("#   main.cf:3: biff has no effect here", shown)
        self.assertEqual(shown[-1], "# main.cf: 1 error, 1 warning; the server would not start with it")

    def test_a_file_that_sets_nothing_is_said_to(self) -> None:
        shown = describe(read_text("", machine=FakeMachine()))
        self.assertEqual(
            shown.split("\n"),
            [
                "# main.cf: every parameter has its default",
                "",
                "# Who may send as whom, and whose passwords can be read:",
                *(f"#   {line}" for line in openings(read_text("", machine=FakeMachine()).settings)),
                "",
                "# main.cf: nothing is wrong in the file; ports and rights are seen when it starts",
            ],
        )

    def test_a_verdict_without_errors_promises_no_more_than_was_looked_at(self) -> None:
        self.assertEqual(
            verdict(read_text("smtpd_helo_required = yes", machine=FakeMachine())),
            "main.cf: no errors and 1 warning in the file; ports and rights are seen when it starts",
        )

    def test_of_a_file_that_is_not_there_nothing_is_shown_but_that(self) -> None:
        self.assertEqual(
            describe(read("/nowhere/main.cf", machine=FakeMachine())).split("\n"),
            [
                "# Errors; each of them keeps the server from starting:",
                "#   /nowhere/main.cf: cannot be read: No such file or directory",
                "",
                "# /nowhere/main.cf cannot be read; the server would not start with it",
            ],
        )

    def test_everything_is_every_parameter(self) -> None:
        shown = describe(read_text("", machine=FakeMachine()), everything=True)
        for name in PARAMETERS:
            self.assertIn(f"\n{name} =", shown)

    def test_what_it_shows_can_be_read_again(self) -> None:
        machine = FakeMachine()
        first = read_text(TEXT.replace("relayhost = mail.isp.example", ""), machine=machine)
        again = read_text(describe(first, everything=True), machine=machine)
        self.assertEqual(again.errors, ())
        self.assertEqual(again.settings.values, first.settings.values)


class TestRefusal(SynchronousTestCase):
    def test_errors_come_first_warnings_are_marked_and_what_has_no_effect_is_left_out(self) -> None:
        found = read_text(TEXT, ["smtp_port=smtp"], file="/etc/lanmail/main.cf", machine=FakeMachine())
        lines = refusal(found)
        self.assertEqual(
            [line.partition("relayhost")[0].partition("'smtp'")[0] for line in lines[:2]],
            ["/etc/lanmail/main.cf:5: ", "-o: smtp_port: "],
        )
        self.assertEqual(
            lines[2:],
            [
                "/etc/lanmail/main.cf:4: warning: smtpd_helo_required is not implemented; nothing is done about it",
                "2 errors in /etc/lanmail/main.cf; nothing was started",
            ],
        )

    def test_one_error_is_one_and_a_file_named_from_here_is_named_whole(self) -> None:
        lines = refusal(read_text("smtp_port = smtp", machine=FakeMachine()))
        self.assertEqual(lines[1:], [f"1 error in {os.path.abspath('main.cf')}; nothing was started"])

    def test_a_file_that_is_not_there_has_no_errors(self) -> None:
        self.assertEqual(
            refusal(read("/nowhere/main.cf", machine=FakeMachine(files={}, folders=()))),
            ["/nowhere/main.cf: cannot be read: No such file or directory", "nothing was started"],
        )
