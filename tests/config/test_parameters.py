from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.parameters import PARAMETERS, SECTIONS, FromMachine, Settings
from lanmail.config.postfix import Standing, known_parameters
from lanmail.config.settings import read_text
from lanmail.config.syntax import normalised
from tests.config.fake import FakeMachine


class TestTheTable(SynchronousTestCase):
    def test_every_default_is_postfixs_or_says_why_not(self) -> None:
        for name, parameter in PARAMETERS.items():
            if parameter.ours or parameter.differs or isinstance(parameter.default, FromMachine):
                continue
            self.assertEqual(normalised(parameter.default), normalised(known_parameters()[name].default), name)

    def test_no_default_says_that_it_differs_where_it_does_not(self) -> None:
        for name, parameter in PARAMETERS.items():
            if parameter.differs:
                self.assertNotEqual(parameter.default, known_parameters()[name].default, name)

    def test_ours_are_unknown_to_postfix_and_the_others_are_known_as_ours_too(self) -> None:
        for name, parameter in PARAMETERS.items():
            self.assertEqual(parameter.ours, name not in known_parameters(), name)
        implemented = {name for name, there in known_parameters().items() if there.standing is Standing.IMPLEMENTED}
        self.assertEqual(implemented, {name for name, parameter in PARAMETERS.items() if not parameter.ours})

    def test_every_parameter_has_one_line_of_meaning(self) -> None:
        for name, parameter in PARAMETERS.items():
            self.assertTrue(parameter.meaning.endswith((".", ")")), name)
            self.assertNotIn("\n", parameter.meaning)
            self.assertLess(len(parameter.meaning), 140, name)

    def test_every_default_can_be_read(self) -> None:
        reading = read_text("", machine=FakeMachine())
        self.assertEqual(reading.problems, ())
        self.assertEqual(set(reading.settings.values), set(PARAMETERS))

    def test_the_sections_begin_at_parameters_in_the_order_of_the_table(self) -> None:
        names = list(PARAMETERS)
        places = [names.index(name) for name in SECTIONS]
        self.assertEqual(places, sorted(places))
        self.assertEqual(places[0], 0)

    def test_an_attribute_is_the_value_and_cannot_be_changed(self) -> None:
        settings = read_text("smtpd_timeout = 5m", machine=FakeMachine()).accepted()
        self.assertEqual(settings.smtpd_timeout, 300)
        self.assertIs(Settings.smtpd_timeout, PARAMETERS["smtpd_timeout"])
        with self.assertRaises(AttributeError):
            settings.smtpd_timeout = 5  # type: ignore[assignment]
