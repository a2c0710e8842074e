"""docs/limits.md says what is: every limit is on it, with its default, and with a test at its edge."""

from __future__ import annotations

import re

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.parameters import PARAMETERS, FromMachine
from tests.limits_page import rows

# Limits by their names, which are none of a client's: of what we do ourselves, or of what is said to administrators.
OTHERS = {"bounce_size_limit", "pam_timeout"}


class PageTests(SynchronousTestCase):
    def test_every_row_is_a_parameter_with_its_default(self) -> None:
        self.assertGreater(len(rows()), 25)
        for name, row in rows().items():
            default = PARAMETERS[name].default
            expected = default.shown if isinstance(default, FromMachine) else f"`{default}`"
            self.assertEqual(row.default, expected, name)

    def test_every_limit_has_its_row(self) -> None:
        limits = {name for name in PARAMETERS if re.search(r"_(limit|timeout|rate|deadline)$", name)}
        self.assertEqual(limits - OTHERS - set(rows()), set())

    def test_every_row_names_a_test_that_there_is(self) -> None:
        for row in rows().values():
            self.assertTrue(callable(namedAny(row.test)), row.test)
            self.assertRegex(row.test, r"\.test_\w+$")

    def test_every_limit_that_is_answered_has_its_answer(self) -> None:
        for row in rows().values():
            for answer in row.answers:
                self.assertRegex(answer, r"^[45]\d\d [45]\.\d+\.\d+ \S|^-ERR \S", row.parameter)
        self.assertGreater(sum(bool(row.answers) for row in rows().values()), 15)
