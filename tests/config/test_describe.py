from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.describe import describe
from lanmail.config.parameters import PARAMETERS
from lanmail.config.settings import read_text
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
            shown,
            "# main.cf: every parameter has its default\n\n# main.cf: nothing is wrong; the server would start with it",
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
